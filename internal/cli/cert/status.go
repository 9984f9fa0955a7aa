// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package cert

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/cli/cluster"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	"github.com/trellis-mesh/trellis/internal/cli/view"
)

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
wanted now. Certificates that are left to cert-manager are shown too, as it
reports them.

` + view.WatchHelp + `

Exit code 0: nothing needs a person. 1: wrong usage, a cluster that cannot be
asked, or a fault of Trellis. 2: something needs a person: a certificate was not
renewed in time or has expired, its Secret is somebody else's, the authority
refused it for good, or a host has none yet and the authority's look at it
failed or an hour has passed.`,
		Example: `  # All certificates, in all namespaces
  trellis cert status -A

  # The one that serves a host
  trellis cert status shop.example.com -n istio-ingress -o yaml

  # See how a certificate comes, until Ctrl-C
  trellis cert status shop.example.com -n istio-ingress --watch`,
		RunE: func(cmd *cobra.Command, names []string) error {
			o.Names = names
			if err := output.CheckFormat(o.Output); err != nil {
				return err
			}
			c, err := o.Connect()
			if err != nil {
				return err
			}
			how := view.Options{
				Format: o.Output, Watch: o.Watch, Empty: "there are no certificates of Trellis " + c.Where(),
				Kinds: []client.Object{&v1alpha1.ManagedCertificate{}},
			}
			return view.Show(cmd.Context(), s, c, how, o.frame)
		},
	}
	o.AddFlags(cmd, s)
	o.AddAllNamespaces(cmd)
	output.AddFlag(cmd, &o.Output)
	view.AddWatchFlag(cmd, &o.Watch)
	cmd.ValidArgsFunction = o.complete()
	return cmd
}

// frame is what status shows. What was there once may be gone the next time.
func (o *Options) frame(ctx context.Context, c *cluster.Cluster) (*view.Frame, error) {
	certificates, err := Run(ctx, o, c)
	if err != nil {
		return nil, err
	}
	o.mayBeGone = true
	section := view.Section{Name: "certificates", Header: []string{"NAMESPACE", "NAME", "HOSTS", "PHASE", "EXPIRES", "RENEWS", "MESSAGE"}}
	for _, c := range certificates {
		section.Items = append(section.Items, c.item(o.Now()))
	}
	return &view.Frame{Sections: []view.Section{section}}, nil
}

// item is a certificate with times as seen from now.
func (c Certificate) item(now time.Time) view.Item {
	mood := output.Calm
	switch {
	case c.NeedsPerson:
		mood = output.Alarming
	case c.Phase != phaseIssued:
		mood = output.Waiting
	}
	item := view.Item{Key: c.Namespace + "/" + c.Name, Value: c, NeedsPerson: c.NeedsPerson}
	item.Row = output.Row{Mood: mood, Cells: []string{
		c.Namespace, c.Name, few(c.Hosts), c.Phase, output.In(c.NotAfter, now), output.In(c.RenewAt, now), c.Message,
	}}
	news := c
	// Another try, and how late one is, are no news.
	news.Message, news.NextTry = c.said, nil
	item.News = view.News(news)
	left := Certificate{Namespace: c.Namespace, Name: c.Name, Hosts: c.Hosts, Secret: c.Secret, Phase: goneWord}
	item.Gone = &view.Item{Key: item.Key, Value: left, Row: output.Row{Cells: []string{
		c.Namespace, c.Name, few(c.Hosts), goneWord, "", "", "nobody wants it any more",
	}}}
	return item
}

// goneWord is shown instead of the phase of what is not there any more.
const goneWord = "Gone"

// few names some of many.
func few(hosts []string) string {
	const most = 3
	if len(hosts) > most {
		return fmt.Sprintf("%s +%d", strings.Join(hosts[:most], ","), len(hosts)-most)
	}
	return strings.Join(hosts, ",")
}
