// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/model"
)

// ErrStale says that the plan was made from a state that is no more. Gather and
// compile again.
var ErrStale = errors.New("the state of the cluster has changed")

// Applier carries plans out. Writes that do not depend on each other run in
// parallel. Safe for use by one goroutine at a time.
type Applier struct {
	// Client writes to the API server and reads from it, not from a cache.
	Client client.Client
	Ledger *Ledger
	// Cluster is the mesh's own cluster id, as in all references.
	Cluster string
	// Parallel is how many writes run at once; 1 where it is not positive.
	Parallel int
	Now      func() time.Time
}

// Verb is a kind of write.
type Verb string

// The verbs of a Change.
const (
	VerbCreate Verb = "create"
	VerbUpdate Verb = "update"
	VerbDelete Verb = "delete"
)

// Change is one write that was done.
type Change struct {
	Ref  model.Reference
	Verb Verb
	// Edit is what was undone; nil where the write follows a change of what is
	// wanted.
	Edit *Edit
}

// Failure is a write that will not succeed by trying again.
type Failure struct {
	Object compile.Packed
	// Reason is a word in CamelCase; Message says what was refused by whom.
	Reason, Message string
}

// Result is what became of a step.
type Result struct {
	Changes  []Change
	Failures []Failure
	// Conflicts were not known when the plan was made.
	Conflicts []Conflict
}

// Add appends the result of a later step.
func (r *Result) Add(o Result) {
	r.Changes = append(r.Changes, o.Changes...)
	r.Failures = append(r.Failures, o.Failures...)
	r.Conflicts = append(r.Conflicts, o.Conflicts...)
}

// Restrict does the first step: everything that refuses requests. Where a denial
// is to be taken back, a copy of it stays in force until Release, so that no
// route is open that was closed before and is closed afterwards. An error means
// that trying again may help; then nothing further may be done.
func (a *Applier) Restrict(ctx context.Context, p *Plan) (Result, error) {
	return a.inOrder(ctx, p, p.claims, p.hosts, p.restrict, p.allow, p.connect)
}

// Route does the second step: the routes, those that come before those that go.
// It may be done only when what restricts them is in place.
func (a *Applier) Route(ctx context.Context, p *Plan) (Result, error) {
	result, err := a.inOrder(ctx, p, p.route)
	if err != nil {
		return result, err
	}
	removed, err := a.remove(ctx, p.unroute)
	result.Add(removed)
	return result, err
}

// Release does the last step: it takes away what is no longer needed. It may be
// done only when Route had no failure, since a route that could not be taken
// back still needs what restricts it.
func (a *Applier) Release(ctx context.Context, p *Plan) (Result, error) {
	return a.remove(ctx, p.release)
}

// inOrder does groups one after another, and the writes of each in parallel.
func (a *Applier) inOrder(ctx context.Context, p *Plan, groups ...[]write) (Result, error) {
	var result Result
	for _, group := range groups {
		done, err := each(ctx, a.Parallel, group, func(ctx context.Context, w write) (Result, error) {
			return a.put(ctx, p, w)
		})
		result.Add(done)
		if err != nil {
			return result, err
		}
	}
	return result, nil
}

// each runs do for all items, and puts the results in the order of the items.
func each[T any](ctx context.Context, parallel int, items []T, do func(context.Context, T) (Result, error)) (Result, error) {
	results := make([]Result, len(items))
	errs := make([]error, len(items))
	var stop atomic.Bool
	var group sync.WaitGroup
	slots := make(chan struct{}, max(parallel, 1))
	for i, item := range items {
		slots <- struct{}{}
		// What has begun is finished; nothing new begins after an error.
		if stop.Load() || ctx.Err() != nil {
			errs[i] = ctx.Err()
			break
		}
		group.Go(func() {
			defer func() { <-slots }()
			if results[i], errs[i] = do(ctx, item); errs[i] != nil {
				stop.Store(true)
			}
		})
	}
	group.Wait()
	var all Result
	for _, r := range results {
		all.Add(r)
	}
	return all, errors.Join(errs...)
}

// put writes one object.
func (a *Applier) put(ctx context.Context, p *Plan, w write) (Result, error) {
	wanted, err := body(w.Packed)
	if err != nil {
		return Result{}, err
	}
	defer a.Ledger.send(w.Ref, w.Digest)()
	switch {
	case w.kind.Role == RoleClaim:
		err = a.claim(ctx, wanted)
	case w.live == nil:
		err = a.create(ctx, w, wanted)
	default:
		err = a.update(ctx, p, w, wanted)
	}
	change := Change{Ref: w.Ref, Verb: VerbUpdate, Edit: w.edit}
	if w.live == nil {
		change.Verb = VerbCreate
	}
	var taken *takenError
	var altered *alteredError
	switch {
	case err == nil:
		return Result{Changes: []Change{change}}, nil
	case errors.As(err, &taken):
		return Result{Conflicts: []Conflict{{w.Packed, taken.managers}}}, nil
	case errors.As(err, &altered):
		return Result{Changes: []Change{change}, Failures: []Failure{alteredFailure(w.Packed)}}, nil
	case lasting(err):
		return Result{Failures: []Failure{{w.Packed, "WriteRefused", fmt.Sprintf("writing %s was refused: %v", w.Ref, err)}}}, nil
	}
	return Result{}, fmt.Errorf("writing %s: %w", w.Ref, err)
}

