// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy/expression"
)

// Egress are the hosts outside of the mesh to which requests are let out.
type Egress struct {
	// Hosts in order: DNS names in full, "*." and a DNS name for all below it, and IP
	// addresses.
	Hosts []string

	listed map[string]bool
}

// Lets reports whether a host may be called: a DNS name, a whole domain that is written as
// in the list, or an IP address.
func (e *Egress) Lets(host string) bool {
	if e.listed[host] {
		return true
	}
	for i := range host {
		if host[i] == '.' && e.listed["*"+host[i:]] {
			return true
		}
	}
	return false
}

// Agree reports whether some host is on all of several lists. Lists may be long, and each
// may be somebody else's: so nothing is multiplied.
func Agree(lists []*Egress) bool {
	for _, one := range lists {
		// What is on all of them is on one of them as narrow as that.
		if slices.ContainsFunc(one.Hosts, func(host string) bool {
			return !slices.ContainsFunc(lists, func(e *Egress) bool { return !e.Lets(host) })
		}) {
			return true
		}
	}
	return false
}

// kept are the hosts of a peer that may not be called. TCP carries no name, so that any
// name could be stated for an address: the address itself must be listed.
func (e *Egress) kept(peer *v1alpha1.ExternalPeer) []string {
	var out []string
	if peer.Protocol == v1alpha1.ExternalProtocolTCP {
		for _, text := range peer.Addresses {
			ip, err := netip.ParseAddr(string(text))
			if err != nil || !e.Lets(ip.Unmap().String()) {
				out = append(out, string(text))
			}
		}
		return out
	}
	for _, host := range peer.Hosts {
		if !e.Lets(string(host)) {
			out = append(out, string(host))
		}
	}
	return out
}

// egress evaluates which hosts may be called. Where that cannot be told, none.
func (c *Contribution) egress(one *contribution, facts expression.Facts) error {
	c.Egress = &Egress{}
	list, err := one.hosts.Texts(facts)
	if err != nil {
		return err
	}
	hosts := make([]string, 0, len(list))
	for _, text := range list {
		host, err := listedHost(text)
		if err != nil {
			return err
		}
		hosts = append(hosts, host)
	}
	c.Egress.Hosts = sortedNames(hosts)
	c.Egress.listed = make(map[string]bool, len(hosts))
	for _, host := range c.Egress.Hosts {
		c.Egress.listed[host] = true
	}
	c.Message = "lets requests out of the mesh to " + listed(c.Egress.Hosts) + " alone"
	if len(hosts) == 0 {
		c.Message = "lets no request out of the mesh"
	}
	return nil
}

// listedHost reads one host of a list.
func listedHost(text string) (string, error) {
	if ip, err := netip.ParseAddr(text); err == nil && ip.Zone() == "" {
		return ip.Unmap().String(), nil
	}
	name := strings.TrimPrefix(text, "*.")
	if len(validation.IsDNS1123Subdomain(name)) > 0 || !strings.Contains(name, ".") {
		return "", fmt.Errorf("%q is no DNS name of two labels or more, no *. with one, and no IP address", text)
	}
	return text, nil
}

// KeepsIn is the judgement of a call that a contribution about hosts outside of the mesh
// does not let out; false where it does.
func (a *Application) KeepsIn(c *Contribution, call *v1alpha1.Call, origin model.Origin) (Judgement, bool) {
	if call.Peer.External == nil {
		return Judgement{}, false
	}
	kept := c.Egress.kept(call.Peer.External)
	if len(kept) == 0 {
		return Judgement{}, false
	}
	j := c.Judgement
	j.Subject.Origin, j.Subject.Sort = origin, v1alpha1.SubjectCall
	if j.Outcome == Pass {
		j.Outcome = Fail
		j.Message = fmt.Sprintf("call %s is to %s, and a policy %s", call.Name, strings.Join(kept, ", "), c.Message)
	}
	j.Binding.record(a.origin.Object, j.Outcome)
	return j, true
}

// Unheld is the judgement of an Application that no proxy holds to a contribution.
func (a *Application) Unheld(c *Contribution, why string) Judgement {
	j := c.Judgement
	j.Subject.Sort, j.Unheld = v1alpha1.SubjectCall, true
	j.Subject.Origin.Field = "spec.access.calls"
	if j.Outcome == Pass {
		j.Outcome = Fail
	}
	j.Message = "a policy " + c.Message + ", and nothing keeps this workload to it: " + why
	j.Binding.record(a.origin.Object, j.Outcome)
	return j
}
