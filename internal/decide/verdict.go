// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package decide

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/trellis-mesh/trellis/internal/decide/stream"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Outcome is what becomes of a request.
type Outcome string

const (
	// Allow means that it reaches the application, or a host outside of the mesh.
	Allow Outcome = "Allow"
	// Deny means that a proxy refuses it, by a policy, for its token, or because it is
	// malformed.
	Deny Outcome = "Deny"
	// Answered means that a proxy answers in the application's place, as it was told to: by
	// a redirect or a direct response that is no error.
	Answered Outcome = "Answered"
	// NoRoute means that the proxy knows no route for it.
	NoRoute Outcome = "NoRoute"
	// Fails means that it should be delivered and cannot be: mutual TLS does not match,
	// there is no endpoint, or what the route names is missing.
	Fails Outcome = "Fails"
	// Unknown means that it depends on something that is not known; Why says on what.
	Unknown Outcome = "Unknown"
)

// Verdict is what becomes of one request, and why.
type Verdict struct {
	Outcome Outcome
	// Reply is the answer that the client gets of a proxy, or how its connection
	// ends; nil where the application answers, and where nobody knows.
	Reply *stream.Reply
	// Why is the reason of Unknown and Fails in words.
	Why string
	// Reached is what answers; nil unless the Outcome is Allow.
	Reached *Destination
	// Steps are what happened, in order.
	Steps []Step
	// Branches are there where chance decides between different ends, by weights
	// or between endpoints that differ. Outcome then is Allow where any of them
	// is, else that of the most likely.
	Branches []Branch
}

// Branch is one of the ends that a request may come to.
type Branch struct {
	// Share is how likely it is, above 0 and below 1.
	Share   float64
	Verdict Verdict
}

// Destination is what a request reaches.
type Destination struct {
	// Workload is the proxy of the application; nil for a host outside of the mesh
	// and a workload without proxy.
	Workload *xds.Key
	// Address is the endpoint; invalid where it is known by name only.
	Address netip.AddrPort
	// Host is the name of an endpoint that is found by DNS.
	Host string
	// Cluster is Envoy's name of what holds the endpoint.
	Cluster string
}

// Stage is a part of a proxy.
type Stage string

// The stages in the order of a request.
const (
	StageListener    Stage = "Listener"
	StageFilterChain Stage = "FilterChain"
	StageTLS         Stage = "TLS"
	StageHTTP        Stage = "HTTP"
	StageFilter      Stage = "Filter"
	StageRoute       Stage = "Route"
	StageCluster     Stage = "Cluster"
	StageEndpoint    Stage = "Endpoint"
	StageApplication Stage = "Application"
)

// Step is one thing that happened to a request.
type Step struct {
	// Proxy is where: "sidecar shop/cart-1"; empty outside of proxies.
	Proxy string
	Stage Stage
	// Rule is Envoy's name of what decided: of a listener, a filter chain, an RBAC
	// policy, a route, a cluster.
	Rule string
	// Object is the Istio object that the rule was made from, where Envoy's
	// configuration says so.
	Object *Object
	// Says is a sentence without a period.
	Says string
	// Stops is true where the request ended here.
	Stops bool
}

// Object is a reference to an Istio object as it is written in the configuration
// of a proxy, which does not tell clusters apart.
type Object struct {
	Kind, Namespace, Name string
	// Rule is the index of a rule within an AuthorizationPolicy; -1 where there is
	// none.
	Rule int
}

// Names of Istio for where a proxy sends what it does not let out
// (pilot/pkg/networking/util/util.go): of a route, and of a cluster without endpoints.
const (
	blockAll  = "block_all"
	blackHole = "BlackHoleCluster"
)

// KeptIn reports whether a rule of a client's proxy is the one for what is not let out.
func KeptIn(rule string) bool { return rule == blockAll || rule == blackHole }

func (o *Object) String() string {
	if o.Rule >= 0 {
		return fmt.Sprintf("%s %s/%s rule %d", o.Kind, o.Namespace, o.Name, o.Rule)
	}
	return fmt.Sprintf("%s %s/%s", o.Kind, o.Namespace, o.Name)
}

// join makes one verdict of the ends that chance decides between.
func join(branches []Branch) Verdict {
	var merged []Branch
	for _, b := range branches {
		if b.Share <= 0 {
			continue
		}
		at := slices.IndexFunc(merged, func(m Branch) bool { return alike(&m.Verdict, &b.Verdict) })
		if at < 0 {
			merged = append(merged, b)
			continue
		}
		merged[at].Share += b.Share
	}
	slices.SortStableFunc(merged, func(a, b Branch) int {
		switch {
		case a.Share > b.Share:
			return -1
		case a.Share < b.Share:
			return 1
		}
		return 0
	})
	if len(merged) == 0 {
		return Verdict{Outcome: Unknown, Why: "no end of the request has a share"}
	}
	if len(merged) == 1 {
		return merged[0].Verdict
	}
	out := merged[0].Verdict
	if at := slices.IndexFunc(merged, func(b Branch) bool { return b.Verdict.Outcome == Allow }); at >= 0 {
		out = merged[at].Verdict
	}
	out.Branches = merged
	return out
}

// alike reports whether two verdicts are the same to the client. Which of many
// endpoints of the same workloads answers makes no difference.
func alike(a, b *Verdict) bool {
	if a.Outcome != b.Outcome || a.Why != b.Why || len(a.Branches) > 0 || len(b.Branches) > 0 {
		return false
	}
	if (a.Reply == nil) != (b.Reply == nil) || a.Reply != nil && (a.Reply.Code != b.Reply.Code || a.Reply.Details != b.Reply.Details) {
		return false
	}
	if a.Reached == nil || b.Reached == nil {
		return a.Reached == b.Reached
	}
	// Istio calls the clusters into the applications alike in all proxies: what
	// leads there must be the same, too.
	return slices.Equal(clustersOf(a), clustersOf(b))
}

// clustersOf are the clusters that the proxies sent a request to, in order.
func clustersOf(v *Verdict) []string {
	out := []string{v.Reached.Cluster}
	for _, s := range v.Steps {
		if s.Stage == StageCluster {
			out = append(out, s.Rule)
		}
	}
	return out
}
