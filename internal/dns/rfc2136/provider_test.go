// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package rfc2136_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/internal/dns/contract"
	"github.com/trellis-mesh/trellis/internal/dns/rfc2136"
	"github.com/trellis-mesh/trellis/test/nameserver"
)

var kinds = []nameserver.Kind{nameserver.Process, nameserver.BIND, nameserver.Knot, nameserver.PowerDNS}

func start(t *testing.T, kind nameserver.Kind) *nameserver.Server {
	t.Helper()
	s, err := nameserver.Start(t.Context(), kind, "example.test")
	var missing *nameserver.UnavailableError
	if errors.As(err, &missing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

func provider(t *testing.T, s *nameserver.Server, change func(*rfc2136.Options)) *rfc2136.Provider {
	t.Helper()
	o := rfc2136.Options{Server: s.Address, Zones: []dns.Name{s.Zone}, Key: &rfc2136.Key{Name: s.KeyName, Algorithm: s.Algorithm, Secret: s.Secret}}
	if change != nil {
		change(&o)
	}
	p, err := rfc2136.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func fixture(t *testing.T, kind nameserver.Kind) contract.Fixture {
	return fixtureOf(t, start(t, kind))
}

func fixtureOf(t *testing.T, s *nameserver.Server) contract.Fixture {
	return contract.Fixture{
		Provider: provider(t, s, nil),
		Zone:     dns.Zone{ID: string(s.Zone), Name: s.Zone},
		Put: func(t *testing.T, set dns.RecordSet) {
			t.Helper()
			if err := s.Put(context.WithoutCancel(t.Context()), set); err != nil {
				t.Fatal(err)
			}
		},
		Dump: func(t *testing.T) []dns.RecordSet {
			t.Helper()
			sets, err := s.Dump()
			if err != nil {
				t.Fatal(err)
			}
			return sets
		},
		Unknown: dns.Zone{ID: "unknown.invalid", Name: "unknown.invalid"},
		Unauthorised: provider(t, s, func(o *rfc2136.Options) {
			o.Key = &rfc2136.Key{Name: s.KeyName, Algorithm: s.Algorithm, Secret: "d3Jvbmcgc2VjcmV0IHdyb25nIHNlY3JldCB3cm9uZw=="}
		}),
	}
}

func TestNameServersKeepTheContract(t *testing.T) {
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			contract.Run(t, contract.Subject{Names: 150, New: func(t *testing.T) contract.Fixture { return fixture(t, kind) }})
		})
	}
}

func TestAServerThatRefusesTransfersKeepsTheContract(t *testing.T) {
	contract.Run(t, contract.Subject{Names: 150, New: func(t *testing.T) contract.Fixture {
		s := start(t, nameserver.Process)
		s.RefuseTransfers = true
		return fixtureOf(t, s)
	}})
}

func set(t *testing.T, name string, typ dns.Type, values ...string) dns.RecordSet {
	t.Helper()
	s, err := dns.NewRecordSet(dns.Key{Name: dns.Name(name), Type: typ}, 60, values...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func change(sets ...dns.RecordSet) []dns.Change {
	return []dns.Change{{Name: sets[0].Name, Create: sets}}
}

// everywhere runs a test against each server.
func everywhere(t *testing.T, test func(t *testing.T, s *nameserver.Server, p *rfc2136.Provider, zone dns.Zone)) {
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			s := start(t, kind)
			test(t, s, provider(t, s, nil), dns.Zone{ID: string(s.Zone), Name: s.Zone})
		})
	}
}

