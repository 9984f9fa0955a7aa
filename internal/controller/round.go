// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/apply"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/gather"
	"github.com/trellis-mesh/trellis/internal/inforce"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/model/delegation"
	"github.com/trellis-mesh/trellis/internal/posture"
)

// round is what one rebuild came to, as far as statuses need it. The generated
// objects themselves are let go: together they are the largest thing there is.
type round struct {
	// state has what is stated; input is what of it is in force.
	state    gather.State
	input    model.Input
	snapshot *model.Snapshot
	// standing is how it stands with each Application, nil where nobody waits for
	// tests; unrecorded is why something that is in force could not be recorded.
	standing   map[types.UID]*inforce.Standing
	bulletin   bulletin
	unrecorded error
	findings   map[model.Reference][]model.Finding
	outcome    *compile.Outcome
	posture    *posture.Posture
	// generated is everything, until the sources of status have taken what they
	// need of it.
	generated []compile.Packed
	// unwritten is the first object of each owner that could not be written.
	unwritten map[model.Reference]*model.Finding
	targets   map[model.Reference]ProgrammedTarget
	conflicts []apply.Conflict
	result    apply.Result
	desired   int
}

// findingsOf groups findings by object. Those of gathering replace what the
// compiler had to say about the same field: it did not know why.
func findingsOf(gathered, compiled []model.Finding) map[model.Reference][]model.Finding {
	type place struct {
		object model.Reference
		field  string
	}
	known := map[place]bool{}
	for _, f := range gathered {
		known[place{f.Object, f.Field}] = true
	}
	out := map[model.Reference][]model.Finding{}
	for _, f := range gathered {
		out[f.Object] = append(out[f.Object], f)
	}
	for _, f := range compiled {
		if !known[place{f.Object, f.Field}] {
			out[f.Object] = append(out[f.Object], f)
		}
	}
	for object := range out {
		slices.SortStableFunc(out[object], func(a, b model.Finding) int { return rank(a) - rank(b) })
	}
	return out
}

func rank(f model.Finding) int {
	if f.Severity == model.SeverityError {
		return 0
	}
	return 1
}

// blame turns what could not be written into findings about the owners.
func (r *round) blame(conflicts []apply.Conflict, failures []apply.Failure) {
	r.unwritten = map[model.Reference]*model.Finding{}
	add := func(o compile.Packed, f model.Finding) {
		for _, owner := range o.Owners {
			f := f
			f.Severity, f.Object = model.SeverityError, owner
			if r.unwritten[owner] == nil {
				r.unwritten[owner] = &f
			}
			r.findings[owner] = append([]model.Finding{f}, r.findings[owner]...)
		}
	}
	for _, c := range conflicts {
		add(c.Object, conflictFinding(c))
	}
	for _, f := range failures {
		add(f.Object, model.Finding{
			Reason: f.Reason, Message: f.Message, Owner: "the API server of this cluster",
			Fix: "the operator tries again when something changes; see its log for every attempt",
		})
	}
}

func conflictFinding(c apply.Conflict) model.Finding {
	who := "somebody who left no trace"
	if len(c.Managers) > 0 {
		var names []string
		for _, m := range c.Managers {
			names = append(names, m.Name)
		}
		who = strings.Join(slices.Compact(names), ", ")
	}
	return model.Finding{
		Reason: "Conflict",
		Message: fmt.Sprintf("%s exists and was not made by Trellis (it is managed by %s), so it is not touched, and routes that need it are closed",
			c.Object.Ref, who),
		Owner: who,
		Fix:   fmt.Sprintf("delete or rename %s in namespace %s", c.Object.Ref.Kind+" "+c.Object.Ref.Name, c.Object.Ref.Namespace),
	}
}

// writtenObjects are all generated objects that are in the cluster.
func writtenObjects(ledger *apply.Ledger, live []apply.Live, began time.Time) map[model.Reference]*Written {
	all := make([]Written, len(live))
	out := make(map[model.Reference]*Written, len(live))
	for i := range live {
		l := &live[i]
		all[i] = Written{Ref: l.Ref, At: began, UID: string(l.UID), ResourceVersion: l.ResourceVersion}
		if at, ok := ledger.WrittenAt(l.Ref); ok {
			all[i].At = at
		}
		out[l.Ref] = &all[i]
	}
	return out
}

// target says what must reach the proxies of an owner. What is not in the
// cluster, as after a refusal, is awaited from when this process began.
func (r *round) target(written map[model.Reference]*Written, began time.Time, owner model.Reference, generated []model.Reference, proxies []compile.WorkloadSelector) {
	t := ProgrammedTarget{Owner: owner, Objects: make([]*Written, 0, len(generated))}
	for _, p := range proxies {
		if len(p.Selector) > 0 {
			t.Proxies = append(t.Proxies, p)
		}
	}
	for _, ref := range generated {
		// What no proxy ever sees is not awaited.
		if ref.Group == v1alpha1.GroupName || ref.Kind == "ConfigMap" || isDelegated(ref) {
			continue
		}
		if written[ref] == nil {
			written[ref] = &Written{Ref: ref, At: began}
		}
		t.Objects = append(t.Objects, written[ref])
	}
	slices.SortFunc(t.Objects, func(a, b *Written) int { return a.Ref.Compare(b.Ref) })
	r.targets[owner] = t
}

