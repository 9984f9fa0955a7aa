// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/test/stack"
)

// install renders the chart with Helm, applies it, and runs the operator with
// the arguments and rights that the chart gives it. It runs beside the cluster
// rather than in it, so that its addresses and mounted files are the demo's.
func (d *demo) install(ctx context.Context) error {
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	webhook := "https://" + ports[0]
	arguments := []string{"template", "trellis", "charts/trellis", "--namespace", operatorSpace, "--set", "webhook.url=" + webhook}
	if err := d.kubectl(ctx, nil, "create", "namespace", operatorSpace); err != nil {
		return err
	}
	d.view.command("helm " + strings.Join(arguments, " ") + " | kubectl apply --server-side -f -")
	rendered, err := d.run(ctx, nil, "helm", arguments...)
	if err != nil {
		return err
	}
	applied, err := d.run(ctx, bytes.NewReader(rendered), "kubectl", "apply", "--server-side", "-f", "-")
	if err != nil {
		return err
	}
	d.view.block(string(applied))
	if _, err := d.run(ctx, nil, "kubectl", "wait", "--for=condition=Established", "crd",
		"applications.trellis.dev", "secureingresses.trellis.dev", "hostclaims.trellis.dev", "--timeout=60s"); err != nil {
		return err
	}
	return d.startOperator(ctx, rendered, ports)
}

// startOperator runs bin/trellis-operator as the pod of the chart's Deployment
// would, and waits until it can answer admission requests.
func (d *demo) startOperator(ctx context.Context, rendered []byte, ports []string) error {
	// The operator reads once whom to trust.
	if err := d.startOutside(ctx); err != nil {
		return err
	}
	files, err := d.operatorFiles(ctx)
	if err != nil {
		return err
	}
	arguments, err := chartArguments(rendered)
	if err != nil {
		return err
	}
	arguments = override(arguments, map[string]string{
		"--webhook-address": ports[0], "--health-address": ports[1], "--metrics-address": ports[2],
		"--istiod-token": files.token,
	})
	d.view.command("bin/trellis-operator " + strings.Join(arguments, " "))
	log, err := os.Create(filepath.Join(d.stack.Logs(), "trellis-operator.log"))
	if err != nil {
		return fmt.Errorf("starting the operator: %w", err)
	}
	d.operator = &operator{log: log, done: make(chan struct{})}
	command := exec.Command(filepath.Join(d.repository, "bin", "trellis-operator"), arguments...)
	command.Stdout, command.Stderr, command.Dir = log, log, d.dir
	command.Env = []string{"KUBECONFIG=" + files.kubeconfig, "POD_NAMESPACE=" + operatorSpace, "HOME=" + d.dir, "SSL_CERT_FILE=" + d.outside.roots}
	if err := d.operator.start(command); err != nil {
		return err
	}
	ready, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	return stack.Until(ready, "the operator to be ready", func(ctx context.Context) error {
		if err := d.operator.failed(); err != nil {
			return err
		}
		return answers(ctx, "http://"+ports[1]+"/readyz")
	})
}

// mounted are the files that Kubernetes mounts into the operator's pod.
type mounted struct{ kubeconfig, token string }

// operatorFiles writes them: a kubeconfig with a token of the chart's
// ServiceAccount, which has the rights that the chart gives and no others, and a
// token that is good for istiod alone.
func (d *demo) operatorFiles(ctx context.Context) (mounted, error) {
	dir := filepath.Join(d.dir, "operator")
	files := mounted{filepath.Join(dir, "kubeconfig"), filepath.Join(dir, "istiod-token")}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return files, fmt.Errorf("writing the operator's files: %w", err)
	}
	config, err := d.stack.ServiceAccountConfig(ctx, operatorSpace, "trellis-operator")
	if err != nil {
		return files, err
	}
	kubeconfig := clientcmdapi.NewConfig()
	kubeconfig.Clusters["demo"] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	kubeconfig.AuthInfos["operator"] = &clientcmdapi.AuthInfo{Token: config.BearerToken}
	kubeconfig.Contexts["demo"] = &clientcmdapi.Context{Cluster: "demo", AuthInfo: "operator", Namespace: operatorSpace}
	kubeconfig.CurrentContext = "demo"
	if err := clientcmd.WriteToFile(*kubeconfig, files.kubeconfig); err != nil {
		return files, fmt.Errorf("writing the operator's files: %w", err)
	}
	life := int64(30 * 24 * 3600) // nothing renews it here, and a demo may stay up
	token := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{"istio-ca"}, ExpirationSeconds: &life}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: operatorSpace, Name: "trellis-operator"}}
	if err := d.stack.Client().SubResource("token").Create(ctx, account, token); err != nil {
		return files, fmt.Errorf("asking for the operator's token for istiod: %w", err)
	}
	if err := os.WriteFile(files.token, []byte(token.Status.Token), 0o600); err != nil {
		return files, fmt.Errorf("writing the operator's files: %w", err)
	}
	return files, nil
}

// chartArguments finds the operator's arguments in the rendered chart.
func chartArguments(rendered []byte) ([]string, error) {
	for document := range strings.SplitSeq(string(rendered), "\n---\n") {
		var deployment appsv1.Deployment
		if err := yaml.Unmarshal([]byte(document), &deployment); err != nil || deployment.Kind != "Deployment" {
			continue // another kind
		}
		return deployment.Spec.Template.Spec.Containers[0].Args, nil
	}
	return nil, errors.New("reading the rendered chart: it has no Deployment")
}

// override gives flags of the form --name=value other values.
func override(arguments []string, values map[string]string) []string {
	out := make([]string, 0, len(arguments))
	for _, argument := range arguments {
		name, _, _ := strings.Cut(argument, "=")
		if value, ok := values[name]; ok {
			argument = name + "=" + value
		}
		out = append(out, argument)
	}
	return out
}

// freePorts returns addresses that nobody listens on.
func freePorts(n int) ([]string, error) {
	var out []string
	for range n {
		listener, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("choosing a port: %w", err)
		}
		defer func() { _ = listener.Close() }()
		out = append(out, listener.Addr().String())
	}
	return out, nil
}
