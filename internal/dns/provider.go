// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Zone is a part of the name space that a provider answers for.
type Zone struct {
	// ID is the provider's own.
	ID string
	// Name is the apex.
	Name Name
	// Private zones are seen in some networks only.
	Private bool
}

// Observed is a record set as it is in a zone.
type Observed struct {
	RecordSet
	// Revision is what the provider compares in a write, where it has such a thing
	// (an ETag); elsewhere the values themselves are compared.
	Revision string
	// Handle is the provider's id of the record set, where it has one.
	Handle string
	// Raw is the provider's own form, for a delete that must repeat it exactly; nil
	// where the RecordSet says it all.
	Raw any
}

// Change is what must happen together at one name: a record set and its mark.
// Each Delete must be there exactly as observed and each Create must not be
// there, unless the same key is deleted; else nothing of the change happens and
// the error is ErrStale. A key in both is replaced without a gap.
//
// Where a provider cannot do them at once, Writes says in which order.
type Change struct {
	Name   Name
	Delete []Observed
	Create []RecordSet
}

// Write is one record set of a Change: created where Old is nil, deleted where
// New is nil, replaced where both have the same key.
type Write struct {
	Old *Observed
	New *RecordSet
}

// Key is what is written.
func (w Write) Key() Key {
	if w.New != nil {
		return w.New.Key
	}
	return w.Old.Key
}

// Writes are the writes of a change, in an order that can end after any of them
// and be resumed: marks before the data they are about, data that goes before
// data that comes (a CNAME is alone at its name), and marks that go last.
func (c Change) Writes() []Write {
	olds := map[Key]*Observed{}
	for i := range c.Delete {
		olds[c.Delete[i].Key] = &c.Delete[i]
	}
	stages := [4][]Write{}
	for i := range c.Create {
		key, stage := c.Create[i].Key, 2
		if IsMark(key) {
			stage = 0
		}
		stages[stage] = append(stages[stage], Write{Old: olds[key], New: &c.Create[i]})
		delete(olds, key)
	}
	for i := range c.Delete {
		key, stage := c.Delete[i].Key, 1
		if olds[key] == nil {
			continue
		}
		if IsMark(key) {
			stage = 3
		}
		stages[stage] = append(stages[stage], Write{Old: olds[key]})
	}
	return slices.Concat(stages[:]...)
}

// Records is how many values a change deletes and creates; an alias counts as one.
func (c Change) Records() int {
	n := 0
	for _, d := range c.Delete {
		n += max(1, len(d.Values))
	}
	for _, s := range c.Create {
		n += max(1, len(s.Values))
	}
	return n
}

// Capabilities are what differs between providers as far as planning goes.
type Capabilities struct {
	// Atomic: a Change happens as a whole or not at all. Where false, marks are
	// created before data and deleted after it, and each write is compared alone.
	Atomic bool
	// Weights and Locations: what Routing may say.
	Weights, Locations bool
	// FlattensApex: a CNAME at an apex is answered with addresses, so that it may
	// stand beside the apex's other records.
	FlattensApex bool
	// MaxChanges is how many changes fit in one Apply, MaxRecords how many values
	// in them, created and deleted; at least one change always goes.
	MaxChanges, MaxRecords int
}

// Provider is an account at a DNS vendor, or a server. Safe for concurrent use.
// Errors are those below, wrapped with what the vendor said; all others may go
// away by trying again. No error text holds a credential, and none changes from
// one attempt to the next without a reason (request ids are left out).
type Provider interface {
	Capabilities() Capabilities

	// Zones lists what the credentials can see, in any order.
	Zones(ctx context.Context) ([]Zone, error)

	// Read is what is there at names, of every type, members of routed groups one
	// by one. Types that Trellis does not write come with their Key alone. Names
	// that have nothing are left out. It costs by names, not by zone, unless
	// reading all is cheaper for that many.
	Read(ctx context.Context, zone Zone, names []Name) ([]Observed, error)

	// Point turns a target into record sets at a name: addresses, or an alias or
	// CNAME to a host. It makes no call. ErrInvalid where the provider cannot, as
	// for a host name at an apex without aliases.
	Point(zone Zone, name Name, identifier string, ttl uint32, t Target) ([]RecordSet, error)

	// Apply carries changes out. Where Capabilities.Atomic, all happen or none;
	// elsewhere exactly one change is given, and what a failure leaves half done is
	// seen by the next Read. The receipt is for Spread.
	Apply(ctx context.Context, zone Zone, changes []Change) (Receipt, error)

	// Spread reports whether a change has reached all of the provider's servers.
	Spread(ctx context.Context, zone Zone, r Receipt) (bool, error)
}

// Receipt is a provider's id of a change; empty where it has none and Spread asks
// the servers.
type Receipt string

// The errors of providers. Wrap them with %w.
var (
	// ErrStale: something else is there than was observed. Read and plan again.
	ErrStale = errors.New("the zone has changed since it was read")
	// ErrCredentials: they are wrong, expired, or do not allow this. Nothing was
	// changed.
	ErrCredentials = errors.New("the DNS provider refused the credentials")
	// ErrClock: the credentials were refused since the provider's clock and ours are
	// too far apart. It is an ErrCredentials.
	ErrClock = fmt.Errorf("%w", ErrCredentials)
	// ErrNoZone: the zone is not there any more.
	ErrNoZone = errors.New("the zone does not exist")
	// ErrInvalid: this change will never be accepted.
	ErrInvalid = errors.New("the DNS provider cannot hold such a record")
	// ErrUnsupported: this provider has no such thing, and another may.
	ErrUnsupported = errors.New("the DNS provider has no such thing")
	// ErrTooLarge: the batch, not one of its changes, exceeds a limit.
	ErrTooLarge = errors.New("the batch exceeds the DNS provider's limits")
)

// ThrottledError says that a provider wants to be left alone for a while.
type ThrottledError struct {
	// After is how long, as the provider said; zero where it did not.
	After time.Duration
	// Said is the provider's text.
	Said string
}

func (e *ThrottledError) Error() string {
	if e.After == 0 {
		return "the DNS provider asks for fewer requests: " + e.Said
	}
	return fmt.Sprintf("the DNS provider asks to wait %s: %s", e.After, e.Said)
}
