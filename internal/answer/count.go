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
		c.add(hits.By(by, totals, nil, HitOwners(by, bound)), func(r *hits.Row) string { return string(by) + " " + r.Name })
	}
	c.add(hits.By(hits.Applications, totals, nil, nil), func(r *hits.Row) string {
		return "Application " + r.Namespace + "/" + r.Application
	})
	for id, hit := range RuleHits(totals) {
		c["Rule "+id] = hit
	}
	c.note(nodes)
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
