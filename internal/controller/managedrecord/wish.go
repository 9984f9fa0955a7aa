// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedrecord

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/dns"
)

// defaultTTL is in seconds.
const defaultTTL = 300

// entry is one ManagedRecord on its way through a round.
type entry struct {
	record *v1alpha1.ManagedRecord
	// generation is of the spec that the rest is about.
	generation int64
	// wishes are what it wants, and outcomes what became of them, in the same
	// order; first is where they are among all.
	wishes   []dns.Wanted
	first    int
	outcomes []dns.Outcome
	// trouble is what keeps it from having wishes.
	trouble *trouble
	// spread is what the provider says of the last change.
	spread bool
	// heir is another ManagedRecord that is about to lead its name elsewhere; empty
	// where there is none, or it has come as far as it can.
	heir string
	// released: nothing of ours is left, or it is left on purpose.
	released bool
}

// trouble is what is in the way of a DNSProvider or of a ManagedRecord.
type trouble struct {
	reason, message string
}

func (e *entry) deleting() bool { return !e.record.DeletionTimestamp.IsZero() }

func (e *entry) held() bool { return controllerutil.ContainsFinalizer(e.record, Finalizer) }

func (e *entry) retains() bool {
	return e.record.Spec.DeletionPolicy == v1alpha1.DeletionPolicyRetain
}

// resource is its name in marks.
func (e *entry) resource() string { return e.record.Namespace + "/" + e.record.Name }

// wish says what the record wants, or what is wrong with it. A record has a wish
// for what it owns alone, and one for texts that it adds to those of others.
func (e *entry) wish(owner string, others texts) error {
	spec := e.record.Spec
	name, err := dns.ParseName(spec.Name)
	if err != nil {
		return err
	}
	alone := dns.Wanted{
		Resource: e.resource(), Name: name, Policy: dns.Policy(spec.Policy), Adopt: spec.Adopt, DryRun: spec.DryRun,
		TTL: cmp.Or(uint32(max(spec.TTL, 0)), defaultTTL),
	}
	shared := alone
	shared.Shared = true
	alone.Identifier, alone.Routing = routing(spec.Routing, owner)
	var added []dns.RecordSet
	alone.Known, added = known(name, e.record.Status.Owned)
	shared.Known = others.spare(e.resource(), name, added)
	hasTarget := len(spec.Addresses) > 0 || spec.Host != ""
	withAlone, withShared := len(alone.Known) > 0, len(added) > 0
	switch {
	case e.deleting():
		alone.Retain = e.retains()
		// A mark may be there where the status does not know of it.
		withAlone, withShared = withAlone || len(spec.Texts) == 0, withShared && !e.retains()
	case hasTarget:
		if alone.Target, err = target(spec); err != nil {
			return err
		}
		withAlone = true
	case len(spec.Texts) > 0:
		set, err := dns.NewRecordSet(dns.Key{Name: name, Type: dns.TypeTXT}, shared.TTL, spec.Texts...)
		if err != nil {
			return err
		}
		shared.Sets, withShared = []dns.RecordSet{set}, true
	default:
		alone.Hold, withAlone = true, true
		shared.Sets = added
	}
	e.wishes = nil
	if withAlone {
		e.wishes = append(e.wishes, alone)
	}
	if withShared {
		e.wishes = append(e.wishes, shared)
	}
	return nil
}

// target is where a spec leads.
func target(spec v1alpha1.ManagedRecordSpec) (*dns.Target, error) {
	out := &dns.Target{}
	for _, text := range spec.Addresses {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("reading the address %q: it is neither IPv4 nor IPv6", text)
		}
		out.Addresses = append(out.Addresses, a)
	}
	if spec.Host == "" {
		return out, nil
	}
	var err error
	out.Host, err = dns.ParseName(spec.Host)
	return out, err
}

// routing is what a spec says of the members at a name: the identifier of this
// one, by default the cluster's, and who is led to it.
func routing(r *v1alpha1.DNSRouting, owner string) (identifier string, out *dns.Routing) {
	if r == nil {
		return "", nil
	}
	out = &dns.Routing{}
	if r.Weighted != nil {
		weight := uint8(min(max(r.Weighted.Weight, 0), math.MaxUint8))
		out.Weight = &weight
	}
	if g := r.Geographic; g != nil {
		out.Location = &dns.Location{Default: g.Default, Continent: g.Continent, Country: g.Country, Subdivision: g.Subdivision}
	}
	return cmp.Or(r.SetIdentifier, owner), out
}

