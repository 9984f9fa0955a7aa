// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package acme_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/acme"
	"github.com/trellis-mesh/trellis/internal/acme/caa"
	"github.com/trellis-mesh/trellis/internal/acme/limit"
	"github.com/trellis-mesh/trellis/internal/certificate"
	pebble "github.com/trellis-mesh/trellis/test/acme"
)

// world is a CA, one certificate, and what a controller would store of it. All
// that is remembered goes through JSON at every step.
type world struct {
	t    *testing.T
	ca   *pebble.Server
	spec acme.Spec
	// now is the clock; pass lets it go on.
	now     func() time.Time
	pass    func(time.Duration)
	ahead   time.Duration
	state   []byte
	ledger  []byte
	secrets acme.Secrets
	engine  *acme.Engine
	budget  *limit.Ledger
	caa     caa.Resolver
	// steps counts steps; failures and pairs are what they brought.
	steps    int
	failures []acme.Failure
	pairs    int
	// mute: challenges are not published, and said to be.
	mute bool
	// published is all that ever was, standing what is now.
	published, standing []acme.Challenge
}

func newWorld(t *testing.T, ca *pebble.Server, challenge acme.ChallengeType, names ...string) *world {
	t.Helper()
	w := &world{t: t, ca: ca, spec: acme.Spec{Directory: ca.Directory, Names: names, Challenge: challenge}}
	w.state = []byte(`{}`)
	w.now = func() time.Time { return time.Now().Add(w.ahead) }
	w.pass = func(d time.Duration) { w.ahead += d }
	w.restart()
	return w
}

// restart begins a new process: nothing but what was stored is left.
func (w *world) restart() {
	w.t.Helper()
	w.standing = nil
	var err error
	if w.budget, err = limit.Decode(limit.LetsEncrypt, w.ledger); err != nil {
		w.t.Fatal(err)
	}
	w.engine = acme.New(acme.Options{Ledger: w.budget, Transport: w.ca.Transport, Now: w.now, UserAgent: "trellis/test", CAA: w.caa})
}

func (w *world) read() acme.State {
	w.t.Helper()
	s, err := acme.DecodeState(w.state)
	if err != nil {
		w.t.Fatalf("%v\n%s", err, w.state)
	}
	return s
}

func (w *world) write(s acme.State) {
	w.t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		w.t.Fatal(err)
	}
	if strings.Contains(string(text), "PRIVATE") {
		w.t.Fatalf("a private key is in the state: %s", text)
	}
	w.state = text
}

// step takes one and does what a controller does after it. With the process
// killed somewhere in between, only the first stored parts of it are kept.
func (w *world) step(kept int) acme.Actions {
	w.t.Helper()
	w.steps++
	state, actions, err := w.engine.Step(w.t.Context(), w.spec, w.read(), w.secrets)
	if err != nil {
		w.t.Fatalf("step %d: %v", w.steps, err)
	}
	if actions.Failure != nil && !defectOfPebble(*actions.Failure) {
		w.failures = append(w.failures, *actions.Failure)
	}
	w.check(actions)
	for i, store := range []func(){
		func() { w.storeSecrets(actions) },
		func() {
			if actions.StoreLedger {
				w.ledger, err = w.budget.Encode(w.now())
			}
		},
		func() { w.write(state) },
		func() {
			if actions.DropOrderKey {
				w.secrets.OrderKey = nil
			}
		},
		func() { w.publish(actions.Publish) },
	} {
		if i < kept {
			store()
		}
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return actions
}

const everything = 5

// defectOfPebble tells that one certificate in 256 cannot be replaced at Pebble
// 2.10.1: it writes a serial number that DER begins with a zero octet (RFC 9773
// §4.1) without it, and does not find the certificate by its right id. The engine
// then sends a plain order.
func defectOfPebble(f acme.Failure) bool {
	return strings.Contains(f.Detail, "could not find order resulting in the given certificate serial number")
}

func (w *world) storeSecrets(a acme.Actions) {
	if a.StoreAccountKey != nil {
		w.secrets.AccountKey = a.StoreAccountKey
	}
	if a.StoreOrderKey != nil {
		w.secrets.OrderKey = a.StoreOrderKey
	}
	if a.StorePair != nil {
		w.secrets.Pair = *a.StorePair
		w.pairs++
	}
}

// check holds for every step: a pair is good, and no failure quotes a key.
func (w *world) check(a acme.Actions) {
	w.t.Helper()
	if a.StorePair != nil {
		if _, err := certificate.Check(*a.StorePair, w.names(), w.now()); err != nil {
			w.t.Fatalf("the pair of step %d: %v", w.steps, err)
		}
	}
	if a.Failure != nil && (a.Failure.Detail == "" || a.Failure.Type == "") {
		w.t.Errorf("step %d failed and does not say why: %+v", w.steps, *a.Failure)
	}
}

func (w *world) names() []string {
	w.t.Helper()
	names, err := certificate.CanonicalNames(w.spec.Names)
	if err != nil {
		w.t.Fatal(err)
	}
	return names
}

func (w *world) publish(challenges []acme.Challenge) {
	if w.mute || slices.Equal(w.standing, challenges) {
		return
	}
	w.standing = challenges
	txt, web := map[string][]string{}, map[string]string{}
	for _, c := range challenges {
		if !slices.Contains(w.published, c) {
			w.published = append(w.published, c)
		}
		if c.Path != "" {
			web[c.Name+c.Path] = c.Body
		} else {
			txt[c.RecordName] = append(txt[c.RecordName], c.Value)
		}
	}
	w.ca.Publish(txt, web)
}

// maxSteps ends a loop that would not.
const maxSteps = 3000

// until drives on until a condition holds, or nothing is left to do; time passes
// as fast as the steps allow. It reports whether the condition held.
func (w *world) until(done func(acme.State) bool) bool {
	w.t.Helper()
	for limit := w.steps + maxSteps; w.steps < limit; {
		a := w.step(everything)
		s := w.read()
		if done(s) {
			return true
		}
		if !w.proceed(a) {
			return false
		}
	}
	w.t.Fatalf("no end after %d steps; the state is %s", w.steps, w.state)
	return false
}

// proceed does what the last step asked for before the next.
func (w *world) proceed(a acme.Actions) bool {
	s := w.read()
	if s.Phase == acme.Presenting && !s.Order.Presented {
		s.Order.Presented = true
		w.write(s)
		return true
	}
	if a.Again {
		return true
	}
	if a.RetryAt.IsZero() {
		return false
	}
	if wait := a.RetryAt.Sub(w.now()); wait > 0 {
		w.pass(wait)
	}
	return true
}

func isIssued(s acme.State) bool { return s.Phase == acme.Issued }

func (w *world) issue() {
	w.t.Helper()
	if before := w.pairs; !w.until(isIssued) || w.pairs == before {
		w.t.Fatalf("no certificate: the state is %s", w.state)
	}
}

func (w *world) leaf() certificate.Info {
	w.t.Helper()
	info, err := certificate.Check(w.secrets.Pair, w.names(), w.now())
	if err != nil {
		w.t.Fatal(err)
	}
	return info
}
