// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package calls

import (
	"github.com/trellis-mesh/trellis/internal/intent"
	"github.com/trellis-mesh/trellis/internal/policy"
)

// judge holds the calls of an Application to the policies about them, and returns which
// are closed. It is asked of calls that cannot be resolved, too.
func (r *resolver) judge(a *intent.Application) []bool {
	if a.Spec.Access == nil {
		return nil
	}
	closed := make([]bool, len(a.Spec.Access.Calls))
	of := a.Policies()
	if of == nil {
		return closed
	}
	for i := range a.Spec.Access.Calls {
		call := &a.Spec.Access.Calls[i]
		at := field(a.Origin, "spec.access.calls[%d]", i)
		closed[i] = r.judged(a.JudgedCalls[i])
		for _, c := range a.Egress {
			if j, kept := of.KeepsIn(c, call, at); kept {
				closed[i] = r.judged([]policy.Judgement{j}) || closed[i]
			}
		}
	}
	return closed
}

// judged reports what does not hold at its subject, and whether that closes it.
func (r *resolver) judged(list []policy.Judgement) (closed bool) {
	for i := range list {
		if said, ok := r.graph.Judged(r.snapshot, &list[i]); ok {
			r.findings = append(r.findings, said)
		}
		closed = closed || list[i].Closes()
	}
	return closed
}
