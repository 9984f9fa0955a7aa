// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Captured is whether a connection of a workload goes through the proxy beside it.
type Captured int

// Through is what Istio has all connections do where nobody says otherwise. Past is
// one between the application and the other side alone.
const (
	Through Captured = iota
	Past
	CaptureUnknown
)

// Capture is what the annotations of a pod say of connections that go past its sidecar
// (https://istio.io/latest/docs/reference/config/annotations/). The zero value is what
// Istio does without any. What an installation of Istio says for all pods is not in it.
type Capture struct {
	// IncludeInbound and IncludeRanges are nil where nothing is said: all is captured.
	IncludeInbound, IncludeRanges                                  *string
	ExcludeInbound, ExcludeOutbound, IncludeOutbound, ExcludeRange string
}

// String is the same for those that say the same.
func (c Capture) String() string {
	parts := []string{c.ExcludeInbound, c.ExcludeOutbound, c.IncludeOutbound, c.ExcludeRange}
	for _, list := range []*string{c.IncludeInbound, c.IncludeRanges} {
		if list == nil {
			parts = append(parts, "*")
		} else {
			parts = append(parts, *list)
		}
	}
	return strings.Join(parts, ";")
}

const traffic = "traffic.sidecar.istio.io/"

// the annotations' names.
const (
	includeInbound  = traffic + "includeInboundPorts"
	excludeInbound  = traffic + "excludeInboundPorts"
	includeOutbound = traffic + "includeOutboundPorts"
	excludeOutbound = traffic + "excludeOutboundPorts"
	includeRanges   = traffic + "includeOutboundIPRanges"
	excludeRanges   = traffic + "excludeOutboundIPRanges"
)

func captureOf(annotations map[string]string) Capture {
	said := func(name string) *string {
		value, ok := annotations[name]
		if value = strings.TrimSpace(value); !ok || value == "*" {
			return nil
		}
		return &value
	}
	return Capture{
		IncludeInbound: said(includeInbound), IncludeRanges: said(includeRanges),
		ExcludeInbound: annotations[excludeInbound], ExcludeOutbound: annotations[excludeOutbound],
		IncludeOutbound: annotations[includeOutbound], ExcludeRange: annotations[excludeRanges],
	}
}

// Inbound is whether connections to a port of the workload go through its proxy. Why
// says what keeps them from it (handleInboundPortsInclude in
// tools/istio-iptables/pkg/capture/run.go).
func (n Node) Inbound(port uint16) (captured Captured, why string) {
	c := n.Capture
	switch {
	case n.Type != Sidecar || n.Interception == InterceptionNone:
		return Through, ""
	case c.IncludeInbound == nil:
		return listed(excludeInbound, c.ExcludeInbound, port)
	}
	found, why := listed(includeInbound, *c.IncludeInbound, port)
	return inverse(found, why, says(includeInbound, *c.IncludeInbound))
}

// Outbound is whether the workload's connections to an address and a port go through
// its proxy. An address that is not valid is one that nobody knows (Run in
// tools/istio-iptables/pkg/capture/run.go).
func (n Node) Outbound(to netip.AddrPort) (captured Captured, why string) {
	c := n.Capture
	if n.Type != Sidecar || n.Interception == InterceptionNone {
		return Through, ""
	}
	if found, why := listed(excludeOutbound, c.ExcludeOutbound, to.Port()); found != Through {
		return found, why
	}
	if found, why := within(excludeRanges, c.ExcludeRange, to.Addr()); found != Through {
		return found, why
	}
	if c.IncludeRanges == nil {
		return Through, ""
	}
	if found, why := listed(includeOutbound, c.IncludeOutbound, to.Port()); found != Through {
		return inverse(found, why, "")
	}
	found, why := within(includeRanges, *c.IncludeRanges, to.Addr())
	return inverse(found, why, says(includeRanges, *c.IncludeRanges))
}

// inverse makes of what is on a list what a list of inclusions means by it; left says
// what keeps out all that is not on it.
func inverse(found Captured, why, left string) (Captured, string) {
	switch found {
	case Past:
		return Through, ""
	case Through:
		return Past, left
	case CaptureUnknown:
	}
	return CaptureUnknown, why
}

func says(name, list string) string { return fmt.Sprintf("annotation %s: %q", name, list) }

// listed is Past for a port that a list has.
func listed(name, list string, port uint16) (Captured, string) {
	for part := range strings.SplitSeq(list, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		number, err := strconv.ParseUint(part, 10, 16)
		if err != nil {
			return CaptureUnknown, says(name, list) + " is no list of ports"
		}
		if uint16(number) == port {
			return Past, says(name, list)
		}
	}
	return Through, ""
}

// within is Past for an address that a list of ranges has.
func within(name, list string, address netip.Addr) (Captured, string) {
	for part := range strings.SplitSeq(list, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		prefix, err := netip.ParsePrefix(part)
		switch {
		case part == "*":
			return Past, says(name, list)
		case err != nil:
			return CaptureUnknown, says(name, list) + " is no list of address ranges"
		case !address.IsValid():
			return CaptureUnknown, says(name, list) + " is about addresses, and the one of the host is not known"
		case prefix.Contains(address):
			return Past, says(name, list)
		}
	}
	return Through, ""
}
