// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package hits

import "time"

// InForce is a rule or a route that somebody stated.
type InForce struct {
	Key
	// Since is when what has it came to be as it is; zero: that is not known.
	Since time.Time
	// Refuses: it lets nothing in, and refuses what it is about, or would.
	Refuses bool
}

// Refusing are the lines of rules that let nothing in by any of their rules: that nothing hit
// them does not mean that they are of no use.
func Refusing(rules []InForce) map[Line]bool {
	out := map[Line]bool{}
	for _, r := range rules {
		line := Line{Statement: r.Statement, Field: r.Field}
		refuses, there := out[line]
		out[line] = r.Refuses && (refuses || !there)
	}
	return out
}

// Since is since when lines are in force as they are; of some it is not known.
//
//   - Rules: since the last change of anything that has the statement's rules. The line may
//     be older: what else is in the same object may have changed.
//   - All others: since when the oldest of their rules is.
func Since(layer Layer, rules []InForce, owners Owners) map[Line]time.Time {
	ages := map[Line]time.Time{}
	for _, r := range rules {
		line := Line{Statement: r.Statement, Field: r.Field}
		switch at, there := ages[line]; {
		case !there:
			ages[line] = r.Since
		case at.IsZero() || r.Since.IsZero():
			ages[line] = time.Time{}
		default:
			ages[line] = latest(at, r.Since)
		}
	}
	out := map[Line]time.Time{}
	for _, r := range rules {
		at := ages[Line{Statement: r.Statement, Field: r.Field}]
		if at.IsZero() {
			continue
		}
		for _, line := range linesOf(layer, r.Key, owners) {
			if known, there := out[line]; !there || at.Before(known) {
				out[line] = at
			}
		}
	}
	return out
}
