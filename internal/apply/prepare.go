// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	networkingv1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/model"
)

// Desired is one object as it is to be. Its body is encoded again when it is
// written: most objects never are, and bodies are what takes memory.
type Desired struct {
	compile.Object
	Digest Digest
}

// Preparer computes the digests of generated objects. It remembers those of the
// objects that it saw last, by a hash of their fields that is ten times cheaper
// than the digest, which needs the JSON form. It is for one goroutine; the zero
// value is ready.
type Preparer struct {
	known map[model.Reference]prepared
}

type prepared struct {
	fields [sha256.Size]byte
	digest Digest
}

// Prepare computes the digests of generated objects, in their order.
func (p *Preparer) Prepare(objects []compile.Object) ([]Desired, error) {
	out := make([]Desired, 0, len(objects))
	next := make(map[model.Reference]prepared, len(objects))
	var buffer []byte
	for _, o := range objects {
		fields, rest, usable := hashFields(o.Value, buffer)
		buffer = rest
		known, seen := p.known[o.Ref]
		if !usable || !seen || known.fields != fields {
			digest, err := digestOf(o)
			if err != nil {
				return nil, err
			}
			known = prepared{fields, digest}
		}
		if usable {
			next[o.Ref] = known
		}
		out = append(out, Desired{Object: o, Digest: known.digest})
	}
	p.known = next
	return out, nil
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

// hashFields hashes everything of an object that its digest covers. It is the
// same for equal objects within one process, and usable is false for kinds that
// it does not know. The buffer is used and given back.
func hashFields(value compile.Resource, buffer []byte) (sum [sha256.Size]byte, rest []byte, usable bool) {
	spec := specOf(value)
	if spec == nil {
		return sum, buffer, false
	}
	raw, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(buffer[:0], spec)
	if err != nil {
		return sum, buffer, false
	}
	h := sha256.New()
	writeMap(h, value.GetLabels())
	writeMap(h, value.GetAnnotations())
	h.Write(raw)
	return [sha256.Size]byte(h.Sum(nil)), raw, true
}

// writeMap writes a map unambiguously.
func writeMap(h hash.Hash, values map[string]string) {
	write := func(s string) {
		h.Write(binary.AppendUvarint(nil, uint64(len(s))))
		h.Write([]byte(s))
	}
	h.Write(binary.AppendUvarint(nil, uint64(len(values))))
	for _, key := range slices.Sorted(maps.Keys(values)) {
		write(key)
		write(values[key])
	}
}

// specOf is the message inside an Istio object, or nil.
func specOf(value compile.Resource) proto.Message {
	switch o := value.(type) {
	case *securityv1.AuthorizationPolicy:
		return &o.Spec
	case *securityv1.RequestAuthentication:
		return &o.Spec
	case *securityv1.PeerAuthentication:
		return &o.Spec
	case *networkingv1.Gateway:
		return &o.Spec
	case *networkingv1.VirtualService:
		return &o.Spec
	case *networkingv1.DestinationRule:
		return &o.Spec
	case *networkingv1alpha3.EnvoyFilter:
		return &o.Spec
	}
	return nil
}
