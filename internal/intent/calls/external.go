// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package calls

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
)

// wanted is one host and port that one Application wants to call.
type wanted struct {
	egress    *Egress
	call      string
	host      string
	port      int32
	protocol  string
	addresses []string
	at        model.Origin
	// closed ones are not let out. They contradict others all the same, or closing one
	// would let out another.
	closed bool
}

// external takes an entry apart into hosts. A name or address that cannot be used
// refuses the whole entry.
func (r *resolver) external(e *Egress, call *v1alpha1.Call, at model.Origin, closed bool) []wanted {
	peer := call.Peer.External
	where := field(at, "peer.external")
	addresses := make([]string, 0, len(peer.Addresses))
	for i, text := range peer.Addresses {
		ip, err := netip.ParseAddr(string(text))
		// ::ffff:10.0.0.7 leads to 10.0.0.7.
		ip = ip.Unmap()
		if err != nil || ip.IsUnspecified() || ip.Zone() != "" {
			r.invalid(field(where, "addresses[%d]", i), call, string(text)+" is not the IP address of a host", "write one IP address, no name and no range")
			return nil
		}
		if w, ok := r.workloadAt(ip); ok {
			r.invalid(field(where, "addresses[%d]", i), call, fmt.Sprintf("%s is the address of %s, whose owner is asked", ip, w),
				"state it as peer: {application: …} or peer: {service: …}")
			return nil
		}
		addresses = append(addresses, ip.String())
	}
	slices.Sort(addresses)
	addresses = slices.Compact(addresses)
	var out []wanted
	for i, name := range peer.Hosts {
		if service, ok := r.inMesh(string(name)); ok {
			r.invalid(field(where, "hosts[%d]", i), call, fmt.Sprintf("%s is a name of this mesh (%s), whose owner is asked", name, service),
				"state it as peer: {application: …} or peer: {service: …}")
			return nil
		}
		out = append(out, wanted{
			egress: e, call: string(call.Name), host: string(name), port: peer.Port, protocol: protocolOf(peer.Protocol), addresses: addresses, at: at, closed: closed,
		})
	}
	return out
}

func (r *resolver) invalid(at model.Origin, call *v1alpha1.Call, what, fix string) {
	r.refuse(at, refusal{"CallInvalid", fmt.Sprintf("%s; call %s is not let out", what, call.Name), at.Object.String(), fix})
}

// protocolOf is what a proxy needs to know: that a server name comes first, or HTTP.
func protocolOf(p v1alpha1.ExternalProtocol) string {
	if p == v1alpha1.ExternalProtocolHTTPS {
		return string(v1alpha1.ExternalProtocolTLS)
	}
	return string(p)
}

// inMesh reports whether a host is a name by which pods find a Service, since they try
// NAME.NAMESPACE in the cluster's domain first. As an external host it would be called
// without its owner's consent.
func (r *resolver) inMesh(host string) (string, bool) {
	domain := r.snapshot.Mesh().ClusterDomain
	if host == domain || strings.HasSuffix(host, "."+domain) || strings.HasSuffix(host, ".svc") {
		return "below " + domain, true
	}
	labels := strings.Split(host, ".")
	n := len(labels)
	if n < 2 {
		return "", false
	}
	s, ok := r.snapshot.Service(model.Name{Namespace: labels[n-1], Name: labels[n-2]})
	return s.Ref.String(), ok
}

// workloadAt finds the workload of the mesh that has an address.
func (r *resolver) workloadAt(ip netip.Addr) (string, bool) {
	for _, n := range r.snapshot.Namespaces() {
		for _, w := range r.snapshot.Workloads(n.Name) {
			if at, err := netip.ParseAddr(w.Address); err == nil && at == ip {
				return w.Ref.String(), true
			}
		}
	}
	return "", false
}

