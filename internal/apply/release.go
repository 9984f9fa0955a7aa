// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/model"
)

// keep puts a copy of a policy beside it, so that its denials hold until the
// routes have changed. The copy carries our labels and is wanted by nobody: it is
// pruned in the last step, of this run or of the one after a crash.
func (a *Applier) keep(ctx context.Context, p *Plan, there *unstructured.Unstructured) error {
	duplicate := &unstructured.Unstructured{Object: map[string]any{"spec": there.Object["spec"]}}
	duplicate.SetGroupVersionKind(there.GroupVersionKind())
	duplicate.SetNamespace(there.GetNamespace())
	duplicate.SetName(keptName(there.GetName()))
	duplicate.SetLabels(withWatched(nil, there.GetLabels()))
	duplicate.SetAnnotations(withWatched(nil, there.GetAnnotations()))

	gvk := there.GroupVersionKind()
	ref := model.Reference{Cluster: a.Cluster, Group: gvk.Group, Kind: gvk.Kind, Namespace: there.GetNamespace(), Name: duplicate.GetName()}
	if p.taken[ref] {
		return fmt.Errorf("keeping the denials of %s in force: %w", there.GetName(), &takenError{})
	}
	digest, err := DigestOf(duplicate.Object)
	if err != nil {
		return fmt.Errorf("keeping the denials of %s in force: %w", there.GetName(), err)
	}
	defer a.Ledger.send(ref, digest)()
	if err := a.apply(ctx, duplicate); err != nil {
		return fmt.Errorf("keeping the denials of %s in force: %w", there.GetName(), err)
	}
	live, err := LiveOf(a.Cluster, duplicate)
	if err != nil {
		return err
	}
	a.Ledger.wrote(live, live.Digest, a.Now())
	p.keep(live)
	return nil
}

// keptName is deterministic, so that a crash and a repetition leave one copy.
func keptName(name string) string {
	sum := sha256.Sum256([]byte(name))
	return "trellis-kept-" + hex.EncodeToString(sum[:8])
}

// keep notes a copy for the last step.
func (p *Plan) keep(live Live) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.release = append(p.release, live)
}

// remove deletes objects of ours, each only as it was when the plan was made.
func (a *Applier) remove(ctx context.Context, objects []Live) (Result, error) {
	return each(ctx, a.Parallel, objects, func(ctx context.Context, o Live) (Result, error) {
		kind, _ := kindOf(o.Ref.Group, o.Ref.Kind)
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(kind.GroupVersionKind)
		u.SetNamespace(o.Ref.Namespace)
		u.SetName(o.Ref.Name)
		defer a.Ledger.remove(o)()
		err := a.Client.Delete(ctx, u, client.Preconditions{UID: &o.UID, ResourceVersion: &o.ResourceVersion})
		switch {
		case err == nil || apierrors.IsNotFound(err):
			a.Ledger.removed(o)
			return Result{Changes: []Change{{Ref: o.Ref, Verb: VerbDelete}}}, nil
		case apierrors.IsConflict(err):
			return Result{}, fmt.Errorf("deleting %s, which has changed: %w", o.Ref, ErrStale)
		case lasting(err):
			object := compile.Packed{Ref: o.Ref, Owners: []model.Reference{o.Owner}}
			return Result{Failures: []Failure{{object, "DeleteRefused", fmt.Sprintf("deleting %s was refused: %v", o.Ref, err)}}}, nil
		}
		return Result{}, fmt.Errorf("deleting %s: %w", o.Ref, err)
	})
}

// takenError says that a name belongs to an object that is not ours.
type takenError struct{ managers []Manager }

func (*takenError) Error() string { return "an object of this name exists that Trellis did not make" }

// alteredError says that what is stored is not what was written.
type alteredError struct{}

func (*alteredError) Error() string { return "the object was changed on its way to storage" }

func alteredFailure(o compile.Packed) Failure {
	return Failure{o, "AlteredOnWrite", fmt.Sprintf("%s is changed on its way to storage, by a mutating webhook or policy of the cluster; what is stored is not what was stated", o.Ref)}
}

// lasting reports whether the API server would give the same answer again.
func lasting(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsForbidden(err) || apierrors.IsBadRequest(err) ||
		apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) || apierrors.IsRequestEntityTooLargeError(err)
}
