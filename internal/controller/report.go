// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/controller/policystatus"
	"github.com/trellis-mesh/trellis/internal/model"
)

// report brings all statuses up to date, and says what it left for later.
func (r *Reconciler) report(ctx context.Context, done *round) (written, error) {
	began := r.clock.Now()
	now := metav1.NewTime(began).Rfc3339Copy()
	there := map[types.UID]bool{}
	var writes []statusWrite
	for _, a := range done.state.Input.Applications {
		there[a.UID] = true
		writes = append(writes, r.applicationStatus(done, a, now))
	}
	for _, i := range done.state.Input.SecureIngresses {
		there[i.UID] = true
		writes = append(writes, r.ingressStatus(done, i, now))
	}
	for _, s := range r.policyStatuses(done) {
		there[s.Object.GetUID()] = true
		s.Settle(settle(now, s.Before, s.After))
		writes = append(writes, statusWrite{ref: s.Ref, uid: s.Object.GetUID(), was: s.Was, is: s.Is, before: s.Before, after: s.After})
	}
	r.statuses.keep(there)
	out, err := r.statuses.write(ctx, writes, r.stale.Load)
	r.events.accepted(done, out.done)
	r.metrics.reported(r.clock.Now().Sub(began), done, len(out.done), r.inbox.counts())
	return out, err
}

// policyStatuses are those of goals, templates, bindings and exceptions; none while
// nothing was compiled.
func (r *Reconciler) policyStatuses(done *round) []*policystatus.Status {
	if done.outcome.Policies == nil {
		return nil
	}
	problems := func(of model.Reference) []v1alpha1.Problem { return problemsOf(done.findings[of]) }
	return policystatus.All(done.snapshot, done.posture, problems, func(o metav1.Object, cached any) any {
		return r.statuses.known(o.GetUID(), o.GetResourceVersion(), cached)
	})
}

func (r *Reconciler) applicationStatus(done *round, a *v1alpha1.Application, now metav1.Time) statusWrite {
	ref := reference(done.state.Input.Mesh.Cluster, kindApplication, a)
	was, _ := r.statuses.known(a.UID, a.ResourceVersion, &a.Status).(*v1alpha1.ApplicationStatus)
	if was == nil {
		was = &v1alpha1.ApplicationStatus{}
	}
	outcome := done.outcome.Applications[ref]
	if outcome == nil {
		outcome = &compile.ApplicationOutcome{Ref: ref}
	}
	f := r.factsOf(done, ref, a.Generation, outcome.Accepted, outcome.Generated, outcome.Probes)
	f.paused, f.exposed, f.tests = isPaused(a), len(a.Spec.Exposures) > 0, len(a.Spec.Tests)
	done.tested(a, f)
	is := &v1alpha1.ApplicationStatus{
		ObservedGeneration: a.Generation,
		Conditions:         settle(now, was.Conditions, conditions(f)),
		Addresses:          outcome.Addresses[:min(len(outcome.Addresses), maxAddresses)],
		Generated:          generatedObjects(outcome.Generated),
		Policies:           policystatus.Bound(done.posture, ref),
		Problems:           problemsOf(f.problems),
	}
	return statusWrite{ref: ref, uid: a.UID, was: was, is: is, before: was.Conditions, after: is.Conditions}
}

func (r *Reconciler) ingressStatus(done *round, i *v1alpha1.SecureIngress, now metav1.Time) statusWrite {
	ref := reference(done.state.Input.Mesh.Cluster, kindSecureIngress, i)
	was, _ := r.statuses.known(i.UID, i.ResourceVersion, &i.Status).(*v1alpha1.SecureIngressStatus)
	if was == nil {
		was = &v1alpha1.SecureIngressStatus{}
	}
	outcome := done.outcome.Ingresses[ref]
	if outcome == nil {
		outcome = &compile.IngressOutcome{Ref: ref}
	}
	f := r.factsOf(done, ref, i.Generation, outcome.Accepted, outcome.Generated, outcome.Probes)
	f.paused, f.exposed = isPaused(i), len(outcome.Hosts) > 0
	done.undelegated(i, f)
	is := &v1alpha1.SecureIngressStatus{
		ObservedGeneration: i.Generation,
		Conditions:         settle(now, was.Conditions, conditions(f)),
		HostCount:          int32(len(outcome.Hosts)),
		Hosts:              outcome.Hosts[:min(len(outcome.Hosts), maxHosts)],
		DNSEntries:         outcome.Entries[:min(len(outcome.Entries), maxHosts)],
		Generated:          generatedObjects(outcome.Generated),
		Problems:           problemsOf(f.problems),
	}
	return statusWrite{ref: ref, uid: i.UID, was: was, is: is, before: was.Conditions, after: is.Conditions}
}

// factsOf collects what is known of an owner.
func (r *Reconciler) factsOf(done *round, ref model.Reference, generation int64, accepted bool, generated []model.Reference, probes []compile.Probe) *facts {
	f := &facts{
		owner: ref, generation: generation, blockers: done.state.Blockers, accepted: accepted,
		problems: done.findings[ref], unwritten: done.unwritten[ref],
		generated: len(generated), probes: probes, result: r.inbox.result,
	}
	f.certificates, f.records = done.kept(generated, r.clock.Now())
	for _, unread := range done.state.Findings {
		if unread.Object == ref && unread.Severity == model.SeverityError {
			f.accepted = false
		}
	}
	if r.programmed == nil {
		f.programmed = &Verdict{Status: metav1.ConditionUnknown, Reason: "NotObserved", Message: "this operator does not ask istiod what the proxies have"}
		return f
	}
	if t, ok := done.targets[ref]; ok {
		if v, ok := r.inbox.verdict(t); ok {
			f.programmed = &v
		}
	}
	return f
}
