// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package inforce

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/verdict"
)

// Keeper decides about all Applications and keeps the records. It is for one
// goroutine.
type Keeper struct {
	client   client.Client
	parallel int
	// written are records that caches may not show yet.
	written map[types.UID]Record
}

// NewKeeper makes a Keeper that writes by the client, that many at once.
func NewKeeper(c client.Client, parallel int) *Keeper {
	return &Keeper{client: c, parallel: max(parallel, 1), written: map[types.UID]Record{}}
}

// Keep settles all Applications. What newly comes into force is recorded before it
// is returned, so that an operator that is killed at any moment goes on with it. An
// error is about records that could not be written: what they would have been the
// proof of is not in force, and it is to be tried again.
func (k *Keeper) Keep(ctx context.Context, applications []*v1alpha1.Application, records []Record, tested map[verdict.Key]*verdict.Application, gates Gates) ([]Standing, error) {
	newest := k.known(applications, records)
	out := make([]Standing, len(applications))
	errs := make([]error, len(applications))
	slots := make(chan struct{}, k.parallel)
	var group sync.WaitGroup
	for i, a := range applications {
		var last *Record
		if r, ok := newest[a.UID]; ok {
			last = &r
		}
		out[i] = Settle(a, last, tested[verdict.KeyOf(a)], gates[a.UID])
		if !out[i].Unrecorded {
			continue
		}
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			errs[i] = k.record(ctx, a)
		})
	}
	group.Wait()
	for i := range out {
		switch s := &out[i]; {
		case !s.Unrecorded:
		case errs[i] == nil:
			s.Last, s.Unrecorded = k.note(s.Application), false
		case s.Proven:
			s.back()
		}
	}
	return out, errors.Join(append(errs, k.tidy(ctx, out, records))...)
}

// known are the newest records, those that were written and are not seen yet among
// them.
func (k *Keeper) known(applications []*v1alpha1.Application, records []Record) map[types.UID]Record {
	newest := Newest(records)
	there := make(map[types.UID]bool, len(applications))
	for _, a := range applications {
		there[a.UID] = true
	}
	maps.DeleteFunc(k.written, func(uid types.UID, r Record) bool {
		seen, ok := newest[uid]
		return !there[uid] || ok && seen.Generation >= r.Generation
	})
	maps.Copy(newest, k.written)
	return newest
}

func (k *Keeper) note(a *v1alpha1.Application) *Record {
	r := Record{Owner: a.UID, Generation: a.Generation, Digest: verdict.Digest(&a.Spec), Spec: *a.Spec.DeepCopy()}
	k.written[a.UID] = r
	return &r
}

func (k *Keeper) record(ctx context.Context, a *v1alpha1.Application) error {
	revision, err := Revision(a)
	if err != nil {
		return err
	}
	// Who was quicker wrote the same: the name says which statement it is.
	if err := k.client.Create(ctx, revision); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("recording that generation %d of Application %s/%s is in force: %w", a.Generation, a.Namespace, a.Name, err)
	}
	return nil
}

// tidy deletes the records of statements that are in force no more, where there is
// one of what is.
func (k *Keeper) tidy(ctx context.Context, all []Standing, records []Record) error {
	current := make(map[types.UID]int64, len(all))
	for i := range all {
		if s := &all[i]; s.Last != nil && !s.Unrecorded {
			current[s.Application.UID] = s.Last.Generation
		}
	}
	var errs []error
	for _, r := range records {
		if generation, ok := current[r.Owner]; !ok || r.Generation >= generation {
			continue
		}
		object := &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: r.Name}}
		if err := k.client.Delete(ctx, object); err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("deleting the record %s/%s of what is in force no more: %w", r.Namespace, r.Name, err))
		}
	}
	return errors.Join(errs...)
}
