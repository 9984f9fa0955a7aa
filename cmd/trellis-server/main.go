// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Command trellis-server runs the tests of a cluster's Applications before changes
// are admitted, and tells the operator what came of them. The chart trellis runs it;
// all of it is in internal/server.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/config"

	"github.com/trellis-mesh/trellis/internal/console"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/server"
	"github.com/trellis-mesh/trellis/internal/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Getenv, os.Stderr)
	switch {
	case err == nil:
	case errors.Is(err, flag.ErrHelp):
	default:
		fmt.Fprintln(os.Stderr, "trellis-server:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string, environment func(string) string, out io.Writer) error {
	options, level, format, err := parse(arguments, environment, out)
	if err != nil {
		return err
	}
	if options.Log, err = logger(out, level, format); err != nil {
		return err
	}
	ctrl.SetLogger(logr.FromSlogHandler(options.Log.Handler()))
	kubeconfig, err := config.GetConfig()
	if err != nil {
		return fmt.Errorf("finding the API server: %w", err)
	}
	kubeconfig.UserAgent = "trellis-server/" + version.String()
	options.Log.Info("starting", "version", version.String())
	return server.Run(ctx, kubeconfig, options)
}

func logger(out io.Writer, name, format string) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(name)); err != nil {
		return nil, fmt.Errorf("reading --log-level: %w", err)
	}
	options := &slog.HandlerOptions{Level: level}
	switch format {
	case "json":
		return slog.New(slog.NewJSONHandler(out, options)), nil
	case "text":
		return slog.New(slog.NewTextHandler(out, options)), nil
	}
	return nil, fmt.Errorf("reading --log-format: %q is neither json nor text", format)
}

// parse reads the command line. Nothing but the namespace and the pod's name comes from
// the environment.
func parse(arguments []string, environment func(string) string, out io.Writer) (o server.Options, level, format string, err error) {
	o.Mesh = model.DefaultMesh()
	o.Console = console.Files()
	f := flag.NewFlagSet("trellis-server", flag.ContinueOnError)
	f.SetOutput(out)
	f.StringVar(&level, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&format, "log-format", "json", "json or text")
	f.StringVar(&o.Namespace, "namespace", environment("POD_NAMESPACE"), "namespace of the server and of the operator; default: $POD_NAMESPACE")
	f.StringVar(&o.OperatorAccount, "operator-account", "trellis-operator", "ServiceAccount of the operator, who alone may ask what came of tests")
	f.StringVar(&o.Mesh.TrustDomain, "trust-domain", o.Mesh.TrustDomain, "the mesh's trust domain, where Istio's configuration does not say")
	f.StringVar(&o.Mesh.ClusterDomain, "cluster-domain", o.Mesh.ClusterDomain, "DNS suffix of Services")
	f.StringVar(&o.Mesh.RootNamespace, "root-namespace", o.Mesh.RootNamespace, "Istio's root namespace")
	f.StringVar(&o.Mesh.Cluster, "cluster", o.Mesh.Cluster, "id of this cluster in the mesh (istiod's CLUSTER_ID)")
	f.StringVar(&o.IstiodNamespace, "istiod-namespace", "istio-system", "namespace of istiod")
	f.StringVar(&o.MeshConfigMap, "mesh-config-map", "istio", "ConfigMap with the mesh's configuration, in istiod's namespace")
	f.StringVar(&o.Address, "address", ":9444", "where admission requests and the operator are answered")
	f.StringVar(&o.CollectorAddress, "collector-address", "", "where the mesh's proxies send access logs by OTLP (gRPC); empty: nowhere")
	f.StringVar(&o.EnvoyAddress, "envoy-address", "", "where the mesh's proxies send access logs by Envoy's access log service (gRPC); empty: nowhere")
	f.StringVar(&o.Hits.Dir, "hits-dir", "", "directory of this process alone in which counts of what proxies decided are kept, and what was seen for rollouts")
	f.DurationVar(&o.Hits.Keep, "hits-keep", 0, "for how long counts stay in --hits-dir; 0: 30 days")
	f.Int64Var(&o.Hits.Bytes, "hits-bytes", 0, "how many bytes counts in --hits-dir may have, the oldest go first; 0: 256 MiB")
	f.StringVar(&o.Hits.RemoteURL, "hits-remote-url", "", "server with Prometheus's API in which counts are kept in place of --hits-dir; the part before /api/v1")
	f.StringVar(&o.Hits.RemoteWriteURL, "hits-remote-write-url", "", "where that server takes remote writes; empty: --hits-remote-url and /api/v1/write")
	f.StringVar(&o.Hits.Collector, "hits-collector", environment("HOSTNAME"), "name of this process at that server, which no other replica has; default: $HOSTNAME, in a pod its name")
	f.StringVar(&o.APIAddress, "api-address", ":8443", "where questions are answered and the console is served, over HTTPS; empty: nowhere")
	f.StringVar(&o.Repository, "console-repository", "", "address of a file in Git, with {path} in the place of its path, such as https://git.example.com/shop/blob/main/{path}; empty: the console names the file alone")
	f.StringVar(&o.HealthAddress, "health-address", ":8081", "where /healthz and /readyz answer; empty: nowhere")
	f.StringVar(&o.MetricsAddress, "metrics-address", ":8080", "where /metrics answers; empty: nowhere")
	if err := f.Parse(arguments); err != nil {
		return o, "", "", err
	}
	if f.NArg() > 0 {
		return o, "", "", fmt.Errorf("reading the command line: %q is not a flag", f.Arg(0))
	}
	if o.Namespace == "" {
		return o, "", "", errors.New("reading the command line: --namespace or $POD_NAMESPACE is needed")
	}
	if err := o.Check(); err != nil {
		return o, "", "", fmt.Errorf("reading the command line: %w", err)
	}
	return o, level, format, nil
}