// routed is routing the other way round, without the identifier.
func routed(r *dns.Routing) *v1alpha1.DNSRouting {
	if r == nil {
		return nil
	}
	out := &v1alpha1.DNSRouting{}
	if r.Weight != nil {
		out.Weighted = &v1alpha1.WeightedRouting{Weight: int32(*r.Weight)}
	}
	if l := r.Location; l != nil {
		out.Geographic = &v1alpha1.GeographicRouting{Default: l.Default, Continent: l.Continent, Country: l.Country, Subdivision: l.Subdivision}
	}
	return out
}

// known are record sets from a status: those that are the resource's alone, and
// the texts that it added to others'.
func known(name dns.Name, owned []v1alpha1.OwnedRecordSet) (alone, added []dns.RecordSet) {
	for _, o := range owned {
		set := dns.RecordSet{Key: dns.Key{Name: name, Type: dns.Type(o.Type)}, TTL: uint32(min(max(o.TTL, 0), 1<<31)), Values: o.Values}
		set.Identifier, set.Routing = routing(o.Routing, o.SetIdentifier)
		if o.Alias != "" {
			set.Alias = &dns.Alias{Target: dns.Name(o.Alias), Zone: o.AliasZone}
		}
		if set.Type == dns.TypeTXT {
			added = append(added, set)
		} else {
			alone = append(alone, set)
		}
	}
	return alone, added
}

// ownedOf is known the other way round, in one order.
func ownedOf(sets []dns.RecordSet) []v1alpha1.OwnedRecordSet {
	var out []v1alpha1.OwnedRecordSet
	for _, s := range sets {
		o := v1alpha1.OwnedRecordSet{Type: string(s.Type), TTL: int64(s.TTL), Values: s.Values, SetIdentifier: s.Identifier, Routing: routed(s.Routing)}
		if s.Alias != nil {
			o.Alias, o.AliasZone = string(s.Alias.Target), s.Alias.Zone
		}
		out = append(out, o)
	}
	slices.SortStableFunc(out, func(a, b v1alpha1.OwnedRecordSet) int { return cmp.Compare(a.Type, b.Type) })
	return out
}

// withTexts adds the values that are about to be written to what is owned.
func withTexts(owned []v1alpha1.OwnedRecordSet, sets []dns.RecordSet) (out []v1alpha1.OwnedRecordSet, more bool) {
	for _, o := range owned {
		o.Values = slices.Clone(o.Values)
		out = append(out, o)
	}
	for _, s := range sets {
		at := slices.IndexFunc(out, func(o v1alpha1.OwnedRecordSet) bool { return o.Type == string(s.Type) })
		if at < 0 {
			out, at = append(out, v1alpha1.OwnedRecordSet{Type: string(s.Type), TTL: int64(s.TTL)}), len(out)
		}
		for _, v := range s.Values {
			if !slices.Contains(out[at].Values, v) {
				out[at].Values, more = append(out[at].Values, v), true
			}
		}
		slices.Sort(out[at].Values)
	}
	return out, more
}

// texts are who wants a text at a name.
type texts map[text][]string

type text struct {
	name  dns.Name
	value string
}

// sharedTexts are the texts that are to be there.
func (at *round) sharedTexts() texts {
	out := texts{}
	for _, e := range at.records {
		if e.deleting() || e.record.Spec.DryRun {
			continue
		}
		if name, err := dns.ParseName(e.record.Spec.Name); err == nil {
			for _, value := range e.record.Spec.Texts {
				out[text{name, value}] = append(out[text{name, value}], e.resource())
			}
		}
	}
	return out
}

// spare leaves out what others want too: it is not one's to take away.
func (t texts) spare(resource string, name dns.Name, sets []dns.RecordSet) []dns.RecordSet {
	var out []dns.RecordSet
	for _, s := range sets {
		s.Values = slices.DeleteFunc(slices.Clone(s.Values), func(v string) bool {
			return slices.ContainsFunc(t[text{name, v}], func(other string) bool { return other != resource })
		})
		if len(s.Values) > 0 {
			out = append(out, s)
		}
	}
	return out
}
