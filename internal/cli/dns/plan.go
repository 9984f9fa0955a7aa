// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/cli/cluster"
	"github.com/trellis-mesh/trellis/internal/cli/exit"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	engine "github.com/trellis-mesh/trellis/internal/dns"
)

// Plan is all that would be done, and is not.
type Plan struct {
	Records []Record `json:"records"`
	// MassChanges wait for somebody's word, one for each token.
	MassChanges []MassChange `json:"massChanges,omitempty"`
}

// MassChange would delete or change a large part of a zone.
type MassChange struct {
	Namespace string `json:"namespace"`
	Provider  string `json:"provider"`
	Zone      string `json:"zone,omitempty"`
	Token     string `json:"token"`
	// Records are the names that it is about.
	Records []string `json:"records"`
	// Command lets it happen.
	Command string `json:"command"`
}

func newPlan(s *streams.Streams) *cobra.Command {
	o := &Options{Now: time.Now}
	cmd := &cobra.Command{
		Use:   "plan [NAME...]",
		Short: "Show what would be written to zones, and is not",
		Long: `Show what would be written to zones, and is not: entries that are planned only,
since dryRun is set, and entries that are blocked or waiting, with the reason.
NAME is a domain name, or the name of a ManagedRecord.

A change that would delete or change a large part of a zone waits until somebody
confirms it. Its token is shown, with the command that confirms it: look at the
plan first. The token is good for this change only.

Plans are the operator's last; a zone may have changed since. Every write says
what it expects to find there, and does nothing where it finds something else.

Exit code 0: nothing needs a person. 1: wrong usage, a cluster that cannot be
asked, or a fault of Trellis. 2: an entry is Blocked.`,
		Example: `  # What would be done in all zones?
  trellis dns plan -A`,
		RunE: func(cmd *cobra.Command, names []string) error {
			o.Names = names
			if err := output.CheckFormat(o.Output); err != nil {
				return err
			}
			c, err := o.Connect()
			if err != nil {
				return err
			}
			plan, err := RunPlan(cmd.Context(), o, c)
			if err != nil {
				return err
			}
			if err := output.Write(s.Out, o.Output, plan, func(w io.Writer) error { return text(w, plan, s.OutColour) }); err != nil {
				return err
			}
			if needPeople(plan.Records) {
				return exit.ErrFindings
			}
			return nil
		},
	}
	o.addFlags(cmd, s)
	return cmd
}

// RunPlan reads what is not done. It writes nothing.
func RunPlan(ctx context.Context, o *Options, c *cluster.Cluster) (*Plan, error) {
	records, err := Run(ctx, o, c)
	if err != nil {
		return nil, err
	}
	records = slices.DeleteFunc(records, func(r Record) bool {
		return r.Phase == string(engine.PhaseDone) || r.Phase == string(engine.PhaseHeld)
	})
	out := &Plan{Records: records}
	for _, r := range records {
		if r.Confirm == "" {
			continue
		}
		at := slices.IndexFunc(out.MassChanges, func(m MassChange) bool {
			return m.Namespace == r.Namespace && m.Provider == r.Provider && m.Token == r.Confirm
		})
		if at < 0 {
			at = len(out.MassChanges)
			out.MassChanges = append(out.MassChanges, MassChange{Namespace: r.Namespace, Provider: r.Provider, Zone: r.Zone, Token: r.Confirm})
		}
		out.MassChanges[at].Records = append(out.MassChanges[at].Records, r.Name)
	}
	for i := range out.MassChanges {
		if err := command(ctx, c, &out.MassChanges[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// maxConfirmed is what spec.confirmed of a DNSProvider holds.
const maxConfirmed = 16

// command says how to confirm. Earlier tokens stay, as far as there is room.
func command(ctx context.Context, c *cluster.Cluster, m *MassChange) error {
	provider := &v1alpha1.DNSProvider{}
	key := client.ObjectKey{Namespace: m.Namespace, Name: m.Provider}
	if err := c.Get(ctx, key, provider); err != nil {
		return cluster.Problem(fmt.Sprintf("reading the DNSProvider %s", key), err)
	}
	all := append(slices.Clone(provider.Spec.Confirmed), m.Token)
	all = all[max(0, len(all)-maxConfirmed):]
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"confirmed": all}})
	if err != nil {
		return fmt.Errorf("writing the command that confirms: %w", err)
	}
	m.Command = fmt.Sprintf("kubectl -n %s patch dnsprovider %s --type=merge -p '%s'", m.Namespace, m.Provider, patch)
	return nil
}

// text is for people: each name with its phase, its steps, and why.
func text(w io.Writer, plan *Plan, colour bool) error {
	var b strings.Builder
	bold, red, yellow, reset := "", "", "", ""
	if colour {
		bold, red, yellow, reset = "\x1b[1m", "\x1b[31m", "\x1b[33m", "\x1b[0m"
	}
	for _, r := range plan.Records {
		tint := yellow
		if r.NeedsPerson {
			tint = red
		}
		fmt.Fprintf(&b, "%s%s%s: %s%s%s", bold, output.Printable(r.Name), reset, tint, r.Phase, reset)
		if r.Reason != "" && r.Reason != r.Phase {
			fmt.Fprintf(&b, " (%s)", output.Printable(r.Reason))
		}
		fmt.Fprintf(&b, ", by %s/%s", r.Namespace, r.Provider)
		if r.Zone != "" {
			fmt.Fprintf(&b, " in the zone %s", output.Printable(r.Zone))
		}
		if r.Routing != "" {
			fmt.Fprintf(&b, ", for %s", output.Printable(r.Routing))
		}
		b.WriteString("\n")
		for _, step := range r.Plan {
			fmt.Fprintf(&b, "  %s\n", output.Printable(step))
		}
		// Of what is planned only, the message says the plan once more.
		if r.Message != "" && (r.NeedsPerson || len(r.Plan) == 0) {
			fmt.Fprintf(&b, "  why: %s\n", output.Printable(r.Message))
		}
	}
	for _, m := range plan.MassChanges {
		fmt.Fprintf(&b, "\n%sa mass change of %s/%s waits for your word%s: %d of the names above, token %s\n  %s\n",
			bold, m.Namespace, m.Provider, reset, len(m.Records), m.Token, output.Printable(m.Command))
	}
	if len(plan.Records) == 0 {
		b.WriteString("nothing is left to do\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
