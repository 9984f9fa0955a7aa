// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package istiod

import (
	"slices"

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
func newPlan(f *followed) *plan {
	p := &plan{proxies: map[proxyKey]*proxyPlan{}}
	for _, target := range f.targets {
		p.owners = append(p.owners, p.owner(f, target))
	}
	return p
}

// written is what was written, in the form in which it is looked for. It is
// immutable: the next one shares what has not changed.
type written struct {
	versions    map[model.Reference]*controller.Written
	recognisers map[model.Reference]*recogniser
	doors       gateways
}

// next reads those of the objects that have been written since, and forgets what
// is not among the targets any more.
func (w *written) next(targets []controller.ProgrammedTarget, objects []compile.Packed) (*written, error) {
	n := &written{
		versions:    make(map[model.Reference]*controller.Written, len(w.versions)),
		recognisers: make(map[model.Reference]*recogniser, len(w.recognisers)),
		doors:       gateways{},
	}
	for _, target := range targets {
		for _, o := range target.Objects {
			n.versions[o.Ref] = o
		}
	}
	for _, object := range objects {
		version, followed := n.versions[object.Ref]
		if !followed {
			continue
		}
		r := w.recognisers[object.Ref]
		if was, known := w.versions[object.Ref]; !known || *was != *version {
			var err error
			if r, err = newRecogniser(object); err != nil {
				return nil, err
			}
		}
		if n.recognisers[object.Ref] = r; r != nil && r.door != nil {
			n.doors[model.Name{Namespace: r.ref.Namespace, Name: r.ref.Name}] = r.door
		}
	}
	return n, nil
}

func (p *plan) owner(f *followed, target controller.ProgrammedTarget) ownerPlan {
	out := ownerPlan{target: target}
	taken := map[proxyKey]bool{}
	for _, selector := range target.Proxies {
		workloads := f.snapshot.Selected(selector.Namespace, selector.Selector)
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
				r := f.written.recognisers[written.Ref]
				if r == nil || !r.reaches(f.written.doors, workload.Ref.Namespace, workload.Labels) {
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
