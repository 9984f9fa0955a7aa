// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package posture

import (
	"fmt"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
)

// verdict is that of what was counted. What fails goes before what cannot be told.
func verdict(r v1alpha1.PolicyRollup) Verdict {
	all := r.Passing + r.Failing + r.Exempt + r.Unknown
	switch {
	case all == 0:
		return Verdict{Known: true, Reason: reasonNoEffect, Message: "nothing is there that this is about"}
	case r.Failing > 0:
		return Verdict{Known: true, Reason: "Failing", Message: counted(r)}
	case r.Unknown > 0:
		return Verdict{Reason: "Unknown", Message: counted(r)}
	case r.Exempt > 0:
		return Verdict{Met: true, Known: true, Reason: "Exempt", Message: counted(r)}
	}
	return Verdict{Met: true, Known: true, Reason: "Passing", Message: counted(r)}
}

func counted(r v1alpha1.PolicyRollup) string {
	all := r.Passing + r.Failing + r.Exempt + r.Unknown
	out := fmt.Sprintf("%d of %d objects pass", r.Passing, all)
	for _, part := range []struct {
		n         int32
		one, many string
	}{{r.Failing, "fails", "fail"}, {r.Exempt, "is exempt and would fail", "are exempt and would fail"}, {r.Unknown, "cannot be told", "cannot be told"}} {
		switch {
		case part.n == 1:
			out += ", 1 " + part.one
		case part.n > 1:
			out += fmt.Sprintf(", %d %s", part.n, part.many)
		}
	}
	return out
}
