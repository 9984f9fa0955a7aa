// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/apply"
	"github.com/trellis-mesh/trellis/internal/model"
)

// Bounds of lists in status: an object must stay readable, and below the size
// that the API server takes.
const (
	maxGenerated = 256
	maxHosts     = 256
	maxAddresses = 64
	maxProblems  = 32
)

// ownerKind is a kind whose objects have a status.
type ownerKind string

const (
	kindApplication   ownerKind = "Application"
	kindSecureIngress ownerKind = "SecureIngress"
)

// statusWrite is one status to be written.
type statusWrite struct {
	ref model.Reference
	uid types.UID
	// was and is are pointers to the kind's status type.
	was, is any
	// conditions of was and is, for events.
	before, after []metav1.Condition
}

// statusWriter writes statuses that have changed. It remembers what it wrote, so
// that a cache that lags behind is not written to again.
type statusWriter struct {
	client   client.Client
	parallel int
	clock    clock.PassiveClock

	mu      sync.Mutex
	written map[types.UID]writtenStatus
	// at is when a status was last written.
	at map[types.UID]time.Time
}

type writtenStatus struct {
	resourceVersion string
	status          any
}

func newStatusWriter(c client.Client, parallel int, now clock.PassiveClock) *statusWriter {
	return &statusWriter{client: c, parallel: parallel, clock: now, written: map[types.UID]writtenStatus{}, at: map[types.UID]time.Time{}}
}

// known is the newest status of an object: what a cache shows, or what was
// written since.
func (s *statusWriter) known(uid types.UID, resourceVersion string, cached any) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok := s.written[uid]
	if !ok {
		return cached
	}
	if order, err := resourceversion.CompareResourceVersion(resourceVersion, w.resourceVersion); err == nil && order >= 0 {
		delete(s.written, uid)
		return cached
	}
	return w.status
}

// atLeast is how many statuses are written before anything more urgent is looked
// for, so that they come to an end where there always is something more urgent.
const atLeast = 4 * parallel

// interval is how often at most a status is written of which only the reason
// changes why something is not known yet. A new host goes through half a dozen of
// them in its first seconds, which nobody could read.
const interval = 2 * time.Second

// written is what a call of write came to.
type written struct {
	// done are the statuses that were written.
	done []statusWrite
	// all is false when it stopped early and has to be called again.
	all bool
	// later is when it has to be called again for what was held back; zero for
	// never.
	later time.Duration
}

// write writes all that differ, those of changed statements first. It stops early
// when something urgent is to be done: a thousand statuses must not hold up a
// repair.
func (s *statusWriter) write(ctx context.Context, writes []statusWrite, urgent func() bool) (out written, err error) {
	writes = slices.DeleteFunc(writes, func(w statusWrite) bool { return equality.Semantic.DeepEqual(w.was, w.is) })
	writes, out.later = s.hold(writes)
	slices.SortStableFunc(writes, func(a, b statusWrite) int { return a.rank() - b.rank() })
	errs := make([]error, len(writes))
	begun := 0
	var failed atomic.Bool
	var group sync.WaitGroup
	slots := make(chan struct{}, max(s.parallel, 1))
	for i, w := range writes {
		slots <- struct{}{}
		// An API server that is away would answer all others alike.
		if failed.Load() || begun >= atLeast && urgent() {
			break
		}
		begun++
		group.Go(func() {
			defer func() { <-slots }()
			errs[i] = s.one(ctx, w)
			if errs[i] != nil && apierrors.ReasonForError(errs[i]) == metav1.StatusReasonUnknown {
				failed.Store(true)
			}
		})
	}
	group.Wait()
	for i, w := range writes[:begun] {
		if errs[i] == nil {
			out.done = append(out.done, w)
		}
	}
	out.all = begun == len(writes)
	return out, few(errs)
}

// hold leaves out what may wait, and says for how long.
func (s *statusWriter) hold(writes []statusWrite) (now []statusWrite, later time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range writes {
		wait := interval - s.clock.Since(s.at[w.uid])
		if wait <= 0 || !interim(w.before, w.after) {
			now = append(now, w)
			continue
		}
		if later == 0 || wait < later {
			later = wait
		}
	}
	return now, later
}

