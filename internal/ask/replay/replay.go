// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/ask/tell"
	"github.com/trellis-mesh/trellis/internal/compile/provenance"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

// Bounds of what is remembered, however long the log is.
const (
	maxGroups    = 1000
	maxUnread    = 20
	maxDecisions = 20_000
)

// Options say what the log does not.
type Options struct {
	// From is who sent the requests; nil: what the line says, else the internet.
	From *ask.WorkloadRef
	// Claims are those of the token that requests are taken to have had where one
	// is needed now; nil: nothing is taken for granted.
	Claims *structpb.Struct
	// Before is the world in which the log was written; nil: only the log itself
	// tells what was.
	Before *ask.World
}

// Class is what comes of a logged request in the other world.
type Class string

// The classes.
const (
	// Same: it ends as it did.
	Same Class = "Same"
	// Changed: it ends in another way.
	Changed Class = "Changed"
	// Depends: on its token, which no log keeps.
	Depends Class = "Depends"
	// Unknown: the line or the world does not say enough.
	Unknown Class = "Unknown"
)

// Group are requests of one class that ended and would end alike, at one host, by
// one statement.
type Group struct {
	Class Class
	// Was and Now are endings.
	Was, Now string
	Method   string
	Host     string
	// Why is a sentence about Now, Decided the statement behind it.
	Why     string
	Decided *ask.Origin
	Count   int
	// Line is the number of the first line; Request is its request, nil where the
	// line has none.
	Line    int
	Request *ask.Request
}

// Unread is a line that could not be read.
type Unread struct {
	Line int
	Why  string
}

// Report is what came of a log.
type Report struct {
	Lines, Same, Changed, Depends, Unknown int
	// Groups are those of all classes but Same, the largest first.
	Groups []*Group
	// Unread are the first of the lines that could not be read, UnreadCount is how
	// many there are. They are not among Unknown.
	Unread      []Unread
	UnreadCount int
	// Ungrouped counts requests beyond the number of groups that is kept.
	Ungrouped int
}

type groupKey struct {
	class                          Class
	was, now, method, host, object string
	field, why                     string
}

// Replay decides the lines of a log one after the other. It remembers a bounded
// amount. It is not safe for concurrent use.
type Replay struct {
	world   *ask.World
	options Options
	report  Report
	groups  map[groupKey]*Group
	decided map[string]*ask.Answer
}

// New makes a Replay into a world.
func New(w *ask.World, o Options) *Replay {
	return &Replay{world: w, options: o, groups: map[groupKey]*Group{}, decided: map[string]*ask.Answer{}}
}

// Report is what came of the lines so far.
func (r *Replay) Report() *Report {
	out := r.report
	out.Groups = nil
	for _, g := range r.groups {
		out.Groups = append(out.Groups, g)
	}
	order := map[Class]int{Changed: 0, Depends: 1, Unknown: 2}
	slices.SortFunc(out.Groups, func(a, b *Group) int {
		return cmp.Or(cmp.Compare(order[a.Class], order[b.Class]), cmp.Compare(b.Count, a.Count), cmp.Compare(a.Line, b.Line))
	})
	return &out
}

// Skip counts a line that could not be read at all.
func (r *Replay) Skip(number int, why string) {
	r.report.Lines++
	r.report.UnreadCount++
	if len(r.report.Unread) < maxUnread {
		r.report.Unread = append(r.report.Unread, Unread{number, why})
	}
}

// Line decides one line: of an access log, or a request as JSON (see Written).
// Empty lines are left out. Nothing that a line holds is fatal.
func (r *Replay) Line(number int, line string) {
	if strings.TrimSpace(line) == "" {
		return
	}
	if written, ok := parseWritten(line); ok {
		request, err := written.request()
		if err != nil {
			r.Skip(number, err.Error())
			return
		}
		r.report.Lines++
		r.judge(number, request, written.Was, false)
		return
	}
	e, err := accesslog.Parse(line)
	if err != nil {
		r.Skip(number, err.Error())
		return
	}
	r.report.Lines++
	request, why := RequestOf(r.world, e, r.options.From)
	if request == nil {
		r.count(Unknown, number, nil, &Group{Was: string(e.Ending()), Host: e.Authority, Method: e.Method, Why: why})
		return
	}
	refused := accesslog.ParseDetails(e.Details).Kind == accesslog.KindToken
	r.judge(number, request, string(e.Ending()), refused)
}

// judge compares what was with what is. refused: its token was refused then.
func (r *Replay) judge(number int, request *ask.Request, was string, refused bool) {
	group := &Group{Was: was, Method: cmp.Or(request.Method, "GET"), Host: request.URL.Host}
	answer, err := r.decide(r.world, request)
	if err != nil {
		group.Why = err.Error()
		r.count(Unknown, number, request, group)
		return
	}
	told := tell.Tell(r.world, request, answer)
	group.Now, group.Why, group.Decided = string(answer.Outcome), told.Why, told.Decided
	class := Same
	switch {
	case answer.Outcome == decide.Unknown:
		class = Unknown
	case was == "":
		class, group.Why = Unknown, "the line does not say how the request ended"
	case refused && answer.Outcome == decide.Allow:
		class, group.Why = Depends, "its token was refused, and no token is needed now; a bad one still is refused"
	case group.Now == was:
	case asksToken(answer, told) && request.Claims == nil && request.Bearer == "":
		class = r.withToken(request, was, group)
	default:
		class = Changed
	}
	r.count(class, number, request, group)
}

