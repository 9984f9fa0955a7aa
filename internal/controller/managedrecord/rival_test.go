// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedrecord_test

import (
	"testing"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/test/nameserver"
)

// neighbour is another namespace of the same cluster, with an account for the same
// zone.
func (w *world) neighbour() *world {
	w.Helper()
	out := newWorld(w.T)
	out.zone = w.zone
	out.secret("tsig", map[string]string{"name": string(w.zone.KeyName), "algorithm": w.zone.Algorithm, "secret": w.zone.Secret})
	out.create(&v1alpha1.DNSProvider{ObjectMeta: out.meta("dns"), Spec: *w.dns().Spec.DeepCopy()})
	// One process works for both.
	out.r, out.clock = w.r, w.clock
	return out
}

func TestTwoNamespacesDoNotOverwriteEachOthersEntries(t *testing.T) {
	a := withZone(t, nameserver.Process)
	b := a.neighbour()
	a.want("shop", "shop."+zone, addresses("192.0.2.1"))
	a.reconcile()
	a.is("shop", dns.PhaseDone, "Done")
	b.want("mine", "shop."+zone, addresses("198.51.100.66"))
	b.reconcile()
	b.is("mine", dns.PhaseBlocked, "Conflict", "the ManagedRecord "+a.namespace+"/shop of this cluster", "spec.adopt")
	a.has("shop.example.test A → 192.0.2.1")
	// It holds for changes of the entry, too, and for what goes without having been.
	a.change("shop", addresses("192.0.2.2"))
	a.reconcile()
	b.reconcile()
	a.has("shop.example.test A → 192.0.2.2")
	mine := b.record("mine")
	b.remove(mine)
	b.reconcile()
	if b.there(mine) {
		t.Errorf("it is kept: %+v", mine.Status)
	}
	a.has("shop.example.test A → 192.0.2.2")

	// Once the other one lets go, the name is free, whether its account has been
	// looked at yet or not.
	b.want("mine", "shop."+zone, addresses("198.51.100.66"))
	b.reconcile()
	b.is("mine", dns.PhaseBlocked, "Conflict")
	shop := a.record("shop")
	a.remove(shop)
	b.reconcile()
	b.is("mine", dns.PhaseDone, "Done")
	a.reconcile()
	if a.there(shop) {
		t.Errorf("it is kept: %+v", shop.Status)
	}
	a.has("shop.example.test A → 198.51.100.66")
}
