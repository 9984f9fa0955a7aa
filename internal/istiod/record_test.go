// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package istiod

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/internal/controller"
	"github.com/trellis-mesh/trellis/internal/model"
)

var wrote = time.Date(2026, 1, 1, 12, 0, 0, 300_000_000, time.UTC)

// policy is an object that travels in listeners and is found as like says.
func policy(like *likeness) *recogniser {
	return &recogniser{
		ref: model.Reference{Kind: "AuthorizationPolicy", Namespace: "shop", Name: "p"}, key: [32]byte{1}, types: []resourceType{listeners},
		find: func(*dumpIndex) (likeness, string) { return *like, "rule 0 differs" },
	}
}

func proxyOf(objects ...*recogniser) *proxyPlan {
	p := &proxyPlan{
		key:      proxyKey{"shop", "cart-1"},
		workload: model.Workload{Ref: model.Reference{Kind: "Pod", Namespace: "shop", Name: "cart-1"}, Address: "192.0.2.1", Ready: true},
		objects:  map[model.Reference]*recogniser{},
	}
	for _, o := range objects {
		p.objects[o.ref] = o
	}
	return p
}

// listenersSent is a proxy that was last sent listeners at a time.
func listenersSent(at time.Time, acked bool, problem string) proxyState {
	return proxyState{node: "cart-1.shop", name: "cart-1", namespace: "shop", types: map[resourceType]sentState{
		listeners: {acked: acked, sent: at, problem: problem},
	}}
}

func writtenAt(model.Reference) time.Time { return wrote }

func TestWhatWasSentSinceTheDumpMustBeAcknowledged(t *testing.T) {
	pushed := wrote.Truncate(time.Second).Add(time.Second) // as istiod writes it
	looked := pushed.Add(100 * time.Millisecond)
	for _, test := range []struct {
		name  string
		state proxyState
		after time.Duration
		want  bool
	}{
		{"sent in the push and acknowledged", listenersSent(pushed.Add(50*time.Millisecond), true, ""), 200 * time.Millisecond, true},
		{"sent in the push and not acknowledged", listenersSent(pushed.Add(50*time.Millisecond), false, ""), time.Minute, false},
		{"sent in the push and refused", listenersSent(pushed.Add(50*time.Millisecond), false, "no"), time.Minute, false},
		{"the push may still be on its way", listenersSent(wrote.Add(-time.Hour), true, ""), 200 * time.Millisecond, false},
		{"the push had nothing for these listeners", listenersSent(wrote.Add(-time.Hour), true, ""), settle, true},
		{"nothing was ever sent", proxyState{}, time.Minute, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			like := alike
			object := policy(&like)
			p, r := proxyOf(object), newProxyRecord()
			r.look(p, connection{}, test.state, &dumpIndex{pushed: pushed}, looked)
			r.confirm(p, test.state, looked.Add(test.after), writtenAt)
			if got := r.has(object); got != test.want {
				t.Errorf("acknowledged: %t, want %t", got, test.want)
			}
		})
	}
}

func TestAnAcknowledgedObjectStaysSoUntilADumpSaysOtherwise(t *testing.T) {
	like := alike
	object := policy(&like)
	p, r := proxyOf(object), newProxyRecord()
	good := listenersSent(wrote.Add(time.Second), true, "")
	x := &dumpIndex{pushed: wrote.Add(500 * time.Millisecond)}
	r.look(p, connection{}, good, x, wrote.Add(time.Second))
	r.confirm(p, good, wrote.Add(time.Second), writtenAt)

	busy := listenersSent(wrote.Add(time.Minute), false, "")
	r.confirm(p, busy, wrote.Add(time.Minute), writtenAt)
	if !r.has(object) {
		t.Error("a later push of something else took the acknowledgement back")
	}
	like = absent
	r.look(p, connection{}, busy, x, wrote.Add(2*time.Minute))
	if r.has(object) {
		t.Error("an object that is gone is still acknowledged")
	}
	like = alike
	changed := *object
	changed.key = [32]byte{2}
	p.objects[object.ref] = &changed
	r.look(p, connection{}, good, x, wrote.Add(3*time.Minute))
	if r.has(&changed) {
		t.Error("another specification was never acknowledged")
	}
}

