// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package rfc2136_test

import (
	"context"
	"errors"
	"testing"

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
	s := start(t, kind)
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
