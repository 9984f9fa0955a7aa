// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mutualtlsrollout

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
)

// carryOut does what was decided. What is taken back goes first: clients wait for it. A
// stage is made after that was written down, so that it is watched whatever happens.
func (r *Reconciler) carryOut(ctx context.Context, rollout *v1alpha1.MutualTLSRollout, d Decision) error {
	var errs []error
	for _, o := range d.Delete {
		errs = append(errs, r.remove(ctx, o))
	}
	// That something could not be deleted keeps nobody from hearing why it should be:
	// with that written, it is tried again.
	errs = append(errs, r.write(ctx, rollout, d))
	if err := worst(errs); err != nil {
		return err
	}
	if d.Make == nil {
		return nil
	}
	if err := r.make(ctx, d.Make); err != nil {
		if lasting(err) {
			r.mu.Lock()
			r.refusals[ref(d.Make.Body.GetNamespace(), d.Make.Body.GetName())] = refusal{err.Error(), r.clock.Now()}
			r.mu.Unlock()
		}
		return fmt.Errorf("writing the PeerAuthentication of %s: %w", d.Make.Stage, err)
	}
	return nil
}

// worst are errors that are no races, where there are any.
func worst(errs []error) error {
	var races, others []error
	for _, err := range errs {
		switch {
		case err == nil:
		case apierrors.IsConflict(err):
			races = append(races, err)
		default:
			others = append(others, err)
		}
	}
	if len(others) == 0 && len(races) > 0 {
		return races[0]
	}
	return errors.Join(others...)
}

// lasting reports whether an API server would give the same answer again.
func lasting(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsTooManyRequests(err) {
		return false
	}
	code := status.Status().Code
	return code >= http.StatusBadRequest && code < http.StatusInternalServerError
}

// remove deletes an object as it was read, and no other one of its name.
func (r *Reconciler) remove(ctx context.Context, o Object) error {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(peerAuthentications)
	u.SetNamespace(o.Namespace)
	u.SetName(o.Name)
	err := r.client.Delete(ctx, u, client.Preconditions{UID: &o.UID, ResourceVersion: &o.ResourceVersion})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting PeerAuthentication %s: %w", ref(o.Namespace, o.Name), err)
	}
	r.metrics.deleted()
	return nil
}

// make writes the PeerAuthentication of a stage. It is created and not applied, so that
// one that somebody else made in this moment is never taken over; and ours is replaced
// as a whole, because an apply leaves alone what others have added.
func (r *Reconciler) make(ctx context.Context, m *Making) error {
	body := m.Body.DeepCopy()
	if m.There == nil {
		return r.client.Create(ctx, body, client.FieldOwner(FieldManager))
	}
	body.SetUID(m.There.UID)
	body.SetResourceVersion(m.There.ResourceVersion)
	return r.client.Update(ctx, body, client.FieldOwner(FieldManager))
}

// write writes the status, over the one that was read and no later one, and tells what
// is new.
func (r *Reconciler) write(ctx context.Context, rollout *v1alpha1.MutualTLSRollout, d Decision) error {
	if !Worth(&rollout.Status, &d.Status) {
		return nil
	}
	status, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&d.Status)
	if err != nil {
		return fmt.Errorf("writing the status: %w", err)
	}
	u := &unstructured.Unstructured{Object: map[string]any{"status": status}}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("MutualTLSRollout"))
	u.SetName(rollout.Name)
	u.SetUID(rollout.UID)
	u.SetResourceVersion(rollout.ResourceVersion)
	err = r.client.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(FieldManager), client.ForceOwnership)
	if err != nil {
		return fmt.Errorf("writing the status: %w", err)
	}
	for _, e := range d.Events {
		r.metrics.happened(e)
		r.tell(rollout, e)
	}
	return nil
}
