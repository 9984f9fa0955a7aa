// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package acme_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/acme"
	"github.com/trellis-mesh/trellis/internal/acme/caa"
	"github.com/trellis-mesh/trellis/internal/certificate"
	pebble "github.com/trellis-mesh/trellis/test/acme"
)

func TestACertificateIsIssuedByEveryChallenge(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		challenge acme.ChallengeType
		names     []string
		records   []string
	}{
		{acme.HTTP01, []string{"shop.example.com", "www.example.com"}, nil},
		{acme.DNS01, []string{"shop.example.com", "*.shop.example.com", "other.example.com"}, []string{"_acme-challenge.shop.example.com", "_acme-challenge.other.example.com"}},
		{acme.DNSPersist01, []string{"example.com", "*.example.com"}, []string{"_validation-persist.example.com"}},
		{acme.DNS01, []string{"Bücher.example.com."}, []string{"_acme-challenge.xn--bcher-kva.example.com"}},
	} {
		t.Run(string(test.challenge)+" "+test.names[0], func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, pebble.New(t, pebble.Options{}), test.challenge, test.names...)
			w.issue()
			want, err := certificate.CanonicalNames(test.names)
			if err != nil {
				t.Fatal(err)
			}
			if got := w.leaf(); !slices.Equal(got.Names, want) || got.Key != certificate.P256 {
				t.Errorf("issued %+v, want the names %v", got, want)
			}
			if n := w.ca.Orders(); n != 1 || len(w.failures) != 0 {
				t.Errorf("%d orders, failures %v", n, w.failures)
			}
			for _, c := range w.published {
				if c.RecordName != "" && !slices.Contains(test.records, c.RecordName) || c.Standing != (test.challenge == acme.DNSPersist01) {
					t.Errorf("published %+v", c)
				}
			}
			if left := w.ca.TXT("_acme-challenge.shop.example.com"); len(left) != 0 {
				t.Errorf("the records %v were not taken away", left)
			}
		})
	}
}

func TestAWildcardAndItsBaseShareOneNameWithTwoValues(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), acme.DNS01, "example.com", "*.example.com")
	w.issue()
	values := map[string]bool{}
	for _, c := range w.published {
		values[c.RecordName+" "+c.Value] = true
	}
	if len(values) != 2 {
		t.Errorf("published %v, want two values at one name", values)
	}
}

func TestEveryKeyTypeIsIssuedAndEachIssueHasANewKey(t *testing.T) {
	t.Parallel()
	ca := pebble.New(t, pebble.Options{})
	seen := map[string]bool{}
	w := newWorld(t, ca, acme.DNS01, "keys.example.com")
	for _, key := range []certificate.KeyType{certificate.P256, certificate.P384, certificate.RSA2048, certificate.RSA3072, certificate.P256} {
		w.spec.Key = key
		w.issue()
		info := w.leaf()
		if info.Key != key || seen[info.KeyFingerprint] {
			t.Errorf("issued for %s %s, want a new key of type %s", info.Key, info.KeyFingerprint, key)
		}
		seen[info.KeyFingerprint] = true
	}
}

func TestAChangeOfTheSpecIsFollowedAtOnce(t *testing.T) {
	t.Parallel()
	ca := pebble.New(t, pebble.Options{Profiles: map[string]time.Duration{"classic": 90 * day, "shortlived": 160 * time.Hour}})
	other := pebble.New(t, pebble.Options{})
	w := newWorld(t, ca, acme.DNS01, "a.example.com")
	w.spec.Profile = "classic"
	w.issue()
	w.spec.Profile = "shortlived"
	w.issue()
	if got := w.leaf().Lifetime().Round(time.Hour); got != 160*time.Hour {
		t.Errorf("the lifetime is %s, want that of the new profile", got)
	}
	w.spec.Names = append(w.spec.Names, "b.example.com")
	w.issue()
	w.spec.Renew = "by hand"
	before := w.leaf().Serial
	w.issue()
	if w.leaf().Serial == before {
		t.Error("asking for another certificate did not bring one")
	}
	// Another CA: another account there, and the old key may be used again or not.
	account := w.read().Account
	w.ca, w.spec.Directory, w.spec.Profile = other, other.Directory, ""
	w.restart()
	w.issue()
	if s := w.read(); s.Account == account || s.Directory != other.Directory || other.Orders() != 1 {
		t.Errorf("after the CA was changed the account is %s at %s, with %d orders", s.Account, s.Directory, other.Orders())
	}
}