func TestAFormThatIsNotRecognisedCountsWhenThePushIsSurelyLater(t *testing.T) {
	like := different
	object := policy(&like)
	for _, test := range []struct {
		name   string
		pushed time.Time
		after  time.Duration
		want   bool
	}{
		{"just after the write", wrote.Add(time.Second), 5 * time.Second, false},
		{"when every push of the write is over", wrote.Add(time.Second), patience, true},
		{"not when istiod has pushed nothing since", wrote.Add(-time.Minute), time.Hour, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, r := proxyOf(object), newProxyRecord()
			state := listenersSent(test.pushed, true, "")
			r.look(p, connection{}, state, &dumpIndex{pushed: test.pushed}, wrote.Add(2*time.Second))
			r.confirm(p, state, wrote.Add(test.after), writtenAt)
			if got := r.has(object); got != test.want {
				t.Errorf("acknowledged: %t, want %t", got, test.want)
			}
		})
	}
}

func TestADumpIsTakenWhenItCanShowSomethingNew(t *testing.T) {
	like := alike
	object := policy(&like)
	p, r := proxyOf(object), newProxyRecord()
	here, there := connection{"192.0.2.10:15012", "cart-1.shop"}, connection{"192.0.2.11:15012", "cart-1.shop"}
	state := listenersSent(wrote, true, "")
	check := func(when string, c connection, s proxyState, now time.Time, wantDue, wantUrgent bool) {
		t.Helper()
		if due, urgent := r.due(p, c, s, now); due != wantDue || urgent != wantUrgent {
			t.Errorf("%s: due %t urgent %t, want %t %t", when, due, urgent, wantDue, wantUrgent)
		}
	}
	check("at first", here, state, wrote, true, true)
	r.look(p, here, state, &dumpIndex{pushed: wrote}, wrote)
	check("nothing was sent since, and something is missing", here, state, wrote.Add(time.Second), false, true)
	check("some time later", here, state, wrote.Add(again), true, true)
	r.confirm(p, state, wrote.Add(time.Second), writtenAt)
	check("nothing is missing", here, state, wrote.Add(time.Hour), false, false)
	newer := listenersSent(wrote.Add(time.Hour), true, "")
	check("istiod has sent something", here, newer, wrote.Add(time.Hour), true, false)
	check("istiod has sent something just now", here, listenersSent(wrote.Add(time.Second), true, ""), wrote.Add(time.Second), false, false)
	check("the proxy has moved to another replica", there, state, wrote.Add(time.Second), true, false)
	changed := *object
	changed.key = [32]byte{2}
	p.objects[object.ref] = &changed
	check("something was written", here, state, wrote.Add(time.Second), true, true)
}

func TestAProxyWhoseNameEndsLikeAnotherIsNotAskedFor(t *testing.T) {
	name := func(pod, namespace string) proxyState {
		return proxyState{node: pod + "." + namespace, name: pod, namespace: namespace}
	}
	all := []proxyState{name("cart-1", "shop"), name("my-cart-1", "shop"), name("web-1", "shop"), name("web-10", "shop"), name("web-1", "shop-b")}
	for _, p := range all {
		// istiod would find web-1.shop-b, too, when it looks for web-1.shop-.
		want := p.node == "cart-1.shop" || p.node == "web-1.shop"
		if got := ambiguous(p, all); got != want {
			t.Errorf("%s: ambiguous %t, want %t", p.node, got, want)
		}
	}
}

