// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedcertificate

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/acme"
	"github.com/trellis-mesh/trellis/internal/certificate"
)

// maxSteps is how many steps one certificate may take before others have their
// turn; one of 100 names needs a few hundred in all.
const maxSteps = 64

// work is one look at one certificate.
type work struct {
	*Reconciler
	cert   *v1alpha1.ManagedCertificate
	memory *memory
	now    time.Time
	spec   acme.Spec
	// active is the spec of the next step: that of a preflight, while there is one.
	active acme.Spec
	// names are canonical; empty where they cannot be.
	names []string
	state acme.State
	// secret and pair are what is served; nil and empty where nothing is.
	secret  *corev1.Secret
	pair    certificate.Pair
	secrets acme.Secrets
	// held is why nothing can be done, awaited what has to come first.
	held, awaited *obstacle
}

// obstacle is a reason for machines and a message for people.
type obstacle struct{ reason, message string }

// outcome is a step that was taken and is to be stored.
type outcome struct {
	// base is the stored state that the step began with.
	base          string
	before, after acme.State
	actions       acme.Actions
	// placeholder: what was served before.
	placeholder bool
}

func (r *Reconciler) newWork(cert *v1alpha1.ManagedCertificate) *work {
	w := &work{Reconciler: r, cert: cert, memory: r.remember(cert), now: r.clock.Now(), spec: specOf(cert)}
	// What is wrong with names is for the engine to say.
	w.names, _ = certificate.CanonicalNames(cert.Spec.DNSNames)
	w.active = w.spec
	if cert.Status.State == "" {
		return w
	}
	state, err := acme.DecodeState([]byte(cert.Status.State))
	if err != nil {
		r.log.Error("the state of a certificate begins anew", "certificate", w.key(), "error", err)
	}
	w.state = state
	w.active = w.spec.Current(w.state)
	return w
}

func (w *work) key() types.NamespacedName { return client.ObjectKeyFromObject(w.cert) }

// settled is true where a certificate was issued and none is on its way.
func (w *work) settled() bool { return w.state.Phase == acme.Issued }

// run does all that can be done now and says when to go on.
func (w *work) run(ctx context.Context) (time.Duration, error) {
	again, err := w.advance(ctx)
	if foreign := (foreignError{}); errors.As(err, &foreign) {
		w.held, err = &obstacle{reasonSecretConflict, foreign.Error()}, nil
	}
	if err != nil {
		return 0, err
	}
	if err := w.writeStatus(ctx); err != nil {
		return 0, err
	}
	w.metrics.observe(w.key(), w.state)
	return again, nil
}

func (w *work) advance(ctx context.Context) (time.Duration, error) {
	if err := w.serve(ctx); err != nil {
		return maxLook, err
	}
	if u := w.memory.unsaved; u != nil && u.base == w.cert.Status.State {
		if err := w.store(ctx, u); err != nil {
			return 0, err
		}
	}
	w.memory.unsaved = nil
	for range maxSteps {
		w.active = w.spec.Current(w.state)
		again, wait, err := w.turn(ctx)
		if err != nil {
			return 0, err
		}
		if w.held != nil {
			return maxLook, nil
		}
		if !again {
			return wait, w.tidy(ctx)
		}
	}
	return soon, nil
}

// turn takes a step while nobody changes the key of the account, and after each
// change that was begun.
func (w *work) turn(ctx context.Context) (again bool, wait time.Duration, err error) {
	r := w.rotation()
	if err := w.rotate(ctx, r); err != nil {
		return false, 0, err
	}
	r.using.RLock()
	defer r.using.RUnlock()
	if err := w.readKeys(ctx, r); err != nil {
		return false, 0, err
	}
	if r.open.Load() {
		w.awaited = &obstacle{reasonPending, "the certificate authority has to say which key of our account it knows"}
		return false, max(r.wait(w.now), soon), nil
	}
	if w.held = w.obstructed(); w.held != nil {
		return false, 0, nil
	}
	return w.step(ctx)
}

