// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package ask

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/trellis-mesh/trellis/internal/ask/witness"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// decided is what is kept of a verdict: there are many.
type decided struct {
	outcome decide.Outcome
	code    int
	details string
	why     string
	// reached is the application; host where it is outside of the mesh.
	reached *xds.Key
	host    string
	// last is the proxy that it came to.
	last string
	// route is the route of the first proxy that chose one.
	route string
	// rules decided, the last one first: by the names that Envoy has for them.
	rules []decidedRule
	// because are the statements behind them.
	because []Origin
}

type decidedRule struct {
	proxy, name string
	object      decide.Object
}

// decide asks for the verdict on one request.
func (w *World) decide(d *door, r witness.Request) *decided {
	e := w.Evaluator
	if d.Workload == nil {
		e = w.evaluator()
	}
	return w.compact(e.Decide(d.Ask(r)))
}

func (w *World) compact(v decide.Verdict) *decided {
	v = w.followed(v)
	out := &decided{outcome: v.Outcome, why: v.Why}
	if v.Reply != nil {
		out.code, out.details = v.Reply.Code, v.Reply.Details
	}
	if v.Reached != nil {
		out.reached, out.host = v.Reached.Workload, v.Reached.Host
		if v.Reached.Workload == nil && v.Reached.Address.IsValid() {
			out.host = v.Reached.Address.String()
		}
	}
	for _, step := range slices.Backward(v.Steps) {
		out.last = cmp.Or(out.last, step.Proxy)
		if step.Stage == decide.StageRoute && step.Rule != "" {
			out.route = step.Rule
		}
		if step.Stage != decide.StageFilter && step.Stage != decide.StageRoute || step.Rule == "" && step.Object == nil {
			continue
		}
		rule := decidedRule{proxy: step.Proxy, name: step.Rule}
		if step.Object != nil {
			rule.object = *step.Object
		}
		out.rules = append(out.rules, rule)
		if origin := w.Origins.Behind(step); origin != nil && !slices.Contains(out.because, *origin) {
			out.because = append(out.because, *origin)
		}
	}
	return out
}

// passes reports whether somebody answers the request.
func (d *decided) passes() bool { return d.outcome == decide.Allow }

// named is what it reaches by a name; empty where that is only an address.
func (d *decided) named() string {
	if _, err := netip.ParseAddrPort(d.host); err == nil && d.reached == nil {
		return ""
	}
	return d.place()
}

// same reports whether two verdicts are the same to a client.
func (d *decided) same(o *decided) bool {
	if d.outcome != o.outcome {
		return false
	}
	if (d.reached == nil) != (o.reached == nil) || d.reached != nil && (d.reached.Namespace != o.reached.Namespace) {
		return false
	}
	return d.host == o.host
}
