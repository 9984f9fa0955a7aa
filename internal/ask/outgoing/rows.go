// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package outgoing

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/internal/ask"
)

// rows puts together what is alike: first the destinations of one caller, and then callers of
// which the same is said.
type rows struct {
	known map[string]*Call
	all   []*Call
}

func newRows() *rows { return &rows{known: map[string]*Call{}} }

// add takes what was found of a caller. Callers come in order.
func (r *rows) add(from string, changes []change) {
	own := map[string]*Call{}
	var order []*Call
	for _, c := range changes {
		key := fmt.Sprint(c.effect, c.at)
		call := own[key]
		if call == nil {
			call = &Call{Effect: c.effect, From: []string{from}, Witness: c.witness, Before: c.at[0], After: c.at[1]}
			own[key] = call
			order = append(order, call)
		}
		if to := c.to.String(); !slices.Contains(call.To, to) {
			call.To = append(call.To, to)
		}
	}
	for _, call := range order {
		key := fmt.Sprint(call.Effect, call.Before, call.After, call.To)
		known := r.known[key]
		switch {
		case known == nil:
			r.known[key] = call
			r.all = append(r.all, call)
		case !slices.Contains(known.From, from):
			known.From = append(known.From, from)
		}
	}
}

// list are the rows, the gravest first.
func (r *rows) list() []Call {
	order := map[ask.Effect]int{ask.NewlyAllowed: 0, ask.NewlyDenied: 1, ask.NotKnown: 2}
	slices.SortStableFunc(r.all, func(a, b *Call) int {
		return cmp.Or(order[a.Effect]-order[b.Effect], strings.Compare(a.From[0], b.From[0]), strings.Compare(a.To[0], b.To[0]))
	})
	var out []Call
	for _, call := range r.all {
		out = append(out, *call)
	}
	return out
}
