// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package live is how questions are asked of what runs: of the configuration that
// a running istiod sends to each proxy, of what Istio's generator in this process
// makes of a cluster's objects, or of the dumps of Envoys. Without any of these a
// question is about files, as package mesh opens them.
package live

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trellis-mesh/trellis/internal/cli/cluster"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/cli/source"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
)

// The values of the flag --source.
const (
	fromIstiod    = "istiod"
	fromGenerator = "generator"
)

// rootNamespace has istiod where nobody says otherwise.
const rootNamespace = "istio-system"

var sources = []string{fromIstiod, fromGenerator}

// Options say what a question is asked of. Without any of their own it is asked
// of the files of source.Options.
type Options struct {
	source.Options
	// Cluster is the running cluster.
	Cluster cluster.Options
	// Source is istiod or generator; empty: istiod, and the generator where there
	// is a draft.
	Source string
	// Istiod is host:port; empty: a pod of istiod, reached through the API server.
	Istiod string
	// Plaintext: the port speaks no TLS and asks for no token.
	Plaintext bool
	// IstioNamespace has istiod, and Revision is one of several; empty: any.
	IstioNamespace, Revision string
	// Dumps are files with Envoys' answers to GET /config_dump?include_eds.
	Dumps []string
	// Together is shared with what this is compared with; nil: nothing is shared.
	Together *mesh.Together
}

// AddFlags registers the flags of Options.
func (o *Options) AddFlags(cmd *cobra.Command) {
	o.Options.AddFlags(cmd)
	o.Cluster.AddContextFlags(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.Source, "source", "", "where a running cluster's configuration comes from: istiod (exact), or generator: what the Istio in this program makes of the cluster's objects (default istiod; generator with -f)")
	flags.StringVar(&o.Istiod, "istiod", "", "HOST:PORT of istiod (default: one of its pods, by a port-forward through the API server)")
	flags.BoolVar(&o.Plaintext, "istiod-plaintext", false, "use istiod's plaintext port (15010): no token is needed, and nothing shows that it is istiod")
	flags.StringVar(&o.IstioNamespace, "istio-namespace", rootNamespace, "namespace of istiod")
	flags.StringVar(&o.Revision, "revision", "", "revision of istiod, where several run")
	// Cobra's registration fails only for a flag that is not there.
	_ = cmd.RegisterFlagCompletionFunc("source", cobra.FixedCompletions(slices.Clone(sources), cobra.ShellCompDirectiveNoFileComp))
}

// AddDumpFlag registers the flag for questions that make sense of a few proxies.
func (o *Options) AddDumpFlag(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&o.Dumps, "config-dump", nil, "file with an Envoy's answer to GET /config_dump?include_eds, in place of a cluster; may be repeated, once for each proxy")
}

// Running reports whether the question is asked of a running cluster.
func (o *Options) Running() bool {
	return o.Cluster.Context != "" || o.Cluster.Kubeconfig != "" || o.Source == fromIstiod || o.Istiod != "" || o.Plaintext
}

// Arguments are the flags that ask the same again.
func (o *Options) Arguments() []string {
	var out []string
	add := func(flag, value string) {
		if value != "" {
			out = append(out, flag, value)
		}
	}
	for _, file := range o.Files {
		add("-f", file)
	}
	for _, dump := range o.Dumps {
		add("--config-dump", dump)
	}
	add("--kubeconfig", o.Cluster.Kubeconfig)
	add("--context", o.Cluster.Context)
	if !o.At.IsZero() {
		add("--at", o.At.Format(time.RFC3339))
	}
	add("--source", o.Source)
	add("--istiod", o.Istiod)
	add("--revision", o.Revision)
	if o.Plaintext {
		out = append(out, "--istiod-plaintext")
	}
	if o.Running() && o.IstioNamespace != rootNamespace {
		add("--istio-namespace", o.IstioNamespace)
	}
	return out
}

// Check says which flags contradict each other. Open calls it, too.
func (o *Options) Check() error {
	switch {
	case o.Source != "" && !slices.Contains(sources, o.Source):
		return fmt.Errorf("reading --source: %q is none of %s; files with dumps of Envoys are named by --config-dump", o.Source, strings.Join(sources, ", "))
	case len(o.Dumps) > 0 && o.Running():
		return errors.New("choosing what to ask: --config-dump is about the proxies of the dumps alone, and --context, --kubeconfig, --source and --istiod are about a running cluster: give one of them")
	case len(o.Dumps) > 0 && o.Source != "":
		return errors.New("choosing what to ask: --config-dump and --source say two places where configuration comes from: give one of them")
	case o.Source == fromGenerator && (o.Istiod != "" || o.Plaintext):
		return errors.New("choosing what to ask: --istiod is not asked anything with --source generator: give one of them")
	case o.Running() && len(o.Files) > 0 && (o.Istiod != "" || o.Plaintext || o.Source == fromIstiod):
		return errors.New("choosing what to ask: istiod knows nothing of a draft (-f): leave out --istiod and --source istiod, and the generator says what the draft would do")
	}
	return checkAddress(o.Istiod)
}

func checkAddress(address string) error {
	if address == "" {
		return nil
	}
	host, text, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(text, 10, 16)
	}
	if err != nil || host == "" {
		return fmt.Errorf("reading --istiod: %q is not HOST:PORT, such as 10.0.0.7:15012", address)
	}
	return nil
}

// Open opens what the question is asked of. At is the moment at which policies are
// judged and tokens are looked at, where the options name none. The caller closes it, and s gets what there is to wait for.
func (o *Options) Open(ctx context.Context, s *streams.Streams, at time.Time) (*mesh.Mesh, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	at = o.Moment(at)
	switch {
	case len(o.Dumps) > 0:
		return o.openDumps(ctx, s, at)
	case o.Running() || o.Source == fromGenerator && len(o.Files) == 0:
		return o.openCluster(ctx, s, at)
	case len(o.Files) == 0:
		return nil, fmt.Errorf("%w; or a running cluster with --context", source.ErrNoFiles)
	}
	return o.Together.Open(ctx, &o.Options, s.In, at)
}

func (o *Options) openCluster(ctx context.Context, s *streams.Streams, at time.Time) (*mesh.Mesh, error) {
	a, err := o.connect(s)
	if err != nil {
		return nil, err
	}
	defer a.waiting.stop()
	if o.Source != fromGenerator && len(o.Files) == 0 {
		return o.openIstiod(ctx, a, at)
	}
	return o.openGenerated(ctx, a, s, at)
}