func TestAnUnknownProfileWaitsForAnotherSpec(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), acme.DNS01, "a.example.com")
	w.spec.Profile = "tlsclient"
	if w.until(isIssued) {
		t.Fatal("a profile that the CA has not was issued")
	}
	if s := w.read(); s.Phase != acme.Failed || !s.LastError.Permanent || !strings.Contains(s.LastError.Detail, `["default"]`) && !strings.Contains(s.LastError.Detail, "[default]") {
		t.Errorf("the state is %s", w.state)
	}
	if a := w.step(everything); !a.RetryAt.IsZero() || a.Again || w.ca.Orders() != 0 {
		t.Errorf("it goes on: %+v", a)
	}
	w.spec.Profile = "default"
	w.issue()
}

func TestAnExternalAccountIsBound(t *testing.T) {
	t.Parallel()
	mac := base64.RawURLEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))
	ca := pebble.New(t, pebble.Options{ExternalAccounts: map[string]string{"kid-1": mac}})
	for name, test := range map[string]struct {
		id, key string
		issued  bool
	}{
		"right":        {"kid-1", mac, true},
		"with padding": {"kid-1", mac + "=\n", true},
		"none":         {"", "", false},
		"no key":       {"kid-1", "", false},
		"wrong key":    {"kid-1", "d3Jvbmc", false},
		"no base64":    {"kid-1", "s3cr!t s3cr!t", false},
		"wrong id":     {"kid-2", mac, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, ca, acme.DNS01, "eab.example.com")
			w.spec.ExternalAccount, w.secrets.ExternalAccountKey = test.id, []byte(test.key)
			if got := w.until(isIssued); got != test.issued {
				t.Errorf("issued %v: %s", got, w.state)
			}
			if !test.issued && w.read().Phase != acme.Failed {
				t.Errorf("the phase is %s, want it to wait for a person", w.read().Phase)
			}
			if strings.Contains(string(w.state), "s3cr!t") {
				t.Errorf("the key is in the state: %s", w.state)
			}
		})
	}
}

func TestAnEmailIsOptional(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), acme.DNS01, "a.example.com")
	w.spec.Email = "ops@example.com"
	w.issue()
}

func TestAuthorizationsAreReusedOrNot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{AuthzReuse: 100}), acme.DNS01, "a.example.com", "b.example.com")
	w.issue()
	w.published = nil
	w.spec.Renew = "again"
	w.issue()
	if len(w.published) != 0 {
		t.Errorf("%v was published for names that were proven before", w.published)
	}
	w = newWorld(t, pebble.New(t, pebble.Options{}), acme.DNS01, "a.example.com", "b.example.com")
	w.issue()
	w.published = nil
	w.spec.Renew = "again"
	w.issue()
	// Pebble reuses one in a hundred at 0 percent.
	if len(w.published) == 0 {
		t.Error("nothing was published for names that must be proven again")
	}
}

