// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package nameserver

import (
	"errors"
	"net"
	"slices"
	"strings"
	"testing"

	mdns "github.com/miekg/dns"

	"github.com/trellis-mesh/trellis/internal/dns"
)

func started(t *testing.T, kind Kind) *Server {
	t.Helper()
	s, err := Start(t.Context(), kind, "example.test")
	var missing *UnavailableError
	if errors.As(err, &missing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

func put(t *testing.T, s *Server, name dns.Name, typ dns.Type, values ...string) {
	t.Helper()
	if err := s.Put(t.Context(), dns.RecordSet{Key: dns.Key{Name: name, Type: typ}, TTL: 60, Values: values}); err != nil {
		t.Fatal(err)
	}
}

// ask is the answer to the public, as text.
func ask(t *testing.T, s *Server, network string, name dns.Name, rrtype uint16) (*mdns.Msg, string) {
	t.Helper()
	client := mdns.Client{Net: network}
	answer, _, err := client.ExchangeContext(t.Context(), new(mdns.Msg).SetQuestion(name.FQDN(), rrtype), s.Address)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, rr := range answer.Answer {
		out = append(out, strings.Join(strings.Fields(rr.String()), " "))
	}
	slices.Sort(out)
	return answer, strings.Join(out, "; ")
}

// TestEveryServerAnswersTheSame holds the server within the process to what the
// real ones say.
func TestEveryServerAnswersTheSame(t *testing.T) {
	for _, kind := range []Kind{Process, BIND, Knot, PowerDNS} {
		t.Run(string(kind), func(t *testing.T) {
			s := started(t, kind)
			put(t, s, "www.example.test", dns.TypeA, "192.0.2.1", "192.0.2.2")
			put(t, s, "deep.ent.example.test", dns.TypeA, "192.0.2.3")
			put(t, s, "*.wild.example.test", dns.TypeTXT, "any")
			put(t, s, "host.example.test", dns.TypeCNAME, "www.example.test.")
			put(t, s, "away.example.test", dns.TypeCNAME, "www.elsewhere.invalid.")
			for _, c := range []struct {
				name   dns.Name
				rrtype uint16
				rcode  int
				want   string
			}{
				{"www.example.test", mdns.TypeA, 0, "www.example.test. 60 IN A 192.0.2.1; www.example.test. 60 IN A 192.0.2.2"},
				{"www.example.test", mdns.TypeAAAA, 0, ""},
				{"missing.example.test", mdns.TypeA, mdns.RcodeNameError, ""},
				{"ent.example.test", mdns.TypeA, 0, ""},
				{"a.wild.example.test", mdns.TypeTXT, 0, `a.wild.example.test. 60 IN TXT "any"`},
				{"a.b.wild.example.test", mdns.TypeTXT, 0, `a.b.wild.example.test. 60 IN TXT "any"`},
				{"a.wild.example.test", mdns.TypeA, 0, ""},
				{"host.example.test", mdns.TypeCNAME, 0, "host.example.test. 60 IN CNAME www.example.test."},
				{"host.example.test", mdns.TypeA, 0, "host.example.test. 60 IN CNAME www.example.test.; www.example.test. 60 IN A 192.0.2.1; www.example.test. 60 IN A 192.0.2.2"},
				{"away.example.test", mdns.TypeA, 0, "away.example.test. 60 IN CNAME www.elsewhere.invalid."},
				{"elsewhere.invalid", mdns.TypeA, mdns.RcodeRefused, ""},
			} {
				for _, network := range []string{"tcp", "udp"} {
					answer, got := ask(t, s, network, c.name, c.rrtype)
					if got != c.want || answer.Rcode != c.rcode {
						t.Errorf("%s %s by %s: %s %q, want %q", c.name, mdns.TypeToString[c.rrtype], network, mdns.RcodeToString[answer.Rcode], got, c.want)
					}
				}
			}
			put(t, s, "sub.example.test", "NS", "ns.elsewhere.invalid.")
			if answer, got := ask(t, s, "tcp", "www.sub.example.test", mdns.TypeA); got != "" || answer.Authoritative || len(answer.Ns) != 1 {
				t.Errorf("a delegated name is answered with %v", answer)
			}
		})
	}
}

func TestAServerEndsWhenItIsStopped(t *testing.T) {
	for _, kind := range []Kind{Process, BIND, Knot, PowerDNS} {
		t.Run(string(kind), func(t *testing.T) {
			s := started(t, kind)
			s.Stop()
			s.Stop()
			if c, err := net.Dial("tcp", s.Address); err == nil {
				_ = c.Close()
				t.Error("it still listens")
			}
		})
	}
}

func TestAMissingProgramIsSaidToBeMissing(t *testing.T) {
	_, err := program(BIND, "no-such-name-server")
	var missing *UnavailableError
	if !errors.As(err, &missing) || !strings.Contains(err.Error(), "no-such-name-server is not installed") {
		t.Errorf("the error is %v", err)
	}
}

func TestNobodyWritesWithoutTheKey(t *testing.T) {
	for _, kind := range []Kind{Process, BIND, Knot, PowerDNS} {
		t.Run(string(kind), func(t *testing.T) {
			s := started(t, kind)
			update := new(mdns.Msg).SetUpdate(s.Zone.FQDN())
			rr, err := mdns.NewRR("www.example.test. 60 IN A 192.0.2.1")
			if err != nil {
				t.Fatal(err)
			}
			update.Insert([]mdns.RR{rr})
			client := mdns.Client{Net: "tcp"}
			if answer, _, err := client.ExchangeContext(t.Context(), update, s.Address); err == nil && answer.Rcode == mdns.RcodeSuccess {
				t.Error("an update without a signature was accepted")
			}
			if sets, err := s.Dump(); err != nil || len(sets) != 0 {
				t.Errorf("there is %v, %v", sets, err)
			}
		})
	}
}
