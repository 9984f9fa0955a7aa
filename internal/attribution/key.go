// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package attribution

import "github.com/trellis-mesh/trellis/internal/hits"

// Peers that are none of the mesh, beside hits.Internet: everybody who calls a gateway.
const (
	// NoIdentity is a client that showed no certificate.
	NoIdentity = "none"
	// UnknownPeer is one of which the entry does not say.
	UnknownPeer = "unknown"
)

// Reasons beside those of provenance and causes of failure.
const (
	// ReasonDefault: no rule that allows matched.
	ReasonDefault = "Default"
	// ReasonToken: the token was not good.
	ReasonToken = "TokenRefused"
	// ReasonAuthorizer: an external service that a CUSTOM policy asks refused it.
	ReasonAuthorizer = "Authorizer"
	// ReasonByHand: the rule is of an object that Trellis did not make.
	ReasonByHand = "ByHand"
	// ReasonNoRoute: the proxy has no route for the host and path.
	ReasonNoRoute = "NoRoute"
)

// Outcome is what came of an entry.
type Outcome string

// The outcomes.
const (
	// Attributed: the Key says what is known, and Why what is missing.
	Attributed Outcome = "Attributed"
	// Unknown: Why says what the entry could not be joined for. Of the Key there is only
	// what is certain.
	Unknown Outcome = "Unknown"
	// Elsewhere: what the entry is about is told by the entry of another proxy.
	Elsewhere Outcome = "Elsewhere"
	// Aside: it is about the agent beside a proxy.
	Aside Outcome = "Aside"
)

// Why is the reason that something is not known.
type Why string

// The reasons. Empty: nothing is missing.
const (
	// WriterUnknown: nobody knows the proxy that wrote the entry.
	WriterUnknown Why = "WriterUnknown"
	// RuleUnknown: the rule is of an object, or of a version of it, that is not known.
	RuleUnknown Why = "RuleUnknown"
	// RuleElsewhere: the rule does not decide so, or is not for this workload.
	RuleElsewhere Why = "RuleElsewhere"
	// NoPolicy: nothing that is known and selects the workload could have decided so.
	NoPolicy Why = "NoPolicy"
	// SeveralPolicies: one of several that select the workload did.
	SeveralPolicies Why = "SeveralPolicies"
	// RouteUnknown: the gateway's route is none that Trellis made.
	RouteUnknown Why = "RouteUnknown"
	// SeveralApplications: the workload is that of more than one.
	SeveralApplications Why = "SeveralApplications"
	// EndingUnknown: the entry does not say how it ended.
	EndingUnknown Why = "EndingUnknown"
)

// Attribution is one entry, joined.
type Attribution struct {
	hits.Key
	Outcome Outcome
	Why     Why
	// Among are the objects that decided together, in order: with a default denial all
	// policies that allow and select the workload. Read only.
	Among []string
	// Would are the verdicts of policies that are only tried, at most one by each action, and
	// WouldUnknown is why one of them is missing.
	Would        []hits.Key
	WouldUnknown Why
}

// Counted yields the keys by which an entry is counted: none where another entry tells of
// it, or it is about no request. What is not known stands as the reason, where no rule has
// given one.
func (a *Attribution) Counted(yield func(hits.Key) bool) {
	if a.Outcome == Elsewhere || a.Outcome == Aside {
		return
	}
	key := a.Key
	if key.Reason == "" {
		key.Reason = string(a.Why)
	}
	if !yield(key) {
		return
	}
	for _, would := range a.Would {
		if !yield(would) {
			return
		}
	}
}