func TestAnInvalidAuthorizationWaitsLongerAndStaysWithinTheBudget(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), acme.HTTP01, "dark.example.com")
	w.mute = true
	begin := w.now()
	w.until(func(s acme.State) bool { return s.Attempts == 6 })
	s := w.read()
	if s.Phase != acme.Waiting || s.LastError.Name != "dark.example.com" || s.LastError.Type != "unauthorized" || s.LastError.Permanent {
		t.Errorf("the state is %s", w.state)
	}
	for i, want := range []time.Duration{time.Minute, 10 * time.Minute, 100 * time.Minute, 24 * time.Hour, 24 * time.Hour} {
		// The CA takes its time to look, too.
		if gap := w.failures[i+1].Time.Sub(w.failures[i].Time); gap < want || gap > want+5*time.Minute {
			t.Errorf("waited %s after failure %d, want %s", gap, i+1, want)
		}
	}
	if n := w.ca.Orders(); n != 6 {
		t.Errorf("%d orders since %s, want 6", n, begin)
	}
	w.mute = false
	w.issue()
	if s := w.read(); s.Attempts != 0 || s.LastError != nil {
		t.Errorf("failures are remembered after a success: %s", w.state)
	}
}

func TestFailedAuthorizationsAreHeldToFiveAnHour(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), acme.HTTP01, "dark.example.com")
	w.mute = true
	begin := w.now()
	for i := range 20 {
		// Somebody presses retry again and again.
		w.spec.Retry = fmt.Sprint(i)
		at := len(w.failures)
		w.until(func(acme.State) bool { return len(w.failures) > at })
	}
	if took := w.now().Sub(begin); w.ca.Orders() > 5+int(took/(12*time.Minute)) {
		t.Errorf("%d orders failed within %s", w.ca.Orders(), took)
	}
	if last := w.failures[len(w.failures)-1]; last.Type != acme.TypeBudget {
		t.Errorf("the last failure is %v, want the budget", last)
	}
}

func TestAnOrderThatIsAlreadyValidIsDownloaded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), acme.DNS01, "a.example.com")
	w.until(func(s acme.State) bool { return s.Phase == acme.Issuing || s.Phase == acme.Downloading })
	// The process that finalized it died before it knew.
	s := w.read()
	s.Phase, s.NextTry, s.Order.Certificate = acme.Finalizing, nil, ""
	w.write(s)
	w.restart()
	w.issue()
	if n := w.ca.Orders(); n != 1 || len(w.failures) != 0 {
		t.Errorf("%d orders, failures %v", n, w.failures)
	}
}

func TestAnOrderThatHasExpiredIsFollowedByAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), acme.DNS01, "a.example.com")
	w.until(func(s acme.State) bool { return s.Phase == acme.Presenting })
	w.ca.Inject(pebble.Fault{Path: pebble.PathChallenge, Status: 404, Type: "malformed", Detail: "no such challenge"})
	w.ca.Inject(pebble.Fault{Path: pebble.PathAuthz, Status: 404, Type: "malformed", Detail: "expired authorization"})
	w.issue()
	if n := w.ca.Orders(); n != 2 || len(w.failures) != 1 {
		t.Errorf("%d orders, failures %v", n, w.failures)
	}
}

func TestARefusedReplacementIsFollowedByAPlainOrder(t *testing.T) {
	t.Parallel()
	for kind, status := range map[string]int{"alreadyReplaced": 409, "malformed": 400, "unauthorized": 403, "serverInternal": 500} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, pebble.New(t, pebble.Options{}), acme.DNS01, "a.example.com")
			w.issue()
			first := w.leaf()
			w.ahead = time.Until(first.NotAfter.Add(-10 * day))
			w.ca.Inject(pebble.Fault{Path: pebble.PathNewOrder, Status: status, Type: kind, Detail: "cannot replace"})
			w.until(func(s acme.State) bool { return s.Issued != nil && s.Issued.Serial != first.Serial })
			if n := w.ca.Orders(); n != 2 || len(w.failures) != 1 || w.failures[0].Type != kind {
				t.Errorf("%d orders, failures %v", n, w.failures)
			}
			if again := w.ca.Requests(pebble.PathNewOrder); len(again) != 3 {
				t.Errorf("%d requests for orders, want 3", len(again))
			}
		})
	}
}

