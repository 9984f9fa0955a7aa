// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package outgoing compares whom workloads may call before and after a change, as far as
// their own proxies decide it. What becomes of a call that is let out is for those that
// take it, of which ask.Diff tells.
//
// A call is let out where the caller's proxy sends it to anything but the cluster that
// swallows what is not to be sent. Nothing is asked of callers that nothing limits on either
// side, nor of those whose limits and destinations are the same.
package outgoing

import (
	"slices"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Changes are what a change does to access: to what is let in, and to what is let out.
type Changes struct {
	ask.Changes
	// Calls are those that callers' own proxies let out on one side alone.
	Calls []Call `json:"calls,omitempty"`
}

// Has reports whether there is a change with one of the effects.
func (c *Changes) Has(effects ...ask.Effect) bool {
	return c.Changes.Has(effects...) || slices.ContainsFunc(c.Calls, func(one Call) bool { return slices.Contains(effects, one.Effect) })
}

// Call is a kind of calls of which callers' own proxies make something else.
type Call struct {
	// Effect is NewlyAllowed, NewlyDenied or Unknown.
	Effect ask.Effect `json:"effect"`
	// From are the callers as NAMESPACE/NAME: of the Application, or where there is none of
	// the account.
	From []string `json:"from"`
	// To are Services as NAMESPACE/NAME:PORT, hosts outside of the mesh as HOST:PORT, and
	// AnyOther.
	To      []string    `json:"to"`
	Witness ask.Witness `json:"witness"`
	// Before and After: Allow is let out, Deny kept in, and NoRoute that nothing has the name.
	Before ask.Moment `json:"before"`
	After  ask.Moment `json:"after"`
}

// AnyOther stands for all hosts that the caller's proxy has no name for on either side.
const AnyOther = "any other host"

// Side is the mesh before or after a change.
type Side struct {
	*ask.World
	// Config is what a proxy is sent, and Scope what limits whom it calls.
	Config func(xds.Node) (*xds.Config, error)
	Scope  func(xds.Node) xds.Scope
	// Findings are what was said of statements: a call may be closed by one.
	Findings []model.Finding
}

// Differing is what is different between the sides.
type Differing struct {
	// Everywhere: it may be whatever anybody calls.
	Everywhere bool
	// Scopes: what limits workloads may be different.
	Scopes bool
	// Hosts are those that are there on one side alone, or with other ports.
	Hosts []string
}
