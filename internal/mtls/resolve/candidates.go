// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/internal/model"
)

// Candidate is a DestinationRule that somebody could expect to decide.
type Candidate struct {
	Name model.Name
	// Place is where istiod would come upon it.
	Place Place
	// Host is the whole one that it means, Match how that matches the service's.
	Host   string
	Match  HostMatch
	Reason Reason
	// Why is the reason in one sentence.
	Why string
}

// Chosen is true for the rule in force and for those that are merged into it.
func (c Candidate) Chosen() bool { return c.Reason == InForce || c.Reason == Merged }

// Reason is what became of a rule.
type Reason string

const (
	// InForce is the rule that decides.
	InForce Reason = "in force"
	// Merged is one that is part of the rule in force.
	Merged Reason = "merged"

	// These would not be in force if there were no other rule.

	// OtherHost is one whose host only looks like the service's.
	OtherHost Reason = "other host"
	// OtherNamespace is one of a namespace that is not looked at.
	OtherNamespace Reason = "other namespace"
	// Private is one that clients of other namespaces may not have.
	Private Reason = "private"
	// NotExported is one that is exported, and not to the client's namespace.
	NotExported Reason = "not exported"
	// NotSelected is one whose workloadSelector is for others.
	NotSelected Reason = "not selected"

	// These stand behind another rule.

	// EarlierNamespace is one of a namespace that is looked at later.
	EarlierNamespace Reason = "earlier namespace"
	// LessSpecific is one whose wildcard is wider than another host there.
	LessSpecific Reason = "less specific"
	// SelectorFirst is one behind a rule that selects the client.
	SelectorFirst Reason = "selector first"
	// Newer is one behind a later rule with another exportTo.
	Newer Reason = "newer"
	// Absorbed is one that is only part of rules that are not in force.
	Absorbed Reason = "absorbed"
)

// Candidates are the DestinationRules whose host matches, and those whose host only
// looks as if it did, in the order in which istiod comes upon them. Of namespaces that
// are not looked at they are those that are meant for others.
func (t *RuleTrace) Candidates() []Candidate {
	var out []Candidate
	for _, o := range t.resolver.rules {
		match, place := matchHost(o.host, t.Service.Host), t.placeOf(o)
		if place == Elsewhere && (o.private || match == NoMatch) ||
			match == NoMatch && !strings.HasPrefix(t.Service.Host, o.spec().GetHost()+".") {
			continue
		}
		reason, why := t.why(o, place, match)
		out = append(out, Candidate{Name: o.name, Place: place, Host: o.host, Match: match, Reason: reason, Why: why})
	}
	// Sorted stably, so that within a host they are in istiod's order.
	slices.SortStableFunc(out, func(a, b Candidate) int {
		return cmp.Or(placeOrder(a.Place)-placeOrder(b.Place), matchOrder(a.Match)-matchOrder(b.Match), compareHosts(a.Host, b.Host))
	})
	return out
}

// Why is the answer in one sentence.
func (t *RuleTrace) Why() string {
	last := t.looked[len(t.looked)-1]
	switch {
	case t.Rule == nil && len(last.open) > 0:
		return fmt.Sprintf("No DestinationRule is in force: those that the %s %s has for the host are for other workloads.", last.place, last.namespace)
	case t.Rule == nil:
		return fmt.Sprintf("No DestinationRule is in force: the namespaces that are looked at have none for the host that clients of %s may have.", t.Client.Namespace)
	}
	with := ""
	if len(t.Rule.Merged) > 0 {
		var names []string
		for _, name := range t.Rule.Merged {
			names = append(names, full(name))
		}
		with = fmt.Sprintf(", with %s merged into it,", strings.Join(names, ", "))
	}
	return fmt.Sprintf("DestinationRule %s%s is in force (%s).", full(t.Rule.Name), with, t.Place)
}

func placeOrder(p Place) int {
	return slices.Index([]Place{ClientNamespace, ServiceNamespace, RootNamespace, Elsewhere}, p)
}

func matchOrder(m HostMatch) int { return slices.Index([]HostMatch{Exact, Wildcard, NoMatch}, m) }

