// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Engine makes wishes come true at providers and remembers what it has seen, so
// that what has not changed costs no call. It keeps nothing that cannot be lost:
// a new Engine reads once and goes on. Safe for concurrent use; calls for one
// account take turns.
type Engine struct {
	// Owner is the cluster's, as in Mark.
	Owner string
	// Clock is time.Now outside of tests.
	Clock func() time.Time

	mu       sync.Mutex
	accounts map[string]*account
}

// Options are what one account's wishes have in common.
type Options struct {
	// Account names the credentials. What is remembered of an account ends when its
	// name does: let it change with the Secret.
	Account string
	// DryRun plans, and writes nothing.
	DryRun bool
	// Private looks for private zones, and for those alone.
	Private bool
	// Zones, where there are any, are the ids of those that may be used.
	Zones []string
	// Confirmed are tokens of mass changes that somebody has looked at.
	Confirmed []string
	// Lives reports whether a resource of this cluster, as in Mark, goes on having a
	// name. What such a one has, maybe by another account, is taken over by those
	// alone that adopt. Nil: none goes on.
	Lives func(resource string, name Name) bool
	// Trust is how long what was seen is believed without looking again, give or
	// take a quarter; one hour where it is zero.
	Trust time.Duration
	// Rate is how many calls of the provider are made each second in the long run,
	// and Burst how many at once. No limit where Rate is zero.
	Rate  float64
	Burst int
}

const (
	defaultTrust = time.Hour
	trustZones   = 10 * time.Minute
	// A name without a zone asks for the list again, not more often than this.
	askZones = time.Minute
	// attempts bounds how often a race is run.
	attempts = 3
)

// Phase is how far a wish has come.
type Phase string

// The phases. Waiting goes away by itself; Blocked needs somebody.
const (
	PhaseDone    Phase = "Done"
	PhaseHeld    Phase = "Held"
	PhasePlanned Phase = "Planned"
	PhaseBlocked Phase = "Blocked"
	PhaseWaiting Phase = "Waiting"
)

// Class says what kind of problem there is, in one word.
type Class string

// The classes of problems.
const (
	ClassConflict      Class = "Conflict"
	ClassMassChange    Class = "MassChange"
	ClassCredentials   Class = "CredentialsInvalid"
	ClassNoZone        Class = "ZoneNotFound"
	ClassAmbiguousZone Class = "ZoneAmbiguous"
	ClassDuplicate     Class = "DuplicateName"
	ClassInvalid       Class = "Invalid"
	ClassUnsupported   Class = "Unsupported"
	ClassThrottled     Class = "Throttled"
	ClassStale         Class = "ZoneBusy"
	ClassUnavailable   Class = "Unavailable"
)

// Stalls reports whether only a person can help. A zone may still come, as whatever else
// was applied together with its entries.
func (c Class) Stalls() bool {
	switch c {
	case ClassConflict, ClassMassChange, ClassCredentials, ClassAmbiguousZone, ClassDuplicate, ClassInvalid, ClassUnsupported:
		return true
	case ClassNoZone, ClassThrottled, ClassStale, ClassUnavailable:
	}
	return false
}

// Outcome is what became of a wish.
type Outcome struct {
	Phase Phase
	// Zone is where it belongs; zero where none was found.
	Zone Zone
	// Steps are what was done, or would be where Phase is not Done.
	Steps     []Step
	Conflicts []Conflict
	// Owned are the sets that are ours now: the next Wanted.Known.
	Owned []RecordSet
	// Written: something was changed, with this Receipt.
	Written bool
	Receipt Receipt
	// Err is nil where Phase is Done, Held or Planned; Class says what kind it is.
	Err   error
	Class Class
	// Confirm is the token that lets a mass change happen.
	Confirm string
	// NextTry is when to call again, if nothing changes before.
	NextTry time.Time
}

// The problems that an Engine finds itself.
var (
	errConflict      = errors.New("somebody else's records are in the way")
	errMassChange    = errors.New("too much of the zone would change at once")
	errAmbiguousZone = errors.New("more than one zone has this name")
	errDuplicate     = errors.New("more than one resource wants this name")
)

// run is one Reconcile.
type run struct {
	*Engine
	account *account
	p       Provider
	o       Options
	now     time.Time
	wanted  []Wanted
	out     []Outcome
}

