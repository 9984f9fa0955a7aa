// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mtls

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/internal/cli/exit"
	"github.com/trellis-mesh/trellis/internal/cli/live"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/mtls"
	"github.com/trellis-mesh/trellis/internal/mtls/repair"
)

// fixOptions are the flags.
type fixOptions struct {
	live.Options
	Output string
}

// FixView is the answer as JSON and YAML have it.
type FixView struct {
	// Fixes are one for each object that is changed, and for each conflict that no change
	// resolves.
	Fixes []Fix    `json:"fixes"`
	Notes []string `json:"notes,omitempty"`
	// Source is where the configuration of the proxies came from; empty: from files.
	Source string `json:"source,omitempty"`
}

// Fix is what resolves a conflict.
type Fix struct {
	// Row is the conflict.
	Row mtls.Row `json:"row"`
	// Change says what to do; empty: no change of a DestinationRule resolves it, and Advice
	// says what else can be done.
	Change string `json:"change,omitempty"`
	Advice string `json:"advice,omitempty"`
	// Object is the DestinationRule as it would be, to be applied, and Place where it is
	// written today.
	Object map[string]any `json:"object,omitempty"`
	Place  string         `json:"place,omitempty"`
	// Effect is what else it does.
	Effect *repair.Effect `json:"effect,omitempty"`
	// Tried are the changes that were looked at before and are worse, with the reason.
	Tried []string `json:"tried,omitempty"`

	proposal *repair.Proposal
	// after is the mesh with the change.
	after *mesh.Mesh
}

func newFix(s *streams.Streams) *cobra.Command {
	o := &fixOptions{}
	cmd := &cobra.Command{
		Use:   "fix CLIENT SERVICE[:PORT]",
		Short: "Find the smallest change that resolves a conflict",
		Long: `fix looks for the smallest change of a DestinationRule that resolves each conflict
between a client and a service: an edit of the rule in force, or where that is for many
hosts, a new one that inherits every traffic setting of it (load balancing, connection
pool, outlier detection, subsets, settings of ports, exportTo).

Each change is tried before it is printed: Istio's generator makes the mesh anew with
it, every client is compared with every service before and after, and so are the
clusters of all clients, of which nothing but TLS may be different. A change that
breaks something, or changes something else, is not printed.

What is printed is YAML that can be applied; what it does is in its comments. Nothing
is written to a cluster. With --context the cluster's objects are read, and what Istio's
generator in this program makes of them is changed.

The exit code is 2 where a conflict has no such change.`,
		Example: `  # There is nothing to fix here
  trellis mtls fix -f examples/bookinfo bookinfo/productpage bookinfo/reviews

  # In the running mesh
  trellis mtls fix --context prod bookinfo/productpage bookinfo/reviews > fix.yaml`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, s, args) },
	}
	o.AddFlags(cmd)
	output.AddFlag(cmd, &o.Output)
	return cmd
}

func (o *fixOptions) run(cmd *cobra.Command, s *streams.Streams, args []string) error {
	if err := output.CheckFormat(o.Output); err != nil {
		return err
	}
	q, err := readPair(args)
	if err != nil {
		return err
	}
	changeable(&o.Options)
	return asked(cmd, s, &o.Options, func(m *mesh.Mesh) (*FixView, error) { return fix(cmd.Context(), m, q) },
		reply[*FixView]{format: o.Output, text: (*FixView).text, verdict: (*FixView).verdict})
}

func (v *FixView) verdict() error {
	for i := range v.Fixes {
		if v.Fixes[i].Object == nil {
			return exit.ErrFindings
		}
	}
	return nil
}

