// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"crypto/rand"
	"sync"
)

// maxTickets bounds what is remembered of orders that were given up.
const maxTickets = 10_000

// Tickets tell orders that this process has certainly not sent from those that it,
// or one before it, may have sent. The zero value has none. Safe for concurrent use.
type Tickets struct {
	mu     sync.Mutex
	unsent map[string]bool
}

// New is a ticket for an order that nobody has sent.
func (t *Tickets) New() string {
	ticket := rand.Text()[:16]
	t.Keep(ticket)
	return ticket
}

// Keep notes that an order was certainly not made.
func (t *Tickets) Keep(ticket string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.unsent) >= maxTickets || t.unsent == nil {
		t.unsent = map[string]bool{}
	}
	t.unsent[ticket] = true
}

// Spend reports whether an order was certainly not made. It is to be sent now.
func (t *Tickets) Spend(ticket string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	certain := t.unsent[ticket]
	delete(t.unsent, ticket)
	return certain
}
