// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package expiry knows when time alone changes what follows from the policies of a
// mesh, so that whoever judges by them does so anew at that moment and not before.
package expiry

import (
	"slices"
	"time"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy/rollout"
)

// day is what constraints about PolicyExceptions count in.
const day = 24 * time.Hour

// Next is the first moment after at from which on policies are judged otherwise though
// nobody has changed anything, as when an exception expires or a stage of a rollout has been
// tried for long enough; false: there is none. For all moments before it, and
// from at on, everything is judged alike.
func Next(p model.Policies, at time.Time) (next time.Time, ok bool) {
	counted := slices.ContainsFunc(p.Templates, countsDays)
	for _, e := range p.Exceptions {
		expires := e.Spec.Expires.Time
		if !expires.After(at) {
			continue
		}
		if counted {
			// The days that are left, rounded up, are one less at each of these moments.
			expires = expires.Add(-(expires.Sub(at) - 1) / day * day)
		}
		if !ok || expires.Before(next) {
			next, ok = expires, true
		}
	}
	for _, b := range p.ClusterBindings {
		if b.Spec.Rollout == nil {
			continue
		}
		if ends, soaks := rollout.Of(b).Ends(); soaks && ends.After(at) && (!ok || ends.Before(next)) {
			next, ok = ends, true
		}
	}
	return next, ok
}

// countsDays reports whether a policy asks how many days exceptions have left.
func countsDays(t *v1alpha1.PolicyTemplate) bool {
	return slices.ContainsFunc(t.Spec.Constraints, func(c v1alpha1.Constraint) bool {
		return c.Subject == v1alpha1.SubjectPolicyException
	})
}