func TestTheVerdictIsTheWorstNews(t *testing.T) {
	like := alike
	object := policy(&like)
	identity := Identity{Namespace: "trellis-system", ServiceAccount: "trellis-operator"}
	confirmed := newProxyRecord()
	confirmed.confirmed[object.ref] = object.key
	connected := []found{{replica: Replica{Name: "istiod-1"}, state: listenersSent(wrote, true, "")}}
	rejected := []found{{replica: Replica{Name: "istiod-1"}, state: listenersSent(wrote, false, "bad regex")}}
	lagging := newProxyRecord()
	lagging.confirmed[object.ref] = object.key
	lagging.lagging = wrote
	for _, test := range []struct {
		name   string
		record *proxyRecord
		view   view
		found  []found
		after  time.Duration
		idle   int
		nobody bool
		status metav1.ConditionStatus
		reason string
		says   string
	}{
		{name: "everything is acknowledged", record: confirmed, found: connected, status: metav1.ConditionTrue, reason: ReasonAcknowledged, says: "(1)"},
		{name: "it was just written", record: newProxyRecord(), found: connected, status: metav1.ConditionFalse, reason: ReasonPending, says: "Pod shop/cart-1 by istiod-1"},
		{name: "it was written long ago", record: newProxyRecord(), found: connected, after: time.Hour, status: metav1.ConditionFalse, reason: ReasonStale, says: "Pod shop/cart-1"},
		{name: "the proxy refuses", record: newProxyRecord(), found: rejected, status: metav1.ConditionFalse, reason: ReasonRejected, says: "bad regex"},
		{name: "the proxy has hung", record: lagging, found: connected, after: time.Minute, status: metav1.ConditionFalse, reason: ReasonStale, says: "has not acknowledged"},
		{name: "nobody serves the proxy", record: newProxyRecord(), status: metav1.ConditionFalse, reason: ReasonNotConnected, says: "Pod shop/cart-1"},
		{name: "a replica cannot be asked", record: newProxyRecord(), view: view{unreachable: errors.New("down")}, status: metav1.ConditionUnknown, reason: ReasonIstiodUnreachable, says: "down"},
		{name: "a replica cannot be asked, and the proxy is elsewhere", record: confirmed, view: view{unreachable: errors.New("down")}, found: connected, status: metav1.ConditionTrue, reason: ReasonAcknowledged},
		{name: "a replica refuses", record: newProxyRecord(), view: view{refused: fmt.Errorf("%w: no", errRefused)}, status: metav1.ConditionUnknown, reason: ReasonIstiodRefuses, says: "audience istio-ca"},
		{name: "istiod leaves proxies out", record: newProxyRecord(), view: view{hidden: true}, status: metav1.ConditionUnknown, reason: ReasonIstiodRefuses, says: "DEBUG_ENDPOINT_AUTH_ALLOWED_NAMESPACES"},
		{name: "no pod is ready", record: newProxyRecord(), nobody: true, idle: 1, status: metav1.ConditionUnknown, reason: ReasonNoProxies, says: "ready"},
		{name: "no pod is selected", record: newProxyRecord(), nobody: true, status: metav1.ConditionUnknown, reason: ReasonNoProxies, says: "No pod"},
	} {
		t.Run(test.name, func(t *testing.T) {
			proxy := proxyOf(object)
			owner := ownerPlan{
				target: controller.ProgrammedTarget{Owner: model.Reference{Kind: "Application", Name: "a"}, Objects: []*controller.Written{{Ref: object.ref, At: wrote}}},
				needs:  []need{{proxy, []*recogniser{object}}}, idle: test.idle,
			}
			if test.nobody {
				owner.needs = nil
			}
			v := test.view
			v.records, v.found = map[proxyKey]*proxyRecord{proxy.key: test.record}, map[proxyKey][]found{proxy.key: test.found}
			got, _ := judge(&plan{owners: []ownerPlan{owner}}, &v, identity, wrote.Add(test.after))
			if len(got) != 1 || got[0].Status != test.status || got[0].Reason != test.reason || !strings.Contains(got[0].Message, test.says) {
				t.Errorf("got %+v, want %s %s that says %q", got, test.status, test.reason, test.says)
			}
			if !got[0].LastWrite.Equal(wrote) || got[0].Owner != owner.target.Owner {
				t.Errorf("the verdict is about %s at %s", got[0].Owner, got[0].LastWrite)
			}
		})
	}
}

func TestOnlyNewsIsReported(t *testing.T) {
	said := newReported()
	v := controller.Verdict{Owner: model.Reference{Name: "a"}, Status: metav1.ConditionTrue, LastWrite: wrote}
	if got := said.changed([]controller.Verdict{v}); len(got) != 1 {
		t.Errorf("the first verdict was not reported: %v", got)
	}
	if got := said.changed([]controller.Verdict{v}); len(got) != 0 {
		t.Errorf("the same verdict was reported again: %v", got)
	}
	v.LastWrite = wrote.Add(time.Second)
	if got := said.changed([]controller.Verdict{v}); len(got) != 1 {
		t.Errorf("the verdict on a newer write was not reported: %v", got)
	}
	said.changed(nil)
	if got := said.changed([]controller.Verdict{v}); len(got) != 1 {
		t.Errorf("an owner that is followed anew was not reported: %v", got)
	}
}
