// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package generator

import (
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	networkingapi "istio.io/api/networking/v1alpha3"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/schema/gvk"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/xds"
)

// Alike tells of which proxies it is sure, from the objects alone, that both control
// planes have them take connections in the same way: a sidecar is the same for
// whoever connects to it, a gateway in all that it is sent. Of others it is not
// known: most often because something changed that concerns them. Nothing is
// generated for it.
func Alike(before, after *Generator) func(xds.Node) bool {
	c := changeBetween(before, after)
	if c.anywhere {
		return func(xds.Node) bool { return false }
	}
	alike := make(map[xds.Key]bool, len(before.nodes))
	for _, n := range before.nodes {
		alike[n.Key()] = (n.Type == xds.Sidecar || n.Type == xds.Router && !c.onTheWay && !c.gateways[n.Namespace]) && !c.namespaces[n.Namespace]
	}
	return func(n xds.Node) bool { return alike[n.Key()] }
}

// change is what is different between two inputs.
type change struct {
	// anywhere: it may concern every proxy.
	anywhere bool
	// onTheWay: it concerns where gateways send requests, and how.
	onTheWay bool
	// namespaces are those in which what servers ask of clients is different, and gateways
	// those whose gateways alone may be sent something else.
	namespaces, gateways map[string]bool
}

// reach is how far a change of one of Istio's objects reaches, for the kinds of which
// that is known; a change of any other may concern all. Of Sidecars and ServiceEntries
// noteCalls tells the rest. Policies outside of the root
// namespace hold for the workloads of their own
// (https://istio.io/latest/docs/reference/config/security/). How gateways meet a
// server depends on PeerAuthentications, too.
var reach = map[config.GroupVersionKind]struct{ namespace, onTheWay bool }{
	gvk.AuthorizationPolicy:   {namespace: true},
	gvk.RequestAuthentication: {namespace: true},
	gvk.PeerAuthentication:    {namespace: true, onTheWay: true},
	gvk.VirtualService:        {onTheWay: true},
	gvk.DestinationRule:       {onTheWay: true},
	gvk.Gateway:               {onTheWay: true},
	gvk.Sidecar:               {},
	gvk.ServiceEntry:          {},
}

func changeBetween(before, after *Generator) *change {
	c := &change{namespaces: map[string]bool{}, gateways: map[string]bool{}}
	c.anywhere = before.input.domain != after.input.domain || !proto.Equal(before.input.mesh, after.input.mesh) || !proto.Equal(before.input.networks, after.input.networks) ||
		!reflect.DeepEqual(before.nodes, after.nodes) || !reflect.DeepEqual(before.problems, after.problems) ||
		!sameObjects(before.objects, after.objects)
	if c.anywhere {
		return c
	}
	root := after.input.mesh.GetRootNamespace()
	changed := changedFrom(before, after)
	for _, one := range changed {
		c.note(one, root)
	}
	c.noteCalls([2]*gathered{before.input, after.input}, changed)
	return c
}

// changedFrom are Istio's objects that are different: those that were found when one
// followed the other, if it did.
func changedFrom(before, after *Generator) []config.Config {
	switch {
	case after.since == before.input:
		return after.changed
	case before.since == after.input:
		return before.changed
	}
	return changedConfigs(before.input, after.input)
}

// changedConfigs are Istio's objects that are only in one of two inputs, or in both
// in another form.
func changedConfigs(before, after *gathered) []config.Config {
	known := make(map[configKey]config.Config, len(before.configs))
	for _, one := range before.configs {
		known[keyOf(one)] = one
	}
	var out []config.Config
	for _, one := range after.configs {
		was, ok := known[keyOf(one)]
		delete(known, keyOf(one))
		if !ok || !sameConfig(was, one) {
			out = append(out, one)
		}
	}
	return slices.AppendSeq(out, maps.Values(known))
}

func (c *change) note(one config.Config, root string) {
	far, ok := reach[one.GroupVersionKind]
	c.anywhere = c.anywhere || !ok || one.Namespace == root
	c.onTheWay = c.onTheWay || far.onTheWay
	if far.namespace {
		c.namespaces[one.Namespace] = true
	}
}

