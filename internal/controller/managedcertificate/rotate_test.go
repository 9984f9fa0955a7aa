// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedcertificate_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	pebble "github.com/trellis-mesh/trellis/test/acme"
)

// accountKey is the key of the only account; next tells whether another is there.
func (w *world) accountKey() (key []byte, next bool) {
	w.t.Helper()
	for k, v := range w.accounts().Data {
		switch {
		case strings.HasSuffix(k, ".key"):
			key = v
		case strings.HasSuffix(k, ".next"):
			next = true
		}
	}
	return key, next
}

// rotated requires that the CA knows one account by one key, and that it is ours.
func (w *world) rotated(before []byte, changes int) {
	w.t.Helper()
	key, next := w.accountKey()
	if next || bytes.Equal(key, before) != (changes == 0) {
		w.t.Errorf("a next key is there: %t; the key is the old one: %t", next, bytes.Equal(key, before))
	}
	if n := w.ca.Count(pebble.PathKeyChange, 200); n != changes {
		w.t.Errorf("the key was changed %d times, want %d", n, changes)
	}
	orders := w.ca.Orders()
	w.annotate(v1alpha1.RenewAnnotation, fmt.Sprint("after ", orders))
	w.until("a certificate by the new key", func(c *v1alpha1.ManagedCertificate) bool { return isIssued(c) && w.ca.Orders() > orders })
	if n := w.ca.Count(pebble.PathNewAccount, 201); n != 1 {
		w.t.Errorf("%d accounts", n)
	}
	if n := w.ca.Orders(); n != orders+1 {
		w.t.Errorf("%d orders for one certificate", n-orders)
	}
}

func TestTheKeyOfAnAccountIsChangedOnInstructionOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), "DNS01", "a.example.com")
	w.issue()
	before, _ := w.accountKey()
	w.annotate(v1alpha1.RotateAccountKeyAnnotation, "1")
	w.until("the change", func(*v1alpha1.ManagedCertificate) bool { return w.events.count("AccountKeyRotated") == 1 })
	w.restart()
	for range 3 {
		if _, err := w.look(); err != nil {
			t.Fatal(err)
		}
	}
	w.rotated(before, 1)
	// Another text is another instruction, and another certificate has its own.
	other := w.wanted("DNS01", "b.example.com")
	other.Name, other.Spec.SecretName = "other", "other-tls"
	other.Annotations = map[string]string{v1alpha1.RotateAccountKeyAnnotation: "1"}
	w.create(other)
	w.name.Name = "other"
	w.issue()
	if n := w.events.count("AccountKeyRotated"); n != 2 {
		t.Errorf("%d changes, want two", n)
	}
	w.name.Name = "web"
	w.annotate(v1alpha1.RotateAccountKeyAnnotation, "2")
	w.until("the change", func(*v1alpha1.ManagedCertificate) bool { return w.events.count("AccountKeyRotated") == 3 })
	w.rotated(before, 3)
}

func TestAProcessKilledAtAnyCallOfAKeyChangeGoesOnWithIt(t *testing.T) {
	t.Parallel()
	reference := newWorld(t, pebble.New(t, pebble.Options{}), "HTTP01", "a.example.com")
	reference.issue()
	begin := reference.calls.Load()
	reference.annotate(v1alpha1.RotateAccountKeyAnnotation, "1")
	reference.until("the change", func(*v1alpha1.ManagedCertificate) bool { return reference.events.count("AccountKeyRotated") == 1 })
	steps := reference.calls.Load() - begin
	for _, after := range []bool{false, true} {
		for at := int64(1); at <= steps; at++ {
			w := newWorld(t, pebble.New(t, pebble.Options{}), "HTTP01", "a.example.com")
			w.issue()
			before, _ := w.accountKey()
			w.annotate(v1alpha1.RotateAccountKeyAnnotation, "1")
			w.dead(w.calls.Load()+at, after)
			for range 3 {
				if _, err := w.look(); err != nil {
					break
				}
			}
			w.fault = nil
			w.restart()
			w.until("the change", func(*v1alpha1.ManagedCertificate) bool { return w.state().Rotated == "1" })
			w.rotated(before, 1)
		}
	}
}

func TestAnAnswerToAKeyChangeThatIsLostIsAskedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), "HTTP01", "a.example.com")
	w.issue()
	before, _ := w.accountKey()
	w.ca.Inject(pebble.Fault{Path: pebble.PathKeyChange, Cut: true, Heard: true})
	w.annotate(v1alpha1.RotateAccountKeyAnnotation, "1")
	w.until("the change", func(*v1alpha1.ManagedCertificate) bool { return w.state().Rotated == "1" })
	w.rotated(before, 1)
}

func TestAKeyChangeThatTheCAPutsOffHoldsUpNoCertificate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), "HTTP01", "a.example.com")
	w.issue()
	before, _ := w.accountKey()
	w.ca.Inject(pebble.Fault{Path: pebble.PathKeyChange, Status: 503, Type: "serverInternal", Detail: "not now", RetryAfter: "7200", Times: 1})
	begin := w.clock.Now()
	w.annotate(v1alpha1.RotateAccountKeyAnnotation, "1")
	w.annotate(v1alpha1.RenewAnnotation, "1")
	w.until("the renewal", func(c *v1alpha1.ManagedCertificate) bool { return isIssued(c) && w.ca.Orders() == 2 })
	if w.clock.Now().Sub(begin) > time.Hour || w.events.count("AccountKeyNotRotated") != 1 {
		t.Errorf("renewed after %s; events %q", w.clock.Now().Sub(begin), w.events.notes)
	}
	// Restarted, the process asks again: the ladder is its own, and the key is not.
	w.until("the change", func(*v1alpha1.ManagedCertificate) bool { return w.state().Rotated == "1" })
	if took := w.clock.Now().Sub(begin); took < 2*time.Hour {
		t.Errorf("the CA was asked again after %s", took)
	}
	w.rotated(before, 1)
}

func TestAKeyChangeThatTheCARefusesLeavesTheOldKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), "HTTP01", "a.example.com")
	w.issue()
	before, _ := w.accountKey()
	w.ca.Inject(pebble.Fault{Path: pebble.PathKeyChange, Status: 403, Type: "unauthorized", Detail: "never", Times: -1})
	w.annotate(v1alpha1.RotateAccountKeyAnnotation, "1")
	w.until("the refusal", func(*v1alpha1.ManagedCertificate) bool { return w.state().Rotated == "1" })
	if w.events.count("AccountKeyNotRotated") != 1 {
		t.Errorf("events %q", w.events.notes)
	}
	w.rotated(before, 0)
}

func TestAKeyChangedInTheMiddleOfAnOrderCostsNoOrder(t *testing.T) {
	t.Parallel()
	for _, challenge := range []string{"HTTP01", "DNS01", "DNSPersist01"} {
		w := newWorld(t, pebble.New(t, pebble.Options{}), challenge, "a.example.com")
		w.noKeeper, w.noGateway = true, true
		w.until("the challenge", func(c *v1alpha1.ManagedCertificate) bool { return c.Status.Phase == "Presenting" })
		before, _ := w.accountKey()
		w.annotate(v1alpha1.RotateAccountKeyAnnotation, "1")
		w.until("the change", func(*v1alpha1.ManagedCertificate) bool { return w.state().Rotated == "1" })
		w.noKeeper, w.noGateway = false, false
		w.issue()
		if n := w.ca.Orders(); n != 1 {
			t.Errorf("%s: %d orders", challenge, n)
		}
		w.rotated(before, 1)
	}
}
