// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package memory_test

import (
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/internal/dns/contract"
	"github.com/trellis-mesh/trellis/internal/dns/memory"
)

func TestTheModelKeepsTheContract(t *testing.T) {
	for name, options := range map[string]memory.Options{
		"atomic": {Capabilities: dns.Capabilities{Atomic: true, MaxChanges: 20, MaxRecords: 60}},
		"atomic with groups and aliases": {
			Capabilities: dns.Capabilities{Atomic: true, Weights: true, Locations: true}, Aliases: true},
		"one by one": {Capabilities: dns.Capabilities{MaxChanges: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			contract.Run(t, contract.Subject{New: func(*testing.T) contract.Fixture { return fixture(options) }, Names: 400})
		})
	}
}

func fixture(o memory.Options) contract.Fixture {
	zone := dns.Zone{ID: "Z1", Name: "example.test"}
	p := memory.New(o, zone)
	refuses := memory.New(o, zone)
	refuses.Fail(func(memory.Call) *memory.Fault { return &memory.Fault{Err: dns.ErrCredentials} })
	return contract.Fixture{
		Provider: p, Zone: zone, Unauthorised: refuses,
		Put: func(t *testing.T, s dns.RecordSet) {
			// The model stores what it is given: canonical form is the writer's task.
			if s.Type == dns.TypeCNAME {
				canonical, err := dns.NewRecordSet(s.Key, s.TTL, s.Values...)
				if err != nil {
					t.Fatal(err)
				}
				s = canonical
			}
			p.Put(zone.ID, s)
		},
		Dump: func(*testing.T) []dns.RecordSet { return p.Dump(zone.ID) },
		Throttle: func() {
			once := true
			p.Fail(func(memory.Call) *memory.Fault {
				if !once {
					return nil
				}
				once = false
				return &memory.Fault{Err: &dns.ThrottledError{After: 7 * time.Second, Said: "slow down"}}
			})
		},
	}
}
