// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package istiod

import (
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/controller"
	"github.com/trellis-mesh/trellis/internal/model"
)

// plan is what is followed: who must have received what. It is immutable.
type plan struct {
	owners  []ownerPlan
	proxies map[proxyKey]*proxyPlan
}

// proxyKey names a proxy as istiod does: by its pod.
type proxyKey struct{ namespace, name string }

// proxyPlan is one ready workload and all that it must have received.
type proxyPlan struct {
	key      proxyKey
	workload model.Workload
	objects  map[model.Reference]*recogniser
}

// has tells whether any of the objects travels in resources of a type.
func (p *proxyPlan) has(t resourceType) bool {
	for _, object := range p.objects {
		if slices.Contains(object.types, t) {
			return true
		}
	}
	return false
}

// ownerPlan is one owner's part of it, proxy by proxy in order.
type ownerPlan struct {
	target controller.ProgrammedTarget
	needs  []need
	// idle are workloads that are not ready: nobody waits for those.
	idle int
}

type need struct {
	proxy   *proxyPlan
	objects []*recogniser
}

// newPlan joins targets with the workloads that they select.
func newPlan(snapshot *model.Snapshot, targets []controller.ProgrammedTarget, known map[model.Reference]*recogniser) *plan {
	p := &plan{proxies: map[proxyKey]*proxyPlan{}}
	for _, target := range targets {
		p.owners = append(p.owners, p.owner(snapshot, target, known))
	}
	return p
}

// written keeps the recognisers of what was written, so that only a write costs
// reading it, and not every change of a pod.
type written struct {
	versions    map[model.Reference]controller.Written
	recognisers map[model.Reference]*recogniser
}

func newWritten() *written {
	return &written{versions: map[model.Reference]controller.Written{}}
}

// update asks for the objects when one of them has been written since.
func (w *written) update(f *followed, objects func(*model.Snapshot) []compile.Object) error {
	versions := make(map[model.Reference]controller.Written, len(w.versions))
	changed := false
	for _, target := range f.targets {
		for _, o := range target.Objects {
			versions[o.Ref] = o
			was, ok := w.versions[o.Ref]
			changed = changed || !ok || was != o
		}
	}
	if !changed {
		return nil
	}
	recognisers, err := recogniseAll(objects(f.snapshot))
	if err != nil {
		return err
	}
	w.versions, w.recognisers = versions, recognisers
	return nil
}

func recogniseAll(objects []compile.Object) (map[model.Reference]*recogniser, error) {
	doors := gateways{}
	for _, object := range objects {
		if g, ok := object.Value.(*networkingv1.Gateway); ok {
			doors[model.Name{Namespace: g.Namespace, Name: g.Name}] = g.Spec.GetSelector()
		}
	}
	known := make(map[model.Reference]*recogniser, len(objects))
	for _, object := range objects {
		r, err := newRecogniser(object, doors)
		if err != nil {
			return nil, err
		}
		if r != nil {
			known[object.Ref] = r
		}
	}
	return known, nil
}

func (p *plan) owner(snapshot *model.Snapshot, target controller.ProgrammedTarget, known map[model.Reference]*recogniser) ownerPlan {
	out := ownerPlan{target: target}
	taken := map[proxyKey]bool{}
	for _, selector := range target.Proxies {
		workloads := snapshot.Selected(selector.Namespace, selector.Selector)
		for _, workload := range workloads {
			key := proxyKey{workload.Ref.Namespace, workload.Ref.Name}
			switch {
			case taken[key] || shadowed(workload, workloads):
				continue
			case !workload.Ready || workload.Address == "":
				out.idle++
				continue
			}
			taken[key] = true
			n := need{proxy: p.proxy(key, workload)}
			for _, written := range target.Objects {
				r := known[written.Ref]
				if r == nil || !r.reaches(workload.Ref.Namespace, workload.Labels) {
					continue
				}
				n.proxy.objects[r.ref] = r
				n.objects = append(n.objects, r)
			}
			out.needs = append(out.needs, n)
		}
	}
	return out
}

// shadowed: a WorkloadEntry may stand for a pod, which then has the proxy.
func shadowed(workload model.Workload, all []model.Workload) bool {
	return workload.Ref.Kind != "Pod" && slices.ContainsFunc(all, func(w model.Workload) bool {
		return w.Ref.Kind == "Pod" && w.Address == workload.Address
	})
}

func (p *plan) proxy(key proxyKey, workload model.Workload) *proxyPlan {
	if p.proxies[key] == nil {
		p.proxies[key] = &proxyPlan{key: key, workload: workload, objects: map[model.Reference]*recogniser{}}
	}
	return p.proxies[key]
}
