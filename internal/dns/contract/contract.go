// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package contract is what package dns asks of every provider, as tests. They run
// unchanged against the model in memory, name servers and the fakes of vendors'
// APIs, so that a plan means the same everywhere.
package contract

import (
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/dns"
)

// Subject is a provider under test.
type Subject struct {
	// New makes a zone that holds nothing but its SOA and NS, at any apex, and a
	// provider that sees it. It is called for each test; what it starts ends with t.
	New func(t *testing.T) Fixture
	// Names is how many names are read at once, so that paging is needed; 50 where
	// it is zero.
	Names int
	// WaitSpread is how long a change may take to reach all servers; 10 seconds
	// where it is zero.
	WaitSpread time.Duration
}

// Fixture is one zone, and ways around its provider.
type Fixture struct {
	Provider dns.Provider
	Zone     dns.Zone
	// Put writes a record set as somebody else would, whatever was there. Values
	// of types that Trellis does not write are as in zone files ("10
	// mail.example.com."). Identifier and Routing are empty.
	Put func(t *testing.T, set dns.RecordSet)
	// Dump is all that is in the zone, as somebody else sees it, without the SOA
	// and NS of the apex, in any order; values as in Put.
	Dump func(t *testing.T) []dns.RecordSet

	// Unknown is a zone that is not there; where it is zero, Zone with another ID.
	Unknown dns.Zone
	// Unauthorised sees the same zone with credentials that are refused. Nil where
	// there is no such thing.
	Unauthorised dns.Provider
	// Throttle makes the next call be refused for being one too many, as the
	// vendor does it, with a time to wait of 7 seconds where the vendor says one.
	// Nil where there is no such thing.
	Throttle func()
}

// Run holds a provider to the contract.
func Run(t *testing.T, s Subject) {
	s.Names = max(s.Names, 50)
	if s.WaitSpread == 0 {
		s.WaitSpread = 10 * time.Second
	}
	for _, c := range []struct {
		name string
		test func(t *testing.T, z *zone)
	}{
		{"the zone is listed", listsTheZone},
		{"each type is created, read, updated and deleted", everyType},
		{"apex, wildcard, international and underscored names", everyName},
		{"texts of any length and content", everyText},
		{"only names that were asked for are read", readsWhatWasAsked},
		{"more names than a page", manyNames},
		{"what others wrote in other forms", othersForms},
		{"a type changes in one step", typeChange},
		{"a plan carried out leaves nothing to do", plansSettle},
		{"a stale delete is refused", staleDelete},
		{"a stale replacement is refused", staleReplace},
		{"a create in the way of another is refused", staleCreate},
		{"a change happens as a whole or not at all", atomicChange},
		{"changes happen as a whole or not at all", atomicBatch},
		{"a batch over the limits is refused", limits},
		{"a CNAME stands alone", cnameAlone},
		{"a CNAME at the apex is refused", cnameAtApex},
		{"records of other types are untouched", foreignTypes},
		{"records of others at the same name are untouched", foreignNeighbours},
		{"members of weighted groups come and go one by one", weightedGroup},
		{"members of located groups come and go one by one", locatedGroup},
		{"targets become record sets", targets},
		{"a zone that is not there", unknownZone},
		{"a name outside the zone is refused", outsideTheZone},
		{"of two writers one wins", twoWriters},
		{"a change spreads", spreads},
		{"an ended context ends a call", endedContext},
		{"refused credentials are told apart", refusedCredentials},
		{"throttling is told apart", throttling},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.test(t, &zone{Fixture: s.New(t), subject: s})
		})
	}
}
