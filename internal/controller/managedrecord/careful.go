// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedrecord

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/dns"
)

// careful is a provider that is written to only after it was written down, at the
// API server, that it may have been.
type careful struct {
	dns.Provider
	at *round
}

// Apply prepares for a crash in the middle, and passes on.
func (c *careful) Apply(ctx context.Context, zone dns.Zone, changes []dns.Change) (dns.Receipt, error) {
	for _, change := range changes {
		err := c.at.prepare(ctx, change)
		switch {
		case err == nil:
		case apierrors.IsConflict(err), apierrors.IsNotFound(err), apierrors.IsInvalid(err), apierrors.IsForbidden(err):
			// It is about this record: the others of the batch can go on.
			return "", fmt.Errorf("preparing to write %s: %w: %w", change.Name, dns.ErrStale, err)
		default:
			return "", fmt.Errorf("preparing to write %s: %w", change.Name, err)
		}
	}
	return c.Provider.Apply(ctx, zone, changes)
}

// prepare puts our finalizer on whatever a change is for, and the values of texts
// into its status.
func (at *round) prepare(ctx context.Context, change dns.Change) error {
	shared := sharesTexts(change)
	for _, e := range at.records {
		for _, w := range e.wishes {
			if w.Name != change.Name || w.Shared != shared || w.DryRun || e.deleting() {
				continue
			}
			if err := at.take(ctx, e); err != nil {
				return err
			}
			owned, more := withTexts(e.record.Status.Owned, w.Sets)
			if !shared || !more && !e.record.Status.Spread {
				continue
			}
			written, err := patch(ctx, at.Reconciler, e.record, true, func(r *v1alpha1.ManagedRecord) {
				r.Status.Owned, r.Status.Spread, r.Status.Receipt = owned, false, ""
			})
			if err != nil {
				return err
			}
			e.record = written
		}
	}
	return nil
}

// take puts our finalizer on a record and, before that, on its provider.
func (at *round) take(ctx context.Context, e *entry) error {
	if e.held() || e.deleting() {
		return nil
	}
	if err := at.hold(ctx); err != nil {
		return err
	}
	held, err := patch(ctx, at.Reconciler, e.record, false, func(r *v1alpha1.ManagedRecord) { controllerutil.AddFinalizer(r, Finalizer) })
	if err == nil {
		e.record = held
	}
	return err
}

// sharesTexts reports whether a change is about texts that several resources may
// have at a name.
func sharesTexts(c dns.Change) bool {
	for _, w := range c.Writes() {
		if k := w.Key(); k.Name == c.Name && k.Type == dns.TypeTXT && !dns.IsMark(k) {
			return true
		}
	}
	return false
}

// hold puts our finalizer on the provider. Records may ask for it at once.
func (at *round) hold(ctx context.Context) error {
	at.holding.Lock()
	defer at.holding.Unlock()
	if !at.provider.DeletionTimestamp.IsZero() || controllerutil.ContainsFinalizer(at.provider, Finalizer) {
		return nil
	}
	held, err := patch(ctx, at.Reconciler, at.provider, false, func(p *v1alpha1.DNSProvider) { controllerutil.AddFinalizer(p, Finalizer) })
	if err == nil {
		at.provider = held
	}
	return err
}
