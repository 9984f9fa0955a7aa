// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package flux_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/controller"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/operator"
	"github.com/trellis-mesh/trellis/internal/policy"
	"github.com/trellis-mesh/trellis/internal/traffic"
	"github.com/trellis-mesh/trellis/internal/verdict"
	"github.com/trellis-mesh/trellis/test/acme"
	"github.com/trellis-mesh/trellis/test/nameserver"
	"github.com/trellis-mesh/trellis/test/stack"
)

// expected is the label of testdata/statements.yaml.
const expected = "kstatus"

// kinds are all of Trellis's: none may be forgotten.
var kinds = []string{
	"Application", "SecureIngress", "Goal", "PolicyTemplate", "ClusterPolicyBinding", "PolicyBinding", "PolicyException",
	"MutualTLSRollout", "HostClaim", "DNSProvider", "ManagedRecord", "ManagedCertificate",
}

// programmed is what proxies say to istiod: they have everything that was written, but for
// Applications of the name pending.
type programmed struct{ latest chan []controller.Verdict }

func (p programmed) Follow(_ *model.Snapshot, targets []controller.ProgrammedTarget, _ []compile.Packed) {
	var all []controller.Verdict
	for _, t := range targets {
		if t.Owner.Name != "pending" {
			all = append(all, controller.Verdict{Owner: t.Owner, Status: metav1.ConditionTrue, Reason: "Acknowledged", Message: "all have it", LastWrite: t.LastWrite()})
		}
	}
	replace(p.latest, all)
}

func (p programmed) Run(ctx context.Context, report func([]controller.Verdict)) error {
	return pass(ctx, p.latest, report)
}

// prober is told that every probe is answered as stated.
type prober struct{ latest chan []controller.ProbeResult }

func (p prober) Follow(_ *model.Snapshot, targets []controller.ProbeTarget) {
	var all []controller.ProbeResult
	for _, t := range targets {
		for _, probe := range t.Probes {
			all = append(all, controller.ProbeResult{Owner: t.Owner, Probe: probe, Status: metav1.ConditionTrue, Reason: "AsStated", At: time.Now()})
		}
	}
	replace(p.latest, all)
}

func (p prober) Run(ctx context.Context, report func([]controller.ProbeResult)) error {
	return pass(ctx, p.latest, report)
}

// replace puts the newest in a channel of one.
func replace[T any](latest chan T, value T) {
	for {
		select {
		case latest <- value:
			return
		case <-latest:
		}
	}
}

func pass[T any](ctx context.Context, latest chan T, report func(T)) error {
	for {
		select {
		case v := <-latest:
			report(v)
		case <-ctx.Done():
			return nil
		}
	}
}

// quietMesh foresees one stage of each rollout, and sees no plaintext.
type quietMesh struct{}

func (quietMesh) Run(ctx context.Context, report func(*verdict.Forecasts, error)) error {
	stage := func(namespace, mode string, refusals ...verdict.Refusal) []verdict.Stage {
		return []verdict.Stage{{
			Name: namespace + "/web", Namespace: namespace, Object: "trellis-rollout-web",
			Selector: map[string]string{"app": "web"}, Services: []string{namespace + "/web"}, Mode: mode, Refusals: refusals,
		}}
	}
	theirs := verdict.Refusal{Object: "PeerAuthentication legacy/open", Message: "it says PERMISSIVE", Fix: "delete it"}
	report(&verdict.Forecasts{Rollouts: []verdict.Forecast{
		{Rollout: "blocked", Generation: 1, Stages: stage("legacy", "PERMISSIVE", theirs)},
		{Rollout: "complete", Generation: 1, Stages: stage("shop", "STRICT")},
		{Rollout: "watching", Generation: 1, Stages: stage("ingress", "PERMISSIVE")},
	}}, nil)
	<-ctx.Done()
	return nil
}

func (quietMesh) Seen(_ context.Context, from time.Time) (traffic.Seen, error) {
	return traffic.Seen{From: from, To: time.Now()}, nil
}

// world is an API server with the operator and everything that it asks.
type world struct {
	*testing.T
	*stack.Stack
	client client.Client
	stop   func()
}

// newCluster is an API server with what the chart and Istio define.
func newCluster(t *testing.T) *world {
	t.Helper()
	log.SetLogger(logr.Discard())
	s, err := stack.Start(t.Context(), stack.Options{WithoutIstio: true})
	must(t, err)
	t.Cleanup(s.Stop)
	must(t, errors.Join(s.InstallTrellisCRDs(t.Context()), s.InstallIstioCRDs(t.Context()), s.Namespace(t.Context(), "trellis-system", nil)))
	return &world{T: t, Stack: s, client: s.Client()}
}

func newWorld(t *testing.T) (w *world, statements []*unstructured.Unstructured) {
	t.Helper()
	w = newCluster(t)
	for _, namespace := range []string{"ingress", "shop", "legacy"} {
		must(t, w.Namespace(t.Context(), namespace, nil))
	}
	_, err := w.Certificate(t.Context(), "ingress", "wildcard", "*.example.test")
	must(t, err)
	zone, err := nameserver.Start(t.Context(), nameserver.Process, "example.test")
	must(t, err)
	t.Cleanup(zone.Stop)
	must(t, w.client.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ingress", Name: "tsig"},
		StringData: map[string]string{"name": string(zone.KeyName), "algorithm": zone.Algorithm, "secret": zone.Secret},
	}))
	authority := acme.New(t, acme.Options{AlwaysValid: true})
	cluster, err := os.ReadFile("testdata/cluster.yaml")
	must(t, err)
	must(t, w.Apply(t.Context(), cluster))
	w.operate(authority, "")
	text, err := os.ReadFile("testdata/statements.yaml")
	must(t, err)
	return w, w.state(strings.NewReplacer("SERVER", zone.Address, "DIRECTORY", authority.Directory).Replace(string(text)))
}

