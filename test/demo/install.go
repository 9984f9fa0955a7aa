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

// install does as helm install, and runs the operator with the arguments and rights that
// the chart gives it. It runs beside the cluster rather than in it, so that its addresses and
// mounted files are the demo's.
func (d *demo) install(ctx context.Context) error {
	var err error
	if d.operatorPorts, err = freePorts(3); err != nil {
		return err
	}
	if err := d.kubectl(ctx, nil, "create", "namespace", operatorSpace); err != nil {
		return err
	}
	// The operator reads once whom to trust.
	if err := d.startOutside(ctx); err != nil {
		return err
	}
	rendered, err := d.release(ctx)
	if err != nil {
		return err
	}
	if _, err := d.run(ctx, nil, "kubectl", "wait", "--for=condition=Established", "crd",
		"applications.trellis.dev", "secureingresses.trellis.dev", "hostclaims.trellis.dev", "--timeout=60s"); err != nil {
		return err
	}
	return d.startOperator(ctx, rendered)
}

// release renders the chart with these settings and applies it, and shows what changed.
func (d *demo) release(ctx context.Context, settings ...string) ([]byte, error) {
	arguments := d.template(append([]string{"webhook.url=https://" + d.operatorPorts[0]}, settings...)...)
	d.view.command("helm " + strings.Join(arguments, " ") + " | kubectl apply --server-side -f -")
	rendered, err := d.run(ctx, nil, "helm", arguments...)
	if err != nil {
		return nil, err
	}
	applied, err := d.run(ctx, bytes.NewReader(rendered), "kubectl", "apply", "--server-side", "-f", "-")
	if err != nil {
		return nil, err
	}
	d.view.block(string(applied))
	return rendered, nil
}

func (d *demo) template(settings ...string) []string {
	out := []string{"template", "trellis", "charts/trellis", "--namespace", operatorSpace}
	for _, s := range settings {
		out = append(out, "--set", s)
	}
	return out
}

// startOperator runs bin/trellis-operator until it can answer admission requests.
func (d *demo) startOperator(ctx context.Context, rendered []byte) error {
	istiod, server := d.mount("istiod-token"), d.mount("server-token")
	var err error
	d.operator, err = d.startProgram(ctx, rendered, "trellis-operator", d.operatorPorts[1], map[string]string{
		"--webhook-address": d.operatorPorts[0], "--health-address": d.operatorPorts[1], "--metrics-address": d.operatorPorts[2],
		"--istiod-token": istiod, "--server-token": server,
	}, map[string]string{istiod: "istio-ca", server: "trellis-server"})
	return err
}

// mount is the path of a file that Kubernetes would mount into a pod.
func (d *demo) mount(name string) string { return filepath.Join(d.dir, "mounted", name) }

// startProgram runs a program as the pod of the chart's Deployment of that name would, with
// other values of some flags, until health answers. Tokens are files with the audience for
// which their tokens are.
func (d *demo) startProgram(ctx context.Context, rendered []byte, name, health string, flags, tokens map[string]string) (*process, error) {
	arguments, err := chartArguments(rendered, name)
	if err != nil {
		return nil, err
	}
	for path, audience := range tokens {
		if err := d.writeToken(ctx, name, audience, path); err != nil {
			return nil, err
		}
	}
	kubeconfig := d.mount(name + ".kubeconfig")
	if err := d.writeKubeconfig(ctx, name, kubeconfig); err != nil {
		return nil, err
	}
	p, err := d.startProcess(name, override(arguments, flags),
		[]string{"KUBECONFIG=" + kubeconfig, "POD_NAMESPACE=" + operatorSpace, "HOME=" + d.dir, "SSL_CERT_FILE=" + d.outside.roots})
	if err != nil {
		return nil, err
	}
	ready, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	return p, stack.Until(ready, name+" to be ready", func(ctx context.Context) error {
		if err := p.failed(); err != nil {
			return err
		}
		return answers(ctx, "http://"+health+"/readyz")
	})
}

// startProcess runs a program of bin, and shows how.
func (d *demo) startProcess(name string, arguments, environment []string) (*process, error) {
	d.view.command("bin/" + name + " " + strings.Join(arguments, " "))
	log, err := os.Create(filepath.Join(d.stack.Logs(), name+".log"))
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	p := &process{name: name, log: log, done: make(chan struct{})}
	command := exec.Command(filepath.Join(d.repository, "bin", name), arguments...)
	command.Stdout, command.Stderr, command.Dir, command.Env = log, log, d.dir, environment
	return p, p.start(command)
}

// writeKubeconfig writes one with a token of a ServiceAccount, which has the rights that it
// was given and no others.
func (d *demo) writeKubeconfig(ctx context.Context, account, path string) error {
	config, err := d.stack.ServiceAccountConfig(ctx, operatorSpace, account)
	if err != nil {
		return err
	}
	kubeconfig := clientcmdapi.NewConfig()
	kubeconfig.Clusters[contextName] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	kubeconfig.AuthInfos[account] = &clientcmdapi.AuthInfo{Token: config.BearerToken}
	kubeconfig.Contexts[contextName] = &clientcmdapi.Context{Cluster: contextName, AuthInfo: account, Namespace: operatorSpace}
	kubeconfig.CurrentContext = contextName
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), clientcmd.WriteToFile(*kubeconfig, path)); err != nil {
		return fmt.Errorf("writing the kubeconfig of %s: %w", account, err)
	}
	return nil
}

// writeToken writes a token of a ServiceAccount that is good for one audience alone.
func (d *demo) writeToken(ctx context.Context, name, audience, path string) error {
	life := int64(30 * 24 * 3600) // nothing renews it here, and a demo may stay up
	token := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}, ExpirationSeconds: &life}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: operatorSpace, Name: name}}
	if err := d.stack.Client().SubResource("token").Create(ctx, account, token); err != nil {
		return fmt.Errorf("asking for a token of %s for %s: %w", name, audience, err)
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(token.Status.Token), 0o600)); err != nil {
		return fmt.Errorf("writing a token of %s: %w", name, err)
	}
	return nil
}

// chartArguments finds the arguments of a Deployment in the rendered chart.
func chartArguments(rendered []byte, name string) ([]string, error) {
	for document := range strings.SplitSeq(string(rendered), "\n---\n") {
		var deployment appsv1.Deployment
		if err := yaml.Unmarshal([]byte(document), &deployment); err != nil || deployment.Kind != "Deployment" || deployment.Name != name {
			continue // another object
		}
		return deployment.Spec.Template.Spec.Containers[0].Args, nil
	}
	return nil, fmt.Errorf("reading the rendered chart: it has no Deployment %s", name)
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