// externals joins the hosts of each namespace. Istio knows one entry for a host in a
// namespace and one protocol for a port of a proxy: what contradicts is refused to all
// who state it, since nobody could say whose holds.
func (r *resolver) externals(all []wanted) []*External {
	byHost := make(map[model.Name][]wanted)
	for _, w := range r.withoutMixedPorts(all) {
		name := model.Name{Namespace: w.egress.Application.Ref.Namespace, Name: w.host}
		byHost[name] = append(byHost[name], w)
	}
	foreign := r.foreignEntries()
	var out []*External
	for _, name := range slices.SortedFunc(maps.Keys(byHost), compareNames) {
		list := byHost[name]
		if why := contradiction(list); why != "" {
			r.contradicted(list, why)
			continue
		}
		x := &External{Namespace: name.Namespace, Host: name.Name, Addresses: list[0].addresses}
		for _, w := range list {
			if w.closed {
				continue
			}
			x.add(w)
			if f, ok := foreign[name]; ok {
				r.warn(w.at, refusal{"ForeignServiceEntry",
					fmt.Sprintf("%s is about %s too; Istio joins the two, so that its ports and addresses count with those of call %s", f, w.host, w.call),
					f.String(), "delete that ServiceEntry, or take the host out of it"})
			}
		}
		slices.SortFunc(x.Ports, func(a, b Port) int { return cmp.Compare(a.Number, b.Number) })
		if len(x.Ports) > 0 {
			out = append(out, x)
		}
	}
	return out
}

func (x *External) add(w wanted) {
	ref := w.egress.Application.Ref
	if !slices.Contains(x.Owners, ref) {
		x.Owners = append(x.Owners, ref)
		w.egress.Hosts = append(w.egress.Hosts, Host{Name: x.Host, Origin: w.at})
	}
	if !slices.ContainsFunc(x.Ports, func(p Port) bool { return p.Number == w.port }) {
		x.Ports = append(x.Ports, Port{Number: w.port, Protocol: w.protocol, Origin: w.at})
	}
}

// contradiction says what entries about one host of a namespace disagree on.
func contradiction(list []wanted) string {
	protocols := make(map[int32]string)
	for _, w := range list {
		if !slices.Equal(w.addresses, list[0].addresses) {
			return "different addresses, or by addresses and by name"
		}
		if was := protocols[w.port]; was != "" && was != w.protocol {
			return fmt.Sprintf("port %d as %s and as %s", w.port, was, w.protocol)
		}
		protocols[w.port] = w.protocol
	}
	return ""
}

// withoutMixedPorts drops what one Application calls on one port by several protocols,
// TCP aside, which has addresses of its own.
func (r *resolver) withoutMixedPorts(all []wanted) []wanted {
	type door struct {
		egress *Egress
		port   int32
	}
	byPort := make(map[door][]wanted)
	for _, w := range all {
		if len(w.addresses) == 0 {
			byPort[door{w.egress, w.port}] = append(byPort[door{w.egress, w.port}], w)
		}
	}
	mixed := func(list []wanted) bool {
		return slices.ContainsFunc(list, func(w wanted) bool { return w.protocol != list[0].protocol })
	}
	var out []wanted
	for _, w := range all {
		if list := byPort[door{w.egress, w.port}]; len(w.addresses) == 0 && mixed(list) {
			r.contradicted([]wanted{w}, fmt.Sprintf("port %d by several protocols", w.port))
			continue
		}
		out = append(out, w)
	}
	return out
}

func (r *resolver) contradicted(list []wanted, why string) {
	var owners []string
	for _, w := range list {
		owners = append(owners, w.egress.Application.Ref.String())
	}
	slices.Sort(owners)
	whose := strings.Join(slices.Compact(owners), " and ")
	for _, w := range list {
		r.refuse(w.at, refusal{"CallConflicted",
			fmt.Sprintf("%s is stated with %s, which one proxy cannot tell apart; call %s is not let out to it", w.host, why, w.call),
			whose, "state the same for the same host and port everywhere in the namespace; give a TCP host a name of its own"})
	}
}

// foreignEntries are the ServiceEntries of others, by namespace and host.
func (r *resolver) foreignEntries() map[model.Name]model.Reference {
	out := make(map[model.Name]model.Reference)
	for _, f := range r.snapshot.Foreign("ServiceEntry") {
		for _, host := range f.Hosts {
			name := model.Name{Namespace: f.Ref.Namespace, Name: host}
			if _, ok := out[name]; !ok {
				out[name] = f.Ref
			}
		}
	}
	return out
}
