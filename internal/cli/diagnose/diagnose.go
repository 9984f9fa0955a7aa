// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package diagnose is the verb "diagnose": what made the requests of a log fail,
// whether mutual TLS did, and what to do about it.
package diagnose

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/cli/exit"
	"github.com/trellis-mesh/trellis/internal/cli/live"
	"github.com/trellis-mesh/trellis/internal/cli/logfile"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	"github.com/trellis-mesh/trellis/internal/document"
	"github.com/trellis-mesh/trellis/internal/mtls"
	"github.com/trellis-mesh/trellis/internal/mtls/diagnosis"
)

// Options are what the command was asked.
type Options struct {
	live.Options
	Lines   []string
	Admin   string
	Pod     string
	Tail    int
	From    string
	Output  string
	Verbose bool

	from *ask.WorkloadRef
}

// New is the command.
func New(s *streams.Streams) *cobra.Command {
	o := &Options{}
	cmd := &cobra.Command{
		Use:   "diagnose [FILE|-]...",
		Short: "Say what made requests fail, and whether mutual TLS did",
		Long: `diagnose reads lines of access logs and says of the requests that failed what made
them: mutual TLS that one side does not speak, a certificate, an application that fell
over, and others. Failures that are alike are one, the most frequent first, with how
certain the cause is and what would tell.

Lines are Istio's text format, its JSON or OpenTelemetry's, of clients, servers and
gateways, of one proxy or several mixed. What client and server wrote of one request is
joined. Without a FILE, or with -, they come from standard input; --line is one by
itself; --pod reads the last ones of a pod's proxy. --admin reads the counters of an
Envoy in place of lines: what they count, they do not say when.

One line seldom settles it. With a mesh, of files (-f), of dumps (--config-dump) or
running (--context), client and service are found and what both are sent is compared,
as trellis mtls check does: that decides, and says which objects do and which command
finds the fix. Lines are of the past, and the mesh is as it is now.

Of requests no query, header or token is printed, and of lines that cannot be read
nothing but where they are.

Exit code 0: nothing failed. 1: wrong usage, a file that cannot be opened, or a fault
of Trellis. 2: requests failed. 3: nothing can be told of any: there are no lines that
can be read, or none that says why.`,
		Example: `  # What is wrong with these requests?
  trellis diagnose examples/access-logs/sidecars.log | grep -B1 mTLS

  # Is it mutual TLS? The mesh decides
  trellis diagnose -f examples/bookinfo examples/access-logs/sidecars.log -o json | grep conclusion

  # In the running mesh, by what a proxy logged last, and by what it counts
  trellis diagnose --context prod --pod bookinfo/productpage-v1-5b4d7c9f8b-x2x9k
  trellis diagnose --context prod --admin 127.0.0.1:15000

  # Of several proxies, client and server
  kubectl logs -n bookinfo -l app=productpage -c istio-proxy --prefix | trellis diagnose --context prod - server.log`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(args); err != nil {
				return err
			}
			return o.run(cmd.Context(), s, args)
		},
	}
	o.AddFlags(cmd)
	o.AddDumpFlag(cmd)
	flags := cmd.Flags()
	flags.StringArrayVar(&o.Lines, "line", nil, "one line of an access log; may be repeated")
	flags.StringVar(&o.Admin, "admin", "", "HOST:PORT of an Envoy's admin interface, such as a forwarded 15000")
	flags.StringVar(&o.Pod, "pod", "", "NAMESPACE/NAME of a pod of the cluster, of whose proxy the last lines are read")
	flags.IntVar(&o.Tail, "tail", 2000, "how many lines --pod reads")
	flags.StringVar(&o.From, "from", "", "who sent what the lines do not say it of: NAMESPACE/NAME of a Service, pod or ServiceAccount")
	output.AddFlag(cmd, &o.Output)
	flags.BoolVarP(&o.Verbose, "verbose", "v", false, "show all candidates, what speaks for and against them, and examples")
	return cmd
}

// check looks at arguments and flags, before anything is read.
func (o *Options) check(args []string) error {
	if err := output.CheckFormat(o.Output); err != nil {
		return err
	}
	if slices.Contains(args, document.Stdin) && slices.Contains(o.Files, document.Stdin) {
		return errors.New("reading standard input: it is either lines or documents (-f -)")
	}
	if o.Tail < 1 || o.Tail > diagnosis.MaxEntries {
		return fmt.Errorf("reading --tail: it is a number from 1 to %d", diagnosis.MaxEntries)
	}
	if o.From != "" {
		ref, err := refOf("--from", o.From)
		if err != nil {
			return err
		}
		o.from = &ref
	}
	if o.wantsMesh() {
		return o.Check()
	}
	return nil
}

