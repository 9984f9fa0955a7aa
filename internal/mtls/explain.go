// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mtls

import (
	"fmt"
	"slices"

	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/mtls/resolve"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Explanation is a row, with the objects that it comes from and those that it does not
// come from.
type Explanation struct {
	Row
	// Rule is about what the client sends; nil for a client without a proxy.
	Rule *RuleExplanation `json:"rule,omitempty"`
	// Modes are about what the servers take: one for each kind of workload.
	Modes []ModeExplanation `json:"modes,omitempty"`
}

// RuleExplanation says which DestinationRule decides, and why no other does.
type RuleExplanation struct {
	// Name is the rule in force, as NAMESPACE/NAME, and Merged those that are part of it;
	// empty: none is.
	Name   string   `json:"name,omitempty"`
	Merged []string `json:"merged,omitempty"`
	Why    string   `json:"why"`
	// Mode is the TLS mode that it says, empty for none; Field is where, and TLS says
	// what follows; empty where connections go past the client's proxy.
	Mode       string      `json:"mode,omitempty"`
	Field      string      `json:"field,omitempty"`
	TLS        string      `json:"tls,omitempty"`
	Candidates []Candidate `json:"candidates,omitempty"`
	// Contradiction says that the proxy was sent something else than follows from the
	// objects; empty otherwise.
	Contradiction string `json:"contradiction,omitempty"`
}

// ModeExplanation says which PeerAuthentication decides, and why no other does.
type ModeExplanation struct {
	Workload string `json:"workload"`
	// Port is the workload's.
	Port uint16 `json:"port"`
	// Mode is empty where connections to the port go past the workload's proxy.
	Mode resolve.Mode `json:"mode,omitempty"`
	// Name is NAMESPACE/NAME; empty: Istio's default decides.
	Name       string      `json:"name,omitempty"`
	Level      string      `json:"level,omitempty"`
	Why        string      `json:"why"`
	Candidates []Candidate `json:"candidates,omitempty"`
}

// Candidate is an object that somebody could expect to decide.
type Candidate struct {
	// Name is NAMESPACE/NAME.
	Name string `json:"name"`
	// Place is where Istio comes upon it: a namespace of a kind, or a level.
	Place  string `json:"place,omitempty"`
	Reason string `json:"reason"`
	Why    string `json:"why"`
}

// Explain says where the rows of a pair come from.
func (c *Checker) Explain(client Client, target Target) []Explanation {
	var out []Explanation
	for _, row := range c.Check(client, target) {
		one := Explanation{Row: row}
		if c.policies != nil {
			port, _ := target.Service.Port(row.Port)
			pair := &pair{Checker: c, client: client, service: target.Service, port: port}
			one.Rule = pair.explainRule(&row)
			one.Modes = pair.explainModes()
		}
		out = append(out, one)
	}
	return out
}

// rule is what the objects say of the client's rule.
func (p *pair) rule() *resolve.RuleTrace {
	n := p.client.Node
	return p.policies.DestinationRule(
		resolve.Client{Namespace: n.Namespace, Labels: n.Labels, Gateway: n.Type == xds.Router},
		resolve.Service{Host: p.service.Host, Namespace: p.service.Name.Namespace})
}

func (p *pair) explainRule(row *Row) *RuleExplanation {
	switch {
	case p.client.Node == nil:
		return nil
	case row.Past != "":
		return &RuleExplanation{Why: "The application's connections go past its proxy (" + row.Past + "), so no DestinationRule counts: it sends plaintext."}
	}
	trace := p.rule()
	tls := trace.TLS(row.Port, row.Subset)
	out := &RuleExplanation{Why: trace.Why(), TLS: tls.Why(), Mode: tls.Endpoints.Mode(), Field: tls.Endpoints.Field}
	if tls.Cluster.Settings != nil {
		out.Mode, out.Field = tls.Cluster.Mode(), tls.Cluster.Field
	}
	expected := ""
	if trace.Rule != nil {
		out.Name, expected = whole(trace.Rule.Name), trace.Rule.Name.Name+"/"+trace.Rule.Name.Namespace
		for _, name := range trace.Rule.Merged {
			out.Merged = append(out.Merged, whole(name))
		}
	}
	if len(row.Sends) > 0 && expected != row.DestinationRule {
		out.Contradiction = fmt.Sprintf("By the objects it would be %s; the proxy was sent a cluster of %s. Objects may have changed since, or something else changes its clusters.", orNone(expected), orNone(row.DestinationRule))
	}
	for _, one := range trace.Candidates() {
		out.Candidates = append(out.Candidates, Candidate{whole(one.Name), string(one.Place), string(one.Reason), one.Why})
	}
	return out
}

func orNone(name string) string {
	if name == "" {
		return "no DestinationRule"
	}
	return "DestinationRule " + name
}

func whole(n model.Name) string { return n.Namespace + "/" + n.Name }

// passedBy is about a port whose connections do not go through the workload's proxy.
func passedBy(captured xds.Captured, why string) string {
	if captured == xds.Past {
		return "Connections to the port go past its proxy (" + why + "), so no PeerAuthentication counts: the application takes them as they come."
	}
	return "Whether connections to the port go through its proxy is not known: " + why + "."
}

// explainModes is about the workloads behind the service.
func (p *pair) explainModes() []ModeExplanation {
	var out []ModeExplanation
	type kind struct {
		workload string
		port     uint16
	}
	seen := map[kind]bool{}
	for _, at := range p.originals() {
		if pod := p.world.Directory.Ambient(at.Addr()); pod != nil && pod.Captured && len(p.world.Proxies.At(at.Addr())) == 0 {
			workload := resolve.Workload{Namespace: pod.Namespace, Labels: pod.Labels}
			out = append(out, explainMode(pod.Namespace+"/"+pod.Name, at.Port(), p.policies.PeerAuthentication(workload, at.Port())))
		}
		for _, n := range p.world.Proxies.At(at.Addr()) {
			this := kind{alike(n), at.Port()}
			if n.Type != xds.Sidecar || seen[this] {
				continue
			}
			seen[this] = true
			if captured, why := n.Inbound(at.Port()); captured != xds.Through {
				out = append(out, ModeExplanation{Workload: n.Namespace + "/" + n.Name, Port: at.Port(), Why: passedBy(captured, why)})
				continue
			}
			trace := p.policies.PeerAuthentication(resolve.Workload{Namespace: n.Namespace, Labels: n.Labels}, at.Port())
			out = append(out, explainMode(n.Namespace+"/"+n.Name, at.Port(), trace))
		}
	}
	return slices.Clip(out)
}

func explainMode(workload string, port uint16, trace *resolve.ModeTrace) ModeExplanation {
	out := ModeExplanation{Workload: workload, Port: port, Mode: trace.Mode, Level: string(trace.Level), Why: trace.Why()}
	if trace.Policy != nil {
		out.Name = trace.Policy.Namespace + "/" + trace.Policy.Name
	}
	for _, c := range trace.Candidates() {
		out.Candidates = append(out.Candidates, Candidate{whole(c.Name), string(c.Level), string(c.Reason), c.Why})
	}
	return out
}
