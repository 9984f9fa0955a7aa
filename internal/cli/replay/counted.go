// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/tell"
	"github.com/trellis-mesh/trellis/internal/cli/counts"
	"github.com/trellis-mesh/trellis/internal/cli/exit"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/recount"
)

// checkCounted says which arguments make no sense with counts.
func (o *Options) checkCounted(args []string) error {
	if err := o.Counts.Check(&o.Options); err != nil {
		return err
	}
	switch {
	case len(args) > 0:
		return fmt.Errorf("reading the command line: --since asks trellis-server for counts, and %s is a log: give one of them", args[0])
	case len(o.Files) == 0:
		return errors.New("reading the command line: with --since the draft is named with -f: without one nothing changes")
	case len(o.Before) > 0 || o.From != "" || o.Claims != "":
		return errors.New("reading the command line: --before, --from and --claims are about lines of a log: what was before is the cluster, and counts say who called")
	}
	return nil
}

// recount decides what trellis-server counted by the cluster, and by the draft over it.
func (o *Options) recount(ctx context.Context, s *streams.Streams) (err error) {
	before, after, err := o.Both(ctx, s, time.Now())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, before.Close(), after.Close()) }()
	if err := after.Complain(s.Err, s.ErrColour, mesh.Doubt{All: o.Verbose}); err != nil {
		return err
	}
	counted, err := o.Counts.Ask(ctx, s, &o.Options)
	if err != nil {
		return err
	}
	found := Recounted(before, after, counted.Totals)
	found.Notes = append(found.Notes, after.Refused()...)
	view := countedOf(found, &counted.Counted)
	if err := output.Write(s.Out, o.Output, view, func(w io.Writer) error { return view.text(w, s.OutColour, o.Verbose) }); err != nil {
		return err
	}
	switch {
	case found.Changed > 0:
		return exit.ErrFindings
	case found.Unknown > 0 || found.Depends > 0 || len(found.Notes) > 0 || !counted.Known():
		return exit.ErrUnknown
	}
	return after.Verdict(nil)
}

// Recounted is what comes of counts in another mesh than the one that they were counted in.
func Recounted(before, after *mesh.Mesh, totals []hits.Total) *recount.Report {
	r := recount.New(counts.IndexOf(before), before.Applications, before.About.TrustDomain)
	unchanged, notes := mesh.Compare(before, after, r.Add)
	r.Unchanged(unchanged, before.Nodes)
	out := r.Report(totals, func(request *ask.Request) (string, *ask.Origin) {
		answered, err := after.Can(request)
		if err != nil {
			return "", nil
		}
		told := tell.Tell(after.World, request, answered)
		return told.Why, told.Decided
	}, (&calls{before, after, map[call][2]way{}}).left)
	out.Notes = append(out.Notes, notes...)
	return out
}

// Counted is what came of counts, as JSON and YAML have it. Fields are added and never
// change their meaning.
type Counted struct {
	// Counted is what the numbers are of.
	Counted answer.Counted `json:"counted"`
	Summary CountedSummary `json:"summary"`
	Groups  []CountedGroup `json:"groups"`
	// Notes say what was not looked at.
	Notes []string `json:"notes,omitempty"`
}

// CountedSummary counts requests: one that passes a gateway and a workload is counted by
// both.
type CountedSummary struct {
	Same    uint64 `json:"same"`
	Changed uint64 `json:"changed"`
	// Depends are those that may change, by what no count keeps.
	Depends uint64 `json:"depends"`
	Unknown uint64 `json:"unknown"`
}

// CountedGroup are requests that were counted by one key.
type CountedGroup struct {
	// Class is Changed, Depends or Unknown.
	Class string `json:"class"`
	Was   string `json:"was,omitempty"`
	Now   string `json:"now,omitempty"`
	// Count is how many there are, and Key what they were counted by.
	Count uint64     `json:"count"`
	Key   hits.Key   `json:"key"`
	Last  *time.Time `json:"last,omitempty"`
	Why   string     `json:"why"`
	// Changes is a request that ends in another way, and Stays one that does not.
	Changes *Example          `json:"changes,omitempty"`
	Stays   *Example          `json:"stays,omitempty"`
	Decided *answer.Statement `json:"decided,omitempty"`
}