func TestWhatAWildcardStandsInForIsNotThere(t *testing.T) {
	everywhere(t, func(t *testing.T, s *nameserver.Server, p *rfc2136.Provider, zone dns.Zone) {
		for _, r := range []dns.RecordSet{
			set(t, "*.example.test", dns.TypeA, "192.0.2.1"), set(t, "*.example.test", dns.TypeTXT, "any"), set(t, "real.example.test", dns.TypeA, "192.0.2.1"),
			set(t, "*.cname.example.test", dns.TypeCNAME, "lb.example.net"),
		} {
			if err := s.Put(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		seen, err := p.Read(t.Context(), zone, []dns.Name{"real.example.test", "a.example.test", "a.b.example.test", "*.x.example.test", "a.cname.example.test", "_trellis.a.a.example.test"})
		if err != nil || len(seen) != 1 || seen[0].Name != "real.example.test" || seen[0].Type != dns.TypeA {
			t.Errorf("there is %+v, %v, want the real one alone", seen, err)
		}
	})
}

func TestADelegatedNameIsSeen(t *testing.T) {
	everywhere(t, func(t *testing.T, s *nameserver.Server, p *rfc2136.Provider, zone dns.Zone) {
		if err := s.Put(t.Context(), dns.RecordSet{Key: dns.Key{Name: "sub.example.test", Type: "NS"}, TTL: 60, Values: []string{"ns.elsewhere.invalid."}}); err != nil {
			t.Fatal(err)
		}
		seen, err := p.Read(t.Context(), zone, []dns.Name{"sub.example.test"})
		if err != nil || len(seen) != 1 || seen[0].Type != "NS" {
			t.Errorf("there is %+v, %v, want an NS", seen, err)
		}
	})
}

func TestARecordThatTheServerDoesNotWantIsNotTakenForABadKey(t *testing.T) {
	s := start(t, nameserver.BIND)
	zone := dns.Zone{ID: string(s.Zone), Name: s.Zone}
	// BIND refuses addresses at names with an underscore.
	_, err := provider(t, s, nil).Apply(t.Context(), zone, change(set(t, "_host.example.test", dns.TypeA, "192.0.2.1")))
	if !errors.Is(err, dns.ErrInvalid) {
		t.Errorf("the error is %v, want ErrInvalid", err)
	}
}

func TestAnEngineSettlesOnEveryServer(t *testing.T) {
	everywhere(t, func(t *testing.T, s *nameserver.Server, p *rfc2136.Provider, zone dns.Zone) {
		var wanted []dns.Wanted
		for i := range 250 {
			r := set(t, fmt.Sprintf("n%d.example.test", i), dns.TypeA, "192.0.2.1")
			wanted = append(wanted, dns.Wanted{Resource: fmt.Sprintf("ns/r%d", i), Name: r.Name, Sets: []dns.RecordSet{r}})
		}
		for round := range 2 {
			e := &dns.Engine{Owner: "cluster-a", Clock: time.Now}
			for i, o := range e.Reconcile(t.Context(), p, wanted, dns.Options{}) {
				if o.Err != nil || o.Written != (round == 0) {
					t.Fatalf("round %d: %s is %s, written %v: %v", round, wanted[i].Name, o.Phase, o.Written, o.Err)
				}
			}
		}
		if sets, err := s.Dump(); err != nil || len(sets) != 500 {
			t.Errorf("there are %d record sets, %v, want 500", len(sets), err)
		}
	})
}

func TestASpreadChangeIsOnAllNameServers(t *testing.T) {
	primary, secondary := start(t, nameserver.Process), start(t, nameserver.Process)
	p := provider(t, primary, func(o *rfc2136.Options) { o.NameServers = []string{secondary.Address} })
	zone := dns.Zone{ID: "example.test", Name: "example.test"}
	www := set(t, "www.example.test", dns.TypeA, "192.0.2.1")
	receipt, err := p.Apply(t.Context(), zone, change(www))
	if err != nil || receipt == "" {
		t.Fatalf("the receipt is %q, %v", receipt, err)
	}
	for _, r := range []dns.Receipt{receipt, ""} {
		if done, err := p.Spread(t.Context(), zone, r); err != nil || done {
			t.Errorf("spread before the secondary has it: %v, %v", done, err)
		}
	}
	if err := secondary.Put(t.Context(), www); err != nil {
		t.Fatal(err)
	}
	if done, err := p.Spread(t.Context(), zone, receipt); err != nil || !done {
		t.Errorf("not spread when the secondary has it: %v, %v", done, err)
	}
	secondary.Stop()
	if _, err := p.Spread(t.Context(), zone, receipt); err == nil {
		t.Error("a secondary that is gone has the change")
	}
}

func TestTooMuchForOneMessageIsRefused(t *testing.T) {
	s := start(t, nameserver.Process)
	p, zone := provider(t, s, nil), dns.Zone{ID: "example.test", Name: "example.test"}
	long := change(set(t, "a.example.test", dns.TypeTXT, strings.Repeat("x", 65000)))
	if _, err := p.Apply(t.Context(), zone, long); !errors.Is(err, dns.ErrInvalid) {
		t.Errorf("one change too large gave %v, want ErrInvalid", err)
	}
	half := change(set(t, "b.example.test", dns.TypeTXT, strings.Repeat("x", 40000)))
	other := change(set(t, "c.example.test", dns.TypeTXT, strings.Repeat("x", 40000)))
	if _, err := p.Apply(t.Context(), zone, append(half, other...)); !errors.Is(err, dns.ErrTooLarge) {
		t.Errorf("two changes too large together gave %v, want ErrTooLarge", err)
	}
	if _, err := p.Apply(t.Context(), zone, half); err != nil {
		t.Errorf("one of them alone gave %v", err)
	}
}

func TestAnAnswerWithoutASignatureIsNotBelieved(t *testing.T) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	impostor := &mdns.Server{Listener: listener, MsgAcceptFunc: func(mdns.Header) mdns.MsgAcceptAction { return mdns.MsgAccept },
		Handler: mdns.HandlerFunc(func(w mdns.ResponseWriter, q *mdns.Msg) {
			answer := new(mdns.Msg).SetReply(q)
			answer.Authoritative = true
			_ = w.WriteMsg(answer)
		})}
	go func() { _ = impostor.ActivateAndServe() }()
	t.Cleanup(func() { _ = listener.Close() })
	s := &nameserver.Server{Address: listener.Addr().String(), Zone: "example.test", KeyName: "trellis-key", Algorithm: "hmac-sha512", Secret: "c2VjcmV0IHNlY3JldCBzZWNyZXQ="}
	p, zone := provider(t, s, nil), dns.Zone{ID: "example.test", Name: "example.test"}
	if _, err := p.Apply(t.Context(), zone, change(set(t, "a.example.test", dns.TypeA, "192.0.2.1"))); err == nil {
		t.Error("an update that nobody signed for is taken for done")
	}
	var many []dns.Name
	for i := range 100 {
		many = append(many, dns.Name(fmt.Sprintf("n%d.example.test", i)))
	}
	for _, names := range [][]dns.Name{many[:1], many} {
		if seen, err := p.Read(t.Context(), zone, names); err == nil {
			t.Errorf("what nobody signed was read: %v", seen)
		}
	}
}

func TestNobodyListeningIsAnErrorThatStaysTheSame(t *testing.T) {
	s := start(t, nameserver.Process)
	s.Stop()
	p := provider(t, s, nil)
	_, first := p.Zones(t.Context())
	_, second := p.Zones(t.Context())
	if first == nil || second == nil || first.Error() != second.Error() {
		t.Errorf("the errors are %v and %v", first, second)
	}
	for _, class := range []error{dns.ErrCredentials, dns.ErrNoZone, dns.ErrStale, dns.ErrInvalid} {
		if errors.Is(first, class) {
			t.Errorf("it is taken for %v", class)
		}
	}
}

func TestASilentServerIsGivenUp(t *testing.T) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	p, err := rfc2136.New(rfc2136.Options{Server: listener.Addr().String(), Zones: []dns.Name{"example.test"}, Timeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Zones(t.Context()); err == nil {
		t.Error("silence is taken for an answer")
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	patient, err := rfc2136.New(rfc2136.Options{Server: listener.Addr().String(), Zones: []dns.Name{"example.test"}, Timeout: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := patient.Zones(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v, want context.Canceled", err)
	}
}

func TestWrongKeysAreRefusedAndNotQuoted(t *testing.T) {
	for _, key := range []rfc2136.Key{
		{Name: "k", Algorithm: "hmac-sha256", Secret: "hunter2 is no base64!"}, {Name: "k", Algorithm: "hmac-sha256"},
		{Name: "k", Algorithm: "hmac-md5", Secret: "aHVudGVyMg=="}, {Name: "k", Secret: "aHVudGVyMg=="},
	} {
		p, err := rfc2136.New(rfc2136.Options{Server: "127.0.0.1:53", Key: &key})
		if err == nil {
			t.Errorf("%+v made %v", key, p)
		} else if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "aHVudGVyMg") {
			t.Errorf("the error quotes the secret: %v", err)
		}
	}
}

func TestWhatIsWrongWithAKeyIsToldApart(t *testing.T) {
	everywhere(t, func(t *testing.T, s *nameserver.Server, _ *rfc2136.Provider, _ dns.Zone) {
		key := rfc2136.Key{Name: s.KeyName, Algorithm: s.Algorithm, Secret: s.Secret}
		for code, c := range map[string]struct {
			parts  []string
			change func(o *rfc2136.Options)
		}{
			"BADKEY":  {[]string{"no TSIG key other-key", "hmac-sha256"}, func(o *rfc2136.Options) { o.Key.Name = "other-key" }},
			"BADSIG":  {[]string{"the TSIG key trellis-key with another secret"}, func(o *rfc2136.Options) { o.Key.Secret = "d3Jvbmcgc2VjcmV0IHdyb25nIHNlY3JldCB3cm9uZw==" }},
			"BADTIME": {[]string{"its clock and ours"}, func(o *rfc2136.Options) { o.Clock = func() time.Time { return time.Now().Add(-time.Hour) } }},
		} {
			p := provider(t, s, func(o *rfc2136.Options) {
				own := key
				o.Key = &own
				c.change(o)
			})
			_, err := p.Zones(t.Context())
			if s.Kind == nameserver.PowerDNS {
				// It does not say which.
				if !errors.Is(err, dns.ErrCredentials) || !strings.Contains(err.Error(), "the secret of the TSIG key") || !strings.Contains(err.Error(), "clocks") {
					t.Errorf("%s is %v", code, err)
				}
				continue
			}
			if !errors.Is(err, dns.ErrCredentials) || errors.Is(err, dns.ErrClock) != (code == "BADTIME") {
				t.Errorf("%s is %v", code, err)
				continue
			}
			for _, part := range append(c.parts, code) {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%s is %q, want %q in it", code, err, part)
				}
			}
		}
	})
}
