// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/explain"
	"github.com/trellis-mesh/trellis/internal/cli/answer"
	"github.com/trellis-mesh/trellis/internal/cli/output"
)

// View is an explanation as JSON and YAML have it. Fields are added and never
// change their meaning.
type View struct {
	// Of says what the thing was taken for.
	Of string `json:"of"`
	// Means is what the thing itself says; Why and Do are what follows from the
	// statement behind it.
	Means string `json:"means,omitempty"`
	Why   string `json:"why,omitempty"`
	Do    string `json:"do,omitempty"`
	// Now is what would become of the request, where there is one.
	Now *answer.Answer `json:"now,omitempty"`
	// Rules are those that it leads to, with the statement behind each.
	Rules []Rule `json:"rules,omitempty"`
	// Held are the proxies that have those rules.
	Held   []Held   `json:"held,omitempty"`
	Unread []string `json:"unread,omitempty"`
	// Variants are requests that differ in one thing, and pass.
	Variants []string `json:"variants,omitempty"`
	// Change are the places where it can be changed.
	Change []answer.Place `json:"change,omitempty"`
	Notes  []string       `json:"notes,omitempty"`
	// Source is where the configuration of the proxies came from; empty: from files.
	Source string `json:"source,omitempty"`
}

// Rule is a rule of an Istio object.
type Rule struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Rule counts from 0; -1 is the object as a whole.
	Rule      int               `json:"rule"`
	Statement *answer.Statement `json:"statement,omitempty"`
}

// Held is a rule of a proxy.
type Held struct {
	Proxy string `json:"proxy"`
	Part  string `json:"part"`
	Rule  string `json:"rule"`
}

func viewOf(w *ask.World, e *explain.Explanation) *View {
	out := &View{Of: e.Of, Means: e.Means, Why: e.Told.Why, Do: e.Told.Do, Unread: e.Unread, Variants: e.Variants, Notes: e.Notes, Change: answer.PlacesOf(e.Change)}
	if e.Answer != nil {
		out.Now = answer.Of(w, e.Request, e.Answer)
	}
	for _, m := range e.Rules {
		out.Rules = append(out.Rules, Rule{m.Object.Kind, m.Object.Namespace, m.Object.Name, m.Object.Rule, answer.StatementOf(m.Origin)})
	}
	for _, h := range e.Held {
		out.Held = append(out.Held, Held(h))
	}
	return out
}

// few bounds what is shown without -v.
const few = 8

func (v *View) text(w io.Writer, colour, verbose bool) error {
	var b strings.Builder
	b.WriteString(output.Printable(cmp.Or(v.Means, v.Why, v.Of)) + "\n")
	line := func(label, text string) {
		if text != "" {
			fmt.Fprintf(&b, "  %-9s%s\n", label, output.Printable(text))
		}
	}
	if v.Means != "" {
		line("why:", v.Why)
	}
	line("do:", v.Do)
	if v.Now != nil {
		line("now:", strings.TrimSpace(answer.Tinted(v.Now.Outcome, v.Now.Code, false)+" "+v.Now.Request.Method+" "+v.Now.Request.URL+" from "+v.Now.Request.From))
	}
	for _, variant := range v.Variants {
		line("but:", variant)
	}
	for _, note := range v.Notes {
		line("note:", note)
	}
	if len(v.Rules) > 0 {
		b.WriteString("\nup to what was stated\n")
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return err
	}
	if err := v.up(w, colour, verbose); err != nil {
		return err
	}
	if err := v.down(w, colour, verbose); err != nil {
		return err
	}
	b.Reset()
	if len(v.Change) > 0 {
		b.WriteString("\nwhere to change it\n")
	}
	for i := range v.Change {
		fmt.Fprintf(&b, "  %s\n    %s\n", output.Printable(v.Change[i].String()), output.Printable(forYou(&v.Change[i])))
	}
	output.Source(&b, v.Source)
	_, err := io.WriteString(w, b.String())
	return err
}

func (v *View) up(w io.Writer, colour, verbose bool) error {
	var rows []output.Row
	for i, r := range v.Rules {
		if i == few && !verbose {
			break
		}
		row := []string{"  " + r.Kind + " " + r.Namespace + "/" + r.Name, "", "", "Trellis did not make it"}
		if r.Rule >= 0 {
			row[1] = strconv.Itoa(r.Rule)
		}
		if r.Statement != nil {
			row[2], row[3] = r.Statement.Reason, r.Statement.String()
		}
		rows = append(rows, output.Row{Cells: row})
	}
	if len(rows) == 0 {
		return nil
	}
	if err := output.Table(w, []string{"OBJECT", "RULE", "REASON", "STATED IN"}, rows, colour); err != nil {
		return err
	}
	return more(w, len(v.Rules)-len(rows))
}

func (v *View) down(w io.Writer, colour, verbose bool) error {
	var rows []output.Row
	for i, h := range v.Held {
		if i == few && !verbose {
			break
		}
		rows = append(rows, output.Row{Cells: []string{h.Proxy, h.Part, h.Rule}})
	}
	if len(rows) > 0 {
		if _, err := io.WriteString(w, "\ndown to the proxies\n"); err != nil {
			return err
		}
		if err := output.Table(w, []string{"PROXY", "PART", "ENVOY'S RULE"}, rows, colour); err != nil {
			return err
		}
	}
	if err := more(w, len(v.Held)-len(rows)); err != nil {
		return err
	}
	for _, u := range v.Unread {
		if _, err := fmt.Fprintf(w, "not looked at: %s\n", output.Printable(u)); err != nil {
			return err
		}
	}
	return nil
}

func more(w io.Writer, n int) error {
	if n <= 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "and %d more; -v shows all\n", n)
	return err
}