// interim reports whether conditions differ in nothing but why something is not
// known yet.
func interim(before, after []metav1.Condition) bool {
	before, after = standing(before), standing(after)
	return slices.EqualFunc(before, after, func(b, a metav1.Condition) bool {
		if b.Type != a.Type || b.Status != a.Status || b.ObservedGeneration != a.ObservedGeneration {
			return false
		}
		return a.Status == metav1.ConditionUnknown || b.Reason == a.Reason && b.Message == a.Message
	})
}

// standing leaves out the condition that only says that something is awaited.
func standing(conditions []metav1.Condition) []metav1.Condition {
	return slices.DeleteFunc(slices.Clone(conditions), func(c metav1.Condition) bool { return c.Type == v1alpha1.ConditionReconciling })
}

// rank is lower for what somebody waits for.
func (w statusWrite) rank() int {
	if len(w.before) == 0 || len(w.after) == 0 || w.before[0].ObservedGeneration != w.after[0].ObservedGeneration {
		return 0
	}
	return 1
}

// few joins the first errors and says how many more there are: a thousand
// statuses that fail for one reason are one line in a log.
func few(errs []error) error {
	const most = 3
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if len(errs) <= most {
		return errors.Join(errs...)
	}
	return errors.Join(append(errs[:most:most], fmt.Errorf("and %d more", len(errs)-most))...)
}

// one replaces a status by server-side apply. Conditions of other managers stay.
func (s *statusWriter) one(ctx context.Context, w statusWrite) error {
	status, err := runtime.DefaultUnstructuredConverter.ToUnstructured(w.is)
	if err != nil {
		return fmt.Errorf("encoding the status of %s: %w", w.ref, err)
	}
	u := &unstructured.Unstructured{Object: map[string]any{"status": status}}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(w.ref.Kind))
	u.SetNamespace(w.ref.Namespace)
	u.SetName(w.ref.Name)
	u.SetUID(w.uid)
	err = s.client.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(u),
		client.FieldOwner(apply.FieldManager), client.ForceOwnership)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		// It is gone, or another one of the same name: there is nobody to tell.
		return nil
	}
	if err != nil {
		return fmt.Errorf("writing the status of %s: %w", w.ref, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written[w.uid] = writtenStatus{u.GetResourceVersion(), w.is}
	s.at[w.uid] = s.clock.Now()
	return nil
}

// keep forgets objects that are gone.
func (s *statusWriter) keep(there map[types.UID]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	gone := func(uid types.UID) bool { return !there[uid] }
	maps.DeleteFunc(s.written, func(uid types.UID, _ writtenStatus) bool { return gone(uid) })
	maps.DeleteFunc(s.at, func(uid types.UID, _ time.Time) bool { return gone(uid) })
}

// generatedObjects names objects for a status.
func generatedObjects(refs []model.Reference) []v1alpha1.GeneratedObject {
	versions := map[string]string{}
	for _, k := range apply.Kinds() {
		versions[k.Kind] = k.GroupVersion().String()
	}
	var out []v1alpha1.GeneratedObject
	for _, r := range refs[:min(len(refs), maxGenerated)] {
		out = append(out, v1alpha1.GeneratedObject{APIVersion: versions[r.Kind], Kind: r.Kind, Namespace: r.Namespace, Name: r.Name})
	}
	return out
}

// problemsOf are findings for a status; where there are too many, the last one
// says how many are not shown.
func problemsOf(findings []model.Finding) []v1alpha1.Problem {
	var out []v1alpha1.Problem
	for i, f := range findings {
		if len(findings) > maxProblems && i == maxProblems-1 {
			return append(out, v1alpha1.Problem{
				Severity: string(f.Severity), Reason: "MoreProblems",
				Message: fmt.Sprintf("%d more problems are not shown", len(findings)-i),
				Fix:     "repair these first, or run trellis check on the file to see all of them",
			})
		}
		out = append(out, v1alpha1.Problem{
			Severity: string(f.Severity), Field: f.Field, Reason: f.Reason, Message: f.Message, Owner: f.Owner, Fix: f.Fix,
		})
	}
	return out
}
