// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package installation puts Trellis on a stack as the chart does: the objects of the chart,
// and both programs with the rights of their ServiceAccounts and no others. The programs run
// in the process of the test, outside of the cluster.
package installation

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"github.com/trellis-mesh/trellis/internal/istiod"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/operator"
	"github.com/trellis-mesh/trellis/internal/server"
	"github.com/trellis-mesh/trellis/internal/verdict"
	"github.com/trellis-mesh/trellis/test/chart"
	"github.com/trellis-mesh/trellis/test/stack"
)

const (
	// Namespace is that of both programs.
	Namespace = "trellis-system"
	// Operator is the ServiceAccount of trellis-operator.
	Operator = "trellis-operator"
	// Server is the ServiceAccount of trellis-server.
	Server = "trellis-server"

	istioNamespace = "istio-system"
	meshConfigMap  = "istio"
)

// IstiodEnvironment lets the operator ask istiod what it has sent to proxies. An operator
// with the Istiod of [Asking] needs it.
func IstiodEnvironment() []string {
	return []string{"DEBUG_ENDPOINT_AUTH_ALLOWED_NAMESPACES=" + Namespace}
}

// User is how the API server knows the account of a program.
func User(account string) string {
	return "system:serviceaccount:" + Namespace + ":" + account
}

// Apply applies templates of the chart by their names, as "rbac". The namespace must be there.
// A server answers the API server and the operator at an address, HOST:PORT; empty for none.
func Apply(ctx context.Context, s *stack.Stack, server string, templates ...string) error {
	arguments := []string{"--set", "webhook.enabled=false"}
	if server != "" {
		arguments = append(arguments, "--set", "server.enabled=true", "--set", "server.url=https://"+server)
	}
	for _, name := range templates {
		arguments = append(arguments, "--show-only", "templates/"+name+".yaml")
	}
	manifest, err := chart.Template(ctx, arguments...)
	if err != nil {
		return err
	}
	return s.Apply(ctx, manifest)
}

// OperatorOptions are those that every operator here has. It does not ask istiod: that
// proxies have what it wrote is not known then.
func OperatorOptions() operator.Options {
	return operator.Options{
		Namespace: Namespace, ServiceAccount: Operator, Mesh: model.DefaultMesh(),
		Istiod: operator.Istiod{Namespace: istioNamespace, MeshConfigMap: meshConfigMap},
	}
}

// Asking is how an operator asks istiod what it has sent to proxies.
func Asking(s *stack.Stack) (operator.Istiod, error) {
	kube, err := kubernetes.NewForConfig(s.Config())
	return operator.Istiod{
		Namespace: istioNamespace, Selector: map[string]string{"app": "istiod"}, Port: 15012, MeshConfigMap: meshConfigMap,
		Token: istiod.TokenFromRequest(kube, Namespace, Operator, clock.RealClock{}),
	}, err
}

// Tests is how an operator asks a server at an address, HOST:PORT, what came of tests.
func Tests(ctx context.Context, s *stack.Stack, server string) (operator.Tests, error) {
	token, err := Token(ctx, s, Operator, verdict.Audience)
	return operator.Tests{
		Address: "https://" + server,
		Token:   func(context.Context) (string, error) { return token, nil },
	}, err
}

// Token is one of an account of Namespace; without audiences it is for the API server.
func Token(ctx context.Context, s *stack.Stack, account string, audiences ...string) (string, error) {
	kube, err := kubernetes.NewForConfig(s.Config())
	if err != nil {
		return "", err
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}
	token, err := kube.CoreV1().ServiceAccounts(Namespace).CreateToken(ctx, account, request, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return token.Status.Token, nil
}

// ServerOptions are those that every server here has, which answers at an address, HOST:PORT.
func ServerOptions(address string) server.Options {
	return server.Options{
		Namespace: Namespace, OperatorAccount: Operator, Mesh: model.DefaultMesh(),
		IstiodNamespace: istioNamespace, MeshConfigMap: meshConfigMap, Address: address,
	}
}

// RunOperator runs an operator until stop is called, which may be called again and says what
// it ended with. Without a Log it writes to a file beside the logs of the stack.
func RunOperator(ctx context.Context, s *stack.Stack, options operator.Options) (stop func() error, err error) {
	return run(ctx, s, Operator, &options.Log, func(ctx context.Context, config *rest.Config) error { return operator.Run(ctx, config, options) })
}

// RunServer does the same with a server.
func RunServer(ctx context.Context, s *stack.Stack, options server.Options) (stop func() error, err error) {
	return run(ctx, s, Server, &options.Log, func(ctx context.Context, config *rest.Config) error { return server.Run(ctx, config, options) })
}

// logFile is one for a program that has no log, which gets one.
func logFile(s *stack.Stack, program string, log **slog.Logger) (io.Closer, error) {
	if *log != nil {
		return io.NopCloser(nil), nil
	}
	file, err := os.OpenFile(filepath.Join(s.Logs(), program+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	*log = slog.New(slog.NewTextHandler(file, &slog.HandlerOptions{Level: slog.LevelInfo}))
	return file, nil
}

func run(ctx context.Context, s *stack.Stack, account string, log **slog.Logger, program func(context.Context, *rest.Config) error) (stop func() error, err error) {
	config, err := s.ServiceAccountConfig(ctx, Namespace, account)
	if err != nil {
		return nil, err
	}
	file, err := logFile(s, account, log)
	if err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- program(running, config) }()
	return sync.OnceValue(func() error {
		cancel()
		return errors.Join(<-done, file.Close())
	}), nil
}
