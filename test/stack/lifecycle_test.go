// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package stack_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/test/stack"
)

// asParent makes this test binary run a stack and wait to be killed.
const asParent = "STACK_TEST_AS_PARENT"

func TestMain(m *testing.M) {
	if os.Getenv(asParent) == "" {
		os.Exit(m.Run())
	}
	if err := runAsParent(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// runAsParent starts a stack with a proxy, prints its directory and blocks.
func runAsParent() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	s, err := stack.Start(ctx, stack.Options{Out: os.Stderr})
	if err != nil {
		return err
	}
	defer s.Stop()
	if err := s.Namespace(ctx, "istio-ingress", nil); err != nil {
		return err
	}
	if _, err := s.Gateway(ctx, stack.GatewayOptions{Namespace: "istio-ingress", Name: "gateway"}); err != nil {
		return err
	}
	fmt.Println(filepath.Dir(s.Logs()))
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func TestNothingOutlivesAKilledParent(t *testing.T) {
	command := exec.CommandContext(t.Context(), os.Args[0])
	command.Env = append(os.Environ(), asParent+"=1")
	command.Stderr = t.Output()
	stdin, err := command.StdinPipe()
	must(t, err)
	defer func() { _ = stdin.Close() }()
	stdout, err := command.StdoutPipe()
	must(t, err)
	must(t, command.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	must(t, err)
	dir := strings.TrimSpace(line)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })

	before := strings.Join(programsIn(t, dir), " ")
	for _, program := range []string{"etcd", "kube-apiserver", "pilot-discovery", "pilot-agent", "envoy"} {
		if !strings.Contains(before, program) {
			t.Errorf("%s does not run: %s", program, before)
		}
	}
	must(t, command.Process.Kill())
	_ = command.Wait() // the kill is its error
	gone(t, dir)
}

func TestIstioCanComeAfterTheCluster(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	s := start(ctx, t, stack.Options{WithoutIstio: true, IstiodReplicas: 2})

	var crds apiextensionsv1.CustomResourceDefinitionList
	must(t, s.Client().List(ctx, &crds))
	if len(crds.Items) != 0 || len(s.Istiods()) != 0 {
		t.Fatalf("the cluster has %d CRDs and %d replicas of istiod before Istio", len(crds.Items), len(s.Istiods()))
	}
	must(t, s.Namespace(ctx, "istio-ingress", nil))
	if _, err := s.Gateway(ctx, stack.GatewayOptions{Namespace: "istio-ingress", Name: "early"}); err == nil {
		t.Error("a gateway started without Istio")
	}
	must(t, s.InstallIstio(ctx))
	if err := s.InstallIstio(ctx); err == nil {
		t.Error("Istio was installed twice")
	}
	for _, name := range []string{"one", "two"} {
		_, err := s.Gateway(ctx, stack.GatewayOptions{Namespace: "istio-ingress", Name: name})
		must(t, err)
	}

	t.Run("the pods of istiod lead to every replica and its share of the proxies", func(t *testing.T) {
		var proxies []string
		for _, pod := range istiodPods(ctx, t, s.Client()) {
			var synced []struct {
				Proxy string `json:"proxy"`
			}
			get(ctx, t, fmt.Sprintf("http://%s:%d/debug/syncz", pod.Status.PodIP, monitoringPort(pod)), &synced)
			for _, status := range synced {
				proxies = append(proxies, pod.Name+":"+status.Proxy)
			}
		}
		if got := strings.Join(proxies, " "); got != "istiod-0:one.istio-ingress istiod-1:two.istio-ingress" {
			t.Errorf("the replicas have %s", got)
		}
	})
	t.Run("a killed replica shows in its pod and comes back", func(t *testing.T) {
		replica := s.Istiods()[1]
		must(t, s.KillIstiod(ctx, replica))
		if ready := readyPods(istiodPods(ctx, t, s.Client())); ready != "istiod-0" {
			t.Errorf("ready after the kill: %q", ready)
		}
		must(t, s.StartIstiod(ctx, replica))
		if ready := readyPods(istiodPods(ctx, t, s.Client())); ready != "istiod-0 istiod-1" {
			t.Errorf("ready after the start: %q", ready)
		}
	})
	t.Run("a service account may do what RBAC says and no more", func(t *testing.T) { checkRBAC(ctx, t, s) })
	must(t, s.Failed())
}

func checkRBAC(ctx context.Context, t *testing.T, s *stack.Stack) {
	config, err := s.ServiceAccountConfig(ctx, "istio-system", "reader")
	must(t, err)
	reader, err := client.New(config, client.Options{})
	must(t, err)
	key := client.ObjectKey{Namespace: "istio-system", Name: "istio"}
	if err := reader.Get(ctx, key, &corev1.ConfigMap{}); !apierrors.IsForbidden(err) {
		t.Errorf("without a role: %v", err)
	}
	meta := metav1.ObjectMeta{Namespace: "istio-system", Name: "reader"}
	must(t, s.Client().Create(ctx, &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get"}},
	}}))
	must(t, s.Client().Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: "istio-system", Name: "reader"}},
	}))
	wait, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	must(t, stack.Until(wait, "the role to count", func(ctx context.Context) error {
		return reader.Get(ctx, key, &corev1.ConfigMap{})
	}))
}

// start starts a stack that ends with the test and leaves its logs if the test
// fails and no process in any case.
func start(ctx context.Context, t *testing.T, options stack.Options) *stack.Stack {
	t.Helper()
	options.Out = t.Output()
	s, err := stack.Start(ctx, options)
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			s.KeepFiles()
			t.Log("the logs are in", s.Logs())
		}
		s.Stop()
		gone(t, filepath.Dir(s.Logs()))
	})
	return s
}

// gone waits until no program runs in dir.
func gone(t *testing.T, dir string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
	defer cancel()
	must(t, stack.Until(ctx, "the end of all programs", func(context.Context) error {
		if left := programsIn(t, dir); len(left) > 0 {
			return fmt.Errorf("%v still run", left)
		}
		return nil
	}))
}

// programsIn returns the executables of the processes whose working directory
// is in dir, which is so for everything that a stack starts.
func programsIn(t *testing.T, dir string) []string {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	must(t, err)
	var programs []string
	for _, link := range links {
		cwd, err := os.Readlink(link)
		if err != nil || !strings.HasPrefix(cwd, dir) {
			continue // ended meanwhile, another user's, or not ours
		}
		program, err := os.Readlink(filepath.Join(filepath.Dir(link), "exe"))
		if err == nil {
			programs = append(programs, filepath.Base(program))
		}
	}
	return programs
}

func istiodPods(ctx context.Context, t *testing.T, c client.Client) []corev1.Pod {
	t.Helper()
	var pods corev1.PodList
	must(t, c.List(ctx, &pods, client.InNamespace("istio-system"), client.MatchingLabels{"app": "istiod"}))
	return pods.Items
}

func monitoringPort(pod corev1.Pod) int32 {
	for _, port := range pod.Spec.Containers[0].Ports {
		if port.Name == "http-monitoring" {
			return port.ContainerPort
		}
	}
	return 0
}

func readyPods(pods []corev1.Pod) string {
	var names []string
	for _, pod := range pods {
		for _, condition := range pod.Status.Conditions {
			if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
				names = append(names, pod.Name)
			}
		}
	}
	return strings.Join(names, " ")
}

func get(ctx context.Context, t *testing.T, url string, into any) {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	must(t, err)
	response, err := http.DefaultClient.Do(request)
	must(t, err)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	must(t, err)
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v: %s", url, err, text)
	}
}