// operate runs the operator, which answers the API server at an address, HOST:PORT; empty for
// nowhere.
func (w *world) operate(authority *acme.Server, webhook string) {
	url := ""
	if webhook != "" {
		url = "https://" + webhook
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- operator.Run(ctx, w.Config(), operator.Options{
			Namespace: "trellis-system", ServiceAccount: "trellis-operator", Mesh: model.DefaultMesh(),
			GatewayNamespaces: []string{"ingress"}, Istiod: operator.Istiod{Namespace: "istio-system", MeshConfigMap: "istio"},
			Programmed: programmed{latest: make(chan []controller.Verdict, 1)}, Prober: prober{latest: make(chan []controller.ProbeResult, 1)},
			WebhookAddress: webhook, WebhookURL: url,
			Forecasts: quietMesh{}, AccessLogs: quietMesh{},
			Authorities: authority.Transport, Check: func(context.Context, string, string, string) error { return nil },
			Log: slog.New(slog.NewTextHandler(w.Output(), nil)),
		})
	}()
	ended := false
	w.stop = func() {
		if !ended {
			ended = true
			cancel()
			must(w.T, <-done)
		}
	}
	w.Cleanup(w.stop)
}

// state makes the objects of a text; exceptions of the name approved are.
func (w *world) state(text string) []*unstructured.Unstructured {
	w.Helper()
	var out []*unstructured.Unstructured
	for document := range strings.SplitSeq(text, "\n---\n") {
		u := &unstructured.Unstructured{}
		must(w.T, yaml.Unmarshal([]byte(document), &u.Object))
		if u.GetKind() == "PolicyException" && u.GetName() == "approved" {
			e := &v1alpha1.PolicyException{}
			must(w.T, yaml.Unmarshal([]byte(document), e))
			digest, err := policy.Digest(e)
			must(w.T, err)
			must(w.T, unstructured.SetNestedMap(u.Object, map[string]any{"by": "officer", "of": digest}, "spec", "approval"))
		}
		must(w.T, w.client.Create(w.Context(), u))
		out = append(out, u)
	}
	return out
}

// judged reads an object and asks kstatus. An object of which nothing was said yet is not
// judged: kstatus takes it for Current where it has no conditions.
func (w *world) judged(ctx context.Context, u *unstructured.Unstructured) (status.Status, error) {
	if err := w.client.Get(ctx, client.ObjectKeyFromObject(u), u); err != nil {
		return "", err
	}
	observed, _, _ := unstructured.NestedInt64(u.Object, "status", "observedGeneration")
	if u.GetKind() != "HostClaim" && observed == 0 {
		return "", errors.New("nothing is said of it")
	}
	result, err := status.Compute(u)
	if err != nil {
		return "", err
	}
	return result.Status, nil
}

func TestKstatusReadsTheHealthOfEveryKind(t *testing.T) {
	w, statements := newWorld(t)
	states := map[string]bool{}
	for _, u := range statements {
		want := status.Status(u.GetLabels()[expected])
		states[u.GetKind()] = true
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		err := stack.Until(ctx, fmt.Sprintf("%s %s to be %s", u.GetKind(), u.GetName(), want), func(ctx context.Context) error {
			got, err := w.judged(ctx, u)
			if err == nil && got != want {
				conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
				err = fmt.Errorf("it is %s, by %v", got, conditions)
			}
			return err
		})
		cancel()
		if err != nil {
			t.Error(err)
		}
	}
	for _, kind := range kinds {
		if !states[kind] {
			t.Errorf("nothing is known of %s", kind)
		}
	}

	// What nobody has looked at yet is on its way, however well it was.
	w.stop()
	lagging := map[string]bool{}
	for _, u := range statements {
		change, ok := changes[u.GetKind()]
		if !ok || u.GetLabels()[expected] != string(status.CurrentStatus) {
			continue
		}
		must(t, w.client.Patch(t.Context(), u, client.RawPatch(types.MergePatchType, []byte(change))))
		got, err := w.judged(t.Context(), u)
		must(t, err)
		if got != status.InProgressStatus {
			t.Errorf("%s %s is %s after a change that nobody has looked at", u.GetKind(), u.GetName(), got)
		}
		lagging[u.GetKind()] = true
	}
	for _, kind := range kinds {
		if !lagging[kind] && !slices.Contains(unchanged, kind) {
			t.Errorf("no %s was changed", kind)
		}
	}
}

// changes are one of the spec of each kind that can change and has a generation to observe.
var changes = map[string]string{
	"Application":          `{"spec":{"ports":[{"name":"web","port":9080,"protocol":"TCP"}],"routes":null,"exposures":null}}`,
	"SecureIngress":        `{"spec":{"tls":{"secretName":"another"}}}`,
	"Goal":                 `{"spec":{"title":"Another"}}`,
	"ClusterPolicyBinding": `{"spec":{"mode":"Shadow"}}`,
	"PolicyBinding":        `{"spec":{"mode":"Shadow"}}`,
	"PolicyException":      `{"spec":{"reason":"it goes away soon"}}`,
	"MutualTLSRollout":     `{"spec":{"paused":true}}`,
	"DNSProvider":          `{"spec":{"rfc2136":{"zones":["example.org"]}}}`,
	"ManagedRecord":        `{"spec":{"addresses":["192.0.2.2"]}}`,
	"ManagedCertificate":   `{"spec":{"dnsNames":["another.example.test"]}}`,
}

// unchanged are kinds whose spec never changes, or that have nothing to observe.
var unchanged = []string{"PolicyTemplate", "HostClaim"}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
