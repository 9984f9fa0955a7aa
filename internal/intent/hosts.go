// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package intent

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
)

// settleHosts decides for every host whose it is, drops what others publish
// there, and closes what is stated twice.
func (r *resolver) settleHosts() {
	for _, name := range slices.Sorted(maps.Keys(r.hosts)) {
		kept := r.settleOwner(name, r.hosts[name])
		r.settleHostOnSharedPods(name, kept)
		for _, p := range kept {
			p.Host.Publications = append(p.Host.Publications, p)
		}
	}
	for _, in := range r.graph.Ingresses {
		in.Hosts = slices.DeleteFunc(in.Hosts, func(h *Host) bool { return len(h.Publications) == 0 })
		slices.SortFunc(in.Hosts, func(a, b *Host) int { return strings.Compare(a.Name, b.Name) })
		for _, h := range in.Hosts {
			slices.SortFunc(h.Publications, comparePublications)
			r.settleEqualPaths(h)
			r.settleHostRawPaths(h)
			closeUnpublished(h)
			r.limitEntries(h)
			h.Paths = newPathTable(routesOf(h))
			for _, p := range h.Publications {
				p.Application.Publications = append(p.Application.Publications, p)
			}
		}
	}
}

// settleOwner returns the publications of the host's owner and of those that
// the owner consents to. Without a claim the only namespace that uses the host
// gets it; if there are several, the one whose Applications consent to all the
// others; else nobody, whatever came first.
func (r *resolver) settleOwner(host string, publications []*Publication) []*Publication {
	users := namespacesOf(publications)
	owner := ""
	if claim := r.snapshot.HostClaim(host); claim != nil {
		owner = string(claim.Spec.Namespace)
	} else if owner = r.firstOwner(host, publications, users); owner == "" {
		for _, p := range publications {
			r.refuse(p.Origin, refusal{"HostContested",
				fmt.Sprintf("namespaces %s publish on %s and none owns it yet; the host is not published", strings.Join(users, ", "), host),
				"HostClaim " + host, fmt.Sprintf("ask the platform to create HostClaim %s for one of them; its Applications may then share it by shareHostWith", host)})
		}
		return nil
	}
	var kept []*Publication
	for _, p := range publications {
		if p.Application.Ref.Namespace == owner || consents(owner, publications, p.Application.Ref) {
			kept = append(kept, p)
			continue
		}
		r.refuse(p.Origin, refusal{"HostAlreadyClaimed",
			fmt.Sprintf("host %s belongs to namespace %s; it is not published for %s", host, owner, p.Application.Ref),
			"HostClaim " + host, fmt.Sprintf("use another host name, ask an Application of namespace %s to list this one in shareHostWith, or ask the platform to hand over HostClaim %s", owner, host)})
	}
	return kept
}

func (r *resolver) firstOwner(host string, publications []*Publication, users []string) string {
	var candidates []string
	for _, ns := range users {
		all := true
		for _, p := range publications {
			all = all && (p.Application.Ref.Namespace == ns || consents(ns, publications, p.Application.Ref))
		}
		if all {
			candidates = append(candidates, ns)
		}
	}
	if len(candidates) != 1 {
		return ""
	}
	claim := Claim{Host: host, Namespace: candidates[0]}
	for _, p := range publications {
		if p.Application.Ref.Namespace == claim.Namespace && !slices.Contains(claim.Owners, p.Application.Ref) {
			claim.Owners = append(claim.Owners, p.Application.Ref)
		}
	}
	slices.SortFunc(claim.Owners, model.Reference.Compare)
	r.graph.Claims = append(r.graph.Claims, claim)
	return claim.Namespace
}

func namespacesOf(publications []*Publication) []string {
	set := make(map[string]bool)
	for _, p := range publications {
		set[p.Application.Ref.Namespace] = true
	}
	return slices.Sorted(maps.Keys(set))
}

// consents reports whether an exposure of the owning namespace, on this host,
// lists an Application in shareHostWith.
func consents(owner string, publications []*Publication, other model.Reference) bool {
	for _, p := range publications {
		if p.Application.Ref.Namespace != owner {
			continue
		}
		for i := range p.Application.Spec.Exposures {
			e := &p.Application.Spec.Exposures[i]
			if string(e.Name) == p.Exposure && slices.Contains(e.ShareHostWith, v1alpha1.NamespacedName{Name: other.Name, Namespace: v1alpha1.LabelName(other.Namespace)}) {
				return true
			}
		}
	}
	return false
}

// settleHostOnSharedPods closes a host that two ingresses publish on the same
// pods: one of their routes would win, and nobody could say which.
func (r *resolver) settleHostOnSharedPods(name string, publications []*Publication) {
	byPods := make(map[int][]*Ingress)
	for _, p := range publications {
		in := p.Host.Ingress
		if in.Pods.Selector != nil && !slices.Contains(byPods[in.gateway], in) {
			byPods[in.gateway] = append(byPods[in.gateway], in)
		}
	}
	for _, p := range publications {
		if p.Host.Ingress.Pods.Selector == nil {
			continue
		}
		all := byPods[p.Host.Ingress.gateway]
		if len(all) < 2 {
			continue
		}
		p.Closed = true
		r.refuse(p.Origin, refusal{"Conflicted",
			fmt.Sprintf("host %s is published through %s on the same gateway pods; it is closed on both", name, names(all)),
			names(all), "publish it through one of them"})
	}
}

// settleEqualPaths closes routes that state the same path on one host, be it of
// different Applications or of different ports of one.
func (r *resolver) settleEqualPaths(h *Host) {
	type key struct {
		value  string
		prefix bool
	}
	first := make(map[key]*Publication)
	for _, p := range h.Publications {
		for _, path := range p.Route.Paths {
			k := key{path.Value, path.Prefix}
			o, ok := first[k]
			if !ok {
				if !path.Guess {
					first[k] = p
				}
				continue
			}
			if o.Route == p.Route || path.Guess || (o.Closed && p.Closed) {
				continue
			}
			o.Closed, p.Closed = true, true
			for _, pair := range [][2]*Publication{{o, p}, {p, o}} {
				r.refuse(pair[0].Origin, refusal{"Conflicted",
					fmt.Sprintf("route %s and route %s of %s both state %q on host %s; both are closed there", pair[0].Route.Name, pair[1].Route.Name, pair[1].Application.Ref, path.Value, h.Name),
					o.Application.Ref.String() + " and " + p.Application.Ref.String(), "keep the path in one of the two Applications, or publish them on different hosts"})
			}
		}
	}
}

// limitEntries closes a host that would cost every proxy too much.
func (r *resolver) limitEntries(h *Host) {
	entries := 0
	for _, p := range h.Publications {
		entries += len(p.Route.Paths)
		if p.CORS != nil {
			entries += len(p.Route.Paths)
		}
	}
	if entries <= MaxHostEntries {
		return
	}
	for _, p := range h.Publications {
		p.Closed = true
		if p.Unpublished {
			continue
		}
		r.refuse(p.Origin, refusal{"TooManyRoutes",
			fmt.Sprintf("host %s has %d entries (paths, those of unpublished routes below them, and one more each with CORS), and a host has at most %d; it is closed", h.Name, entries, MaxHostEntries),
			"API trellis.dev/v1alpha1", "publish on more hosts, or join paths into prefixes"})
	}
}
