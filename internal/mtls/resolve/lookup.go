// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package resolve

// Place is where istiod looks for a rule.
type Place string

// The places, in the order in which istiod looks. It stops at the first one that has
// something for the host.
const (
	ClientNamespace  Place = "client namespace"
	ServiceNamespace Place = "service namespace"
	RootNamespace    Place = "root namespace"
	// Elsewhere is where it does not look.
	Elsewhere Place = "other namespace"
)

// RuleTrace is an answer about DestinationRules.
type RuleTrace struct {
	Client  Client
	Service Service
	// Rule is the one in force; nil for none.
	Rule *Rule
	// Place is where it was found.
	Place Place

	resolver *Resolver
	// looked are the places in order, up to the one that had something.
	looked []look
}

// look is what istiod finds in one place.
type look struct {
	place     Place
	namespace string
	// host is the most specific one of rules there, empty for none.
	host string
	// there is what is there for it, open what of that the client may have.
	there, open []*Rule
}

// DestinationRule says which rule decides how a client sends to a service
// (PushContext.destinationRule and SidecarScope.DestinationRule).
func (r *Resolver) DestinationRule(client Client, service Service) *RuleTrace {
	t := &RuleTrace{Client: client, Service: service, resolver: r}
	for _, next := range r.places(client, service) {
		x := r.exported[next.namespace]
		if next.place == ClientNamespace {
			x = r.local[next.namespace]
			if next.namespace == r.root {
				// What the root namespace has for all must not come before the rules of
				// services, for gateways that run there.
				x = r.rootLocal
			}
		}
		next.host, next.there = x.find(service.Host)
		next.open = next.there
		if next.place != ClientNamespace {
			next.open = openTo(next.there, client.Namespace)
		}
		t.looked = append(t.looked, next)
		if len(next.open) > 0 {
			if t.Rule = choose(next.open, client); t.Rule != nil {
				t.Place = next.place
			}
			break
		}
	}
	return t
}

// places are where istiod looks, in order. A namespace may be more than one of them.
func (r *Resolver) places(client Client, service Service) []look {
	places := []look{{place: ClientNamespace, namespace: client.Namespace}}
	if service.Namespace != "" {
		places = append(places, look{place: ServiceNamespace, namespace: service.Namespace})
	}
	return append(places, look{place: RootNamespace, namespace: r.root})
}

func openTo(rules []*Rule, namespace string) []*Rule {
	var open []*Rule
	for _, u := range rules {
		if exportedTo(u.exportTo, namespace) {
			open = append(open, u)
		}
	}
	return open
}

// choose takes the first rule that selects the client, otherwise the last of those for
// all (SidecarScope.DestinationRule).
func choose(rules []*Rule, client Client) *Rule {
	var last *Rule
	for _, u := range rules {
		// One with a selector is not found outside of its own namespace.
		labels, has := u.Selector()
		switch {
		case !has:
			last = u
		case selects(labels, client.Labels):
			return u
		}
	}
	return last
}