// withToken is for a request that passed and would now be refused without a token,
// when nobody knows whether it had one.
func (r *Replay) withToken(request *ask.Request, was string, group *Group) Class {
	if r.options.Claims != nil {
		change := *request
		change.Claims = r.options.Claims
		if answer, err := r.world.Can(&change); err == nil {
			if string(answer.Outcome) == was {
				return Same
			}
			told := tell.Tell(r.world, &change, answer)
			group.Now, group.Why, group.Decided = string(answer.Outcome), told.Why, told.Decided
			if answer.Outcome == decide.Unknown {
				return Unknown
			}
			return Changed
		}
	}
	if r.options.Before != nil {
		if answer, err := r.options.Before.Can(request); err == nil && string(answer.Outcome) == was {
			group.Why += "; before, it passed without one"
			return Changed
		}
	}
	group.Why += "; a log does not say whether there was one"
	return Depends
}

// asksToken reports whether a refusal is about the token.
func asksToken(a *ask.Answer, told tell.Told) bool {
	if a.Outcome != decide.Deny {
		return false
	}
	if told.Decided != nil {
		switch told.Decided.Reason {
		case provenance.ReasonNoToken, provenance.ReasonIssuer, provenance.ReasonAudience, provenance.ReasonScope, provenance.ReasonClaim:
			return true
		}
	}
	return a.Reply != nil && accesslog.ParseDetails(a.Reply.Details).Kind == accesslog.KindToken
}

// decide remembers answers: logs repeat themselves.
func (r *Replay) decide(w *ask.World, request *ask.Request) (*ask.Answer, error) {
	if request.Claims != nil || request.Bearer != "" || len(request.Headers) > 0 {
		return w.Can(request)
	}
	sender := ""
	if request.From != nil {
		sender = request.From.String()
	}
	key := strings.Join([]string{sender, request.Method, request.URL.Scheme, request.URL.Host, request.URL.RequestURI(), request.Target, fmt.Sprint(request.HTTP2)}, "\x00")
	if a, ok := r.decided[key]; ok {
		return a, nil
	}
	a, err := w.Can(request)
	if err != nil {
		return nil, err
	}
	if len(r.decided) >= maxDecisions {
		clear(r.decided)
	}
	r.decided[key] = a
	return a, nil
}

func (r *Replay) count(class Class, number int, request *ask.Request, g *Group) {
	switch class {
	case Same:
		r.report.Same++
		return
	case Changed:
		r.report.Changed++
	case Depends:
		r.report.Depends++
	case Unknown:
		r.report.Unknown++
	}
	key := groupKey{class: class, was: g.Was, now: g.Now, method: g.Method, host: g.Host}
	if class == Unknown {
		// Sentences about endings name paths, of which there are many.
		key.why = g.Why
	}
	if g.Decided != nil {
		key.object, key.field = g.Decided.Object, g.Decided.Field
	}
	if known, ok := r.groups[key]; ok {
		known.Count++
		return
	}
	if len(r.groups) >= maxGroups {
		r.report.Ungrouped++
		return
	}
	g.Class, g.Count, g.Line, g.Request = class, 1, number, request
	r.groups[key] = g
}

// Written is a request that somebody wrote as one line of JSON.
type Written struct {
	// From is NAMESPACE/NAME; empty is the internet.
	From    string            `json:"from"`
	Method  string            `json:"method"`
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
	Claims  map[string]any    `json:"claims"`
	// Was is how it ended: Allow, Deny, Answered, NoRoute or Fails.
	Was string `json:"was"`
}

// parseWritten tells a written request from a line of an access log: only the
// former has a url.
func parseWritten(line string) (*Written, bool) {
	if len(line) > accesslog.MaxLine || !strings.HasPrefix(strings.TrimSpace(line), "{") {
		return nil, false
	}
	out := &Written{}
	if err := json.Unmarshal([]byte(line), out); err != nil || out.URL == "" {
		return nil, false
	}
	return out, true
}

func (w *Written) request() (*ask.Request, error) {
	u, err := url.Parse(w.URL)
	if err != nil {
		return nil, fmt.Errorf("reading the URL: %w", err)
	}
	switch w.Was {
	case "Allow", "Deny", "Answered", "NoRoute", "Fails":
	default:
		return nil, fmt.Errorf("reading a request: was is %q, and none of Allow, Deny, Answered, NoRoute and Fails", w.Was)
	}
	out := &ask.Request{URL: u, Method: strings.ToUpper(w.Method)}
	if w.From != "" {
		namespace, name, ok := strings.Cut(w.From, "/")
		if !ok {
			return nil, fmt.Errorf("reading a request: from is %q, and not NAMESPACE/NAME", w.From)
		}
		out.From = &ask.WorkloadRef{Namespace: namespace, Name: name}
	}
	for name, value := range w.Headers {
		out.Headers = append(out.Headers, stream.Header{Name: name, Value: value})
	}
	slices.SortFunc(out.Headers, func(a, b stream.Header) int { return strings.Compare(a.Name, b.Name) })
	if w.Claims != nil {
		if out.Claims, err = structpb.NewStruct(w.Claims); err != nil {
			return nil, fmt.Errorf("reading the claims of a request: %w", err)
		}
	}
	return out, nil
}
