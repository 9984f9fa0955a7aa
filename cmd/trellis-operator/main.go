// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Command trellis-operator makes a cluster follow its Applications and
// SecureIngresses. The chart trellis runs it; all of it is in internal/operator.
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
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/labels"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/config"

	"github.com/trellis-mesh/trellis/internal/istiod"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/operator"
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
		fmt.Fprintln(os.Stderr, "trellis-operator:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string, environment func(string) string, out io.Writer) error {
	options, logging, err := parse(arguments, environment, out)
	if err != nil {
		return err
	}
	if options.Log, err = logging.logger(out); err != nil {
		return err
	}
	if environment("GOGC") == "" {
		// A rebuild holds everything that is generated for a moment, and the time
		// between two is long: collecting more often costs little and keeps small.
		debug.SetGCPercent(gcPercent)
	}
	ctrl.SetLogger(logr.FromSlogHandler(options.Log.Handler()))
	kubeconfig, err := config.GetConfig()
	if err != nil {
		return fmt.Errorf("finding the API server: %w", err)
	}
	kubeconfig.UserAgent = "trellis-operator/" + version.String()
	options.Log.Info("starting", "version", version.String())
	return operator.Run(ctx, kubeconfig, options)
}

// gcPercent is how much garbage may be there for each byte that is in use.
const gcPercent = 25

// logging is how the operator speaks.
type logging struct{ level, format string }

func (l logging) logger(out io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.level)); err != nil {
		return nil, fmt.Errorf("reading --log-level: %w", err)
	}
	options := &slog.HandlerOptions{Level: level}
	switch l.format {
	case "json":
		return slog.New(slog.NewJSONHandler(out, options)), nil
	case "text":
		return slog.New(slog.NewTextHandler(out, options)), nil
	}
	return nil, fmt.Errorf("reading --log-format: %q is neither json nor text", l.format)
}

// list is what commas separate.
func list(text string) []string {
	var out []string
	for name := range strings.SplitSeq(text, ",") {
		if name = strings.TrimSpace(name); name != "" {
			out = append(out, name)
		}
	}
	return out
}

// serverFlags say how trellis-server is asked.
type serverFlags struct{ address, selector, token string }

func (s *serverFlags) add(f *flag.FlagSet) {
	f.StringVar(&s.address, "server-address", "", "https://HOST:PORT of trellis-server, for whose tests changes of Applications wait, and whose forecasts MutualTLSRollouts need; empty: there is none")
	f.StringVar(&s.selector, "server-selector", "", "labels of trellis-server's pods, in the operator's namespace, all of which are asked what they have seen of traffic; empty: --server-address is its only replica")
	f.StringVar(&s.token, "server-token", "", "file with a token for trellis-server (audience trellis-server)")
}

func (s *serverFlags) tests() (operator.Tests, error) {
	out := operator.Tests{Address: s.address}
	if s.address == "" {
		return out, nil
	}
	if s.token == "" {
		return out, errors.New("reading the command line: --server-address needs --server-token")
	}
	out.Token = istiod.TokenFromFile(s.token)
	var err error
	if out.Selector, err = labels.ConvertSelectorToLabelsMap(s.selector); err != nil {
		return out, fmt.Errorf("reading --server-selector: %w", err)
	}
	return out, nil
}

// parse reads the command line. Nothing but the namespace comes from the
// environment.
func parse(arguments []string, environment func(string) string, out io.Writer) (operator.Options, logging, error) {
	o := operator.Options{Mesh: model.DefaultMesh()}
	var l logging
	var gateways, identity, selector, token, roots string
	var server serverFlags
	var port int
	f := flag.NewFlagSet("trellis-operator", flag.ContinueOnError)
	f.SetOutput(out)
	f.StringVar(&l.level, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&l.format, "log-format", "json", "json or text")
	f.BoolVar(&o.OpenReports, "open-reports", true, "show how it stands with policies as Reports of openreports.io, where the cluster has them")
	f.BoolVar(&o.LeaderElect, "leader-elect", false, "wait until no other replica works")
	f.StringVar(&o.Namespace, "namespace", environment("POD_NAMESPACE"), "namespace of the operator itself; default: $POD_NAMESPACE")
	f.StringVar(&o.ServiceAccount, "service-account", "trellis-operator", "ServiceAccount of the operator itself")
	f.StringVar(&o.Mesh.TrustDomain, "trust-domain", o.Mesh.TrustDomain, "the mesh's trust domain, where Istio's configuration does not say")
	f.StringVar(&o.Mesh.ClusterDomain, "cluster-domain", o.Mesh.ClusterDomain, "DNS suffix of Services")
	f.StringVar(&o.Mesh.RootNamespace, "root-namespace", o.Mesh.RootNamespace, "Istio's root namespace")
	f.StringVar(&o.Mesh.Cluster, "cluster", o.Mesh.Cluster, "id of this cluster in the mesh (istiod's CLUSTER_ID)")
	f.StringVar(&gateways, "gateway-namespaces", "", "namespaces of gateways, separated by commas, where Secrets may be read")
	f.StringVar(&identity, "dns-identity-namespaces", "", "namespaces, separated by commas, whose DNSProviders may use the cloud identity of the operator's pod; default: the operator's own")
	f.StringVar(&o.Istiod.Namespace, "istiod-namespace", "istio-system", "namespace of istiod")
	f.StringVar(&selector, "istiod-selector", "app=istiod", "labels of istiod's pods")
	f.IntVar(&port, "istiod-port", 15012, "authenticated port of istiod")
	f.StringVar(&token, "istiod-token", "", "file with a token for istiod; empty: Programmed stays Unknown")
	f.StringVar(&roots, "istiod-root-cert", "", "file with istiod's root certificate; empty or missing: ConfigMap istio-ca-root-cert")
	f.StringVar(&o.Istiod.MeshConfigMap, "mesh-config-map", "istio", "ConfigMap with the mesh's configuration, in istiod's namespace")
	f.StringVar(&o.HealthAddress, "health-address", ":8081", "where /healthz and /readyz answer; empty: nowhere")
	f.StringVar(&o.MetricsAddress, "metrics-address", ":8080", "where /metrics answers; empty: nowhere")
	f.StringVar(&o.WebhookAddress, "webhook-address", ":9443", "where admission requests are answered; empty: nowhere")
	f.StringVar(&o.WebhookURL, "webhook-url", "", "https://HOST:PORT where API servers reach an operator outside the cluster")
	server.add(f)
	if err := f.Parse(arguments); err != nil {
		return o, l, err
	}
	if f.NArg() > 0 {
		return o, l, fmt.Errorf("reading the command line: %q is not a flag", f.Arg(0))
	}
	var err error
	if o.Istiod.Selector, err = labels.ConvertSelectorToLabelsMap(selector); err != nil {
		return o, l, fmt.Errorf("reading --istiod-selector: %w", err)
	}
	if port < 1 || port > 65535 {
		return o, l, fmt.Errorf("reading --istiod-port: %d is not a port", port)
	}
	o.Istiod.Port = int32(port)
	if o.Tests, err = server.tests(); err != nil {
		return o, l, err
	}
	o.GatewayNamespaces, o.IdentityNamespaces = list(gateways), list(identity)
	if token != "" {
		o.Istiod.Token = istiod.TokenFromFile(token)
	}
	if roots != "" {
		o.Istiod.Roots = istiod.RootsFromFile(roots)
	}
	return o, l, nil
}
