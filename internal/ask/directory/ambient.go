// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package directory

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/trellis-mesh/trellis/internal/model"
)

// The labels and annotations of ambient mode
// (https://istio.io/latest/docs/reference/config/labels/ and .../annotations/).
const (
	dataplaneLabel        = "istio.io/dataplane-mode"
	waypointLabel         = "istio.io/use-waypoint"
	tunnelLabel           = "networking.istio.io/tunnel"
	managedLabel          = "gateway.istio.io/managed"
	tlsModeLabel          = "security.istio.io/tlsMode"
	redirectionAnnotation = "ambient.istio.io/redirection"
	sidecarAnnotation     = "sidecar.istio.io/status"
)

// AmbientPod is what ambient mode makes of a pod. Read only.
type AmbientPod struct {
	Namespace, Name string
	Labels          map[string]string
	// Captured: a ztunnel stands before it and behind it.
	Captured bool
	// Tunnels: it takes HBONE, by that ztunnel or by its own proxy.
	Tunnels bool
}

// ambient is what New learns of it: labels of namespaces, and what was found.
type ambient struct {
	namespaces map[string]map[string]string
	pods       map[netip.Addr]*AmbientPod
	waypoints  map[netip.Addr]string
	// unfollowed as in Unfollowed.
	unfollowed map[netip.Addr]string
}

// newAmbient reads the Namespaces.
func newAmbient(objects []runtime.Object) ambient {
	out := ambient{map[string]map[string]string{}, map[netip.Addr]*AmbientPod{}, map[netip.Addr]string{}, map[netip.Addr]string{}}
	for _, object := range objects {
		if n, ok := object.(*corev1.Namespace); ok {
			out.namespaces[n.Name] = n.Labels
		}
	}
	return out
}

// addAmbient notes the workloads before which a waypoint or a ztunnel stands.
func (d *Directory) addAmbient(objects []runtime.Object) {
	for _, object := range objects {
		if o, ok := object.(*corev1.Pod); ok {
			d.addAmbientPod(o)
		}
	}
	for _, object := range objects {
		if o, ok := object.(*corev1.Service); ok {
			d.addFront(o)
		}
	}
}

// addAmbientPod follows the choice of Istio's CNI (cni/pkg/util/podutil.go), and its note of
// what it did where there is one.
func (d *Directory) addAmbientPod(o *corev1.Pod) {
	labels := over(d.ambient.namespaces[o.Namespace], o.Labels)
	sidecar := o.Labels[tlsModeLabel] == "istio" || o.Annotations[sidecarAnnotation] != "" || o.Labels[managedLabel] != ""
	pod := &AmbientPod{Namespace: o.Namespace, Name: o.Name, Labels: o.Labels}
	pod.Captured = o.Annotations[redirectionAnnotation] == "enabled" || labels[dataplaneLabel] == "ambient" && !sidecar && !o.Spec.HostNetwork
	pod.Tunnels = pod.Captured || o.Labels[tunnelLabel] == "http"
	for _, ip := range append([]corev1.PodIP{{IP: o.Status.PodIP}}, o.Status.PodIPs...) {
		address, err := netip.ParseAddr(ip.IP)
		if err != nil || o.Spec.HostNetwork {
			continue
		}
		d.ambient.pods[address] = pod
		if pod.Captured {
			d.ambient.unfollowed[address] = fmt.Sprintf("pod %s/%s is in ambient mode, and what ztunnel lets in is not followed", o.Namespace, o.Name)
		}
		if waypoint := labels[waypointLabel]; waypoint != "" && waypoint != "none" {
			d.ambient.waypoints[address] = fmt.Sprintf("pod %s/%s is behind the waypoint %s, whose rules are not followed", o.Namespace, o.Name, waypoint)
		}
	}
}

// addFront is about what is said of all workloads of a Service
// (https://istio.io/latest/docs/ambient/usage/waypoint/).
func (d *Directory) addFront(o *corev1.Service) {
	s := d.services[model.Name{Namespace: o.Namespace, Name: o.Name}]
	if s == nil {
		return
	}
	labels := over(d.ambient.namespaces[o.Namespace], o.Labels)
	waypoint := labels[waypointLabel]
	behind := fmt.Sprintf("Service %s/%s is behind the waypoint %s, whose rules are not followed", o.Namespace, o.Name, waypoint)
	for _, address := range s.Endpoints {
		switch {
		case waypoint != "" && waypoint != "none":
			d.ambient.waypoints[address] = behind
		case labels[dataplaneLabel] == "ambient" && d.ambient.pods[address] == nil:
			d.ambient.unfollowed[address] = fmt.Sprintf("Service %s/%s is in ambient mode, and what ztunnel lets in is not followed", o.Namespace, o.Name)
		}
	}
}

// Unfollowed says why nothing is known of the rules before a workload without a
// sidecar: a proxy of ambient mode stands there. Empty for others.
func (d *Directory) Unfollowed(address netip.Addr) string {
	if why := d.ambient.waypoints[address]; why != "" {
		return why
	}
	return d.ambient.unfollowed[address]
}

// Waypoint is the same for waypoints alone.
func (d *Directory) Waypoint(address netip.Addr) string { return d.ambient.waypoints[address] }

// Ambient is what ambient mode makes of the pod at an address; nil where none is known.
func (d *Directory) Ambient(address netip.Addr) *AmbientPod { return d.ambient.pods[address] }
