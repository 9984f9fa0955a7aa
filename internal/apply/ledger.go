// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/trellis-mesh/trellis/internal/model"
)

// Ledger remembers what this process wrote, so that a cache that has not caught
// up is not mistaken for somebody else's edit, and so that an edit is told from a
// change of what is wanted. It starts empty: nothing in it has to survive a
// restart. Safe for concurrent use.
type Ledger struct {
	mu sync.Mutex
	// ahead is what the API server answered and the cache does not show yet.
	ahead map[model.Reference]Live
	// gone is what we deleted and the cache still shows.
	gone map[model.Reference]types.UID
	// agreed is the digest that an object last had when it was as it should be.
	agreed map[model.Reference]Digest
	// distorted is what became of a digest that we wrote.
	distorted map[model.Reference]distortion
	at        map[model.Reference]time.Time
	// sending and removing are writes on their way: a watch may tell of them
	// before their answer is here.
	sending  map[model.Reference]*sending
	removing map[model.Reference]*removing
}

// sending is a write whose answer is not here. lost is the object when a watch
// told of its end meanwhile.
type sending struct {
	digest Digest
	lost   types.UID
}

// removing is a deletion whose answer is not here; seen is true when a watch has
// told of it already.
type removing struct {
	uid  types.UID
	seen bool
}

type distortion struct{ wanted, became Digest }

// NewLedger begins with no memory.
func NewLedger() *Ledger {
	return &Ledger{
		ahead:     map[model.Reference]Live{},
		gone:      map[model.Reference]types.UID{},
		agreed:    map[model.Reference]Digest{},
		distorted: map[model.Reference]distortion{},
		at:        map[model.Reference]time.Time{},
		sending:   map[model.Reference]*sending{},
		removing:  map[model.Reference]*removing{},
	}
}

// Merge overlays what a cache shows with what is known to be newer. The slice is
// changed in place; its order stays, and what the cache lacks comes last.
func (l *Ledger) Merge(cached []Live) []Live {
	l.mu.Lock()
	defer l.mu.Unlock()
	shown := make(map[model.Reference]bool, len(cached))
	out := cached[:0]
	for _, c := range cached {
		shown[c.Ref] = true
		if uid, deleted := l.gone[c.Ref]; deleted && uid == c.UID {
			continue
		}
		if a, ok := l.ahead[c.Ref]; ok {
			if older(c.ResourceVersion, a.ResourceVersion) {
				c = a
			} else {
				delete(l.ahead, c.Ref)
			}
		}
		out = append(out, c)
	}
	for ref, a := range l.ahead {
		if !shown[ref] {
			out = append(out, a)
		}
	}
	return out
}

// Observe is called with every change that a cache reports, after the cache
// shows it, and drops what is no longer ahead of it.
func (l *Ledger) Observe(live Live, deleted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a, ok := l.ahead[live.Ref]; ok {
		sameGone := deleted && a.UID == live.UID
		if sameGone || !older(live.ResourceVersion, a.ResourceVersion) {
			delete(l.ahead, live.Ref)
		}
	}
	if uid, ok := l.gone[live.Ref]; ok && (deleted || uid != live.UID) {
		delete(l.gone, live.Ref)
	}
	if r := l.removing[live.Ref]; r != nil && deleted && r.uid == live.UID {
		r.seen = true
	}
	if s := l.sending[live.Ref]; s != nil && deleted {
		s.lost = live.UID
	}
}

// Expected reports whether a state that a cache shows is what this process left
// there, so that it is no news.
func (l *Ledger) Expected(live Live, deleted bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if deleted {
		r := l.removing[live.Ref]
		return l.gone[live.Ref] == live.UID || r != nil && r.uid == live.UID
	}
	agreed, ok := l.agreed[live.Ref]
	s := l.sending[live.Ref]
	return (ok && agreed == live.Digest || s != nil && s.digest == live.Digest) && live.Ours && !live.Deleting
}

// send notes a write that begins, and returns what to call when it has ended.
func (l *Ledger) send(ref model.Reference, digest Digest) (done func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sending[ref] = &sending{digest: digest}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.sending, ref)
	}
}

// remove does the same for a deletion.
func (l *Ledger) remove(live Live) (done func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.removing[live.Ref] = &removing{uid: live.UID}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.removing, live.Ref)
	}
}

// WrittenAt is when this process last wrote an object.
func (l *Ledger) WrittenAt(ref model.Reference) (time.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, ok := l.at[ref]
	return at, ok
}

func (l *Ledger) wrote(live Live, wanted Digest, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.sending[live.Ref]; s == nil || s.lost != live.UID {
		l.ahead[live.Ref] = live
	}
	delete(l.gone, live.Ref)
	l.at[live.Ref] = at
	if live.Digest == wanted {
		l.agreed[live.Ref] = wanted
		delete(l.distorted, live.Ref)
		return
	}
	l.agreed[live.Ref] = live.Digest
	l.distorted[live.Ref] = distortion{wanted: wanted, became: live.Digest}
}

func (l *Ledger) removed(live Live) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r := l.removing[live.Ref]; r == nil || !r.seen {
		l.gone[live.Ref] = live.UID
	}
	delete(l.ahead, live.Ref)
	delete(l.agreed, live.Ref)
	delete(l.distorted, live.Ref)
	delete(l.at, live.Ref)
}

// confirm notes that an object is as it should be without our writing it.
func (l *Ledger) confirm(ref model.Reference, digest Digest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.agreed[ref] = digest
}

func (l *Ledger) altered(ref model.Reference, wanted, is Digest) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	d, ok := l.distorted[ref]
	return ok && d == distortion{wanted: wanted, became: is}
}

// forget drops the memory of what is neither wanted nor there.
func (l *Ledger) forget(wanted map[model.Reference]bool, there map[model.Reference]*Live) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for ref := range l.agreed {
		if !wanted[ref] && there[ref] == nil {
			delete(l.agreed, ref)
			delete(l.distorted, ref)
			delete(l.at, ref)
		}
	}
}

// missing tells an object that somebody took away from one that is new.
func (l *Ledger) missing(w write) *Edit {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, agreed := l.agreed[w.Ref]; !agreed {
		return nil
	}
	return &Edit{Ref: w.Ref, Owners: w.Owners, Deleted: true}
}

// edited tells somebody else's change from a change of what is wanted. Without a
// memory of the object, as after a restart, it is an edit when somebody else
// owns something of it. undo is true when what is wanted has not changed.
func (l *Ledger) edited(w write) (edit *Edit, undo bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	agreed, known := l.agreed[w.Ref]
	if known && agreed == w.live.Digest || !known && len(w.live.Managers) == 0 {
		return nil, false
	}
	return &Edit{Ref: w.Ref, Owners: w.Owners, Managers: w.live.Managers}, known && agreed == w.Digest
}

// older compares resource versions. Those that cannot be compared count as
// older, so that what the API server answered to us is believed until the cache
// shows exactly that.
func older(a, b string) bool {
	if a == b {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err != nil || order < 0
}