// noteCalls tells what Sidecars and ServiceEntries that changed are to others than those who
// call.
func (c *change) noteCalls(sides [2]*gathered, changed []config.Config) {
	sidecars, entries := false, map[configKey]bool{}
	for _, one := range changed {
		sidecars = sidecars || one.GroupVersionKind == gvk.Sidecar
		if one.GroupVersionKind == gvk.ServiceEntry {
			entries[keyOf(one)] = true
		}
	}
	for _, side := range sides {
		if sidecars {
			// Another may be the one for a workload now, so that it is not only those that changed.
			c.anywhere = c.anywhere || slices.ContainsFunc(side.configs, isForServers)
		}
		if len(entries) > 0 {
			c.noteEntries(side, entries)
		}
	}
}

// isForServers reports whether a Sidecar says something of connections to its workloads.
func isForServers(c config.Config) bool {
	spec := specOf(&c)
	return len(spec.GetIngress()) > 0 || spec.GetInboundConnectionPool() != nil
}

func (c *change) noteEntries(side *gathered, changed map[configKey]bool) {
	c.anywhere = c.anywhere || slices.ContainsFunc(side.kube, ofGatewayAPI)
	// Names in the mesh configuration are those of who is asked for authorization, or told of
	// requests.
	names := prototext.Format(side.mesh)
	for _, one := range side.configs {
		if spec, is := one.Spec.(*networkingapi.ServiceEntry); is && changed[keyOf(one)] {
			c.noteEntry(one.Namespace, spec, names)
		}
	}
}

// noteEntry tells to whom a ServiceEntry is more than a name to be called: to workloads that
// are behind it, to all whose mesh configuration names it, and to gateways that see it.
func (c *change) noteEntry(namespace string, spec *networkingapi.ServiceEntry, names string) {
	c.anywhere = c.anywhere || spec.GetWorkloadSelector() != nil || len(spec.GetEndpoints()) > 0 || slices.ContainsFunc(spec.GetHosts(), func(host string) bool {
		_, err := netip.ParseAddr(host)
		return err == nil || strings.Contains(names, host)
	})
	c.onTheWay = c.onTheWay || !slices.Equal(spec.GetExportTo(), []string{"."})
	c.gateways[namespace] = true
}

// ofGatewayAPI reports whether an object may lead to hosts by their names.
func ofGatewayAPI(object runtime.Object) bool {
	typed, is := object.(client.Object)
	return is && kindOf(typed).Group == gvk.KubernetesGateway.Group
}

type configKey struct {
	kind            config.GroupVersionKind
	namespace, name string
}

func keyOf(c config.Config) configKey { return configKey{c.GroupVersionKind, c.Namespace, c.Name} }

// sameConfig compares what Istio reads of two objects. Of annotations that is its own:
// others have the lines of statements, which change with every line above them.
func sameConfig(a, b config.Config) bool {
	one, is := a.Spec.(proto.Message)
	other, too := b.Spec.(proto.Message)
	if !is || !too || one != other && !proto.Equal(one, other) {
		return false
	}
	return a.CreationTimestamp.Equal(b.CreationTimestamp) && maps.Equal(a.Labels, b.Labels) &&
		maps.Equal(ofIstio(a.Annotations), ofIstio(b.Annotations)) && sameStatus(a.Status, b.Status)
}

// sameStatus does not look into messages by reflection: they remember that somebody did.
func sameStatus(a, b any) bool {
	one, is := a.(proto.Message)
	other, too := b.(proto.Message)
	if is && too {
		return proto.Equal(one, other)
	}
	return reflect.DeepEqual(a, b)
}

func ofIstio(annotations map[string]string) map[string]string {
	out := map[string]string{}
	for name, value := range annotations {
		if strings.Contains(name, "istio.io/") {
			out[name] = value
		}
	}
	return out
}

// sameObjects compares Kubernetes' objects, which have to be in the same order: where
// they were not, addresses were given to others.
func sameObjects(before, after []runtime.Object) bool {
	if len(before) != len(after) {
		return false
	}
	for i := range before {
		if before[i] == after[i] {
			continue
		}
		a, err := meta.Accessor(before[i])
		b, problem := meta.Accessor(after[i])
		if err != nil || problem != nil || a.GetName() != b.GetName() || !equality.Semantic.DeepEqual(before[i], after[i]) {
			return false
		}
	}
	return true
}
