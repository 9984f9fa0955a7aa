// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package sight

import (
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/outgoing"
)

// Statement is what is seen of a statement.
func (s *Sight) Statement(of *answer.Statement) *answer.Statement {
	if of == nil || s.Named(of.Object) {
		return of
	}
	return &answer.Statement{Object: of.Object, Layer: of.Layer}
}

// Answer is what is seen of what becomes of a request.
func (s *Sight) Answer(of *answer.Answer) *answer.Answer {
	if of == nil || s.Full() {
		return of
	}
	out := *of
	var hid, whys bool
	out.Steps, hid = s.steps(of.Steps)
	out.Branches = slices.Clone(of.Branches)
	for i := range out.Branches {
		b := &out.Branches[i]
		var less bool
		if b.Steps, less = s.steps(b.Steps); less {
			b.Why, hid = "", true
		}
		b.Reached = s.reached(b.Reached)
	}
	out.Reached = s.reached(of.Reached)
	if of.Decided != nil && !s.Named(of.Decided.Object) {
		whys = true
		out.Why = hidden(of.Decided.Object, whom(of.Change))
	} else if of.Decided == nil && stopsUnseen(out.Steps, of.Steps) {
		whys = true
		out.Why = hidden("", whom(of.Change))
	}
	if whys {
		out.Do, out.Details = "", ""
		out.Decided = s.Statement(of.Decided)
	}
	out.Change = s.places(of.Change)
	out.Redacted = hid || whys
	return &out
}

// Ends reports whether a request ends at workloads of the viewer's own: who calls these is
// the viewer's to know.
func (s *Sight) Ends(of *answer.Answer) bool {
	for _, b := range of.Branches {
		if !s.ends(b.Reached, b.Steps) {
			return false
		}
	}
	return s.ends(of.Reached, of.Steps)
}

func (s *Sight) ends(reached *answer.Reached, steps []answer.Step) bool {
	if reached != nil {
		return reached.Workload != "" && s.workload(reached.Workload)
	}
	for i := len(steps) - 1; i >= 0; i-- {
		if steps[i].Proxy != "" {
			return s.proxy(steps[i].Proxy)
		}
	}
	return false
}

// whom is who is to be asked about the first place.
func whom(places []answer.Place) string {
	if len(places) == 0 {
		return ""
	}
	return places[0].Whom
}

// stopsUnseen reports whether what stopped a request is not seen.
func stopsUnseen(seen, all []answer.Step) bool {
	for i := range all {
		if all[i].Stops && seen[i].Says != all[i].Says {
			return true
		}
	}
	return false
}

// steps are what is seen of each. What a proxy of others does is told where the viewer may
// read the statement behind it.
func (s *Sight) steps(of []answer.Step) (out []answer.Step, hid bool) {
	out = slices.Clone(of)
	for i := range out {
		step := &out[i]
		seen := s.proxy(step.Proxy)
		if step.Statement != nil {
			seen = s.Named(step.Statement.Object)
		} else if step.Object != "" {
			seen = s.Named(step.Object)
		}
		if !seen {
			hid = true
			*step = answer.Step{Proxy: step.Proxy, Stage: step.Stage, Stops: step.Stops, Says: "what it does here is stated where you may not read", Statement: s.Statement(step.Statement)}
		}
	}
	return out, hid
}

func (s *Sight) reached(of *answer.Reached) *answer.Reached {
	if of == nil || of.Workload == "" || s.workload(of.Workload) {
		return of
	}
	return &answer.Reached{Workload: of.Workload}
}

func (s *Sight) places(of []answer.Place) []answer.Place {
	out := slices.Clone(of)
	for i := range out {
		if !s.Named(out[i].Object) {
			out[i].Statement = *s.Statement(&out[i].Statement)
		}
	}
	return out
}

