// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/cli/cluster"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	"github.com/trellis-mesh/trellis/internal/cli/view"
	engine "github.com/trellis-mesh/trellis/internal/dns"
)

func newStatus(s *streams.Streams) *cobra.Command {
	o := &Options{Now: time.Now}
	cmd := &cobra.Command{
		Use:   "status [NAME...]",
		Short: "Show what became of DNS entries, and of the accounts that they are in",
		Long: `Show the DNSProviders and what became of DNS entries. NAME is a domain name, or
the name of a ManagedRecord; without one, all are shown.

Of a DNSProvider: whether its credentials are valid, as far as they were used;
the zones that it may write to; and what is in the way.

The phases of entries: Done, it is in its zone. Held, there is nowhere to lead to
at the moment, so what is there stays. Planned, nothing is written since dryRun is
set. Waiting, it is tried again by itself. Blocked, it needs a person: the message
says whom the name belongs to, or what else is in the way. Unseen, the operator
has not looked at what is wanted now. HandedOver, ExternalDNS has read it, where
entries are left to it; it does not say what became of them.

` + view.WatchHelp + `

Exit code 0: nothing needs a person. 1: wrong usage, a cluster that cannot be
asked, or a fault of Trellis. 2: an entry is Blocked, or a DNSProvider cannot be
used and that will not go away by itself.`,
		Example: `  # All accounts and entries of a gateway's namespace
  trellis dns status -n istio-ingress

  # One name, for programs
  trellis dns status shop.example.com -n istio-ingress -o json

  # See entries come and change, until Ctrl-C
  trellis dns status -n istio-ingress --watch`,
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
				Format: o.Output, Watch: o.Watch, Empty: "there are no DNS entries of Trellis " + c.Where(),
				Kinds: []client.Object{&v1alpha1.ManagedRecord{}, &v1alpha1.DNSProvider{}},
			}
			return view.Show(cmd.Context(), s, c, how, o.frame)
		},
	}
	o.addFlags(cmd, s)
	view.AddWatchFlag(cmd, &o.Watch)
	return cmd
}

// frame is what status shows. What was there once may be gone the next time.
func (o *Options) frame(ctx context.Context, c *cluster.Cluster) (*view.Frame, error) {
	records, err := Run(ctx, o, c)
	if err != nil {
		return nil, err
	}
	providers, err := RunProviders(ctx, o, c)
	if err != nil {
		return nil, err
	}
	if len(o.Names) > 0 {
		providers = slices.DeleteFunc(providers, func(p Provider) bool {
			return !slices.ContainsFunc(records, func(r Record) bool { return r.Namespace == p.Namespace && r.Provider == p.Name })
		})
	}
	o.mayBeGone = true
	accounts := view.Section{Name: "providers", Header: []string{"NAMESPACE", "PROVIDER", "AT", "CREDENTIALS", "ZONES", "MESSAGE"}}
	for _, p := range providers {
		accounts.Items = append(accounts.Items, p.item())
	}
	entries := view.Section{Name: "records", Header: []string{"NAMESPACE", "NAME", "PHASE", "ZONE", "LEADS TO", "MESSAGE"}}
	for _, r := range records {
		entries.Items = append(entries.Items, r.item())
	}
	return &view.Frame{Sections: []view.Section{accounts, entries}}, nil
}

// goneWord is shown instead of the phase of what is not there any more.
const goneWord = "Gone"

func (r Record) item() view.Item {
	item := view.Item{Key: r.Namespace + "/" + r.Record, Value: r, NeedsPerson: r.NeedsPerson}
	item.Row = output.Row{Mood: mood(r), Cells: []string{r.Namespace, r.Name, r.Phase, r.Zone, r.target(), r.Message}}
	news := r
	// Another try, and how late one is, are no news.
	news.Message, news.NextTry = r.said, nil
	item.News = view.News(news)
	left := Record{Namespace: r.Namespace, Record: r.Record, Name: r.Name, Provider: r.Provider, Phase: goneWord}
	item.Gone = &view.Item{Key: item.Key, Value: left, Row: output.Row{Cells: []string{r.Namespace, r.Name, goneWord, r.Zone, "", "nobody wants it any more"}}}
	return item
}

// target is where a name leads, and for whom.
func (r Record) target() string {
	out := strings.Join(r.LeadsTo, ",")
	if r.Routing != "" {
		out += " (" + r.Routing + ")"
	}
	return out
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
