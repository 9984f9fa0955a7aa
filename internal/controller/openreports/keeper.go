// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package openreports

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/apply"
	"github.com/trellis-mesh/trellis/internal/posture"
)

// atLeast is how many Reports are written before anything more urgent is looked for, so
// that they come to an end where there always is something more urgent.
const atLeast = 16

// Keeper writes Reports and takes back those that it wrote. Others of the same name are
// left alone. It is told of everything of that name in the cluster, by a watch, and knows
// what it wrote itself before the watch does. Write is for one goroutine.
type Keeper struct {
	client   client.Client
	recorder events.EventRecorder
	log      *slog.Logger

	mu    sync.Mutex
	there map[string]Seen
	// expected is what a write of our own makes of the Report of a namespace: the watch
	// may tell of it before the answer comes. Of a deletion it is the UID.
	expected map[string]Seen
	// readable is false where the cluster has no Reports, or they may not be read.
	readable bool
	// refusal was said already.
	refusal string
	// changed is true when what is there is not what Write left.
	changed bool

	// written is what Write has brought about, as far as it came.
	written *posture.Posture
	// passed over are namespaces whose Report cannot be written, each with what it was
	// to be: it was said, and is not tried again until that changes.
	passed map[string]digest
	// taken are namespaces where the name is somebody else's, by the UID of theirs.
	taken map[string]types.UID
}

// NewKeeper makes a Keeper.
func NewKeeper(c client.Client, recorder events.EventRecorder, log *slog.Logger) *Keeper {
	return &Keeper{client: c, recorder: recorder, log: log, there: map[string]Seen{}, expected: map[string]Seen{}, passed: map[string]digest{}, taken: map[string]types.UID{}}
}

// Observe is called with every change that the watch sees, in its order, and reports
// whether it is news.
func (k *Keeper) Observe(namespace string, s Seen, gone bool) (news bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	known, ok := k.there[namespace]
	expected := k.expected[namespace]
	switch {
	case gone && (!ok || known.UID != s.UID):
		return false
	case gone:
		delete(k.there, namespace)
	case ok && !newer(s.ResourceVersion, known.ResourceVersion):
		return false
	default:
		k.there[namespace] = s
	}
	if gone {
		news = expected.UID != s.UID
	} else {
		same := ok && known.UID == s.UID && known.digest == s.digest && known.Ours == s.Ours
		news = !same && (!s.Ours || s.digest != expected.digest)
	}
	k.changed = k.changed || news
	return news
}

func newer(a, b string) bool {
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err != nil || order > 0
}

// Readable says whether the cluster has Reports, and why they cannot be read. Without them
// nothing is written.
func (k *Keeper) Readable(installed bool, refusal error) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if readable := installed && refusal == nil; k.readable != readable {
		k.readable, k.changed = readable, true
	}
	if !installed {
		// They went with their definition, and nobody tells of each.
		clear(k.there)
	}
	said := k.refusal
	if k.refusal = ""; refusal != nil {
		k.refusal = refusal.Error()
	}
	if k.refusal != "" && k.refusal != said {
		k.log.Warn("there are no reports about policies, since those that are there cannot be read", "error", refusal,
			"fix", "give the operator the rights of the chart trellis and the cluster version v1alpha1 of the kind, or set the chart's value reports.openReports to false")
	}
}

// Write brings Reports up to date with a posture. It stops early when something urgent is
// to be done, and then reports that something is left.
func (k *Keeper) Write(ctx context.Context, p *posture.Posture, now time.Time, urgent func() bool) (left bool, err error) {
	if k == nil {
		return false, nil
	}
	there, ok := k.begin(p)
	if !ok {
		return false, nil
	}
	wanted := map[string]bool{}
	var errs []error
	writes := 0
	stop := func() bool { return writes >= atLeast && urgent() }
	for _, r := range Build(p) {
		wanted[r.Namespace] = true
		was, ok := there[r.Namespace]
		is, err := digestOf(r.content)
		if err != nil {
			return false, err
		}
		if k.settled(r.Namespace, was, ok, is) {
			continue
		}
		if stop() {
			k.again()
			return true, errors.Join(errs...)
		}
		writes++
		errs = append(errs, k.put(ctx, r, was, ok, is, now))
	}
	for _, namespace := range slices.Sorted(maps.Keys(there)) {
		if was := there[namespace]; was.Ours && !wanted[namespace] {
			if stop() {
				k.again()
				return true, errors.Join(errs...)
			}
			writes++
			errs = append(errs, k.remove(ctx, namespace, was))
		}
	}
	maps.DeleteFunc(k.passed, func(namespace string, _ digest) bool { return !wanted[namespace] })
	maps.DeleteFunc(k.taken, func(namespace string, _ types.UID) bool { return !wanted[namespace] })
	if err := errors.Join(errs...); err != nil {
		k.again()
		return false, err
	}
	return false, nil
}