func TestPebbleRefusesToReplaceTwiceAndAPlainOrderFollows(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), acme.DNS01, "a.example.com")
	w.issue()
	old, pair := w.state, w.secrets.Pair
	w.spec.Renew = "first"
	w.issue()
	// A backup of the object and of its Secret is restored.
	w.state, w.secrets.Pair = old, pair
	w.spec.Renew = "second"
	w.issue()
	if len(w.failures) != 1 || w.failures[0].Type != "alreadyReplaced" {
		t.Errorf("failures %v, want alreadyReplaced once", w.failures)
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		path   string
		status int
		after  string
		wait   time.Duration
	}{
		{pebble.PathNewOrder, 429, "7200", 2 * time.Hour},
		{pebble.PathNewOrder, 503, "300", 5 * time.Minute},
		{pebble.PathNewAccount, 503, "300", 5 * time.Minute},
		{pebble.PathAuthz, 503, "90", 90 * time.Second},
		{pebble.PathChallenge, 503, "90", 90 * time.Second},
		{pebble.PathFinalize, 503, "90", 90 * time.Second},
		{pebble.PathCertificate, 429, "90", 90 * time.Second},
		{pebble.PathNewOrder, 503, "", time.Minute},
		{pebble.PathNewOrder, 429, "99999999999999", 7 * 24 * time.Hour},
		{pebble.PathNewOrder, 429, "soon", time.Minute},
	} {
		t.Run(fmt.Sprint(test.path, test.status, test.after), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, pebble.New(t, pebble.Options{}), acme.DNS01, "a.example.com")
			kind := map[int]string{429: "rateLimited", 503: "serverInternal"}[test.status]
			w.ca.Inject(pebble.Fault{Path: test.path, Status: test.status, Type: kind, Detail: "slow down", RetryAfter: test.after})
			if !w.until(func(s acme.State) bool { return s.LastError != nil }) {
				t.Fatal("the fault did not show")
			}
			s := w.read()
			if got := s.NextTry.Sub(s.LastError.Time); got != test.wait || s.LastError.Type != kind {
				t.Errorf("the next try is after %s because of %v, want %s", got, s.LastError, test.wait)
			}
			// The library would have repeated it at once, three times.
			if n := w.ca.Count(test.path, test.status); n != 1 {
				t.Errorf("%d requests met the fault, want 1", n)
			}
			// Steps before the time ask nothing, also after a change of the Spec.
			before := len(w.ca.Requests("/"))
			w.step(everything)
			if test.after != "" && test.after != "soon" {
				w.spec.Retry = "now!"
				w.step(everything)
			}
			if n := len(w.ca.Requests("/")); n != before {
				t.Errorf("%d requests before the time", n-before)
			}
			w.issue()
			if n := w.ca.Orders(); n != 1 {
				t.Errorf("%d orders, want 1", n)
			}
		})
	}
}

func TestACutConnectionRepeatsNoOrder(t *testing.T) {
	t.Parallel()
	for _, heard := range []bool{false, true} {
		for _, path := range []string{pebble.PathNewAccount, pebble.PathNewOrder, pebble.PathAuthz, pebble.PathChallenge, pebble.PathFinalize, pebble.PathOrder, pebble.PathCertificate} {
			t.Run(fmt.Sprint(path, heard), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, pebble.New(t, pebble.Options{}), acme.DNS01, "a.example.com")
				w.ca.Inject(pebble.Fault{Path: path, Cut: true, Heard: heard})
				w.issue()
				// Where the answer with the order's URL is lost, it is found in the list.
				if n := w.ca.Orders(); n != 1 {
					t.Errorf("%d orders; failures %v", n, w.failures)
				}
				for _, f := range w.failures {
					if f.Type != acme.TypeConnection {
						t.Errorf("failed with %v", f)
					}
				}
			})
		}
	}
}