// Reconcile makes each of wanted come true, or says what is in the way; outcomes
// are in the order of wanted. Give everything that is wanted of an account: what
// is unchanged costs nothing, and both duplicates and mass changes are seen only
// among what was given. It does not wait for a provider that wants to be left
// alone; Outcome.NextTry says when to come back.
func (e *Engine) Reconcile(ctx context.Context, p Provider, wanted []Wanted, o Options) []Outcome {
	o.Trust = cmp.Or(o.Trust, defaultTrust)
	a := e.account(o.Account)
	a.mu.Lock()
	defer a.mu.Unlock()
	r := &run{Engine: e, account: a, p: p, o: o, now: e.Clock(), wanted: slices.Clone(wanted), out: make([]Outcome, len(wanted))}
	duplicates := findDuplicates(wanted)
	var todo []int
	for i := range wanted {
		if other, ok := duplicates[i]; ok {
			r.duplicate(i, other)
		} else if !r.recall(i) {
			todo = append(todo, i)
		}
	}
	if len(todo) == 0 {
		return r.out
	}
	for _, part := range r.byZone(ctx, todo) {
		r.zone(ctx, part.zone, part.wishes)
	}
	a.forget(r.now)
	return r.out
}

func (e *Engine) account(name string) *account {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.accounts == nil {
		e.accounts = map[string]*account{}
	}
	if e.accounts[name] == nil {
		e.accounts[name] = &account{memory: map[wish]*memo{}, approved: map[string]bool{}}
	}
	return e.accounts[name]
}

// Forget drops what is remembered of an account, as when its credentials change.
func (e *Engine) Forget(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.accounts, name)
}

// recall answers from memory: what was confirmed, and what failed and is not due.
func (r *run) recall(i int) bool {
	m := r.account.memory[wishOf(r.wanted[i])]
	if m == nil || r.o.DryRun || m.digest != digestOf(r.wanted[i], r.o) {
		return false
	}
	m.seen = r.now
	if m.outcome.Class == ClassDuplicate {
		// Whatever was in its way has gone: findDuplicates comes first.
		return false
	}
	rival := func(c Conflict) bool { return c.Rival != "" }
	if at := slices.IndexFunc(m.outcome.Conflicts, rival); at >= 0 && (r.o.Lives == nil || !r.o.Lives(m.outcome.Conflicts[at].Rival, r.wanted[i].Name)) {
		return false
	}
	confirmed := m.outcome.Confirm != "" && slices.Contains(r.o.Confirmed, m.outcome.Confirm)
	if confirmed || !r.now.Before(m.outcome.NextTry) {
		return false
	}
	r.out[i] = m.outcome
	return true
}

// duplicate fails a wish, unless it has just failed for the same reason.
func (r *run) duplicate(i int, other string) {
	err := fmt.Errorf("%w: %s and %s", errDuplicate, r.wanted[i].Resource, other)
	m := r.account.memory[wishOf(r.wanted[i])]
	if m != nil && m.digest == digestOf(r.wanted[i], r.o) && m.outcome.Err != nil && m.outcome.Err.Error() == err.Error() && r.now.Before(m.outcome.NextTry) {
		m.seen = r.now
		r.out[i] = m.outcome
		return
	}
	r.fail(i, err)
}

// settle keeps what became of a wish.
func (r *run) settle(i int, o Outcome) {
	w := r.wanted[i]
	m := memo{digest: digestOf(w, r.o), seen: r.now}
	if old := r.account.memory[wishOf(w)]; old != nil && old.digest == m.digest {
		m.failures = old.failures
	}
	switch {
	case o.Err == nil:
		m.failures = 0
		o.NextTry = r.now.Add(spread(r.o.Trust, m.digest))
	case o.NextTry.IsZero():
		m.failures++
		o.NextTry = r.now.Add(backoff(m.failures))
	}
	if o.Owned == nil && o.Err != nil {
		o.Owned = w.Known
	}
	r.out[i] = o
	if r.o.DryRun {
		return
	}
	m.outcome, m.had = o, len(o.Owned)
	// What was done is told once, and what would be done each time.
	m.outcome.Written, m.outcome.Receipt = false, ""
	if o.Err == nil && o.Phase != PhasePlanned {
		m.outcome.Steps = nil
	}
	r.account.memory[wishOf(w)] = &m
}