// fix finds a change for each conflict of a pair. Each is looked for in the mesh that
// has those before it already, so that all of them can be applied together.
func fix(ctx context.Context, m *mesh.Mesh, q question) (view *FixView, err error) {
	view = &FixView{Fixes: []Fix{}, Notes: m.Missing(), Source: m.From}
	now, done := m, map[string]bool{}
	defer func() {
		if now != m {
			err = errors.Join(err, now.Close())
		}
	}()
	for {
		one, err := firstFix(ctx, now, q, done)
		if err != nil || one == nil {
			return view, err
		}
		done[one.Row.Address()] = true
		if one.proposal == nil {
			view.Fixes = append(view.Fixes, *one)
			continue
		}
		last := now
		if now = one.after; last != m {
			if err := last.Close(); err != nil {
				return nil, err
			}
		}
		view.add(one)
	}
}

// firstFix is about the first conflict that is not done; nil where there is none.
func firstFix(ctx context.Context, m *mesh.Mesh, q question, done map[string]bool) (*Fix, error) {
	w, known := newWorkshop(m)
	if !known {
		return nil, mesh.ErrNotGenerated
	}
	client, target, err := q.pair(w.checker)
	if err != nil {
		return nil, err
	}
	for _, row := range w.checker.Check(client, target) {
		if row.Status.Fails() && !done[row.Address()] {
			return w.resolve(ctx, client, target, row)
		}
	}
	return nil, nil //nolint:nilnil // Nothing is left to fix.
}

// add adds a fix; one for the same object has the changes of the earlier one, and takes
// its place.
func (v *FixView) add(f *Fix) {
	at := slices.IndexFunc(v.Fixes, func(o Fix) bool {
		return o.proposal != nil && o.proposal.Object.Namespace == f.proposal.Object.Namespace && o.proposal.Object.Name == f.proposal.Object.Name
	})
	if at < 0 {
		v.Fixes = append(v.Fixes, *f)
		return
	}
	old := &v.Fixes[at]
	old.Object, old.proposal = f.Object, f.proposal
	old.Change += "; and " + f.Change
	old.Tried = append(old.Tried, f.Tried...)
	old.Effect.Resolved = append(old.Effect.Resolved, f.Effect.Resolved...)
	old.Effect.Secured = append(old.Effect.Secured, f.Effect.Secured...)
}

func (v *FixView) text(w io.Writer) error {
	var b strings.Builder
	if len(v.Fixes) == 0 {
		b.WriteString("# there is nothing to fix\n")
	}
	for i := range v.Fixes {
		if err := v.Fixes[i].text(&b); err != nil {
			return err
		}
	}
	for _, note := range v.Notes {
		fmt.Fprintf(&b, "# incomplete: %s\n", note)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// text is YAML, with what is to be said in comments.
func (f *Fix) text(b *strings.Builder) error {
	b.WriteString("---\n")
	say := func(format string, arguments ...any) { fmt.Fprintf(b, "# "+format+"\n", arguments...) }
	say("%s to %s: %s", f.Row.Client, f.Row.Address(), f.Row.Mark())
	say("%s%s", f.Row.Why, got(f.Row.Code, f.Row.Flags))
	for _, tried := range f.Tried {
		say("not: %s", tried)
	}
	if f.Object == nil {
		say("%s", f.Advice)
		return nil
	}
	say("%s", f.Change)
	if f.Place != "" {
		say("where: %s", f.Place)
	}
	e := f.Effect
	say("then: of all pairs %d succeed that fail today, %d others are sent something else, and nothing else of what any client sends changes", len(e.Resolved), len(e.Secured))
	for _, name := range e.Resolved {
		say("  succeeds: %s", name)
	}
	for _, name := range e.Secured {
		say("  sent otherwise: %s", name)
	}
	raw, err := yaml.Marshal(f.Object)
	b.Write(raw)
	return err
}

// position is where an object of the files is written.
func position(m *mesh.Mesh, p *repair.Proposal) string {
	if p.Adds || m.Files == nil || m.Files.Position == nil {
		return ""
	}
	at := m.Files.Position(model.Reference{Cluster: m.About.Cluster, Group: "networking.istio.io", Kind: "DestinationRule", Namespace: p.Object.Namespace, Name: p.Object.Name}, p.Field)
	if at.File == "" {
		return ""
	}
	return fmt.Sprintf("%s:%d", at.File, at.Line)
}
