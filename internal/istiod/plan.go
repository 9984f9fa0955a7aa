// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package istiod

import (
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/controller"
	"github.com/trellis-mesh/trellis/internal/model"
)

// plan is what is followed: who must have received what. It is immutable.
type plan struct {
	owners  []ownerPlan
	proxies map[proxyKey]*proxyPlan
}

// proxyKey names a workload as istiod sees it: by its address.
type proxyKey struct{ namespace, address string }

// proxyPlan is one ready workload and all that it must have received.
type proxyPlan struct {
	key      proxyKey
	workload model.Workload
	objects  map[model.Reference]*recogniser
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

// newPlan joins targets with the objects that were written and the workloads
// that they select.
func newPlan(snapshot *model.Snapshot, targets []controller.ProgrammedTarget, objects []compile.Object) (*plan, error) {
	known := make(map[model.Reference]*recogniser, len(objects))
	for _, object := range objects {
		r, err := newRecogniser(object)
		if err != nil {
			return nil, err
		}
		if r != nil {
			known[object.Ref] = r
		}
	}
	p := &plan{proxies: map[proxyKey]*proxyPlan{}}
	for _, target := range targets {
		p.owners = append(p.owners, p.owner(snapshot, target, known))
	}
	return p, nil
}

func (p *plan) owner(snapshot *model.Snapshot, target controller.ProgrammedTarget, known map[model.Reference]*recogniser) ownerPlan {
	out := ownerPlan{target: target}
	taken := map[proxyKey]bool{}
	for _, selector := range target.Proxies {
		for _, workload := range snapshot.Selected(selector.Namespace, selector.Selector) {
			key := proxyKey{workload.Ref.Namespace, workload.Address}
			if !workload.Ready || workload.Address == "" {
				out.idle++
				continue
			}
			if taken[key] {
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

func (p *plan) proxy(key proxyKey, workload model.Workload) *proxyPlan {
	if p.proxies[key] == nil {
		p.proxies[key] = &proxyPlan{key: key, workload: workload, objects: map[model.Reference]*recogniser{}}
	}
	return p.proxies[key]
}
