// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"strings"

	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy"
	"github.com/trellis-mesh/trellis/internal/posture"
)

// Count notes at the nodes of trees how often each was hit. What is not among the totals
// was not hit, so that totals of a time of which nothing is known are not to be given.
func Count(nodes []*Node, totals []hits.Total, bound []*policy.Binding) {
	c := counts{}
	for _, by := range []hits.Layer{hits.Goals, hits.Policies} {
		for name, hit := range NamedHits(by, totals, bound) {
			c[string(by)+" "+name] = hit
		}
	}
	c.add(hits.By(hits.Applications, totals, nil, nil), func(r *hits.Row) string {
		return "Application " + r.Namespace + "/" + r.Application
	})
	for id, hit := range RuleHits(totals) {
		c["Rule "+id] = hit
	}
	c.note(nodes)
}

// NamedHits are the hits of each goal or policy, by its name as rows have it; of those that
// were not hit there are none.
func NamedHits(by hits.Layer, totals []hits.Total, bound []*policy.Binding) map[string]*Hit {
	out := counts{}
	out.add(hits.By(by, totals, nil, HitOwners(by, bound)), func(r *hits.Row) string { return r.Name })
	return out
}

// Count notes at the rules of an explanation how often each was hit; at an object as a whole,
// how often any of its rules was, and what it refuses by default. Totals are of a time of
// which something is known.
func (e *Explanation) Count(totals []hits.Total) {
	by := map[string][]hits.Total{}
	for _, t := range totals {
		by[t.Object] = append(by[t.Object], t)
	}
	for i := range e.Rules {
		r := &e.Rules[i]
		r.Hits = r.count(by[r.Kind+" "+r.Namespace+"/"+r.Name])
	}
}

// count sums what is counted for the rule's object.
func (r *Rule) count(all []hits.Total) *Hit {
	var own []hits.Total
	for _, t := range all {
		switch {
		case r.Rule < 0 || t.Rule == r.Rule:
		case t.Rule >= 0 || r.Kind != "VirtualService":
			continue
		case t.Statement == "":
			return nil // a route that several statements made: whose request it was is not known
		case r.Statement == nil || r.Statement.Object != t.Statement || r.Statement.Field != t.Field:
			continue // several entries of one route are counted together
		}
		t.Statement, t.Field = "-", ""
		own = append(own, t)
	}
	for _, row := range hits.By(hits.Rules, own, nil, nil) {
		return HitOf(&row)
	}
	return &Hit{}
}

// RuleHits are the hits of each rule that a proxy named, by that name. A statement may
// have more rules than one.
func RuleHits(totals []hits.Total) map[string]*Hit {
	var rules []hits.Total
	for _, t := range totals {
		if id := ruleID(&t.Key); id != "" {
			t.Statement, t.Field = id, ""
			rules = append(rules, t)
		}
	}
	out := map[string]*Hit{}
	rows := hits.By(hits.Rules, rules, nil, nil)
	for i := range rows {
		out[rows[i].Statement] = HitOf(&rows[i])
	}
	return out
}

// counts are hits by the names of nodes.
type counts map[string]*Hit

func (c counts) add(rows []hits.Row, name func(*hits.Row) string) {
	for i := range rows {
		c[name(&rows[i])] = HitOf(&rows[i])
	}
}

func (c counts) note(nodes []*Node) {
	for _, n := range nodes {
		if key := key(n); key != "" {
			if n.Hits = c[key]; n.Hits == nil {
				n.Hits = &Hit{}
			}
		}
		c.note(n.Below)
	}
}

// ruleID is how proxies name the rule of a key; empty where it has none.
func ruleID(k *hits.Key) string {
	kind, name, _ := strings.Cut(k.Object, " ")
	namespace, name, ok := strings.Cut(name, "/")
	if !ok || k.Rule < 0 {
		return ""
	}
	return posture.Rule{Object: model.Reference{Kind: kind, Namespace: namespace, Name: name}, Index: k.Rule}.ID()
}

// key is what a node is counted by; empty: it is not.
func key(n *Node) string {
	switch n.Kind {
	case "Goal":
		return string(hits.Goals) + " " + n.Name
	case "ClusterPolicyBinding", "PolicyBinding":
		return string(hits.Policies) + " " + n.Statement
	case "Application":
		return n.Statement
	case "Rule":
		return "Rule " + strings.TrimSpace(n.Name)
	}
	return ""
}
