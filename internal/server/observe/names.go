// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/ask/directory"
	"github.com/trellis-mesh/trellis/internal/mtls/sighting"
	"github.com/trellis-mesh/trellis/internal/xds"
)

const (
	// rename is the least time between two lookups that are made anew.
	rename = time.Second
	// linger is how long a pod that is gone keeps its name: what its proxy has logged comes
	// later, and what was logged about it.
	linger = 5 * time.Minute
)

// naming is what names workloads, made anew when one of namers has changed.
type naming struct {
	changed atomic.Bool

	mu   sync.Mutex
	made time.Time
	last *lookup
}

// namers are the watches that names are made from.
var namers = []string{"pods", "services", "endpointslices", "workloadentries.networking.istio.io"}

// onEvent is what a watch calls.
func (o *Observer) onEvent(name string) func() {
	naming, joining := slices.Contains(namers, name), o.joins(name)
	return func() {
		if naming {
			o.names.changed.Store(true)
		}
		if joining {
			o.tell(&o.joining)
		}
		o.signal()
	}
}

// lookup are the names of a moment, and those of pods that went a while ago.
type lookup struct {
	*sighting.Names
	goneAt   map[netip.Addr]gone
	gonePods map[accesslog.Writer]gone
}

type gone struct {
	workload *sighting.Workload
	until    time.Time
}

// At implements sighting.Who.
func (l *lookup) At(a netip.Addr) *sighting.Workload {
	if w := l.Names.At(a); w != nil {
		return w
	}
	return l.goneAt[a].workload
}

// Pod implements sighting.Who.
func (l *lookup) Pod(w accesslog.Writer) *sighting.Workload {
	if known := l.Names.Pod(w); known != nil {
		return known
	}
	return l.gonePods[w].workload
}

// Who names the workloads of the cluster as they are now, but for the last second; nil as
// long as something has not been read.
func (o *Observer) Who(now time.Time) sighting.Who {
	n := &o.names
	n.mu.Lock()
	defer n.mu.Unlock()
	fresh := now.Sub(n.made) < rename && !now.Before(n.made)
	if n.last != nil && (fresh || !n.changed.Load() && now.Sub(n.made) < linger) {
		return n.last
	}
	n.changed.Store(false)
	names, ok := o.namesNow()
	if !ok {
		n.changed.Store(true)
		if n.last == nil {
			return nil
		}
		return n.last
	}
	n.last, n.made = follows(n.last, names, now), now
	return n.last
}

// follows keeps what is gone for a while.
func follows(last *lookup, names *sighting.Names, now time.Time) *lookup {
	out := &lookup{Names: names, goneAt: map[netip.Addr]gone{}, gonePods: map[accesslog.Writer]gone{}}
	if last == nil {
		return out
	}
	for a, g := range last.goneAt {
		if now.Before(g.until) {
			out.goneAt[a] = g
		}
	}
	for w, g := range last.gonePods {
		if now.Before(g.until) {
			out.gonePods[w] = g
		}
	}
	for a, w := range last.Addresses {
		if names.At(a) == nil {
			out.goneAt[a] = gone{w, now.Add(linger)}
		}
	}
	for pod, w := range last.Pods {
		if names.Pod(pod) == nil {
			out.gonePods[pod] = gone{w, now.Add(linger)}
		}
	}
	return out
}

// namesNow reads what is cached. False: something has not been read.
func (o *Observer) namesNow() (*sighting.Names, bool) {
	var objects []runtime.Object
	var pods []*corev1.Pod
	var entries []xds.Entry
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.unread() != nil {
		return nil, false
	}
	for _, name := range namers {
		w := o.watches[name]
		if w == nil {
			continue // a kind that the cluster does not have
		}
		for _, object := range w.objects() {
			switch object := object.(type) {
			case *corev1.Pod:
				pods = append(pods, object)
				continue
			case *networkingv1.WorkloadEntry:
				entries = append(entries, xds.Entry{Namespace: object.Namespace, Name: object.Name, Labels: object.Labels, Spec: &object.Spec})
			}
			objects = append(objects, object)
		}
	}
	return sighting.NewNames(directory.New(objects, o.options.Mesh.ClusterDomain), pods, entries), true
}