// obstructed is what only a person can change, and the engine cannot know.
func (w *work) obstructed() *obstacle {
	switch {
	case w.spec.Challenge != acme.HTTP01 && w.cert.Spec.ProviderRef == nil:
		return &obstacle{reasonPending, "the challenge " + w.cert.Spec.Challenge + " needs a DNSProvider, and spec.providerRef names none"}
	case w.secrets.AccountKey != nil && !readable(w.secrets.AccountKey):
		return &obstacle{reasonPending, fmt.Sprintf("the key %s of our account in Secret %s/%s cannot be read: "+
			"restore it, or remove it for another account", accountEntry(w.active), w.options.Namespace, AccountsName)}
	case w.cert.Spec.ExternalAccount != nil && !w.registered() && !w.settled() && len(w.secrets.ExternalAccountKey) == 0:
		return &obstacle{reasonPending, fmt.Sprintf("the Secret %s has no key %q for the external account",
			w.cert.Spec.ExternalAccount.KeySecretRef.Name, externalKeyData)}
	}
	return nil
}

func readable(key []byte) bool {
	_, err := certificate.ParseKey(key)
	return err == nil
}

// registered reports whether the authority knows us already.
func (w *work) registered() bool {
	current := w.state.Current()
	return current.Account != "" && current.Directory == w.active.Directory && len(w.secrets.AccountKey) > 0
}

// step takes one and stores it. It says whether another one follows at once, and
// when else.
func (w *work) step(ctx context.Context) (again bool, wait time.Duration, err error) {
	if len(w.secrets.AccountKey) == 0 && w.state.Current().Order != nil {
		// Without the key nobody can ask for this order any more.
		w.state = w.state.Change(func(s *acme.State) { s.Order, s.Phase, s.Account = nil, acme.Waiting, "" })
	}
	before := w.state
	after, actions, err := w.engine.Step(ctx, w.spec, before, w.secrets)
	if err != nil {
		return false, 0, err
	}
	w.now = w.clock.Now()
	err = w.store(ctx, &outcome{base: w.cert.Status.State, before: before, after: after, actions: actions, placeholder: w.placeholder()})
	if err != nil {
		return false, 0, err
	}
	if current := w.state.Current(); current.Phase == acme.Presenting && !current.Order.Presented {
		ready, wait, err := w.present(ctx)
		if ready {
			// Stored with the step that follows from it.
			w.state = w.state.Change(func(s *acme.State) { s.Order.Presented = true })
		}
		return ready, wait, err
	}
	if actions.RetryAt.IsZero() {
		return actions.Again, maxLook, nil
	}
	return actions.Again, actions.RetryAt.Sub(w.now), nil
}

// store keeps what a step brought, in the order in which nothing is lost when the
// process ends in between: keys and pair, budget, state; then all that can be
// found out again. What fails is kept for the next time, because an order whose
// URL is lost is an order too many.
func (w *work) store(ctx context.Context, o *outcome) error {
	w.memory.unsaved = o
	a := o.actions
	if a.StoreAccountKey != nil {
		if err := w.storeAccountKey(ctx, a.StoreAccountKey); err != nil {
			return err
		}
	}
	if a.StoreOrderKey != nil {
		if err := w.storeOrderKey(ctx, a.StoreOrderKey); err != nil {
			return err
		}
	}
	if a.StorePair != nil {
		if err := w.put(ctx, known{*a.StorePair, o.after.Issued.Directory}, false); err != nil {
			return err
		}
		if err := w.keepCopy(ctx); err != nil {
			return err
		}
	}
	if a.StoreLedger {
		if err := w.budget.store(ctx, w.now); err != nil {
			return err
		}
	}
	w.state = o.after
	if text, err := encode(w.state); err != nil || text != w.cert.Status.State {
		w.awaited = nil
		if err := errors.Join(err, w.writeStatus(ctx)); err != nil {
			return err
		}
	}
	w.memory.unsaved = nil
	w.announce(o)
	if a.DropOrderKey {
		w.memory.tidy = false
	}
	return nil
}

// tidy takes away what no order needs any more: after an order, and once in the
// life of a process, which may have ended too early the last time.
func (w *work) tidy(ctx context.Context) error {
	if w.memory.tidy || w.state.Current().Order != nil {
		return nil
	}
	if err := w.drop(ctx, w.cert, orderKeyName(w.cert)); err != nil {
		return err
	}
	if err := w.withdraw(ctx, w.cert, w.standing()); err != nil {
		return err
	}
	w.memory.tidy = true
	return nil
}

func (w *work) placeholder() bool {
	return w.secret == nil || w.secret.Labels[certificate.PlaceholderLabel] == "true"
}