func refOf(flag, text string) (ask.WorkloadRef, error) {
	namespace, name, ok := strings.Cut(text, "/")
	if !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
		return ask.WorkloadRef{}, fmt.Errorf("reading %s: %q is not NAMESPACE/NAME", flag, text)
	}
	return ask.WorkloadRef{Namespace: namespace, Name: name}, nil
}

// wantsMesh reports whether there is something to compare lines with.
func (o *Options) wantsMesh() bool {
	return len(o.Files) > 0 || len(o.Dumps) > 0 || o.Source != "" || o.Running()
}

func (o *Options) run(ctx context.Context, s *streams.Streams, args []string) error {
	log, err := o.read(ctx, s, args)
	if err != nil {
		return err
	}
	var admin *diagnosis.Admin
	if o.Admin != "" {
		if admin, err = readAdmin(ctx, o.Admin); err != nil {
			return err
		}
	}
	d := &diagnosed{options: o, log: log, admin: admin}
	if err := d.compare(nil); err != nil {
		return err
	}
	// A mesh takes time, and where nothing failed there is nothing to ask of it.
	if len(d.failures) > 0 && o.wantsMesh() {
		if err := d.open(ctx, s); err != nil {
			return err
		}
	}
	view := d.view()
	if err := output.Write(s.Out, o.Output, view, func(w io.Writer) error { return view.text(w, o.Verbose) }); err != nil {
		return err
	}
	return d.verdict()
}

// read reads all lines that were named.
func (o *Options) read(ctx context.Context, s *streams.Streams, args []string) (*diagnosis.Log, error) {
	log := &diagnosis.Log{}
	for i, text := range o.Lines {
		log.Add(diagnosis.Place{File: "--line", Line: i + 1}, text, accesslog.Writer{})
	}
	if o.Pod != "" {
		if err := o.readPod(ctx, log); err != nil {
			return nil, err
		}
	}
	if len(args) == 0 && len(o.Lines) == 0 && o.Pod == "" && o.Admin == "" {
		args = []string{document.Stdin}
	}
	for _, name := range args {
		if err := logfile.Read(log, name, s.In); err != nil {
			return nil, fmt.Errorf("reading the log: %w", err)
		}
	}
	return log, nil
}

// diagnosed is an answer while it is made.
type diagnosed struct {
	options *Options
	log     *diagnosis.Log
	admin   *diagnosis.Admin

	report *diagnosis.Report
	// failures are those of lines and those of counters.
	failures []*diagnosis.Failure
	// counts: the proxy of the admin interface counts what concerns clusters.
	counts bool
	notes  []string
	source string
}

// compare says what failed. Mesh may be nil.
func (d *diagnosed) compare(m *diagnosis.Mesh) error {
	d.report = diagnosis.Diagnose(d.log, m)
	d.failures = d.report.Failures
	if d.admin == nil {
		return nil
	}
	counted, counts, err := diagnosis.Count(*d.admin, m)
	d.failures, d.counts = append(slices.Clone(d.failures), counted...), counts
	return err
}

// open compares again, with a mesh. A cluster that cannot be asked takes nothing away
// from what the lines say.
func (d *diagnosed) open(ctx context.Context, s *streams.Streams) (err error) {
	m, err := d.options.Open(ctx, s, time.Now())
	if err != nil && d.options.Running() && ctx.Err() == nil {
		d.notes = append(d.notes, "client and service could not be compared: "+err.Error())
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	policies, known := m.Policies()
	about := &diagnosis.Mesh{World: m.World, Checker: mtls.New(m.World, policies), From: d.options.from, Whole: d.options.Running()}
	if about.From != nil {
		if _, err := about.Checker.Client(*about.From); err != nil {
			return fmt.Errorf("reading --from: %w", err)
		}
	}
	d.notes, d.source = append(d.notes, m.Refused()...), m.From
	if !known {
		d.notes = append(d.notes, mesh.PoliciesUnknown)
	}
	return errors.Join(d.compare(about), m.Complain(s.Err, s.ErrColour, mesh.Doubt{All: d.options.Verbose}))
}

// verdict is the exit code.
func (d *diagnosed) verdict() error {
	told := func(f *diagnosis.Failure) bool { return f.Conclusion != diagnosis.Untold }
	switch {
	case slices.ContainsFunc(d.failures, told):
		return exit.ErrFindings
	case len(d.failures) > 0, d.log.Entries() == 0 && d.admin == nil:
		return exit.ErrUnknown
	}
	return nil
}