// placeOf is the first place where istiod comes upon a rule.
func (t *RuleTrace) placeOf(o *rule) Place {
	own := o.name.Namespace == t.Client.Namespace
	switch {
	case own && (t.Client.Namespace != t.resolver.root || o.private):
		return ClientNamespace
	case o.name.Namespace == t.Service.Namespace:
		return ServiceNamespace
	case o.name.Namespace == t.resolver.root:
		return RootNamespace
	}
	return Elsewhere
}

// why says what became of a rule.
func (t *RuleTrace) why(o *rule, place Place, match HostMatch) (Reason, string) {
	if match == NoMatch {
		return OtherHost, otherHost(o, t.Service.Host)
	}
	if place == Elsewhere {
		return OtherNamespace, fmt.Sprintf("Namespace %s is not looked at: only those of the client (%s), of the service (%s) and the root namespace (%s) are.",
			o.name.Namespace, t.Client.Namespace, t.Service.Namespace, t.resolver.root)
	}
	if reason, why := keptOut(o, place); why != "" {
		return reason, why
	}
	if place != ClientNamespace && !exportedTo(o.exportTo, t.Client.Namespace) {
		return NotExported, fmt.Sprintf("It is exported to %s, and not to the client's namespace %s.", exports(o), t.Client.Namespace)
	}
	if own := o.selector(); own != nil && !selects(own.GetMatchLabels(), t.Client.Labels) {
		return NotSelected, t.notSelected(o)
	}
	at := slices.IndexFunc(t.looked, func(l look) bool { return l.place == place })
	if at < 0 {
		last := t.looked[len(t.looked)-1]
		return EarlierNamespace, fmt.Sprintf("The %s %s comes first and has a rule for the host: %s.", last.place, last.namespace, full(last.open[0].Name))
	}
	l := t.looked[at]
	if o.host != l.host {
		return LessSpecific, lessSpecific(o, l, t.Client.Namespace)
	}
	return t.whyAmong(o, l)
}

func otherHost(o *rule, host string) string {
	if o.host == o.spec().GetHost() {
		return fmt.Sprintf("Its host %s is taken as it is, since it has a dot, and is not %s.", o.host, host)
	}
	return fmt.Sprintf("Its host %s means %s, since a name without a dot is taken from the rule's own namespace.", o.spec().GetHost(), o.host)
}

// keptOut says why a rule is not in the index of its place.
func keptOut(o *rule, place Place) (Reason, string) {
	switch {
	case place == ClientNamespace && !o.local:
		return NotExported, fmt.Sprintf("It is exported to %s, and not to its own namespace %s.", exports(o), o.name.Namespace)
	case place == ClientNamespace || !o.private:
		return "", ""
	case o.selector() != nil:
		return Private, fmt.Sprintf("It has a workloadSelector, so it is only for workloads of its own namespace %s.", o.name.Namespace)
	case len(o.exportTo) == 0:
		return Private, fmt.Sprintf("It has no exportTo, and by the mesh's default rules are private to their namespace, here %s.", o.name.Namespace)
	}
	return Private, fmt.Sprintf("It is private to its namespace %s.", o.name.Namespace)
}

// notSelected is about a rule for other workloads. Where it is found, nothing else is
// looked for.
func (t *RuleTrace) notSelected(o *rule) string {
	why := fmt.Sprintf("Its workloadSelector (%s) does not select the client", labelText(o.selector().GetMatchLabels()))
	last := t.looked[len(t.looked)-1]
	if t.Rule == nil && o.host == last.host {
		why += ", and nothing else is taken instead"
	}
	return why + "."
}

func lessSpecific(o *rule, l look, namespace string) string {
	why := fmt.Sprintf("Its host %s is less specific than %s of %s", o.host, l.host, full(l.there[0].Name))
	if len(l.open) == 0 {
		why += fmt.Sprintf(", which hides it although that is not exported to the client's namespace %s", namespace)
	}
	return why + "."
}

// whyAmong says what became of a rule among those that could be chosen.
func (t *RuleTrace) whyAmong(o *rule, l look) (Reason, string) {
	if t.Rule != nil && slices.Contains(t.Rule.sources(), o.name) {
		if t.Rule.base == o {
			return InForce, t.whyChosen(l)
		}
		return Merged, t.Rule.whyMerged(o)
	}
	alone := slices.ContainsFunc(l.open, func(u *Rule) bool { return u.base == o })
	switch {
	case !alone:
		return Absorbed, t.whyGone(o, l)
	case t.Rule.base.selector() == nil:
		return Newer, fmt.Sprintf("Of rules with different exportTo the last one counts, and %s is %s.", full(t.Rule.Name), after(t.Rule.base, o))
	case o.selector() != nil:
		return SelectorFirst, fmt.Sprintf("%s selects the client too, and is %s.", full(t.Rule.Name), before(t.Rule.base, o))
	}
	return SelectorFirst, fmt.Sprintf("%s has a workloadSelector that selects the client, and so comes before rules for all.", full(t.Rule.Name))
}