// Explanation is what is seen of an explanation; nil where nothing is.
func (s *Sight) Explanation(of *answer.Explanation) *answer.Explanation {
	if of == nil || s.Full() {
		return of
	}
	out := *of
	out.Now = s.Answer(of.Now)
	out.Redacted = out.Now != nil && out.Now.Redacted
	unseen := ""
	out.Rules = nil
	for _, r := range of.Rules {
		if !s.rule(&r) {
			out.Redacted = true
			if r.Statement == nil {
				continue
			}
			unseen = r.Statement.Object
			r.Statement = s.Statement(r.Statement)
		}
		out.Rules = append(out.Rules, r)
	}
	out.Change = s.places(of.Change)
	if !out.Redacted {
		return &out
	}
	out.Held, _ = kept(of.Held, func(h *answer.Held) bool { return s.proxy(h.Proxy) })
	// Each of these may have words of an object in it that is not seen.
	out.Variants, out.Notes, out.Unread, out.Do = nil, nil, nil, ""
	if unseen != "" {
		out.Means, out.Why = "", hidden(unseen, whom(of.Change))
	} else if out.Now != nil {
		out.Why = out.Now.Why
	}
	return &out
}

func (s *Sight) rule(r *answer.Rule) bool {
	if r.Statement != nil {
		return s.Named(r.Statement.Object)
	}
	return s.Object(r.Kind, r.Namespace)
}

// Changes are what is seen of a difference: what it makes for requests from or to the
// viewer's own workloads. Notes are about documents that the viewer gave where they name
// their lines.
func (s *Sight) Changes(of *outgoing.Changes) *answer.Changes {
	out := &answer.Changes{Changes: *of}
	if s.Full() {
		return out
	}
	let := &out.Changes.Changes
	let.Changes, out.Redacted = kept(of.Changes.Changes, func(c *ask.Change) bool {
		return s.target(c.To) || slices.ContainsFunc(c.From, func(from string) bool { return strings.Contains(from, "/") && s.workload(from) })
	})
	for i := range let.Changes {
		c := &let.Changes[i]
		for _, m := range []*ask.Moment{&c.Before, &c.After} {
			out.Redacted = s.moment(m) || out.Redacted
		}
		out.Redacted = s.reach(&c.Reach) || out.Redacted
		because, hid := s.origins(c.Because)
		if c.Because = because; hid {
			c.Why, c.Rules, out.Redacted = "", nil, true
		}
	}
	var less bool
	out.Calls, less = s.calls(of.Calls)
	out.Redacted = out.Redacted || less
	out.Notes, less = kept(of.Notes, func(note *string) bool { return strings.HasPrefix(*note, "stdin:") })
	out.Redacted = out.Redacted || less
	return out
}

// calls are those of the viewer's own workloads, and those of others to them.
func (s *Sight) calls(of []outgoing.Call) (out []outgoing.Call, hid bool) {
	own := func(name *string) bool { return strings.Contains(*name, "/") && s.workload(*name) }
	for _, c := range of {
		from, others := kept(c.From, own)
		to, elsewhere := kept(c.To, own)
		switch {
		case len(from) > 0:
			c.From, hid = from, hid || others
		case len(to) > 0:
			c.To, hid = to, hid || elsewhere
		default:
			hid = true
			continue
		}
		if !s.workload(c.Witness.From) {
			c.Witness = ask.Witness{}
			hid = true
		}
		for _, m := range []*ask.Moment{&c.Before, &c.After} {
			hid = s.moment(m) || hid
		}
		out = append(out, c)
	}
	return out, hid
}

// reach leaves out who else calls a service of others, and what of a request it goes by there.
func (s *Sight) reach(r *ask.Reach) (hid bool) {
	if s.target(r.To) {
		return false
	}
	r.From, hid = kept(r.From, func(from *string) bool { return s.workload(*from) })
	if strings.Contains(r.To, "/") || inMesh(r.To) {
		r.Paths, r.Token, r.Only, r.Witness = nil, nil, nil, ask.Witness{}
		return true
	}
	if !s.workload(r.Witness.From) {
		r.Witness = ask.Witness{}
	}
	return hid
}

// target reports whether what requests are for is the viewer's own: a workload, or a host
// where none is reached.
func (s *Sight) target(to string) bool {
	if strings.Contains(to, "/") {
		return s.workload(to)
	}
	return to != "" && s.host(to)
}

func (s *Sight) moment(m *ask.Moment) bool {
	because, hid := s.origins(m.Because)
	m.Because = because
	if hid {
		m.Why, m.Rules = "", nil
	}
	return hid
}

func (s *Sight) origins(of []ask.Origin) (out []ask.Origin, hid bool) {
	out = slices.Clone(of)
	for i := range out {
		if !s.Named(out[i].Object) {
			hid = true
			out[i] = ask.Origin{Object: out[i].Object, Layer: out[i].Layer}
		}
	}
	return out, hid
}
