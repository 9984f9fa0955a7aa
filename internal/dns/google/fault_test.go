// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package google_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/internal/dns/google"
	"github.com/trellis-mesh/trellis/test/fake/clouddns"
)

const name = dns.Name("www.example.test")

func set(t *testing.T, typ dns.Type, values ...string) dns.RecordSet {
	t.Helper()
	s, err := dns.NewRecordSet(dns.Key{Name: name, Type: typ}, 300, values...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestWrongCredentialsAreToldApart(t *testing.T) {
	w := newWorld(t)
	key := w.server.AccountKey(w.base, "gone", false)
	var fields map[string]string
	if err := json.Unmarshal(key, &fields); err != nil {
		t.Fatal(err)
	}
	fields["private_key"] = "secret-that-is-no-key"
	broken, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	disabled, noKey := w.as(t, key), w.as(t, broken)
	w.server.Disable("gone")
	powerless := w.as(t, w.server.AccountKey(w.base, "powerless", true))
	for name, c := range map[string]struct {
		p    *google.Provider
		says string
	}{
		"a disabled key": {disabled, "account not found"},
		"a broken key":   {noKey, "no token can be had"},
		"no rights":      {powerless, "Forbidden"},
	} {
		_, err := c.p.Zones(t.Context())
		if !errors.Is(err, dns.ErrCredentials) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s gave %v, want ErrCredentials that says %q", name, err, c.says)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s is quoted: %v", name, err)
		}
	}
}