// Of many orders of one account the lost one is found, and no other is taken for it.
func TestALostOrderIsFoundAmongOthersOrMadeAgain(t *testing.T) {
	t.Parallel()
	for _, listed := range []bool{true, false} {
		w := newWorld(t, pebble.New(t, pebble.Options{AuthzReuse: 100}), acme.DNS01)
		for i := range 7 {
			w.spec.Names = []string{fmt.Sprintf("h%d.example.com", i)}
			w.issue()
		}
		if !listed {
			// A CA that lists no orders, and makes another for the same names.
			w.ca.Inject(pebble.Fault{Path: pebble.PathOrders, Status: 404, Type: "malformed", Detail: "no such page", Times: -1})
		}
		w.ca.Inject(pebble.Fault{Path: pebble.PathNewOrder, Cut: true, Heard: true})
		before := w.ca.Orders()
		w.spec.Names = []string{"lost.example.com", "h1.example.com"}
		w.until(func(s acme.State) bool { return s.Phase == acme.Ordering && s.Retries > 0 })
		w.restart()
		w.issue()
		want := 1
		if !listed {
			want = 2
		}
		if n := w.ca.Orders() - before; n != want || len(w.leaf().Names) != 2 {
			t.Errorf("listed %t: %d orders, want %d; failures %v", listed, n, want, w.failures)
		}
	}
}

func TestABlockedDomainWaitsForAnotherSpec(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{Blocked: []string{"blocked.example"}}), acme.DNS01, "www.blocked.example")
	if w.until(isIssued) {
		t.Fatal("a blocked domain was issued")
	}
	s := w.read()
	if s.Phase != acme.Failed || s.LastError.Type != "rejectedIdentifier" || s.NextTry != nil {
		t.Errorf("the state is %s", w.state)
	}
	before := len(w.ca.Requests("/"))
	w.pass(1000 * time.Hour)
	w.step(everything)
	if n := len(w.ca.Requests("/")); n != before {
		t.Errorf("%d requests although nothing has changed", n-before)
	}
	w.spec.Names = []string{"www.example.com"}
	w.issue()
}

func TestPermanentProblemsAreNotTriedAgain(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ kind, detail string }{
		{"caa", "CAA record prevents issuance"},
		{"unsupportedIdentifier", "no"},
		{"rateLimited", "Your account is temporarily prevented from requesting certificates for a.example.com"},
	} {
		t.Run(test.kind, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, pebble.New(t, pebble.Options{}), acme.DNS01, "a.example.com")
			w.ca.Inject(pebble.Fault{Path: pebble.PathNewOrder, Status: http.StatusForbidden, Type: test.kind, Detail: test.detail})
			if w.until(isIssued) || w.read().Phase != acme.Failed {
				t.Errorf("the state is %s", w.state)
			}
			w.spec.Retry = "I clicked"
			w.issue()
		})
	}
}

func TestASpecThatNoCAAcceptsAsksNone(t *testing.T) {
	t.Parallel()
	ca := pebble.New(t, pebble.Options{})
	for name, change := range map[string]func(*acme.Spec){
		"plain http":          func(s *acme.Spec) { s.Directory = "http://ca.example/dir" },
		"no names":            func(s *acme.Spec) { s.Names = nil },
		"an empty label":      func(s *acme.Spec) { s.Names = []string{"a..example.com"} },
		"too many names":      func(s *acme.Spec) { s.Names = make([]string, 101) },
		"a wildcard by HTTP":  func(s *acme.Spec) { s.Names, s.Challenge = []string{"*.example.com"}, acme.HTTP01 },
		"an unknown key":      func(s *acme.Spec) { s.Key = "DSA" },
		"an unknown question": func(s *acme.Spec) { s.Challenge = "tls-alpn-01" },
	} {
		w := newWorld(t, ca, acme.DNS01, "a.example.com")
		change(&w.spec)
		a := w.step(everything)
		s := w.read()
		if s.Phase != acme.Failed || s.LastError.Type != acme.TypeSpec || a.Failure == nil {
			t.Errorf("%s: the state is %s", name, w.state)
		}
		once := string(w.state)
		w.pass(time.Hour)
		if a := w.step(everything); a.Failure != nil || string(w.state) != once {
			t.Errorf("%s: the state changes without a reason: %s", name, w.state)
		}
	}
	if n := len(ca.Requests("/")); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func TestASecretLostTenTimesCostsFiveOrders(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), acme.DNS01, "a.example.com")
	begin := w.now()
	for range 10 {
		w.secrets.Pair = certificate.Pair{}
		for w.now().Sub(begin) < 24*time.Hour {
			a := w.step(everything)
			if isIssued(w.read()) || !w.proceed(a) {
				break
			}
		}
		w.restart()
	}
	if n := w.ca.Orders(); n != 5 {
		t.Errorf("%d orders, want 5", n)
	}
	if s := w.read(); s.LastError == nil || s.LastError.Type != acme.TypeBudget || s.NextTry == nil {
		t.Errorf("the state does not say why it waits: %s", w.state)
	}
}

