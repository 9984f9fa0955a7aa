// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// known are labels by metrics, with the series of histograms.
func known(all []*metric) map[string][]string {
	out := map[string][]string{}
	for name, labels := range foreign {
		out[name] = labels
	}
	for _, m := range all {
		if m.kind != "histogram" {
			out[m.name] = m.labels
			continue
		}
		out[m.name+"_bucket"] = append(slices.Clone(m.labels), "le")
		out[m.name+"_sum"], out[m.name+"_count"] = m.labels, m.labels
	}
	return out
}

// targets are the labels that Prometheus adds.
var targets = []string{"job", "instance", "pod"}

// values are those that a label can have, as far as they are few.
var values = map[string][]string{
	"status":  {"True", "False", "Unknown"},
	"place":   {"Gateway", "Workload"},
	"program": {"trellis-operator", "trellis-server"},
	"state":   {"Passing", "Failing", "Exempt", "Unknown"},
	"verdict": {"Allowed", "Denied", "WouldDeny", "Failed"},
	"condition": {
		"Accepted", "Programmed", "Enforced", "Ready", "Stalled", "Met", "Holds", "Progressing", "TestsPassed",
		"CertificatesReady", "DNSReady", "Expiring", "Warned",
	},
	"kind": {
		"Application", "SecureIngress", "HostClaim", "ManagedCertificate", "ManagedRecord", "DNSProvider", "MutualTLSRollout",
		"Goal", "PolicyTemplate", "ClusterPolicyBinding", "PolicyBinding", "PolicyException",
	},
}

// check is what is wrong with an expression; metrics are those of known.
func check(expression string, metrics map[string][]string) error {
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expression)
	if err != nil {
		return fmt.Errorf("parsing %s: %w", expression, err)
	}
	var problem error
	note := func(format string, of ...any) {
		if problem == nil {
			problem = fmt.Errorf("checking %s: "+format, append([]any{expression}, of...)...)
		}
	}
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		switch n := node.(type) {
		case *parser.VectorSelector:
			has, ok := metrics[n.Name]
			if !ok {
				note("there is no metric %s", n.Name)
			}
			for _, m := range n.LabelMatchers {
				matcher(m, has, note)
			}
		case *parser.AggregateExpr:
			has := labelsBelow(n.Expr, metrics)
			for _, l := range n.Grouping {
				if !slices.Contains(has, l) {
					note("nothing that is summed up has the label %s", l)
				}
			}
		}
		return nil
	})
	return problem
}

// matcher holds one to the labels of its metric, and its values to those that there are.
func matcher(m *labels.Matcher, has []string, note func(string, ...any)) {
	if m.Name == model.MetricNameLabel {
		return
	}
	if !slices.Contains(has, m.Name) {
		note("the metric has no label %s", m.Name)
	}
	can := values[m.Name]
	if can == nil || m.Type == labels.MatchRegexp && m.Value == ".*" {
		return
	}
	for value := range strings.SplitSeq(m.Value, "|") {
		if !slices.Contains(can, value) {
			note("the label %s is never %s", m.Name, value)
		}
	}
}

// labelsBelow are those of all metrics in an expression.
func labelsBelow(expression parser.Expr, metrics map[string][]string) []string {
	out := slices.Clone(targets)
	parser.Inspect(expression, func(node parser.Node, _ []parser.Node) error {
		if s, ok := node.(*parser.VectorSelector); ok {
			out = append(out, metrics[s.Name]...)
		}
		return nil
	})
	return out
}
