// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/compile"
)

// Digest identifies everything of a generated object that has an effect: its
// spec (or data), and the labels and annotations that Trellis or Istio read. It
// is the same for what is sent and for what the API server gives back, so that
// a whole cluster can be compared without keeping the objects in memory.
type Digest [sha256.Size]byte

// String is the first part of the digest, enough for people to compare.
func (d Digest) String() string { return hex.EncodeToString(d[:6]) }

// DigestOf computes the digest of an object as decoded from JSON. Integers and
// floats of the same value are the same.
func DigestOf(object map[string]any) (Digest, error) {
	raw, err := json.Marshal(effective(object))
	if err != nil {
		return Digest{}, fmt.Errorf("encoding an object for its digest: %w", err)
	}
	return sha256.Sum256(raw), nil
}

// effective is the part of an object that its digest covers.
func effective(object map[string]any) map[string]any {
	out := make(map[string]any, len(object))
	for field, value := range object {
		switch field {
		case "apiVersion", "kind", "metadata", "status":
		default:
			out[field] = value
		}
	}
	metadata, _ := object["metadata"].(map[string]any)
	for _, field := range []string{"labels", "annotations"} {
		kept := map[string]any{}
		values, _ := metadata[field].(map[string]any)
		for key, value := range values {
			if watchedKey(key) {
				kept[key] = value
			}
		}
		if len(kept) > 0 {
			out["metadata."+field] = kept
		}
	}
	return out
}

// watchedKey reports whether a label or annotation has an effect: Istio's own
// (istio.io/dry-run switches a policy off, istio.io/rev hides it from istiod),
// ours, and those that say who manages an object. Other keys belong to whoever
// put them there: policy engines and backup tools mark every object, and taking
// their marks away would be a fight without end. The two that keep ExternalDNS away
// are ours, and what tells our controllers what to do is not.
func watchedKey(key string) bool {
	if slices.Contains(v1alpha1.InstructionAnnotations, key) {
		return false
	}
	if key == compile.AnnotationExternalDNS || key == compile.AnnotationExternalDNSBefore {
		return true
	}
	domain, _, qualified := strings.Cut(key, "/")
	if !qualified {
		return false
	}
	for _, ours := range []string{"istio.io", "trellis.dev"} {
		if domain == ours || strings.HasSuffix(domain, "."+ours) {
			return true
		}
	}
	return domain == "app.kubernetes.io"
}
