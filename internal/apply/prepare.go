// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"errors"
	"fmt"
	"slices"

	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/model"
)

// Desired is one object as it is to be, packed: most objects are never written,
// and bodies are what takes memory.
type Desired struct {
	compile.Packed
	Digest Digest
	// opens is true for a policy of ALLOW rules: the first one closes everything
	// that it does not allow, and each further one opens; it is written after the
	// rules that deny.
	opens bool
}

// Preparer packs generated objects and computes their digests. It remembers what
// it saw last: comparing the encoded form is ten times cheaper than the digest,
// which needs the JSON form, and what has not changed is kept once. It is for
// one goroutine; the zero value is ready.
type Preparer struct {
	packer compile.Packer
	known  map[model.Reference]*Desired
	out    []Desired
	err    error
}

// Add takes one object. A fault is told by Done.
func (p *Preparer) Add(o compile.Object) {
	known := Desired{}
	if k := p.known[o.Ref]; k != nil {
		known = *k
	}
	packed, same, err := p.packer.Pack(o, known.Packed)
	digest := known.Digest
	if err == nil && !same {
		digest, err = digestOf(o)
	}
	if err != nil {
		p.err = errors.Join(p.err, err)
		return
	}
	p.out = append(p.out, Desired{Packed: packed, Digest: digest, opens: allows(o)})
}

// Done gives everything that was added since the last time, in the order of
// applying. It is remembered, and read only.
func (p *Preparer) Done() ([]Desired, error) {
	out, err := p.out, p.err
	p.out, p.err = nil, nil
	if err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(a, b Desired) int { return compile.CompareForApplying(a.Ref, b.Ref) })
	p.known = make(map[model.Reference]*Desired, len(out))
	for i := range out {
		p.known[out[i].Ref] = &out[i]
	}
	return out, nil
}

// Prepare adds objects and is done.
func (p *Preparer) Prepare(objects []compile.Object) ([]Desired, error) {
	for _, o := range objects {
		p.Add(o)
	}
	return p.Done()
}

func digestOf(o compile.Object) (Digest, error) {
	manifest, err := o.Manifest()
	if err != nil {
		return Digest{}, fmt.Errorf("preparing %s: %w", o.Ref, err)
	}
	digest, err := DigestOf(manifest)
	if err != nil {
		return Digest{}, fmt.Errorf("preparing %s: %w", o.Ref, err)
	}
	return digest, nil
}
