// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/model"
)

// peerName is how a caller is declared, in the words that counts have for one account.
func peerName(p *v1alpha1.Peer) string {
	switch {
	case p.ServiceAccount != nil:
		return string(p.ServiceAccount.Namespace) + "/" + p.ServiceAccount.Name
	case p.Application != nil:
		return "Application " + string(p.Application.Namespace) + "/" + p.Application.Name
	case p.Namespace != nil:
		return "Namespace " + string(p.Namespace.Name)
	}
	return "any workload"
}

func declaredCallers(app *v1alpha1.Application) []Caller {
	out := []Caller{}
	if app.Spec.Access == nil {
		return out
	}
	for i := range app.Spec.Access.Callers {
		out = append(out, Caller{Peer: peerName(&app.Spec.Access.Callers[i].Peer), Declared: true})
	}
	return out
}

// callsOf are the totals of an Application by who called, and by the caller whose statement
// they hang on.
func callsOf(app *v1alpha1.Application, totals []hits.Total) (seen, by map[string][]hits.Total) {
	own := "Application " + app.Namespace + "/" + app.Name
	seen, by = map[string][]hits.Total{}, map[string][]hits.Total{}
	for _, t := range totals {
		if t.Namespace != app.Namespace || t.Application != app.Name || t.Peer == "" {
			continue
		}
		seen[t.Peer] = append(seen[t.Peer], t)
		if t.Statement == own && strings.HasPrefix(t.Field, "spec.access.callers[") {
			field, _, _ := strings.Cut(t.Field, "]")
			by[field+"]"] = append(by[field+"]"], t)
		}
	}
	return seen, by
}

// callers are those that are declared, and those that were seen. An Application that is
// declared covers the accounts that were let in by that statement.
func callers(declared []Caller, app *v1alpha1.Application, totals []hits.Total) []Caller {
	seen, by := callsOf(app, totals)
	out := slices.Clone(declared)
	named := map[string]bool{}
	for i := range out {
		named[out[i].Peer] = true
		of := by[fmt.Sprintf("spec.access.callers[%d]", i)]
		if mine, ok := seen[out[i].Peer]; ok {
			of = mine
		}
		out[i].count(of)
	}
	let := map[string]bool{}
	for _, all := range by {
		for _, t := range all {
			let[t.Peer] = let[t.Peer] || t.Verdict == hits.Allowed
		}
	}
	for _, peer := range slices.Sorted(maps.Keys(seen)) {
		if !named[peer] {
			one := Caller{Peer: peer, Declared: let[peer] || peer == hits.Internet && len(app.Spec.Exposures) > 0}
			one.count(seen[peer])
			out = append(out, one)
		}
	}
	return out
}

// count sums what a peer did; a request through a gateway is one.
func (c *Caller) count(totals []hits.Total) {
	c.Hits = &answer.Hit{}
	for _, row := range hits.By(hits.Applications, totals, nil, nil) {
		c.Hits = answer.HitOf(&row)
	}
	c.Allowed, c.Denied = c.Hits.Allowed, c.Hits.Denied
}

// countCalls notes what the Application's own workloads called.
func (o *Application) countCalls(c *call, totals []hits.Total, app *v1alpha1.Application) {
	accounts := c.accounts(app)
	to := map[string][]hits.Total{}
	for _, t := range totals {
		if accounts[t.Peer] && t.Application != "" && (t.Namespace != app.Namespace || t.Application != app.Name) {
			name := "Application " + t.Namespace + "/" + t.Application
			to[name] = append(to[name], t)
		}
	}
	count := func(of []hits.Total) *answer.Hit {
		// By the caller alone: whose statement lets it in is for whoever is called.
		for _, row := range hits.By(hits.Applications, of, nil, nil) {
			return answer.HitOf(&row)
		}
		return &answer.Hit{}
	}
	for i := range o.Calls {
		if call := &o.Calls[i]; strings.HasPrefix(call.To, "Application ") {
			call.Hits = count(to[call.To])
			delete(to, call.To)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(to)) {
		o.Calls = append(o.Calls, Call{To: name, Hits: count(to[name])})
	}
}

// accounts are those of the workloads of an Application, as counts name peers.
func (c *call) accounts(app *v1alpha1.Application) map[string]bool {
	out := map[string]bool{}
	found := c.picture.Outcome.Applications[c.picture.Snapshot.ApplicationReference(app.Namespace, app.Name)]
	if found == nil || len(found.Workloads.Selector) == 0 {
		return out
	}
	for _, object := range c.picture.State.Objects {
		if pod, ok := object.(*corev1.Pod); ok && pod.Namespace == found.Workloads.Namespace && model.Selects(found.Workloads.Selector, pod.Labels) {
			out[pod.Namespace+"/"+cmp.Or(pod.Spec.ServiceAccountName, "default")] = true
		}
	}
	return out
}

func declaredCalls(app *v1alpha1.Application) []Call {
	out := []Call{}
	if app.Spec.Access == nil {
		return out
	}
	for i := range app.Spec.Access.Calls {
		switch peer := &app.Spec.Access.Calls[i].Peer; {
		case peer.Application != nil:
			out = append(out, Call{To: "Application " + string(peer.Application.Namespace) + "/" + peer.Application.Name, Declared: true})
		case peer.Service != nil:
			out = append(out, Call{To: "Service " + string(peer.Service.Namespace) + "/" + peer.Service.Name, Declared: true})
		case peer.External != nil:
			out = append(out, Call{To: strings.Join(texts(peer.External.Hosts), ", "), Declared: true})
		}
	}
	return out
}