// kept finds what the controllers of certificates and entries say of those among
// the generated objects.
func (r *round) kept(generated []model.Reference, now time.Time) (certificates, records []kept) {
	for _, ref := range generated {
		name := model.Name{Namespace: ref.Namespace, Name: ref.Name}
		switch {
		case ref.Group == delegation.CertManagerGroup:
			certificates = append(certificates, keptCertificate(ref, r.snapshot.DelegatedCertificate(name), now))
		case ref.Group == delegation.ExternalDNSGroup:
			records = append(records, keptEndpoint(ref, r.snapshot.DelegatedEndpoint(name)))
		case ref.Group != v1alpha1.GroupName:
		case ref.Kind == "ManagedCertificate":
			k := kept{name: ref.Kind + " " + ref.Name}
			if c := r.snapshot.ManagedCertificate(name); c != nil {
				k.ready = meta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionReady)
			}
			certificates = append(certificates, k)
		case ref.Kind == "ManagedRecord":
			k := kept{name: ref.Kind + " " + ref.Name}
			if c := r.snapshot.ManagedRecord(name); c != nil {
				k.ready = meta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionReady)
			}
			records = append(records, k)
		}
	}
	return certificates, records
}

// follow lists what the sources are to watch. Probes of an ingress are those of
// its Applications, which are asked for once.
func (r *round) follow() (programmed []ProgrammedTarget, probed []ProbeTarget) {
	for _, t := range r.targets {
		if len(t.Objects) > 0 {
			programmed = append(programmed, t)
		}
	}
	for ref, a := range r.outcome.Applications {
		if len(a.Probes) > 0 {
			probed = append(probed, ProbeTarget{Owner: ref, Probes: a.Probes})
		}
	}
	slices.SortFunc(programmed, func(a, b ProgrammedTarget) int { return a.Owner.Compare(b.Owner) })
	slices.SortFunc(probed, func(a, b ProbeTarget) int { return a.Owner.Compare(b.Owner) })
	return programmed, probed
}

// frozen says whose objects are left as they are: those of a paused owner, and
// those that were made for paused Applications alone. An Application that shares
// an object with others cannot hold up theirs.
func frozen(in model.Input, cluster string) apply.Frozen {
	paused := map[model.Reference]bool{}
	for _, a := range in.Applications {
		if isPaused(a) {
			paused[reference(cluster, kindApplication, a)] = true
		}
	}
	for _, i := range in.SecureIngresses {
		if isPaused(i) {
			paused[reference(cluster, kindSecureIngress, i)] = true
		}
	}
	return func(owners []model.Reference) bool {
		if len(paused) == 0 || len(owners) == 0 {
			return false
		}
		if paused[owners[0]] {
			return true
		}
		applications, stopped := 0, 0
		for _, o := range owners {
			if o.Kind == string(kindApplication) {
				applications++
				if paused[o] {
					stopped++
				}
			}
		}
		return applications > 0 && applications == stopped
	}
}

// keeps reports whether an object that does not follow any more is kept, since its
// owner is there and what it stated cannot be told right now.
func (r *round) keeps(object, owner model.Reference) bool {
	switch {
	case apply.Restricts(object), apply.Introduces(object):
		// What a workload may call goes with what limits it to that.
		return r.unresolved(owner) || r.suspended(owner)
	case apply.Outside(object):
		in := r.outcome.Ingresses[owner]
		return in != nil && (!in.Accepted || in.Awaits)
	}
	return false
}

// unresolved reports whether an owner is there and its workload cannot be told,
// as when its Service is gone: what restricts that workload is kept.
func (r *round) unresolved(owner model.Reference) bool {
	if a := r.outcome.Applications[owner]; a != nil {
		return len(a.Workloads.Selector) == 0
	}
	in := r.outcome.Ingresses[owner]
	return in != nil && len(in.Workloads.Selector) == 0
}

type named interface {
	GetNamespace() string
	GetName() string
	GetAnnotations() map[string]string
}

func isPaused(o named) bool { return o.GetAnnotations()[v1alpha1.PausedAnnotation] == "true" }

func reference(cluster string, kind ownerKind, o named) model.Reference {
	return model.Reference{Cluster: cluster, Group: v1alpha1.GroupName, Kind: string(kind), Namespace: o.GetNamespace(), Name: o.GetName()}
}

// without is the same input less some owners, so that no route of theirs is
// compiled.
func without(in model.Input, cluster string, owners map[model.Reference]bool) model.Input {
	in.Applications = slices.DeleteFunc(slices.Clone(in.Applications), func(a *v1alpha1.Application) bool {
		return owners[reference(cluster, kindApplication, a)]
	})
	in.SecureIngresses = slices.DeleteFunc(slices.Clone(in.SecureIngresses), func(i *v1alpha1.SecureIngress) bool {
		return owners[reference(cluster, kindSecureIngress, i)]
	})
	return in
}
