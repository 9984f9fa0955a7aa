// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/server/admit"
	"github.com/trellis-mesh/trellis/internal/server/examine"
	"github.com/trellis-mesh/trellis/internal/server/observe"
)

// asked is what is answered about a change; a nil old is a creation.
func asked(t *testing.T, state *observe.State, settled *examine.Settled, old, is client.Object) admission.Response {
	t.Helper()
	h := admit.New(admit.Config{
		State: func() (*observe.State, error) {
			if state == nil {
				return nil, errors.New("pods have not been read yet")
			}
			return state, nil
		},
		Settled: func() *examine.Settled { return settled },
		Clock:   clock.RealClock{}, Log: slog.New(slog.DiscardHandler),
	})
	return h.Handle(t.Context(), request(t, old, is))
}

func request(t *testing.T, old, is client.Object) admission.Request {
	t.Helper()
	raw := func(o client.Object) runtime.RawExtension {
		text, err := json.Marshal(o)
		must(t, err)
		return runtime.RawExtension{Raw: text}
	}
	kind := "Application"
	if _, ok := is.(*v1alpha1.SecureIngress); ok {
		kind = "SecureIngress"
	}
	r := admissionv1.AdmissionRequest{
		Kind: metav1.GroupVersionKind{Group: v1alpha1.GroupName, Version: "v1alpha1", Kind: kind}, Operation: admissionv1.Create, Object: raw(is),
	}
	if old != nil {
		r.Operation, r.OldObject = admissionv1.Update, raw(old)
	}
	return admission.Request{AdmissionRequest: r}
}

// settledOf is what came of the tests of a state.
func settledOf(t *testing.T, state *observe.State) *examine.Settled {
	t.Helper()
	settled, err := examine.Settle(t.Context(), state, time.Now())
	must(t, err)
	return settled
}

func TestOnlyAChangeThatBreaksATestIsRefused(t *testing.T) {
	is := func(replace ...string) client.Object { return applicationOf(t, named(application, "cart", replace...)) }
	there := decode(t, platform, named(workload, "cart"))
	there = there[:len(there):len(there)]
	good, bad := observed(t, append(there, is())...), observed(t, append(there, is(open...))...)
	more := "paths: [{prefix: /pages}, {prefix: /static}]"
	for _, c := range []struct {
		name    string
		state   *observe.State
		old, is client.Object
		refused bool
		// says is part of the refusal or of the warnings; empty: nothing is said.
		says string
	}{
		{"a new one that passes", observed(t, there...), nil, is(), false, ""},
		{"a new one that fails", observed(t, there...), nil, is(open...), true, `spec.tests[0]: test "nobody": it is Allow, and Deny was expected (TestFailed)`},
		{"a change that passes", good, is(), is("paths: [{prefix: /pages}]", more), false, ""},
		{"a change that breaks a test", good, is(), is(open...), true, "see: trellis can -v -f FILES https://cart.example.com/api"},
		{"a change of the tests that nothing passes", good, is(), is("verdict: Deny", "verdict: Allow"), true, "it is Deny 403, and Allow was expected"},
		{"a change that leaves broken what was", bad, is(open...), is(append(open, "paths: [{prefix: /pages}]", more)...), false, "is not in force before it passes"},
		{"a change that repairs", bad, is(open...), is(), false, ""},
		{"a new one before its Service", observed(t, decode(t, platform)...), nil, is(open...), false, "of spec.tests cannot pass yet"},
		{"before the cluster has been read", nil, nil, is(open...), false, "were not run before the change was admitted"},
		{"the same statement", good, is(open...), is(open...), false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := asked(t, c.state, nil, c.old, c.is)
			text := strings.Join(got.Warnings, "\n")
			if got.Result != nil {
				text += got.Result.Message
			}
			if got.Allowed == c.refused || !strings.Contains(text, c.says) || c.says == "" && text != "" {
				t.Errorf("allowed %t: %q", got.Allowed, text)
			}
		})
	}
}

func TestTestsOfOthersWarnAndRefuseNothing(t *testing.T) {
	objects := decode(t, platform, named(workload, "cart"), named(application, "cart"))
	state := observed(t, objects...)
	settled := settledOf(t, state)

	t.Run("the platform closes a host", func(t *testing.T) {
		old := state.Input.SecureIngresses[0]
		is := old.DeepCopy()
		is.Spec.Applications[0].Hostnames = []string{"other"}
		got := asked(t, state, settled, old, is)
		if text := strings.Join(got.Warnings, "\n"); !got.Allowed || !strings.Contains(text, `breaks a test of Application cart/cart: test "everybody"`) {
			t.Errorf("allowed %t: %q", got.Allowed, text)
		}
	})
	t.Run("the platform changes what no test is about", func(t *testing.T) {
		old := state.Input.SecureIngresses[0]
		is := old.DeepCopy()
		is.Spec.IdentityProviders[0].Audiences = []v1alpha1.ClaimValue{"other"}
		if got := asked(t, state, settled, old, is); !got.Allowed || len(got.Warnings) != 0 {
			t.Errorf("%+v", got)
		}
	})
	t.Run("an Application takes a path of another's host", func(t *testing.T) {
		other := applicationOf(t, named(application, "cart", "name: NAME, namespace", "name: rival, namespace", "uid-NAME", "uid-rival",
			"prefix: /api", "prefix: /more", "path: /api", "path: /more", "{name: public, routes", "{name: public, hostnames: [NAME], routes"))
		got := asked(t, state, settled, nil, other)
		if text := strings.Join(got.Warnings, "\n"); !strings.Contains(text, `breaks a test of Application cart/cart`) {
			t.Errorf("allowed %t: %q %+v", got.Allowed, text, got.Result)
		}
	})
}

func TestMoreThanCanBeTriedInTimeIsLetThroughWithWords(t *testing.T) {
	held := make(chan struct{})
	state := observed(t, decode(t, platform, named(workload, "cart"))...)
	h := admit.New(admit.Config{
		State: func() (*observe.State, error) {
			<-held
			return state, nil
		},
		Settled: func() *examine.Settled { return nil }, Clock: clock.RealClock{}, Log: slog.New(slog.DiscardHandler),
	})
	is := applicationOf(t, named(application, "cart", open...))
	answers := make(chan admission.Response)
	for range 4 {
		go func() { answers <- h.Handle(t.Context(), request(t, nil, is)) }()
	}
	said := map[string]int{}
	for range 4 {
		got := <-answers
		if !got.Allowed || len(got.Warnings) != 1 {
			t.Fatalf("%+v", got)
		}
		for _, why := range []string{"more changes to try than it can", "takes longer than"} {
			if strings.Contains(got.Warnings[0], why) {
				said[why]++
			}
		}
	}
	close(held)
	if len(said) != 2 {
		t.Errorf("said %v", said)
	}
}

func TestAPanicIsNoVerdict(t *testing.T) {
	h := admit.New(admit.Config{
		State:   func() (*observe.State, error) { panic("odd") },
		Settled: func() *examine.Settled { return nil }, Clock: clock.RealClock{}, Log: slog.New(slog.DiscardHandler),
	})
	got := h.Handle(t.Context(), request(t, nil, applicationOf(t, named(application, "cart"))))
	if !got.Allowed || len(got.Warnings) != 1 {
		t.Errorf("%+v", got)
	}
	if _, err := examine.Settle(t.Context(), &observe.State{Input: observed(t, decode(t, named(application, "cart"))...).Input, Objects: []client.Object{nil}}, time.Now()); err == nil {
		t.Error("objects that nobody can read are no error")
	}
}
