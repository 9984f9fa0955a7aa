// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package dns is the commands `trellis dns status` and `trellis dns plan`: what
// became of the DNS entries that Trellis keeps, as the operator wrote it down.
// They read the cluster and change nothing.
package dns

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/cli/cluster"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	engine "github.com/trellis-mesh/trellis/internal/dns"
)

// New is the command `trellis dns`, with its verbs.
func New(s *streams.Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dns",
		Short: "Show the DNS entries that Trellis keeps, in a cluster",
		Long: `Show the DNS entries that Trellis keeps, as the operator has written it down in
the cluster. Nothing is asked of a DNS provider, and nothing is changed.`,
		Example: `  # What became of all entries?
  trellis dns status -A`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newStatus(s), newPlan(s))
	return cmd
}

// Options are what the commands were asked.
type Options struct {
	cluster.Options
	// Output is one of output.Formats.
	Output string
	// Names are domain names, or names of ManagedRecords; none: all.
	Names []string
	// Watch stays and shows what changes.
	Watch bool
	// Now is the clock.
	Now func() time.Time

	// mayBeGone: names that are not found are no mistake, they were there before.
	mayBeGone bool
}

func (o *Options) addFlags(cmd *cobra.Command, s *streams.Streams) {
	o.AddFlags(cmd, s)
	o.AddAllNamespaces(cmd)
	output.AddFlag(cmd, &o.Output)
	cmd.ValidArgsFunction = o.Complete(&v1alpha1.ManagedRecordList{}, func(object client.Object) []string {
		if record, ok := object.(*v1alpha1.ManagedRecord); ok {
			return []string{record.Spec.Name}
		}
		return nil
	})
}

// Record is one name in the DNS.
type Record struct {
	Namespace string `json:"namespace"`
	// Record is the ManagedRecord, Name the domain name that it is about.
	Record   string `json:"record"`
	Name     string `json:"name"`
	Provider string `json:"provider"`
	// Phase is the ManagedRecord's own, or Unseen where the operator has not looked
	// at what is wanted now.
	Phase   string   `json:"phase"`
	Zone    string   `json:"zone,omitempty"`
	LeadsTo []string `json:"leadsTo,omitempty"`
	// Routing says for whom, where the entry is one of several at its name.
	Routing string `json:"routing,omitempty"`
	// Reason and Message are of the condition Ready.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// NeedsPerson: it will not go away by itself.
	NeedsPerson bool       `json:"needsPerson"`
	NextTry     *time.Time `json:"nextTry,omitempty"`
	// Plan is what would be done, where it is not.
	Plan []string `json:"plan,omitempty"`
	// Confirm is the token that lets a mass change happen.
	Confirm string `json:"confirm,omitempty"`

	// said is Message without what only time has changed.
	said string
}

// Unseen is the phase of what the operator has not looked at yet.
const Unseen = "Unseen"

// overdue is how late the operator may be before one asks whether it runs.
const overdue = 5 * time.Minute

// Run reads the entries, ordered by namespace and name. It writes nothing.
func Run(ctx context.Context, o *Options, c *cluster.Cluster) ([]Record, error) {
	out := []Record{}
	found := map[string]bool{}
	add := func(r Record) {
		if len(o.Names) > 0 && !slices.ContainsFunc(o.Names, func(name string) bool {
			hit := name == r.Record || sameName(name, r.Name)
			found[name] = found[name] || hit
			return hit
		}) {
			return
		}
		out = append(out, r)
	}
	err := cluster.Each(ctx, c, &v1alpha1.ManagedRecordList{}, func(object client.Object) {
		if record, ok := object.(*v1alpha1.ManagedRecord); ok {
			add(recordOf(record, o.Now()))
		}
	})
	if err = errors.Join(err, delegated(ctx, c, add)); err != nil {
		return nil, err
	}
	for _, name := range o.Names {
		if !found[name] && !o.mayBeGone {
			return nil, fmt.Errorf("looking for %s: there is no such ManagedRecord %s", name, c.Where())
		}
	}
	slices.SortFunc(out, func(a, b Record) int {
		return strings.Compare(a.Namespace+"\x00"+a.Name+"\x00"+a.Record, b.Namespace+"\x00"+b.Name+"\x00"+b.Record)
	})
	return out, nil
}

// sameName compares domain names in any spelling.
func sameName(a, b string) bool {
	x, err := engine.ParseName(a)
	if err != nil {
		return false
	}
	y, err := engine.ParseName(b)
	return err == nil && x == y
}

func recordOf(record *v1alpha1.ManagedRecord, now time.Time) Record {
	out := observed(record)
	out.said = out.Message
	if out.NextTry != nil {
		if late := now.Sub(*out.NextTry); late > overdue {
			out.Message += fmt.Sprintf("; it was to be tried again %s ago: is the operator running?", output.Span(late))
		}
	}
	return out
}

// observed is what the operator wrote down.
func observed(record *v1alpha1.ManagedRecord) Record {
	out := Record{
		Namespace: record.Namespace, Record: record.Name, Name: record.Spec.Name, Provider: record.Spec.ProviderRef.Name,
		LeadsTo: leadsTo(&record.Spec), Routing: routing(record.Spec.Routing), Phase: Unseen, Message: "the operator has not looked at it yet",
	}
	status := &record.Status
	if status.Zone != nil {
		out.Zone = status.Zone.Name
	}
	if status.ObservedGeneration != record.Generation || status.Phase == "" {
		if status.Phase != "" {
			out.Message = "the operator has not looked at the last change yet; before, it was " + status.Phase
		}
		return out
	}
	out.Phase, out.Plan, out.Confirm, out.Message = status.Phase, status.Plan, status.Confirm, ""
	out.NeedsPerson = status.Phase == string(engine.PhaseBlocked)
	if ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady); ready != nil {
		out.Reason, out.Message = ready.Reason, ready.Message
	}
	if status.NextTry != nil {
		at := status.NextTry.UTC()
		out.NextTry = &at
	}
	return out
}

func leadsTo(spec *v1alpha1.ManagedRecordSpec) []string {
	switch {
	case len(spec.Addresses) > 0:
		return spec.Addresses
	case spec.Host != "":
		return []string{spec.Host}
	case len(spec.Texts) > 0:
		return []string{fmt.Sprintf("TXT (%d)", len(spec.Texts))}
	}
	return nil
}

// routing says which clients an entry is for.
func routing(r *v1alpha1.DNSRouting) string {
	var out string
	switch {
	case r == nil:
		return ""
	case r.Weighted != nil:
		out = fmt.Sprintf("weight %d", r.Weighted.Weight)
	case r.Geographic == nil:
		return ""
	case r.Geographic.Country != "":
		out = "country " + r.Geographic.Country
		if r.Geographic.Subdivision != "" {
			out += "-" + r.Geographic.Subdivision
		}
	case r.Geographic.Continent != "":
		out = "continent " + r.Geographic.Continent
	default:
		out = "all other places"
	}
	if r.SetIdentifier != "" {
		out += " as " + r.SetIdentifier
	}
	return out
}

func needPeople(records []Record) bool {
	return slices.ContainsFunc(records, func(r Record) bool { return r.NeedsPerson })
}
