// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package openreports

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/trellis-mesh/trellis/internal/load"
)

// CRD is the name of the definition of Reports.
const CRD = "reports.openreports.io"

// Kind is that of Reports.
var Kind = schema.GroupVersionKind{Group: "openreports.io", Version: "v1alpha1", Kind: "Report"}

// digest is of content without its times.
type digest [16]byte

// Seen is what is kept of a Report that is there.
type Seen struct {
	UID             types.UID
	ResourceVersion string
	// Ours is false for one that somebody else has made.
	Ours bool

	digest digest
	// found is when each result was found, in seconds since 1970.
	found map[digest]int64
}

// See reads a Report. One that cannot be read has the digest of nothing, and is written
// anew if it is ours.
func See(u *unstructured.Unstructured) Seen {
	out := Seen{UID: u.GetUID(), ResourceVersion: u.GetResourceVersion(), Ours: u.GetLabels()[load.ManagedByLabel] == load.ManagedBy}
	var c content
	if !out.Ours || runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &c) != nil {
		return out
	}
	if c.Results == nil {
		c.Results = []Result{}
	}
	out.found = make(map[digest]int64, len(c.Results))
	for i := range c.Results {
		at := c.Results[i].Timestamp
		c.Results[i].Timestamp = nil
		if d, err := digestOf(c.Results[i]); err == nil && at != nil {
			out.found[d] = at.Seconds
		}
	}
	if d, err := digestOf(c); err == nil {
		out.digest = d
	}
	return out
}

func digestOf(v any) (digest, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return digest{}, fmt.Errorf("digesting a report: %w", err)
	}
	sum := sha256.Sum256(text)
	return digest(sum[:len(digest{})]), nil
}

// object is a Report as it is written. A result that was there before keeps its time.
func (r *Report) object(was Seen, now time.Time) (*unstructured.Unstructured, error) {
	c := r.content
	c.Results = make([]Result, len(r.Results))
	for i, one := range r.Results {
		d, err := digestOf(one)
		if err != nil {
			return nil, err
		}
		at, ok := was.found[d]
		if !ok {
			at = now.Unix()
		}
		one.Timestamp = &metav1.Timestamp{Seconds: at}
		c.Results[i] = one
	}
	body, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&c)
	if err != nil {
		return nil, fmt.Errorf("encoding the report of namespace %s: %w", r.Namespace, err)
	}
	u := &unstructured.Unstructured{Object: body}
	u.SetGroupVersionKind(Kind)
	u.SetNamespace(r.Namespace)
	u.SetName(Name)
	u.SetLabels(map[string]string{load.ManagedByLabel: load.ManagedBy})
	return u, nil
}