// claim creates a HostClaim. One that exists already is fine when it says the
// same; another one means that somebody was faster.
func (a *Applier) claim(ctx context.Context, wanted *unstructured.Unstructured) error {
	err := a.Client.Create(ctx, wanted, client.FieldOwner(FieldManager))
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	there := &v1alpha1.HostClaim{}
	if err := a.Client.Get(ctx, client.ObjectKeyFromObject(wanted), there); err != nil {
		return err
	}
	namespace, _, _ := unstructured.NestedString(wanted.Object, "spec", "namespace")
	if string(there.Spec.Namespace) != namespace {
		return fmt.Errorf("claiming host %s for namespace %s: %w: namespace %s has it now",
			there.Name, namespace, ErrStale, there.Spec.Namespace)
	}
	return nil
}

// create makes an object that did not exist. It is a create, not an apply, so
// that an object which somebody else made in this moment is never taken over.
func (a *Applier) create(ctx context.Context, w write, wanted *unstructured.Unstructured) error {
	got := wanted.DeepCopy()
	err := a.Client.Create(ctx, got, client.FieldOwner(FieldManager))
	if err == nil {
		return a.settle(ctx, w, wanted, got)
	}
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	there, err := a.get(ctx, wanted)
	if err != nil {
		return err
	}
	live, err := LiveOf(a.Cluster, there)
	if err != nil {
		return err
	}
	if !live.Ours {
		return &takenError{live.Managers}
	}
	return fmt.Errorf("creating an object that exists: %w", ErrStale)
}

// update changes an object of ours by server-side apply. The UID makes it fail
// when the object is another one by now.
func (a *Applier) update(ctx context.Context, p *Plan, w write, wanted *unstructured.Unstructured) error {
	if err := a.before(ctx, p, w, wanted); err != nil {
		return err
	}
	got := wanted.DeepCopy()
	got.SetUID(w.live.UID)
	if err := a.apply(ctx, got); err != nil {
		return err
	}
	return a.settle(ctx, w, wanted, got)
}

func (a *Applier) apply(ctx context.Context, u *unstructured.Unstructured) error {
	return a.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(u),
		client.FieldOwner(FieldManager), client.ForceOwnership)
}

// before looks at what is about to be replaced, where that matters: to say what
// somebody changed, and to keep a denial in force that is to be taken back.
func (a *Applier) before(ctx context.Context, p *Plan, w write, wanted *unstructured.Unstructured) error {
	if w.edit == nil && w.kind.Role != RoleRestriction {
		return nil
	}
	there, err := a.get(ctx, wanted)
	if err != nil {
		return err
	}
	if w.edit != nil {
		w.edit.Fields = differing(there, wanted)
	}
	// A write that is the only one changes policy and routes at once.
	if w.undo || p.single || w.Ref.Kind != "AuthorizationPolicy" || !loosens(there, wanted) {
		return nil
	}
	return a.keep(ctx, p, there)
}

// settle makes sure that an object is what was wanted after a write: apply
// leaves fields alone that another manager added, and these are taken out by
// replacing the whole.
func (a *Applier) settle(ctx context.Context, w write, wanted, got *unstructured.Unstructured) error {
	live, err := LiveOf(a.Cluster, got)
	if err != nil {
		return err
	}
	if live.Digest != w.Digest && w.live != nil {
		replace(got, wanted)
		if err := a.Client.Update(ctx, got, client.FieldOwner(FieldManager)); err != nil {
			return err
		}
		if live, err = LiveOf(a.Cluster, got); err != nil {
			return err
		}
	}
	a.Ledger.wrote(live, w.Digest, a.Now())
	if live.Digest != w.Digest {
		return &alteredError{}
	}
	return nil
}

// replace gives an object the wanted body. Labels and annotations that have no
// effect stay, and so does everything else of the metadata.
func replace(there, wanted *unstructured.Unstructured) {
	for field := range there.Object {
		if !slices.Contains([]string{"apiVersion", "kind", "metadata", "status"}, field) {
			delete(there.Object, field)
		}
	}
	for field, value := range wanted.Object {
		if !slices.Contains([]string{"apiVersion", "kind", "metadata", "status"}, field) {
			there.Object[field] = value
		}
	}
	there.SetLabels(withWatched(there.GetLabels(), wanted.GetLabels()))
	there.SetAnnotations(withWatched(there.GetAnnotations(), wanted.GetAnnotations()))
}

func withWatched(there, wanted map[string]string) map[string]string {
	out := make(map[string]string, len(there)+len(wanted))
	for k, v := range there {
		if !watchedKey(k) {
			out[k] = v
		}
	}
	for k, v := range wanted {
		out[k] = v
	}
	return out
}

func (a *Applier) get(ctx context.Context, like *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	out := &unstructured.Unstructured{}
	out.SetGroupVersionKind(like.GroupVersionKind())
	err := a.Client.Get(ctx, client.ObjectKeyFromObject(like), out)
	return out, err
}
