// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package calls

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/internal/intent"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy"
	"github.com/trellis-mesh/trellis/internal/policy/hosts"
)

// Pattern are the hosts of one name, or of all names below one, in one namespace or in all
// of them. A star stands for all.
type Pattern struct{ Namespace, Name string }

// all is what an Application may call that nobody limits.
const all = "*"

// limits are the policies that keep an Application from hosts outside of the mesh. A
// default gives way to one that states whom it calls.
func limits(a *intent.Application) []*policy.Contribution {
	var out []*policy.Contribution
	for _, c := range a.Egress {
		if (c.Holds() || c.Closes()) && (c.Binding.Mandatory || !states(a)) {
			out = append(out, c)
		}
	}
	return out
}

// lets reports whether all of several policies let a host out.
func lets(limits []*policy.Contribution, host string) bool {
	return !slices.ContainsFunc(limits, func(c *policy.Contribution) bool { return !c.Egress.Lets(host) })
}

// limit is the Egress of an Application that states nothing, and is limited all the same.
// What it may call is settled once the hosts of its namespace are.
func (r *resolver) limit(a *intent.Application, by []*policy.Contribution) *Egress {
	e := &Egress{Application: a, Origin: by[0].Binding.Origin, limits: by}
	e.Origin.Field = "spec.policy"
	r.checkProxies(e)
	r.checkForeign(e)
	return e
}

// tried says of an Application that states nothing what a policy would keep it from.
func (r *resolver) tried(a *intent.Application) {
	for _, c := range a.Egress {
		if c.Shadowed() && !states(a) {
			r.warn(field(a.Origin, "spec.access.calls"), refusal{"PolicyWouldOverride",
				"nothing is stated, so the workload may call any host; by policy, once it is enforced, the Application " + c.Message,
				c.Binding.String(), "state the calls to hosts outside of the mesh, and have their hosts listed, before it is enforced"})
		}
	}
}

// checkLists says when policies together let nothing out of the mesh although each does.
func (r *resolver) checkLists(a *intent.Application, by []*policy.Contribution) {
	if len(by) < 2 {
		return
	}
	lists := make([]*hosts.List, len(by))
	owners := make([]string, len(by))
	for i, c := range by {
		lists[i], owners[i] = c.Egress, c.Binding.String()
	}
	if !hosts.Agree(lists) && !slices.ContainsFunc(lists, func(e *hosts.List) bool { return len(e.Hosts) == 0 }) {
		r.warn(a.Origin, refusal{"PolicyConflict",
			"policies contradict each other: no host outside of the mesh is on all of their lists, so nothing is let out of it",
			strings.Join(owners, " and "), "ask the owners to agree on which hosts may be called"})
	}
}

// patterns are all that a limited Application may call: the Services of the mesh, and the
// listed hosts that somebody has made known. Of TCP hosts there are none: their addresses
// are for whoever states them. Where a Sidecar of somebody else says less, it is less: Istio
// would take, or may take, the one of the policy in its place.
func (r *resolver) patterns(e *Egress, externals []*External) []Pattern {
	namespace := e.Application.Pods.Namespace
	below := "." + r.snapshot.Mesh().ClusterDomain
	services := Pattern{all, all + ".svc" + below}
	out := []Pattern{services}
	for _, x := range externals {
		if x.Namespace == namespace && len(x.Addresses) == 0 && lets(e.limits, x.Host) {
			out = append(out, Pattern{namespace, x.Host})
		}
	}
	for _, f := range r.snapshot.Foreign("ServiceEntry") {
		for _, host := range f.Hosts {
			switch {
			case covers(services.Name, host):
				r.warn(e.Application.Origin, refusal{"ForeignServiceEntry",
					fmt.Sprintf("%s gives %s a name of the mesh, so that requests are let out to wherever it leads although policies keep this Application in", f.Ref, host),
					f.Ref.String(), "delete that ServiceEntry, or give it a host outside of " + r.snapshot.Mesh().ClusterDomain})
			case lets(e.limits, host):
				out = append(out, Pattern{f.Ref.Namespace, host})
			}
		}
	}
	for _, f := range slices.Concat(r.around(namespace), r.samePods(e)) {
		if len(f.AtPort) > 0 {
			r.warn(e.Application.Origin, refusal{"Conflicted",
				fmt.Sprintf("%s lets out %s at one port alone; by policy a Sidecar for this workload takes its place, which knows no ports, so none of that is let out", f.Ref, strings.Join(f.AtPort, ", ")),
				e.limits[0].Binding.String(), "list the hosts in " + f.Ref.String() + " without a port, or state all calls here in spec.access.calls"})
		}
		out = meet(out, f, namespace)
	}
	return once(out)
}

// around are the Sidecars of others for a whole namespace, or else for the whole mesh.
func (r *resolver) around(namespace string) []model.Foreign {
	for _, of := range []string{namespace, r.snapshot.Mesh().RootNamespace} {
		var out []model.Foreign
		for _, f := range r.snapshot.Foreign("Sidecar") {
			if f.Ref.Namespace == of && len(f.Selector) == 0 {
				out = append(out, f)
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}

// meet is what both patterns and a Sidecar let out. One that lists no hosts lets out all.
// What it lets out at one port alone is not let out, since a pattern has all ports.
func meet(patterns []Pattern, sidecar model.Foreign, namespace string) []Pattern {
	if len(sidecar.Hosts)+len(sidecar.AtPort) == 0 {
		return patterns
	}
	var out []Pattern
	for _, text := range sidecar.Hosts {
		of, name, _ := strings.Cut(text, "/")
		switch {
		case of == ".":
			of = namespace
		case strings.HasPrefix(of, "~"):
			continue // It takes away, and names nothing that is let out.
		}
		for _, p := range patterns {
			in, ok := narrower(of, p.Namespace)
			host, too := narrower(name, p.Name)
			if ok && too {
				out = append(out, Pattern{in, host})
			}
		}
	}
	return once(out)
}

// once are the patterns in order, each once: what several Sidecars let out is not to be
// multiplied.
func once(patterns []Pattern) []Pattern {
	slices.SortFunc(patterns, func(a, b Pattern) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	return slices.Compact(patterns)
}

// narrower is the one of two names that the other one covers.
func narrower(a, b string) (string, bool) {
	switch {
	case covers(a, b):
		return b, true
	case covers(b, a):
		return a, true
	}
	return "", false
}

// covers reports whether a name, or all names below one, are among those of another.
func covers(wide, name string) bool {
	domain, wild := strings.CutPrefix(wide, all)
	return wide == name || wild && strings.HasSuffix(name, domain)
}
