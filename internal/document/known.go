// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package document

import (
	"crypto/sha256"
	"sync"
)

// Known is what reads with documents in common share: what is made of a document is
// made once, by whichever read comes first, and the others wait for it. What a read
// gives is the same with and without it, findings and positions included. Documents
// with objects are kept for as long as it is, so it is for reads that belong together,
// such as the two sides of a comparison. The zero value knows nothing. It is safe for
// concurrent use.
type Known struct {
	mu sync.Mutex
	// contents are found by a digest that nobody can make two documents for.
	contents map[digest]*content
}

type digest [sha256.Size]byte

// content is that of a document. Nil shares none.
func (k *Known) content(raw []byte) *content {
	if k == nil {
		return newContent(raw)
	}
	of := digest(sha256.Sum256(raw))
	k.mu.Lock()
	defer k.mu.Unlock()
	if known := k.contents[of]; known != nil {
		return known
	}
	if k.contents == nil {
		k.contents = map[digest]*content{}
	}
	out := newContent(raw)
	out.shared, out.digest = true, of
	k.contents[of] = out
	return out
}

// forget lets go of a document without objects that are read. There is no bound on
// their number, and nobody else keeps what they say.
func (k *Known) forget(c *content) {
	if k == nil || c == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.contents[c.digest] == c {
		delete(k.contents, c.digest)
	}
}

// Settle lets go of what documents became, once nobody reads any more: of a document only its
// text is kept, and who asks where something stands has it parsed again.
func (k *Known) Settle() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.contents {
		c.forget()
	}
}