// whyChosen says why the rule in force is that.
func (t *RuleTrace) whyChosen(l look) string {
	why := fmt.Sprintf("It is in force: it is for %s and in the %s %s", l.host, l.place, l.namespace)
	switch labels, has := t.Rule.Selector(); {
	case has:
		why += fmt.Sprintf(", and its workloadSelector (%s) selects the client", labelText(labels))
	case len(withoutSelector(l.open)) > 1:
		why += ", and it is the last of those with different exportTo"
	}
	return why + "."
}

func withoutSelector(rules []*Rule) []*Rule {
	var out []*Rule
	for _, u := range rules {
		if u.base.selector() == nil {
			out = append(out, u)
		}
	}
	return out
}

// whyMerged says what of a rule is used within another one.
func (u *Rule) whyMerged(o *rule) string {
	var added, same []string
	for i, subset := range o.spec().GetSubsets() {
		if slices.ContainsFunc(u.Subsets, func(s Subset) bool { return s.From == o.name && s.Index == i }) {
			added = append(added, subset.GetName())
		} else {
			same = append(same, subset.GetName())
		}
	}
	parts := []string{fmt.Sprintf("Merged into %s, which is %s", full(u.Name), before(u.base, o))}
	switch {
	case o.spec().GetTrafficPolicy() == nil:
	case u.PolicyFrom == o.name:
		parts = append(parts, "its trafficPolicy is used, since that has none")
	default:
		parts = append(parts, fmt.Sprintf("its trafficPolicy is ignored, since %s has one", full(u.PolicyFrom)))
	}
	if len(added) > 0 {
		parts = append(parts, "its subsets are added: "+strings.Join(added, ", "))
	}
	if len(same) > 0 {
		parts = append(parts, "subsets whose names are taken are ignored: "+strings.Join(same, ", "))
	}
	return strings.Join(parts, "; ") + "."
}

// whyGone is about a rule that only exists within others, of which none is in force.
func (t *RuleTrace) whyGone(o *rule, l look) string {
	within := func(u *Rule) bool { return slices.Contains(u.sources(), o.name) }
	at := slices.IndexFunc(l.open, within)
	if at < 0 {
		into := l.there[slices.IndexFunc(l.there, within)]
		return fmt.Sprintf("It is merged into %s and does not stand by itself; that one is not exported to the client's namespace %s.", full(into.Name), t.Client.Namespace)
	}
	into := l.open[at]
	if labels, has := into.Selector(); has && !selects(labels, t.Client.Labels) {
		return fmt.Sprintf("It has the exportTo of rules with a workloadSelector (.), so it is merged into %s (%s) and does not stand by itself; that one does not select the client.",
			full(into.Name), labelText(labels))
	}
	return fmt.Sprintf("It is merged into %s, which is not in force.", full(into.Name))
}

// before says how a rule comes before another one.
func before(first, second *rule) string {
	switch {
	case first.selector() != nil && second.selector() == nil:
		return "one with a workloadSelector"
	case first.object.CreationTimestamp.Compare(second.object.CreationTimestamp.Time) != 0:
		return "older"
	}
	return "as old and first by name"
}

// after says how a rule comes after another one.
func after(last, other *rule) string {
	if last.object.CreationTimestamp.Compare(other.object.CreationTimestamp.Time) != 0 {
		return "newer"
	}
	return "as old and last by name"
}

func exports(o *rule) string { return strings.Join(slices.Sorted(maps.Keys(o.exportTo)), ", ") }

func full(name model.Name) string { return name.Namespace + "/" + name.Name }

// labelText are labels as a selector says them.
func labelText(labels map[string]string) string {
	if len(labels) == 0 {
		return "all workloads"
	}
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		parts = append(parts, key+"="+labels[key])
	}
	return strings.Join(parts, ",")
}
