// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package hosts knows lists of hosts outside of the mesh. It is pure.
package hosts

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
)

// List are the hosts outside of the mesh to which requests are let out.
type List struct {
	// Hosts in order: DNS names in full, "*." and a DNS name for all below it, and IP
	// addresses.
	Hosts []string

	listed map[string]bool
}

// New reads a list. One host that cannot be read spoils it.
func New(texts []string) (*List, error) {
	out := &List{Hosts: make([]string, 0, len(texts)), listed: make(map[string]bool, len(texts))}
	for _, text := range texts {
		host, err := read(text)
		if err != nil {
			return nil, err
		}
		out.Hosts = append(out.Hosts, host)
		out.listed[host] = true
	}
	slices.Sort(out.Hosts)
	out.Hosts = slices.Compact(out.Hosts)
	return out, nil
}

// Lets reports whether a host may be called: a DNS name, a whole domain that is written as
// in the list, or an IP address.
func (l *List) Lets(host string) bool {
	if l.listed[host] {
		return true
	}
	for i := range host {
		if host[i] == '.' && l.listed["*"+host[i:]] {
			return true
		}
	}
	return false
}

// Agree reports whether some host is on all of several lists. Lists may be long, and each
// may be somebody else's: so nothing is multiplied.
func Agree(lists []*List) bool {
	for _, one := range lists {
		// What is on all of them is on one of them as narrow as that.
		if slices.ContainsFunc(one.Hosts, func(host string) bool {
			return !slices.ContainsFunc(lists, func(l *List) bool { return !l.Lets(host) })
		}) {
			return true
		}
	}
	return false
}

// Kept are the hosts of a peer that may not be called. TCP carries no name, so that any
// name could be stated for an address: the address itself must be listed.
func (l *List) Kept(peer *v1alpha1.ExternalPeer) []string {
	var out []string
	if peer.Protocol == v1alpha1.ExternalProtocolTCP {
		for _, text := range peer.Addresses {
			ip, err := netip.ParseAddr(string(text))
			if err != nil || !l.Lets(ip.Unmap().String()) {
				out = append(out, string(text))
			}
		}
		return out
	}
	for _, host := range peer.Hosts {
		if !l.Lets(string(host)) {
			out = append(out, string(host))
		}
	}
	return out
}

// read reads one host of a list.
func read(text string) (string, error) {
	if ip, err := netip.ParseAddr(text); err == nil && ip.Zone() == "" {
		return ip.Unmap().String(), nil
	}
	name := strings.TrimPrefix(text, "*.")
	if len(validation.IsDNS1123Subdomain(name)) > 0 || !strings.Contains(name, ".") {
		return "", fmt.Errorf("%q is no DNS name of two labels or more, no *. with one, and no IP address", text)
	}
	return text, nil
}
