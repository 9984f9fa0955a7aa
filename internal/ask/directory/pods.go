// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package directory

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/internal/model"
)

// Pod is one that runs, with the names that people know it by.
type Pod struct {
	Name model.Name
	// Owner is the name of the Deployment, Job or other object that it belongs to; empty
	// for none.
	Owner string
	// Account is its ServiceAccount.
	Account string
	Address netip.Addr
}

// addPod leaves out pods in ambient mode: they send by a proxy that is not theirs.
func (d *Directory) addPod(o *corev1.Pod) {
	ambient := cmp.Or(o.Labels[dataplaneLabel], d.ambient.namespaces[o.Namespace][dataplaneLabel])
	address, err := netip.ParseAddr(o.Status.PodIP)
	if err != nil || ambient == "ambient" || o.Status.Phase == corev1.PodSucceeded || o.Status.Phase == corev1.PodFailed {
		return
	}
	d.pods = append(d.pods, Pod{
		Name: model.Name{Namespace: o.Namespace, Name: o.Name}, Owner: ownerOf(o), Account: o.Spec.ServiceAccountName, Address: address,
	})
}

// ownerOf is what people made: a Deployment, and not its ReplicaSet, which has the
// Deployment's name and the hash of the template.
func ownerOf(o *corev1.Pod) string {
	owner := metav1.GetControllerOf(o)
	if owner == nil {
		return ""
	}
	if hash := o.Labels["pod-template-hash"]; owner.Kind == "ReplicaSet" && hash != "" {
		return strings.TrimSuffix(owner.Name, "-"+hash)
	}
	return owner.Name
}

// Pod finds a pod by its name, else one by that of its owner, else one by its account.
func (d *Directory) Pod(name model.Name) (Pod, bool) {
	for _, is := range []func(Pod) bool{
		func(p Pod) bool { return p.Name.Name == name.Name },
		func(p Pod) bool { return p.Owner == name.Name },
		func(p Pod) bool { return p.Account == name.Name },
	} {
		if at := slices.IndexFunc(d.pods, func(p Pod) bool { return p.Name.Namespace == name.Namespace && is(p) }); at >= 0 {
			return d.pods[at], true
		}
	}
	return Pod{}, false
}
