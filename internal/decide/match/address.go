// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package match

import (
	"fmt"
	"net/netip"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// NewRange reads a CidrRange. A length beyond the address's is cut, as Envoy
// does. It fails where Envoy refuses the range.
func NewRange(r *corev3.CidrRange) (netip.Prefix, error) {
	address, err := netip.ParseAddr(r.GetAddressPrefix())
	if err != nil || address.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("compiling an address range: %q is no IP address", r.GetAddressPrefix())
	}
	length := r.GetPrefixLen().GetValue()
	prefix, err := address.Prefix(int(min(length, uint32(address.BitLen()))))
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("compiling an address range: %w", err)
	}
	return prefix, nil
}

// NewRanges reads ranges in order. It fails where Envoy refuses one.
func NewRanges(rs []*corev3.CidrRange) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, r := range rs {
		prefix, err := NewRange(r)
		if err != nil {
			return nil, err
		}
		out = append(out, prefix)
	}
	return out, nil
}

// Contains reports whether an address is in a range; one that is not known is
// Unknown, with what it is the address of. IPv4 in IPv6 (RFC 4291 §2.5.5.2) is
// IPv4.
func Contains(r netip.Prefix, a netip.Addr, of string) Answer {
	if !a.IsValid() {
		return Cannot("the address of the " + of + " is not given")
	}
	return Is(r.Contains(a.Unmap()))
}
