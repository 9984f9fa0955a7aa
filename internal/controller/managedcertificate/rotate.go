// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedcertificate

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/acme"
)

// The changes of an account's key (RFC 8555 §7.3.5), each of which a crash may
// follow: the next key is stored beside the old one; the authority is told; the
// next key takes the place of the old one in one write. As long as there is a next
// key, nobody uses the account before the authority has said which of both it
// knows.
const (
	// nextSuffix and causeSuffix follow the name of an account's entry: the next
	// key, and a hash of the instruction that it was made for. The latter stays.
	nextSuffix  = ".next"
	causeSuffix = ".cause"
)

// rotation is what this process knows of the key of one account.
type rotation struct {
	// using is held by who uses the key, and alone by who changes it.
	using sync.RWMutex
	// open: there is a next key, and nobody has asked the authority about it. known
	// is one that it was found not to know.
	open  atomic.Bool
	mu    sync.Mutex
	known string
	// askAt is when to ask again, after the authority gave no answer.
	askAt time.Time
}

// wait is how long nobody is to ask.
func (r *rotation) wait(now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.askAt.Sub(now)
}

func (r *rotation) postpone(to time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.askAt = to
}

func (r *rotation) knows(next []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known == string(next)
}

func (r *rotation) learn(next []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known = string(next)
}

func (w *work) rotation() *rotation {
	w.mu.Lock()
	defer w.mu.Unlock()
	entry := accountEntry(w.active)
	if w.rotations[entry] == nil {
		w.rotations[entry] = &rotation{}
	}
	return w.rotations[entry]
}

// instructed is the instruction to change the key that was not followed yet.
func (w *work) instructed() string {
	if wish := w.cert.Annotations[v1alpha1.RotateAccountKeyAnnotation]; wish != w.state.Rotated {
		return wish
	}
	return ""
}

// cause tells instructions apart: one for each certificate and text.
func (w *work) cause() string {
	return short(string(w.cert.UID)+"\n"+w.cert.Annotations[v1alpha1.RotateAccountKeyAnnotation], 32)
}

// rotate follows an instruction to change the account's key, or ends a change that
// was begun. Without either it does nothing.
func (w *work) rotate(ctx context.Context, r *rotation) error {
	wish := w.instructed()
	if wish != "" && w.now.Before(w.memory.rotateAt) {
		wish = ""
	}
	if wish == "" && (!r.open.Load() || r.wait(w.now) > 0) {
		return nil
	}
	r.using.Lock()
	defer r.using.Unlock()
	s, err := w.read(ctx, w.options.Namespace, AccountsName)
	if err != nil {
		return err
	}
	entry := accountEntry(w.active)
	if s == nil || !readable(s.Data[entry]) {
		// The first key is new, and one that cannot be read is told elsewhere.
		r.open.Store(false)
		w.followed(wish)
		return nil
	}
	next, begun := s.Data[entry+nextSuffix]
	switch {
	case begun && !readable(next):
		// Nothing was ever sent with it.
		return w.replace(ctx, s, func(data map[string][]byte) { delete(data, entry+nextSuffix) })
	case begun:
		return w.change(ctx, r, s, next, wish)
	case wish == "" || string(s.Data[entry+causeSuffix]) == w.cause():
		r.open.Store(false)
		w.setAccount(s.Data[entry])
		w.followed(wish)
		return nil
	}
	return w.beginChange(ctx, r, s, wish)
}

// beginChange stores the next key before anybody hears of it.
func (w *work) beginChange(ctx context.Context, r *rotation, s *corev1.Secret, wish string) error {
	next, err := acme.NewAccountKey()
	if err != nil {
		return fmt.Errorf("making the next key of an account: %w", err)
	}
	r.open.Store(true)
	err = w.replace(ctx, s, func(data map[string][]byte) {
		entry := accountEntry(w.active)
		data[entry+nextSuffix], data[entry+causeSuffix] = next, []byte(w.cause())
	})
	if err != nil {
		return err
	}
	return w.change(ctx, r, s, next, wish)
}

// change asks the authority, and stores what it said.
func (w *work) change(ctx context.Context, r *rotation, s *corev1.Secret, next []byte, wish string) error {
	entry := accountEntry(w.active)
	keys := acme.Secrets{AccountKey: s.Data[entry], NextAccountKey: next}
	if wish != "" {
		// What was known does not hold once it is sent.
		r.learn(nil)
	}
	got, err := w.engine.ChangeAccountKey(ctx, w.active, keys, w.memory.rotations, wish == "")
	if err != nil {
		return err
	}
	switch {
	case got.Done:
		err := w.replace(ctx, s, func(data map[string][]byte) {
			data[entry] = next
			delete(data, entry+nextSuffix)
		})
		if err != nil {
			return err
		}
		w.setAccount(next)
		w.say(corev1.EventTypeNormal, eventAccountKeyRotated, "Rotate", "the certificate authority knows our account by another key now")
	case got.Failure == nil:
		// The old key is good, and whoever was instructed tries again.
		r.learn(next)
		r.open.Store(false)
		return nil
	case !got.Failure.Permanent:
		if wish == "" {
			r.postpone(got.RetryAt)
			return nil
		}
		w.memory.rotations++
		w.memory.rotateAt = got.RetryAt
		w.complain("the key of our account is not changed yet: " + got.Failure.Error() + "; next try at " + clockTime(got.RetryAt))
		return nil
	default:
		err := w.replace(ctx, s, func(data map[string][]byte) { delete(data, entry+nextSuffix) })
		if err != nil {
			return err
		}
		w.complain("the key of our account stays as it was: " + got.Failure.Error())
	}
	r.open.Store(false)
	w.followed(w.instructed())
	return nil
}

// complain tells of a key that was not changed: each time in other words once.
func (w *work) complain(problem string) {
	if w.memory.rotating == problem {
		return
	}
	w.memory.rotating = problem
	w.say(corev1.EventTypeWarning, eventAccountKeyNotRotated, "Rotate", problem)
}

// followed notes that an instruction is done with. The status with it is written at
// the end of the look.
func (w *work) followed(wish string) {
	if wish != "" {
		w.state.Rotated, w.memory.rotations = wish, 0
	}
}

// replace changes the Secret of the accounts as it was read, or not at all.
func (w *work) replace(ctx context.Context, s *corev1.Secret, edit func(map[string][]byte)) error {
	edit(s.Data)
	if err := w.client.Update(ctx, s, fieldOwner); err != nil {
		return writing(s, err)
	}
	return nil
}