func TestExpiredTokensAreRefused(t *testing.T) {
	w := newWorld(t)
	if _, err := w.provider.Zones(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.server.Revoke()
	if _, err := w.provider.Zones(t.Context()); !errors.Is(err, dns.ErrCredentials) {
		t.Errorf("the error is %v, want ErrCredentials", err)
	}
}

// The vendor's code makes a text of what happened; the cause must not be lost.
func TestATokenServerOutOfReachIsNoFaultOfTheCredentials(t *testing.T) {
	for fault, says := range map[clouddns.Fault]string{clouddns.Cut: "EOF", clouddns.Unavailable: "503", clouddns.Throttled: "wait 7s"} {
		w := newWorld(t)
		w.server.FailTokens(fault)
		_, err := w.provider.Zones(t.Context())
		if err == nil || errors.Is(err, dns.ErrCredentials) || !strings.Contains(err.Error(), says) {
			t.Errorf("the error is %v, want one that may go away and says %q", err, says)
		}
		var throttled *dns.ThrottledError
		if errors.As(err, &throttled) != (fault == clouddns.Throttled) {
			t.Errorf("the error %v is of the wrong kind", err)
		}
		w.server.FailTokens(clouddns.Serve)
		if _, err := w.provider.Zones(t.Context()); err != nil {
			t.Errorf("the token server is back, and the error is %v", err)
		}
	}
}

func TestAKeyThatIsNoneIsRefusedAtOnce(t *testing.T) {
	for _, key := range []string{"", "secret", `{"type": "service_account"`, `{"type": "external_account", "audience": "secret"}`, `{"type": "authorized_user"}`} {
		_, err := google.New(t.Context(), google.Options{Key: []byte(key), Project: "p"})
		if !errors.Is(err, dns.ErrCredentials) {
			t.Errorf("%q gave %v, want ErrCredentials", key, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the key is quoted: %v", err)
		}
	}
}

// Workload identity federation: the cluster's token is in a file, and Google's
// token server gives one of its own for it.
func TestFederatedIdentitiesNeedNoKey(t *testing.T) {
	w := newWorld(t)
	folder := t.TempDir()
	token, config := filepath.Join(folder, "token"), filepath.Join(folder, "config.json")
	text, err := json.Marshal(map[string]any{
		"type": "external_account", "audience": clouddns.Audience, "token_url": w.base + "/sts",
		"subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
		"credential_source":  map[string]string{"file": token},
	})
	if err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string][]byte{token: []byte("of the cluster"), config: text} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", config)
	p, err := google.New(t.Context(), google.Options{Project: clouddns.Project, Endpoint: w.base + "/"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Zones(t.Context()); !errors.Is(err, dns.ErrCredentials) {
		t.Errorf("a token that nobody trusts gave %v, want ErrCredentials", err)
	}
	w.server.FailTokens(clouddns.Unavailable)
	if _, err := p.Zones(t.Context()); err == nil || errors.Is(err, dns.ErrCredentials) {
		t.Errorf("a token server that is out of order gave %v, want an error that may go away", err)
	}
	w.server.FailTokens(clouddns.Serve)
	w.server.Trust("of the cluster")
	if zones, err := p.Zones(t.Context()); err != nil || len(zones) != 1 {
		t.Errorf("there is %v, %v, want one zone", zones, err)
	}
}

func TestWithoutAnyCredentialsNothingBegins(t *testing.T) {
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", filepath.Join(t.TempDir(), "missing.json"))
	if _, err := google.New(t.Context(), google.Options{Project: "p"}); !errors.Is(err, dns.ErrCredentials) {
		t.Errorf("the error is %v, want ErrCredentials", err)
	}
}

func TestZonesThatHoldNoRecordsAreLeftOut(t *testing.T) {
	w := newWorld(t)
	w.server.PageSize = 1
	w.server.AddZone("inside", "example.test.", clouddns.ZoneOptions{Private: true})
	w.server.AddZone("forward", "forward.test.", clouddns.ZoneOptions{Private: true, Forwarding: true})
	w.server.AddZone("peer", "peer.test.", clouddns.ZoneOptions{Private: true, Peering: true})
	zones, err := w.provider.Zones(t.Context())
	want := []dns.Zone{zone, {ID: "inside", Name: "example.test", Private: true}}
	if err != nil || !slices.Equal(zones, want) {
		t.Errorf("the zones are %v, %v, want %v", zones, err, want)
	}
}

func TestQuotasOfTimePassAndQuotasOfSizeDoNot(t *testing.T) {
	w := newWorld(t)
	w.failOnce(clouddns.Throttled)
	_, err := w.provider.Zones(t.Context())
	var throttled *dns.ThrottledError
	if !errors.As(err, &throttled) || throttled.After != 7*time.Second || !strings.Contains(throttled.Said, "Write requests") {
		t.Errorf("the error is %v, want a ThrottledError of 7s", err)
	}
	var changes []dns.Change
	for i := range 20 {
		s, err := dns.NewRecordSet(dns.Key{Name: dns.Name(fmt.Sprintf("n%d.example.test", i)), Type: dns.TypeTXT}, 300, strings.Repeat("x", 6000))
		if err != nil {
			t.Fatal(err)
		}
		changes = append(changes, dns.Change{Name: s.Name, Create: []dns.RecordSet{s}})
	}
	if _, err := w.provider.Apply(t.Context(), zone, changes); !errors.Is(err, dns.ErrTooLarge) {
		t.Errorf("the error is %v, want ErrTooLarge", err)
	}
	var many []string
	for i := range 101 {
		many = append(many, fmt.Sprintf("192.0.2.%d", i))
	}
	if _, err := w.provider.Apply(t.Context(), zone, []dns.Change{{Name: name, Create: []dns.RecordSet{set(t, dns.TypeA, many...)}}}); !errors.Is(err, dns.ErrInvalid) {
		t.Errorf("101 addresses gave %v, want ErrInvalid", err)
	}
}

func TestAnUnavailableServiceIsNoFaultOfTheCredentials(t *testing.T) {
	w := newWorld(t)
	w.failOnce(clouddns.Unavailable)
	_, err := w.provider.Zones(t.Context())
	for _, not := range []error{dns.ErrCredentials, dns.ErrInvalid, dns.ErrNoZone, dns.ErrStale} {
		if err == nil || errors.Is(err, not) {
			t.Errorf("the error is %v, want one that may go away", err)
		}
	}
}

func TestManyNamesCostPagesAndFewCostNames(t *testing.T) {
	w := newWorld(t)
	var names []dns.Name
	for i := range 300 {
		n := dns.Name(fmt.Sprintf("n%03d.example.test", i))
		w.put(t, dns.RecordSet{Key: dns.Key{Name: n, Type: dns.TypeA}, TTL: 300, Values: []string{"192.0.2.1"}})
		names = append(names, n)
	}
	for count, calls := range map[int]int{1: 1, 10: 10, 11: 4, 300: 4} {
		w.server.Fail(nil)
		seen, err := w.provider.Read(t.Context(), zone, names[:count])
		if err != nil || len(seen) != count {
			t.Errorf("%d names have %d record sets, %v", count, len(seen), err)
		}
		if w.server.Calls() != calls {
			t.Errorf("%d names cost %d calls, want %d", count, w.server.Calls(), calls)
		}
	}
}

// What somebody else routes is seen, is nobody's, and is deleted to the letter
// where that is wanted.
func TestRoutedSetsOfOthersAreSeenWithoutValues(t *testing.T) {
	w := newWorld(t)
	policy := `{"kind": "dns#rRSetRoutingPolicy", "wrr": {"items": [{"weight": 1, "rrdatas": ["192.0.2.1"]}, {"weight": 0, "rrdatas": ["192.0.2.2"]}]}}`
	if wrong := w.server.Put(zone.ID, clouddns.RecordSet{Name: name.FQDN(), Type: "A", TTL: 60, RoutingPolicy: json.RawMessage(policy)}); wrong != "" {
		t.Fatal(wrong)
	}
	seen, err := w.provider.Read(t.Context(), zone, []dns.Name{name})
	if err != nil || len(seen) != 1 || len(seen[0].Values) != 0 {
		t.Fatalf("there is %+v, %v, want one record set without values", seen, err)
	}
	plan, err := dns.MakePlan("cluster-a", wanted(t, set(t, dns.TypeA, "192.0.2.9")), seen)
	if err != nil || len(plan.Conflicts) != 1 {
		t.Fatalf("the plan is %+v, %v, want a conflict", plan, err)
	}
	next := set(t, dns.TypeA, "192.0.2.9")
	if _, err := w.provider.Apply(t.Context(), zone, []dns.Change{{Name: name, Delete: seen, Create: []dns.RecordSet{next}}}); err != nil {
		t.Fatal(err)
	}
	if got := w.dump(t); len(got) != 1 || !got[0].Equal(next) {
		t.Errorf("there is %v, want %v", got, next)
	}
}

func wanted(_ *testing.T, sets ...dns.RecordSet) dns.Wanted {
	return dns.Wanted{Resource: "shop/web", Name: name, Sets: sets}
}

// reconcile is one round: read, plan, apply, see it spread.
func (w *world) reconcile(ctx context.Context, want dns.Wanted) (*dns.Plan, error) {
	names, err := want.Lookup()
	if err != nil {
		return nil, err
	}
	there, err := w.provider.Read(ctx, zone, names)
	if err != nil {
		return nil, err
	}
	plan, err := dns.MakePlan("cluster-a", want, there)
	if err != nil || plan.Change == nil {
		return plan, err
	}
	receipt, err := w.provider.Apply(ctx, zone, []dns.Change{*plan.Change})
	if err != nil {
		return plan, err
	}
	for {
		done, err := w.provider.Spread(ctx, zone, receipt)
		if done || err != nil {
			return plan, err
		}
	}
}

// The service goes away for good at each call in turn, before or after it was
// served; then it comes back, and one more round makes things right.
func TestTheAPIKilledAtAnyCallLeavesNothingThatASecondRoundDoesNotMend(t *testing.T) {
	story := []dns.Wanted{
		wanted(t, set(t, dns.TypeA, "192.0.2.1"), set(t, dns.TypeAAAA, "2001:db8::1")),
		wanted(t, set(t, dns.TypeA, "192.0.2.2", "192.0.2.3")),
		wanted(t, set(t, dns.TypeCNAME, "lb.example.net")),
		wanted(t),
	}
	for stage := range story {
		for _, fault := range []clouddns.Fault{clouddns.Cut, clouddns.Lose} {
			for killed := 1; ; killed++ {
				w := newWorld(t)
				for _, before := range story[:stage] {
					if _, err := w.reconcile(t.Context(), before); err != nil {
						t.Fatal(err)
					}
				}
				w.server.Fail(func(call int, _ *http.Request) clouddns.Fault {
					switch {
					case call < killed:
						return clouddns.Serve
					case call == killed:
						return fault
					}
					return clouddns.Cut
				})
				_, err := w.reconcile(t.Context(), story[stage])
				if calls := w.server.Calls(); calls < killed {
					if killed < 8 {
						t.Fatalf("stage %d has %d calls only: %v", stage, calls, err)
					}
					break // every call was killed once
				}
				if err == nil {
					t.Fatalf("stage %d: the API died at call %d, and nobody noticed", stage, killed)
				}
				w.server.Fail(nil)
				if _, err := w.reconcile(t.Context(), story[stage]); err != nil {
					t.Fatalf("stage %d killed at call %d: the next round says %v", stage, killed, err)
				}
				w.settled(t, story[stage])
			}
		}
	}
}

// settled checks that nothing is left to do, and that the zone holds what is
// wanted, one mark for each, and nothing else.
func (w *world) settled(t *testing.T, want dns.Wanted) {
	t.Helper()
	if plan, err := w.reconcile(t.Context(), want); err != nil || plan.Change != nil {
		t.Errorf("there is more to do: %+v, %v", plan, err)
	}
	var there, expected []string
	for _, s := range w.dump(t) {
		there = append(there, s.Text())
	}
	for _, s := range want.Sets {
		mark, err := dns.Mark{Owner: "cluster-a", Resource: want.Resource}.Set(s.Key)
		if err != nil {
			t.Fatal(err)
		}
		expected = append(expected, s.Text(), mark.Text())
	}
	slices.Sort(there)
	slices.Sort(expected)
	normalise := strings.NewReplacer("lb.example.net.", "lb.example.net")
	for i := range there {
		there[i] = normalise.Replace(there[i])
	}
	if !slices.Equal(there, expected) {
		t.Errorf("the zone holds\n%q\nwant\n%q", there, expected)
	}
}

// broken is a network that breaks every connection, each time from another port.
type broken struct{ port int }

func (b *broken) RoundTrip(*http.Request) (*http.Response, error) {
	b.port++
	here, there := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: b.port}, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 443}
	return nil, &net.OpError{Op: "read", Net: "tcp", Source: here, Addr: there, Err: io.ErrUnexpectedEOF}
}

func TestTheSameFailureReadsTheSameEachTime(t *testing.T) {
	w := newWorld(t)
	p, err := google.New(t.Context(), google.Options{Key: w.server.AccountKey(w.base, "dns", false), Transport: &broken{}})
	if err != nil {
		t.Fatal(err)
	}
	_, first := p.Zones(t.Context())
	_, second := p.Zones(t.Context())
	if !errors.Is(first, io.ErrUnexpectedEOF) || first.Error() != second.Error() {
		t.Errorf("the errors are\n%v\n%v", first, second)
	}
}
