// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package cert

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trellis-mesh/trellis/internal/cli/exit"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
)

// list is what -o json and -o yaml write.
type list struct {
	Certificates []Certificate `json:"certificates"`
}

func newStatus(s *streams.Streams) *cobra.Command {
	o := &Options{Now: time.Now}
	cmd := &cobra.Command{
		Use:   "status [NAME...]",
		Short: "Show what became of certificates",
		Long: `Show what became of certificates: when they expire, when they are renewed, and
what is in the way. NAME is the name of a ManagedCertificate, or a host that it
is for; without one, all are shown.

The phases: Issued, it is good and its renewal is planned. Registering, Ordering,
Authorizing, Presenting, Validating, Finalizing, Issuing, Downloading, one is on
its way. Waiting, the next try has a time. Failed, nothing is tried until
somebody changes something. Unseen, the operator has not looked at what is
wanted now.

Exit code 0: nothing needs a person. 1: wrong usage, a cluster that cannot be
asked, or a fault of Trellis. 2: something needs a person: a certificate was not
renewed in time or has expired, its Secret is somebody else's, the authority
refused it for good, or a host has none yet and the authority's look at it
failed or an hour has passed.`,
		Example: `  # All certificates, in all namespaces
  trellis cert status -A

  # The one that serves a host
  trellis cert status shop.example.com -n istio-ingress -o yaml`,
		RunE: func(cmd *cobra.Command, names []string) error {
			o.Names = names
			if err := output.CheckFormat(o.Output); err != nil {
				return err
			}
			c, err := o.Connect()
			if err != nil {
				return err
			}
			certificates, err := Run(cmd.Context(), o, c)
			if err != nil {
				return err
			}
			if len(certificates) == 0 {
				fmt.Fprintf(s.Err, "there are no certificates of Trellis %s\n", c.Where())
			}
			err = output.Write(s.Out, o.Output, list{certificates}, func(w io.Writer) error {
				return Table(w, certificates, o.Now(), s.OutColour)
			})
			if err != nil {
				return err
			}
			if slices.ContainsFunc(certificates, func(c Certificate) bool { return c.NeedsPerson }) {
				return exit.ErrFindings
			}
			return nil
		},
	}
	o.AddFlags(cmd)
	o.AddAllNamespaces(cmd)
	output.AddFlag(cmd, &o.Output)
	cmd.ValidArgsFunction = o.complete()
	return cmd
}

// Table is for people. Times are as seen from now.
func Table(w io.Writer, certificates []Certificate, now time.Time, colour bool) error {
	if len(certificates) == 0 {
		return nil
	}
	var rows []output.Row
	for _, c := range certificates {
		mood := output.Calm
		switch {
		case c.NeedsPerson:
			mood = output.Alarming
		case c.Phase != phaseIssued:
			mood = output.Waiting
		}
		rows = append(rows, output.Row{Mood: mood, Cells: []string{
			c.Namespace, c.Name, few(c.Hosts), c.Phase, output.In(c.NotAfter, now), output.In(c.RenewAt, now), c.Message,
		}})
	}
	return output.Table(w, []string{"NAMESPACE", "NAME", "HOSTS", "PHASE", "EXPIRES", "RENEWS", "MESSAGE"}, rows, colour)
}

// few names some of many.
func few(hosts []string) string {
	const most = 3
	if len(hosts) > most {
		return fmt.Sprintf("%s +%d", strings.Join(hosts[:most], ","), len(hosts)-most)
	}
	return strings.Join(hosts, ",")
}