func TestAnObjectDeletedTenTimesCostsOneOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), acme.DNS01, "a.example.com")
	w.issue()
	for range 10 {
		w.state = []byte(`{}`)
		w.restart()
		w.until(isIssued)
	}
	if n := w.ca.Orders(); n != 1 {
		t.Errorf("%d orders, want 1", n)
	}
	if s := w.read(); s.Renewal == nil || s.Renewal.At == nil {
		t.Errorf("the certificate that was found has no time of renewal: %s", w.state)
	}
}

// TestAProcessKilledAnywhereGoesOnWithOneOrder kills the process after each part
// of what is stored after each step.
func TestAProcessKilledAnywhereGoesOnWithOneOrder(t *testing.T) {
	t.Parallel()
	ca := pebble.New(t, pebble.Options{})
	reference := newWorld(t, ca, acme.DNS01, "example.com", "*.example.com")
	reference.issue()
	for kept := range everything + 1 {
		t.Run(fmt.Sprint("after ", kept, " of ", everything), func(t *testing.T) {
			t.Parallel()
			for at := 1; at <= reference.steps; at++ {
				ca := pebble.New(t, pebble.Options{})
				w := newWorld(t, ca, acme.DNS01, "example.com", "*.example.com")
				for !isIssued(w.read()) || w.pairs == 0 {
					if w.steps > maxSteps {
						t.Fatalf("killed at step %d: no end: %s", at, w.state)
					}
					keep := everything
					if w.steps+1 == at {
						keep = kept
					}
					a := w.step(keep)
					if keep < everything {
						w.restart()
						continue
					}
					w.proceed(a)
				}
				if n := ca.Orders(); n != 1 {
					t.Errorf("killed at step %d: %d orders; failures %v", at, n, w.failures)
				}
				w.leaf()
			}
		})
	}
}

func TestTheKeyOfAnOrderThatIsGoneEndsTheOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), acme.DNS01, "a.example.com")
	w.until(func(s acme.State) bool { return s.Phase == acme.Downloading })
	w.secrets.OrderKey = nil
	w.issue()
	if len(w.failures) != 1 || w.failures[0].Type != acme.TypeKey {
		t.Errorf("failures %v", w.failures)
	}
}

func TestALostAccountKeyIsReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), acme.DNS01, "a.example.com")
	w.issue()
	account := w.read().Account
	w.secrets.AccountKey = nil
	w.spec.Renew = "now"
	w.issue()
	if w.read().Account == account {
		t.Error("the account is still that of the lost key")
	}
}

func TestThePreferredChainIsTaken(t *testing.T) {
	t.Parallel()
	ca := pebble.New(t, pebble.Options{AlternateRoots: 2})
	w := newWorld(t, ca, acme.DNS01, "a.example.com")
	w.spec.PreferredChain = ca.RootName(2)
	w.issue()
	if got := w.leaf().Top; got != ca.RootName(2) {
		t.Errorf("the chain ends at %q, want %q", got, ca.RootName(2))
	}
	w.spec.PreferredChain = "nobody"
	w.spec.Renew = "now"
	w.issue()
	if got := w.leaf().Top; got != ca.RootName(0) {
		t.Errorf("the chain ends at %q, want the first, %q", got, ca.RootName(0))
	}
}

