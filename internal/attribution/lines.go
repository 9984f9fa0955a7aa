// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package attribution

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/internal/hits"
)

// Lines are what can be hit, in order, each once: what people stated of which there are
// rules and routes in proxies. A statement that becomes something else, such as a
// certificate, is none of them. Objects that Trellis did not make are their own statements.
func (x *Index) Lines() []hits.Line {
	var out []hits.Line
	for _, r := range x.InForce() {
		out = append(out, hits.Line{Statement: r.Statement, Field: r.Field})
	}
	slices.SortFunc(out, hits.Line.Compare)
	return slices.Compact(out)
}

// InForce are the rules and routes that somebody stated, each with since when its object is
// as it is, in no order.
func (x *Index) InForce() []hits.InForce {
	var out []hits.InForce
	add := func(key hits.Key, since time.Time, refuses bool) {
		if key.Statement != "" {
			out = append(out, hits.InForce{Key: key, Since: since, Refuses: refuses})
		}
	}
	for _, o := range x.policies {
		for _, key := range o.rules {
			add(key, o.since, o.action == denies)
		}
	}
	for _, list := range x.routes {
		for i := range list {
			add(list[i].key, list[i].since, false)
		}
	}
	return out
}

// Changed is since when an object is as it is, by what the API server itself notes of each
// change (managedFields); a change of its status is none. Zero: it is not known, as with
// objects of files.
func Changed(o metav1.Object) time.Time {
	var out time.Time
	for _, entry := range o.GetManagedFields() {
		if entry.Subresource == "" && entry.Time != nil {
			out = later(out, entry.Time.UTC())
		}
	}
	return out
}

// KeepChanged drops all of managedFields but what Changed reads: they are a good part of
// most objects.
func KeepChanged(o metav1.Object) {
	at := Changed(o)
	if at.IsZero() {
		o.SetManagedFields(nil)
		return
	}
	o.SetManagedFields([]metav1.ManagedFieldsEntry{{Time: &metav1.Time{Time: at}}})
}