// fail is settle for a problem.
func (r *run) fail(i int, err error) {
	o := r.out[i]
	o.Err, o.Class = err, ClassOf(err)
	o.Phase = PhaseBlocked
	switch o.Class {
	case ClassThrottled, ClassStale, ClassUnavailable:
		o.Phase = PhaseWaiting
	}
	var throttled *ThrottledError
	switch until := r.account.until; {
	case r.now.Before(until) && (o.Class == ClassThrottled || o.Class == ClassCredentials):
		o.NextTry = until
	case errors.As(err, &throttled) && throttled.After > 0:
		o.NextTry = r.now.Add(throttled.After)
	}
	r.settle(i, o)
}

func (r *run) failAll(wishes []int, err error) {
	for _, i := range wishes {
		r.fail(i, err)
	}
}

// ClassOf says what kind of problem an error of a Provider or an Engine is.
func ClassOf(err error) Class {
	var throttled *ThrottledError
	for _, c := range []struct {
		err   error
		class Class
	}{
		{errConflict, ClassConflict}, {errMassChange, ClassMassChange}, {errAmbiguousZone, ClassAmbiguousZone}, {errDuplicate, ClassDuplicate},
		{ErrCredentials, ClassCredentials}, {ErrNoZone, ClassNoZone}, {ErrStale, ClassStale}, {ErrUnsupported, ClassUnsupported}, {ErrInvalid, ClassInvalid}, {ErrTooLarge, ClassInvalid},
	} {
		if errors.Is(err, c.err) {
			return c.class
		}
	}
	if errors.As(err, &throttled) {
		return ClassThrottled
	}
	return ClassUnavailable
}

// findDuplicates finds wishes that cannot all come true, and for each one other
// resource that is in its way. What withdraws is in nobody's way.
func findDuplicates(wanted []Wanted) map[int]string {
	byName := map[Name][]int{}
	for i, w := range wanted {
		if len(prospects(w)) > 0 {
			byName[w.Name] = append(byName[w.Name], i)
		}
	}
	out := map[int]string{}
	for _, rivals := range byName {
		for n, i := range rivals {
			for _, j := range rivals[n+1:] {
				if !exclude(wanted[i], wanted[j]) {
					continue
				}
				// What is only planned is in nobody's way.
				if !wanted[j].DryRun || wanted[i].DryRun {
					out[i] = wanted[j].Resource
				}
				if !wanted[i].DryRun || wanted[j].DryRun {
					out[j] = wanted[i].Resource
				}
			}
		}
	}
	return out
}

// exclude reports whether two wishes at one name cannot both come true.
func exclude(a, b Wanted) bool {
	for _, x := range prospects(a) {
		for _, y := range prospects(b) {
			sameKey := x == y && !(a.Shared && b.Shared)
			cname := (x.Type == TypeCNAME) != (y.Type == TypeCNAME)
			group := x.Type == y.Type && (x.Identifier == "") != (y.Identifier == "")
			if sameKey || cname || group {
				return true
			}
		}
	}
	return false
}

// prospects are the keys that a wish will have sets at, as far as they can be
// known without a zone: a host becomes addresses, or something in their place.
func prospects(w Wanted) []Key {
	var out []Key
	switch {
	case w.Target != nil && w.Target.Host != "":
		out = append(out, Key{w.Name, TypeA, w.Identifier}, Key{w.Name, TypeAAAA, w.Identifier})
	case w.Target != nil:
		for _, s := range Addressed(w.Name, w.Identifier, 0, w.Target.Addresses) {
			out = append(out, s.Key)
		}
	default:
		for _, s := range w.Sets {
			out = append(out, s.Key)
		}
	}
	return out
}

// wish tells wishes apart in memory.
type wish struct {
	resource, identifier string
	name                 Name
	shared               bool
}

func wishOf(w Wanted) wish { return wish{w.Resource, w.Identifier, w.Name, w.Shared} }

// digestOf is of all that decides a plan, but what is there. Known matters as far
// as it is not what is wanted: shared values that must go.
func digestOf(w Wanted, o Options) string {
	known := w.Known
	w.Known = nil
	// It follows from the zone, and is not known at all times.
	w.Flattened = false
	if w.Target != nil {
		// So do they from the target.
		w.Sets = nil
	}
	if w.Shared {
		for _, k := range known {
			if !slices.ContainsFunc(w.Sets, k.Equal) {
				w.Known = append(w.Known, k)
			}
		}
	}
	// JSON, since it follows pointers. A Wanted cannot fail to have one.
	text, err := json.Marshal(w)
	return digest(string(text), err, o.Private, o.Zones)
}

func digest(parts ...any) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%q\n", fmt.Sprintf("%+v", p))
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}