// begin is what is there, and false where nothing is to be done.
func (k *Keeper) begin(p *posture.Posture) (map[string]Seen, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.readable || k.written == p && !k.changed {
		return nil, false
	}
	k.written, k.changed = p, false
	return maps.Clone(k.there), true
}

// again makes the next Write look at everything.
func (k *Keeper) again() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.changed = true
}

// settled reports whether nothing is to be done about a namespace.
func (k *Keeper) settled(namespace string, was Seen, there bool, is digest) bool {
	if there && !was.Ours {
		if k.taken[namespace] != was.UID {
			k.taken[namespace] = was.UID
			k.sayTaken(namespace, was)
		}
		return true
	}
	delete(k.taken, namespace)
	passed, ok := k.passed[namespace]
	return there && was.digest == is || ok && passed == is
}

// sayTaken says that somebody else has the name.
func (k *Keeper) sayTaken(namespace string, was Seen) {
	const note = "this Report was not made by Trellis (it has no label app.kubernetes.io/managed-by=trellis), so it is not touched, " +
		"and what policies find in this namespace is not reported here; delete or rename it"
	k.log.Warn("a report about policies is not written: its name is taken", "report", namespace+"/"+Name,
		"fix", "delete or rename the Report that is there, which Trellis did not make")
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(Kind)
	object.SetNamespace(namespace)
	object.SetName(Name)
	object.SetUID(was.UID)
	k.recorder.Eventf(object, nil, corev1.EventTypeWarning, "Conflict", "Report", "%s", note)
}

// put writes one Report. It is a create where there is none, so that one that somebody else
// makes in this moment is never taken over; the UID keeps an apply from another one.
func (k *Keeper) put(ctx context.Context, r *Report, was Seen, there bool, is digest, now time.Time) error {
	u, err := r.object(was, now)
	if err != nil {
		return err
	}
	k.expect(r.Namespace, Seen{digest: is})
	if there {
		u.SetUID(was.UID)
		err = k.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(apply.FieldManager), client.ForceOwnership)
	} else {
		err = k.client.Create(ctx, u, client.FieldOwner(apply.FieldManager))
	}
	switch {
	case err == nil:
		delete(k.passed, r.Namespace)
		k.wrote(r.Namespace, u)
		return nil
	case apierrors.IsAlreadyExists(err), apierrors.IsConflict(err), apierrors.IsNotFound(err), apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		// The watch tells of it, or nobody needs it any more.
		return nil
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsForbidden(err), apierrors.IsRequestEntityTooLargeError(err):
		k.passed[r.Namespace] = is
		k.log.Warn("a report about policies was refused, and is not tried again until what it says changes", "report", r.Namespace+"/"+Name, "error", err)
		return nil
	}
	return fmt.Errorf("writing the Report %s/%s: %w", r.Namespace, Name, err)
}

func (k *Keeper) expect(namespace string, s Seen) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.expected[namespace] = s
}

// wrote notes what is there after a write, unless the watch knows better already.
func (k *Keeper) wrote(namespace string, u *unstructured.Unstructured) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := See(u)
	if known, ok := k.there[namespace]; !ok || newer(s.ResourceVersion, known.ResourceVersion) {
		k.there[namespace] = s
	}
}

func (k *Keeper) remove(ctx context.Context, namespace string, was Seen) error {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(Kind)
	u.SetNamespace(namespace)
	u.SetName(Name)
	k.expect(namespace, Seen{UID: was.UID})
	err := k.client.Delete(ctx, u, client.Preconditions{UID: &was.UID, ResourceVersion: &was.ResourceVersion})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("deleting the Report %s/%s: %w", namespace, Name, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil && k.there[namespace].UID == was.UID {
		delete(k.there, namespace)
	}
	return nil
}