func TestACAThatMisbehavesIsNotFollowed(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]pebble.Fault{
		"a directory without TLS":  {Path: pebble.PathDirectory, Body: `{"newNonce":"http://169.254.169.254/n","newAccount":"http://169.254.169.254/a","newOrder":"http://169.254.169.254/o"}`},
		"an endless directory":     {Path: pebble.PathDirectory, Body: strings.Repeat(" ", 2<<20) + "{}"},
		"no directory":             {Path: pebble.PathDirectory, Body: `[]`},
		"an order without TLS":     {Path: pebble.PathNewOrder, Body: `{"status":"pending","authorizations":["http://169.254.169.254/"],"finalize":"http://169.254.169.254/"}`},
		"an authorization of none": {Path: pebble.PathAuthz, Body: `{"status":"pending","identifier":{"type":"dns","value":"bank.example"},"challenges":[{"type":"dns-01","token":"` + strings.Repeat("a", 43) + `"}]}`},
		"a certificate of none":    {Path: pebble.PathCertificate, Body: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", ContentType: "application/pem-certificate-chain"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, pebble.New(t, pebble.Options{}), acme.DNS01, "a.example.com")
			fault.Status, fault.Times = http.StatusOK, -1
			if fault.ContentType == "" {
				fault.ContentType = "application/json"
			}
			w.ca.Inject(fault)
			if !w.until(func(s acme.State) bool { return s.LastError != nil }) {
				t.Fatal("nothing went wrong")
			}
			if len(w.published) != 0 && fault.Path != pebble.PathCertificate || w.pairs != 0 {
				t.Errorf("published %v, stored %d pairs", w.published, w.pairs)
			}
			if s := w.read(); s.NextTry == nil || len(w.state) > 8<<10 {
				t.Errorf("the state is %s", w.state)
			}
			w.ca.Heal()
			// Nothing of it is remembered, not even by the library, which keeps directories.
			w.issue()
		})
	}
}

// forbidding is a zone whose CAA records name another CA.
type forbidding struct{}

func (forbidding) LookupCAA(_ context.Context, name string) ([]caa.Record, error) {
	if name != "example.com" {
		return nil, nil
	}
	return []caa.Record{{Tag: "issue", Value: "other.example"}}, nil
}

func TestCAAIsWarnedOfBeforeTheCARefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), acme.DNS01, "a.example.com")
	w.caa = forbidding{}
	w.restart()
	w.until(func(s acme.State) bool { return s.Phase == acme.Presenting })
	if s := w.read(); len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "example.com") || !strings.Contains(s.Warnings[0], pebble.Identity) {
		t.Errorf("warnings %q", s.Warnings)
	}
}

func TestAStepThatIsInterruptedChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), acme.DNS01, "a.example.com")
	w.until(func(s acme.State) bool { return s.Phase == acme.Authorizing })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	before := w.read()
	after, actions, err := w.engine.Step(ctx, w.spec, before, w.secrets)
	if err == nil || !reflect.DeepEqual(before, after) || actions.Failure != nil {
		t.Errorf("%v; %+v became %+v", err, before, after)
	}
	w.issue()
}

func TestAnAccountKeyThatCannotBeReadIsAnErrorAndNotReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), acme.DNS01, "a.example.com")
	w.secrets.AccountKey = []byte("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n")
	_, actions, err := w.engine.Step(t.Context(), w.spec, w.read(), w.secrets)
	if err == nil || actions.StoreAccountKey != nil || strings.Contains(err.Error(), "c2VjcmV0") {
		t.Errorf("%v, %+v", err, actions)
	}
}
