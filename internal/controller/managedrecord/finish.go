// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedrecord

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/dns"
)

// writers is how many statuses are written at once.
const writers = 8

// maxZones is how many zones a status names.
const maxZones = 64

// finish writes down what became of each record, and lets go of those that are
// deleted and have nothing left.
func (at *round) finish(ctx context.Context) error {
	phases := map[string]int{}
	errs := make([]error, len(at.records))
	var group sync.WaitGroup
	slots := make(chan struct{}, writers)
	for i, e := range at.records {
		if e.gone() {
			continue
		}
		phases[string(e.phase())]++
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			errs[i] = at.finishOne(ctx, e)
		})
	}
	group.Wait()
	at.metrics.counted(at.key, phases)
	return few(errs)
}

// few joins errors; conflicts are told only where there is nothing worse.
func few(errs []error) error {
	const most = 3
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	worse := slices.DeleteFunc(slices.Clone(errs), func(err error) bool { return apierrors.IsConflict(err) })
	if len(worse) > 0 {
		errs = worse
	}
	if len(errs) > most {
		return errors.Join(append(errs[:most:most], fmt.Errorf("and %d more", len(errs)-most))...)
	}
	return errors.Join(errs...)
}

func (at *round) finishOne(ctx context.Context, e *entry) error {
	at.tellWritten(e)
	if at.done(e) {
		return at.release(ctx, e)
	}
	was, is := e.record.Status, at.status(e)
	if len(is.Owned) > 0 {
		if err := at.take(ctx, e); err != nil {
			return gone(err)
		}
	}
	if equality.Semantic.DeepEqual(was, is) {
		return nil
	}
	written, err := patch(ctx, at.Reconciler, e.record, true, func(r *v1alpha1.ManagedRecord) { r.Status = *is.DeepCopy() })
	if err != nil {
		return gone(err)
	}
	e.record = written
	at.tellTrouble(e, was, is)
	return nil
}

// gone is nil where there is nobody left to tell.
func gone(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// gone reports whether a record is deleted and kept by others only.
func (e *entry) gone() bool { return e.deleting() && !e.held() }

// done reports whether a record that is deleted has nothing left that must be
// taken back.
func (at *round) done(e *entry) bool {
	switch {
	case !e.deleting():
		return false
	case e.trouble != nil:
		// Without a provider there is no way to look; with one, there will be.
		return e.retains() || at.provider == nil && len(e.record.Status.Owned) == 0
	case len(e.outcomes) == 0:
		return true
	}
	o := e.worst()
	unreachable := o.Class == dns.ClassNoZone || o.Class == dns.ClassCredentials
	return o.Phase == dns.PhaseDone || unreachable && e.retains()
}

// release lets a record go.
func (at *round) release(ctx context.Context, e *entry) error {
	released, err := patch(ctx, at.Reconciler, e.record, false, func(r *v1alpha1.ManagedRecord) { controllerutil.RemoveFinalizer(r, Finalizer) })
	if gone(err) != nil {
		return err
	}
	e.record, e.released = released, true
	return nil
}

// finishProvider writes down what is known of the account, and lets the provider
// go where it is deleted and nothing depends on it.
func (at *round) finishProvider(ctx context.Context, zones []dns.Zone, t *trouble) error {
	p := at.provider
	dependents := at.dependents()
	deleting := !p.DeletionTimestamp.IsZero()
	if deleting && len(dependents) == 0 {
		if !controllerutil.ContainsFinalizer(p, Finalizer) {
			return nil
		}
		_, err := patch(ctx, at.Reconciler, p, false, func(p *v1alpha1.DNSProvider) { controllerutil.RemoveFinalizer(p, Finalizer) })
		at.newest.drop(p.UID)
		return gone(err)
	}
	is := *p.Status.DeepCopy()
	is.ObservedGeneration = p.Generation
	none := t == nil && len(zones) == 0
	if none {
		t = at.noZones()
	}
	ready := metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: reasonReady, Message: count(len(zones), "zone") + " can be written to",
		ObservedGeneration: p.Generation, LastTransitionTime: metav1.NewTime(at.now),
	}
	if zones != nil || none {
		is.Zones = zonesOf(zones)
	}
	if t != nil {
		ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, t.reason, clip(t.message, maxMessage)
	}
	if deleting {
		ready.Status, ready.Reason = metav1.ConditionFalse, reasonInUse
		message := fmt.Sprintf("it is deleted once no ManagedRecord has entries there, and %s: %s", count(len(dependents), "does"), some(dependents))
		if t != nil {
			message += "; " + t.message
		}
		ready.Message = clip(message, maxMessage)
	}
	meta.SetStatusCondition(&is.Conditions, ready)
	stall(&is.Conditions, ready)
	if equality.Semantic.DeepEqual(p.Status, is) {
		return nil
	}
	_, err := patch(ctx, at.Reconciler, p, true, func(p *v1alpha1.DNSProvider) { p.Status = *is.DeepCopy() })
	return gone(err)
}

func zonesOf(zones []dns.Zone) []v1alpha1.DNSZone {
	var out []v1alpha1.DNSZone
	for _, z := range zones[:min(len(zones), maxZones)] {
		out = append(out, v1alpha1.DNSZone{Name: string(z.Name), ID: z.ID})
	}
	return out
}
