// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/hits"
)

const (
	// window is how long back counts go where a question does not say, and longest at most.
	window, longest = 24 * time.Hour, 90 * 24 * time.Hour
	// fresh is for how long sums are taken again: several pages ask for the same.
	fresh = time.Second
	// maxSums bounds how many windows are kept.
	maxSums = 8
)

// counted is what was counted in a window.
type counted struct {
	totals   []hits.Total
	ran      []hits.Interval
	from, to time.Time
	// notes say what is wrong with the numbers.
	notes []string
}

// numbers keeps what was summed a moment ago.
type numbers struct {
	mu   sync.Mutex
	kept map[time.Duration]counted
}

// keep keeps sums, and lets those go that are too old to be taken again: of 20,000 keys they
// are megabytes.
func (n *numbers) keep(back time.Duration, sums counted) {
	maps.DeleteFunc(n.kept, func(_ time.Duration, old counted) bool { return sums.to.Sub(old.to) >= fresh })
	if n.kept == nil || len(n.kept) >= maxSums {
		n.kept = map[time.Duration]counted{}
	}
	n.kept[back] = sums
}

// collects reports whether somebody counts.
func (a *API) collects() bool { return a.config.Store != nil }

// since reads how long back counts go.
func since(c *call) (time.Duration, error) {
	text := c.r.URL.Query().Get("since")
	if text == "" {
		return window, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 || d > longest {
		return 0, Invalid(fmt.Errorf("since: %.80q is no time from 1s to %s", text, longest), "give one such as 24h")
	}
	return d, nil
}

// sums are what was counted as long back as the question says; nil where nobody counts, or
// nothing of that time is known: numbers are absent then, and never zeros.
func (a *API) sums(ctx context.Context, c *call) (*counted, error) {
	back, err := since(c)
	if err != nil || !a.collects() {
		return nil, err
	}
	a.numbers.mu.Lock()
	defer a.numbers.mu.Unlock()
	now := a.config.Clock.Now()
	if found, ok := a.numbers.kept[back]; ok && now.Sub(found.to) < fresh {
		return &found, nil
	}
	out := counted{from: now.Add(-back), to: now}
	if out.totals, err = a.config.Store.Sum(ctx, hits.Filter{}, out.from, out.to); err != nil {
		a.config.Log.Warn("what was counted cannot be read", "error", err)
		return nil, Busy("what was counted cannot be read now", 5*time.Second)
	}
	if out.ran, err = a.config.Store.Ran(ctx, out.from, out.to); err != nil {
		a.config.Log.Warn("when it was counted cannot be read", "error", err)
		return nil, Busy("what was counted cannot be read now", 5*time.Second)
	}
	out.notes = a.lost(out.from)
	a.numbers.keep(back, out)
	return &out, nil
}

// known reports whether something of the window is known.
func (n *counted) known() bool { return n != nil && len(n.ran) > 0 }

// by sums by a layer, of what the viewer may see.
func (n *counted) by(c *call, layer hits.Layer, lines []hits.Line, owners hits.Owners) []hits.Row {
	return hits.By(layer, c.sight.Totals(n.totals), lines, owners)
}

// gaps are the times of a window that are not among those that ran.
func gaps(ran []hits.Interval, from, to time.Time) []hits.Interval {
	var out []hits.Interval
	for _, r := range ran {
		if r.From.After(from) {
			out = append(out, hits.Interval{From: from, To: r.From})
		}
		from = r.To
	}
	if to.After(from) {
		out = append(out, hits.Interval{From: from, To: to})
	}
	return out
}

func intervals(of []hits.Interval) []answer.Interval {
	var out []answer.Interval
	for _, i := range of {
		out = append(out, answer.Interval{From: i.From.UTC(), To: i.To.UTC()})
	}
	return out
}

// hits answers how often each line was hit.
func (a *API) hits(ctx context.Context, c *call) (any, error) {
	query := c.r.URL.Query()
	by := hits.Layer(query.Get("by"))
	if by == "" {
		by = hits.Rules
	}
	namespace, err := c.namespace()
	if err != nil {
		return nil, err
	}
	sums, err := a.sums(ctx, c)
	if err != nil {
		return nil, err
	}
	out := &answer.Hits{By: string(by), Rows: []answer.HitRow{}, Counted: sums.counted()}
	if !sums.known() {
		return out, nil
	}
	only := hits.Filter{Namespace: namespace, Application: query.Get("application")}
	var totals []hits.Total
	for _, t := range c.sight.Totals(sums.totals) {
		if only.Matches(t.Key) {
			totals = append(totals, t)
			out.Entries += t.N
		}
	}
	stated := a.stated(c)
	out.Rows = stated.Rows(by, totals, a.lines(c, stated.Lines(by), only))
	return c.sight.Hits(out), nil
}

// counted says what numbers are of, without how many entries they are.
func (n *counted) counted() answer.Counted {
	if n == nil {
		return answer.Counted{Notes: []string{"nobody counts: this server takes no access logs"}}
	}
	out := answer.Counted{
		From: answer.Moment(n.from), To: answer.Moment(n.to), Ran: intervals(n.ran), Gaps: intervals(gaps(n.ran, n.from, n.to)),
	}
	if !n.known() {
		out.Notes = []string{"nothing was counted in this time"}
	}
	out.Notes = append(out.Notes, n.notes...)
	return out
}

// totals answers what was counted, as it is kept.
func (a *API) totals(ctx context.Context, c *call) (any, error) {
	sums, err := a.sums(ctx, c)
	if err != nil {
		return nil, err
	}
	out := &answer.Totals{Totals: []hits.Total{}, Counted: sums.counted()}
	if !sums.known() {
		return out, nil
	}
	for _, t := range c.sight.Totals(sums.totals) {
		out.Entries += t.N
		out.Totals = append(out.Totals, t)
	}
	return c.sight.Counts(out), nil
}

// stated is what counts are summed by.
func (a *API) stated(c *call) *answer.Stated {
	out := &answer.Stated{Applications: c.picture.InForce, Policies: c.picture.Outcome.Policies}
	if a.config.Index != nil {
		out.Index = a.config.Index()
	}
	return out
}

// lost says that numbers since a time are too low, where entries of access logs came that
// there was no room for.
func (a *API) lost(since time.Time) []string {
	if a.config.Lost == nil {
		return nil
	}
	n, last := a.config.Lost()
	if n == 0 || last.Before(since) {
		return nil
	}
	return []string{fmt.Sprintf("numbers are too low: %d entries of access logs came faster than they could be read since this replica of trellis-server began, the last at %s, and were dropped", n, last.UTC().Format(time.RFC3339))}
}

// lines are what could be hit, of what is asked for.
func (a *API) lines(c *call, all []hits.Line, only hits.Filter) []hits.Line {
	var out []hits.Line
	for _, l := range c.sight.Lines(all) {
		if l.Namespace == "" && (only.Namespace != "" || only.Application != "") {
			continue // zeros of what is not asked for
		}
		if l.Namespace == "" || only.Matches(hits.Key{Namespace: l.Namespace, Application: l.Application}) {
			out = append(out, l)
		}
	}
	return out
}

// tree answers what became of goals.
func (a *API) tree(ctx context.Context, c *call) (any, error) {
	var goals []string
	if goal := c.r.URL.Query().Get("goal"); goal != "" {
		goals = []string{goal}
		if c.picture.Posture().Goal(goal) == nil {
			return nil, noGoal(goal)
		}
	}
	nodes, err := answer.Grow(c.picture.Posture(), c.picture.Outcome, goals...)
	if err != nil {
		return nil, err
	}
	sums, err := a.sums(ctx, c)
	if err != nil {
		return nil, err
	}
	if sums.known() {
		answer.Count(nodes, c.sight.Totals(sums.totals), c.picture.Bound())
	}
	seen := c.sight.Tree(nodes)
	if len(goals) > 0 && len(seen) == 0 {
		return nil, noGoal(goals[0])
	}
	return seen, nil
}
