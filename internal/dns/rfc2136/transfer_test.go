// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package rfc2136

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/test/nameserver"
)

// TestOnlySignedTransfersAreBelieved: the same transfer, signed by the right key,
// by another one, and by nobody.
func TestOnlySignedTransfersAreBelieved(t *testing.T) {
	const secret, other = "c2VjcmV0IHNlY3JldCBzZWNyZXQ=", "b3RoZXIgb3RoZXIgb3RoZXIgb3RoZXI="
	for name, c := range map[string]struct {
		key      string
		unsigned bool
		believed bool
	}{"the right key": {key: secret, believed: true}, "another key": {key: other}, "no key": {key: secret, unsigned: true}} {
		t.Run(name, func(t *testing.T) {
			server := transferring(t, c.key, c.unsigned)
			p, err := New(Options{Server: server, Key: &Key{Name: "k", Algorithm: "hmac-sha256", Secret: secret}, Timeout: 5 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			seen, err := p.transfer(t.Context(), dns.Zone{ID: "example.test", Name: "example.test"}, []dns.Name{"www.example.test"})
			if (err == nil) != c.believed || c.believed && (len(seen) != 1 || seen[0].Values[0] != "192.0.2.1") {
				t.Errorf("there is %+v, %v", seen, err)
			}
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("the error quotes the secret: %v", err)
			}
		})
	}
}

// transferring answers each question with a small zone in three messages.
func transferring(t *testing.T, key string, unsigned bool) string {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var rrs []mdns.RR
	for _, line := range []string{"example.test. 60 IN SOA ns. h. 1 2 3 4 5", "www.example.test. 60 IN A 192.0.2.1", "example.test. 60 IN SOA ns. h. 1 2 3 4 5"} {
		rr, err := mdns.NewRR(line)
		if err != nil {
			t.Fatal(err)
		}
		rrs = append(rrs, rr)
	}
	go func() {
		raw, err := listener.Accept()
		if err != nil {
			return
		}
		defer func() { _ = raw.Close() }()
		conn := &mdns.Conn{Conn: raw}
		octets, err := conn.ReadMsgHeader(nil)
		q := new(mdns.Msg)
		if err != nil || q.Unpack(octets) != nil {
			return
		}
		mac := q.IsTsig().MAC
		for i, rr := range rrs {
			answer := new(mdns.Msg).SetReply(q)
			answer.Answer = []mdns.RR{rr}
			octets, _ := answer.Pack()
			if !unsigned {
				answer.SetTsig("k.", mdns.HmacSHA256, fudge, time.Now().Unix())
				octets, mac, _ = mdns.TsigGenerate(answer, key, mac, i > 0)
			}
			if _, err := conn.Write(octets); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().String()
}

func TestARealTransferIsBelieved(t *testing.T) {
	for _, kind := range []nameserver.Kind{nameserver.Process, nameserver.BIND, nameserver.Knot, nameserver.PowerDNS} {
		t.Run(string(kind), func(t *testing.T) {
			s, err := nameserver.Start(t.Context(), kind, "example.test")
			var missing *nameserver.UnavailableError
			if errors.As(err, &missing) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Stop)
			// Enough for several messages. PowerDNS puts 100 records into each, whatever
			// their size, and gives up where they do not fit.
			for i := range 26 {
				var values []string
				for j := range 20 {
					values = append(values, strings.Repeat(string(rune('a'+j)), 250))
				}
				if err := s.Put(context.WithoutCancel(t.Context()), dns.RecordSet{Key: dns.Key{Name: dns.Name(string(rune('a'+i)) + ".example.test"), Type: dns.TypeTXT}, TTL: 60, Values: values}); err != nil {
					t.Fatal(err)
				}
			}
			p, err := New(Options{Server: s.Address, Key: &Key{Name: s.KeyName, Algorithm: s.Algorithm, Secret: s.Secret}})
			if err != nil {
				t.Fatal(err)
			}
			seen, err := p.transfer(t.Context(), dns.Zone{ID: "example.test", Name: "example.test"}, []dns.Name{"a.example.test", "z.example.test"})
			if err != nil || len(seen) != 2 || len(seen[1].Values) != 20 {
				t.Errorf("%d record sets were read: %v", len(seen), err)
			}
		})
	}
}
