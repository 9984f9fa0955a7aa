// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trellis-mesh/trellis/internal/cli/exit"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	engine "github.com/trellis-mesh/trellis/internal/dns"
)

// list is what -o json and -o yaml write.
type list struct {
	Records []Record `json:"records"`
}

func newStatus(s *streams.Streams) *cobra.Command {
	o := &Options{Now: time.Now}
	cmd := &cobra.Command{
		Use:   "status [NAME...]",
		Short: "Show what became of DNS entries",
		Long: `Show what became of DNS entries. NAME is a domain name, or the name of a
ManagedRecord; without one, all are shown.

The phases: Done, it is in its zone. Held, there is nowhere to lead to at the
moment, so what is there stays. Planned, nothing is written since dryRun is set.
Waiting, it is tried again by itself. Blocked, it needs a person: the message
says whom the name belongs to, or what else is in the way. Unseen, the operator
has not looked at what is wanted now.

Exit code 0: nothing needs a person. 1: wrong usage, a cluster that cannot be
asked, or a fault of Trellis. 2: an entry is Blocked.`,
		Example: `  # All entries of a gateway's namespace
  trellis dns status -n istio-ingress

  # One name, for programs
  trellis dns status shop.example.com -n istio-ingress -o json`,
		RunE: func(cmd *cobra.Command, names []string) error {
			o.Names = names
			if err := output.CheckFormat(o.Output); err != nil {
				return err
			}
			c, err := o.Connect()
			if err != nil {
				return err
			}
			records, err := Run(cmd.Context(), o, c)
			if err != nil {
				return err
			}
			if len(records) == 0 {
				fmt.Fprintf(s.Err, "there are no DNS entries of Trellis %s\n", c.Where())
			}
			if err := output.Write(s.Out, o.Output, list{records}, func(w io.Writer) error { return table(w, records, s.OutColour) }); err != nil {
				return err
			}
			if needPeople(records) {
				return exit.ErrFindings
			}
			return nil
		},
	}
	o.addFlags(cmd)
	return cmd
}

func table(w io.Writer, records []Record, colour bool) error {
	if len(records) == 0 {
		return nil
	}
	var rows []output.Row
	for _, r := range records {
		rows = append(rows, output.Row{Mood: mood(r), Cells: []string{
			r.Namespace, r.Name, r.Phase, r.Zone, strings.Join(r.LeadsTo, ","), r.Message,
		}})
	}
	return output.Table(w, []string{"NAMESPACE", "NAME", "PHASE", "ZONE", "LEADS TO", "MESSAGE"}, rows, colour)
}

func mood(r Record) output.Mood {
	switch {
	case r.NeedsPerson:
		return output.Alarming
	case r.Phase == string(engine.PhaseDone):
		return output.Calm
	}
	return output.Waiting
}
