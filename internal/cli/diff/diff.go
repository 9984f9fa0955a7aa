// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package diff is the verb "diff": what a change does to access.
package diff

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/outgoing"
	"github.com/trellis-mesh/trellis/internal/cli/exit"
	"github.com/trellis-mesh/trellis/internal/cli/live"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	"github.com/trellis-mesh/trellis/internal/model"
)

// Options are the flags.
type Options struct {
	live.Options
	Format string
	FailOn []string
	// Link is the address of the repository's root at the commit of AFTER, Path where
	// AFTER is in the repository.
	Link, Path string
}

var (
	formats = []string{"text", "json", "markdown", "github", "gitlab", "sarif"}
	failOn  = []string{"allowed", "denied", "unknown", "rule", "never"}
)

// New is the command.
func New(s *streams.Streams) *cobra.Command {
	o := &Options{}
	cmd := &cobra.Command{
		Use:   "diff BEFORE AFTER | diff --context NAME -f DRAFT",
		Short: "Say which requests a change allows or denies, and by which line",
		Long: `diff reads two folders and finds the requests to which the difference between
them makes a difference: newly allowed, newly denied, of which it is not known, and
those that pass as before by another statement. Each has a request that shows it,
and the line on either side. Files that -f names belong to both sides.

With --context the first side is the running cluster, and the second is the cluster
with the draft that -f names: what would it do if it were applied now? Both sides
are what the Istio in this program would send for the statements of the cluster.

Calls are compared, too: which of them the proxy of a caller lets out that it did not,
and the other way (spec.access.calls, policies about egress, Sidecars).

It says that access does not change only where everything was computed.

The exit code is 0 when access does not change, 2 when it does (--fail-on says
which changes count) or when something could not be computed, and 1 when the
question cannot be answered at all.`,
		Example: `  # Does a change of the files change access? Here nothing does.
  trellis diff examples/bookinfo examples/bookinfo

  # What would a draft do to the running mesh?
  trellis diff --context prod -f examples/bookinfo/productpage

  # As JSON: .changes are about what is let in, .calls about what callers' proxies let out
  trellis diff examples/bookinfo examples/bookinfo -o json

  # The comment of a pull request
  trellis diff examples/bookinfo examples/bookinfo --format github --fail-on never`,
		Args: func(cmd *cobra.Command, args []string) error {
			if o.Running() {
				return cobra.NoArgs(cmd, args)
			}
			return cobra.ExactArgs(2)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, s, args) },
	}
	o.AddFlags(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&o.Format, "format", "o", "text", "format: "+strings.Join(formats, ", "))
	flags.StringVar(&o.Link, "link", "", "address of the repository's files at the commit of AFTER, for links to lines: https://github.com/OWNER/REPOSITORY/blob/COMMIT/")
	flags.StringVar(&o.Path, "path", "", "where AFTER is in the repository, for links and SARIF (default: as it is written)")
	flags.StringSliceVar(&o.FailOn, "fail-on", []string{"allowed", "denied", "unknown"}, "changes that make the exit code 2: "+strings.Join(failOn, ", "))
	// Cobra's registration fails only for a flag that is not there.
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(slices.Clone(formats), cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("fail-on", cobra.FixedCompletions(slices.Clone(failOn), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (o *Options) run(cmd *cobra.Command, s *streams.Streams, args []string) error {
	if !slices.Contains(formats, o.Format) {
		return fmt.Errorf("reading --format: %q is none of %s", o.Format, strings.Join(formats, ", "))
	}
	for _, f := range o.FailOn {
		if !slices.Contains(failOn, f) {
			return fmt.Errorf("reading --fail-on: %q is none of %s", f, strings.Join(failOn, ", "))
		}
	}
	if slices.Contains(o.FailOn, "never") && len(o.FailOn) > 1 {
		return fmt.Errorf("reading --fail-on: never stands alone")
	}
	forge, err := o.forge(o.after(args))
	if err != nil {
		return err
	}
	compare := o.compare
	if o.Running() {
		compare = o.compareDraft
	}
	changes, err := compare(cmd.Context(), s, args)
	if err != nil {
		return err
	}
	if err := o.write(s.Out, changes, forge); err != nil {
		return err
	}
	if o.fails(changes) {
		return exit.ErrFindings
	}
	return nil
}

// compare opens both sides at the same time: most of the work is Istio's. What the
// files of both say alike is worked on once.
func (o *Options) compare(ctx context.Context, s *streams.Streams, args []string) (*outgoing.Changes, error) {
	var sides [2]*mesh.Mesh
	var errs [2]error
	now, together := time.Now(), &mesh.Together{}
	done := make(chan struct{})
	open := func(i int) {
		own := o.Options.Options
		own.Files = append(slices.Clone(o.Files), args[i])
		// Everything is new once, and taken away in the end.
		own.MayBeEmpty = true
		if sides[i], errs[i] = together.Open(ctx, &own, s.In, now); errs[i] != nil {
			errs[i] = fmt.Errorf("reading %s: %w", args[i], errs[i])
		}
	}
	go func() {
		defer close(done)
		open(1)
	}()
	open(0)
	<-done
	var changes *outgoing.Changes
	if errs[0] == nil && errs[1] == nil {
		mesh.Settle(sides[0], sides[1])
		changes = mesh.Diff(ctx, sides[0], sides[1])
		changes.Notes = append(changes.Notes, mistakes(sides[0], sides[1])...)
		for i, side := range sides {
			for _, refused := range side.Refused() {
				changes.Notes = append(changes.Notes, args[i]+": "+refused)
			}
		}
	}
	for i, side := range sides {
		if side != nil {
			if err := side.Close(); err != nil && errs[i] == nil {
				errs[i] = err
			}
		}
	}
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return changes, nil
}

// mistakes are the errors that AFTER has and BEFORE has not. What has one is not there
// in the answer; a cluster may refuse it and keep what it had.
//
// No mistake is what a policy refuses that was told of it before (in Shadow, as a default,
// or by an exception that is gone), nor of an Application that is as it was: the policy has
// changed there and not the object. No cluster refuses that, and what it closes is the answer.
func mistakes(before, after *mesh.Mesh) []string {
	known := map[string]bool{}
	for _, f := range before.Report.Findings {
		known[fmt.Sprint(f.Object, f.Reason, f.Field)] = true
		switch f.Reason {
		case "PolicyWouldRefuse", "PolicyDefault", "PolicyExempt":
			known[fmt.Sprint(f.Object, "PolicyViolated", f.Field)] = true
		}
	}
	same := unchanged(before, after)
	var out []string
	for _, f := range after.Report.Findings {
		closed := f.Reason == "PolicyViolated" && f.Object.Kind == "Application" && same[model.Name{Namespace: f.Object.Namespace, Name: f.Object.Name}]
		if f.Severity != model.SeverityError || closed || known[fmt.Sprint(f.Object, f.Reason, f.Field)] {
			continue
		}
		where := ""
		if f.Position.File != "" {
			where = fmt.Sprintf("%s:%d: ", f.Position.File, f.Position.Line)
		}
		out = append(out, fmt.Sprintf("%s%s has a new error, and what it is about is left out: %s", where, f.Object, f.Message))
	}
	return out
}

// unchanged are the Applications that state the same on both sides.
func unchanged(before, after *mesh.Mesh) map[model.Name]bool {
	was := map[model.Name]*v1alpha1.Application{}
	for _, a := range before.Applications {
		was[model.Name{Namespace: a.Namespace, Name: a.Name}] = a
	}
	out := map[model.Name]bool{}
	for _, a := range after.Applications {
		name := model.Name{Namespace: a.Namespace, Name: a.Name}
		out[name] = was[name] != nil && equality.Semantic.DeepEqual(was[name].Spec, a.Spec)
	}
	return out
}

func (o *Options) fails(c *outgoing.Changes) bool {
	if slices.Contains(o.FailOn, "never") {
		return false
	}
	effects := map[string]ask.Effect{"allowed": ask.NewlyAllowed, "denied": ask.NewlyDenied, "unknown": ask.NotKnown, "rule": ask.ByAnotherRule}
	for _, f := range o.FailOn {
		if c.Has(effects[f]) {
			return true
		}
	}
	return slices.Contains(o.FailOn, "unknown") && !c.Complete()
}

func (o *Options) write(w io.Writer, c *outgoing.Changes, f *forge) error {
	var err error
	if o.Format != "json" {
		c = condensed(c)
	}
	switch o.Format {
	case "json":
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		err = e.Encode(c)
	case "sarif":
		err = f.sarif(w, c)
	case "text":
		_, err = io.WriteString(w, f.text(c))
	case "markdown":
		_, err = io.WriteString(w, f.markdown(c, "", false))
	case "github", "gitlab":
		// Who posts the comment finds its last one by the first line.
		_, err = io.WriteString(w, f.markdown(c, "<!-- trellis diff -->\n", true))
	}
	if err != nil {
		return fmt.Errorf("writing the changes: %w", err)
	}
	return nil
}