// Example is a request that is counted so.
type Example struct {
	answer.Request
	// Headers are "name: value", and Claims those of its token; none: it has no token.
	Headers []string        `json:"headers,omitempty"`
	Claims  json.RawMessage `json:"claims,omitempty"`
}

func countedOf(r *recount.Report, of *answer.Counted) *Counted {
	out := &Counted{Counted: *of, Summary: CountedSummary{r.Same, r.Changed, r.Depends, r.Unknown}, Groups: []CountedGroup{}, Notes: r.Notes}
	for i := range r.Groups {
		g := &r.Groups[i]
		out.Groups = append(out.Groups, CountedGroup{
			Class: string(g.Class), Was: g.Was, Now: g.Now, Count: g.N, Key: g.Key, Last: answer.Moment(g.Last), Why: g.Why,
			Changes: shown(g.Changes), Stays: shown(g.Stays), Decided: answer.StatementOf(g.Decided),
		})
	}
	return out
}

func shown(w *ask.Witness) *Example {
	if w == nil {
		return nil
	}
	return &Example{Request: answer.Request{From: w.From, Method: w.Method, URL: w.URL}, Headers: w.Headers, Claims: w.Claims}
}

func (v *Counted) text(w io.Writer, colour, verbose bool) error {
	var b strings.Builder
	counts.Tell(&b, &v.Counted)
	for i := range v.Groups {
		if i == few && !verbose {
			fmt.Fprintf(&b, "and %d more groups; -v shows all\n", len(v.Groups)-i)
			break
		}
		v.Groups[i].write(&b, colour)
	}
	output.Notes(&b, v.Notes)
	s := &v.Summary
	fmt.Fprintf(&b, "%d counted by gateways and workloads: %d end as they did, %d change, %d depend on what is not counted, %d are not known\n",
		s.Same+s.Changed+s.Depends+s.Unknown, s.Same, s.Changed, s.Depends, s.Unknown)
	_, err := io.WriteString(w, b.String())
	return err
}

func (g *CountedGroup) write(b *strings.Builder, colour bool) {
	was := g.Was
	if was == "" {
		was = string(g.Key.Verdict)
	}
	head(b, g.Count, g.Class, was, g.Now, colour)
	line := func(label, text string) {
		if text != "" {
			about(b, label, text)
		}
	}
	line("counted:", g.counted())
	line("why:", g.Why)
	line("such as:", g.Changes.words(g.Stays))
	line("but not:", g.Stays.words(g.Changes))
	if g.Decided != nil {
		line("by:", g.Decided.String())
	}
}

// counted is a key in words.
func (g *CountedGroup) counted() string {
	k := &g.Key
	at := "at a workload"
	if k.Place == hits.Gateway {
		at = "at a gateway"
	}
	words := []string{at}
	if k.Application != "" {
		words = append(words, "of Application "+k.Namespace+"/"+k.Application)
	} else if k.Namespace != "" {
		words = append(words, "of namespace "+k.Namespace)
	}
	for _, one := range [][2]string{{"for route ", k.Route}, {"from ", k.Peer}, {"by ", strings.TrimSpace(k.Statement + " " + k.Field)}} {
		if one[1] != "" {
			words = append(words, one[0]+one[1])
		}
	}
	if g.Last != nil {
		words = append(words, "last "+g.Last.Format(time.RFC3339))
	}
	return strings.Join(words, ", ")
}

// words say what tells it from another one.
func (e *Example) words(other *Example) string {
	if e == nil {
		return ""
	}
	out := strings.TrimSpace(fmt.Sprintf("%s %s from %s", e.Method, e.URL, e.From))
	if len(e.Headers) > 0 {
		out += " with " + strings.Join(e.Headers, ", ")
	}
	switch {
	case len(e.Claims) > 0:
		out += " with a token of " + string(e.Claims)
	case other != nil && len(other.Claims) > 0:
		out += " without a token"
	}
	return out
}
