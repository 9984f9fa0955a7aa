// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package diff

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/outgoing"
	"github.com/trellis-mesh/trellis/internal/decide"
)

// hostile is a text that means something to Markdown, HTML, a forge or a terminal.
const hostile = "x|y` **b** <script>alert(1)</script> [l](https://evil.example) ![i](https://evil.example/i) @org/all #1 !2 \n| a | b |\n\x1b[2J $x$ ~~~ &lt; www.evil.example"

func hostileChange(effect ask.Effect, n int) ask.Change {
	text := fmt.Sprintf("%d %s", n, hostile)
	origin := ask.Origin{Object: "Application " + text, Field: "spec." + text, Source: "after/" + text + ".yaml:7"}
	return ask.Change{
		Effect: effect,
		Reach: ask.Reach{
			Clients: ask.Workloads, From: []string{text}, To: text, Methods: []string{text}, Paths: []string{text}, Needs: ask.Claims, Token: []string{text}, Only: []string{text},
			Witness: ask.Witness{From: text, URL: "https://" + text, Claims: json.RawMessage(`{"a":"` + "`|" + `"}`)},
		},
		Before: ask.Moment{Outcome: decide.Deny, Why: text},
		After:  ask.Moment{Outcome: decide.Allow, Because: []ask.Origin{origin}},
	}
}

func hostileCall(effect ask.Effect, n int) outgoing.Call {
	of := hostileChange(effect, n)
	return outgoing.Call{Effect: effect, From: of.From, To: []string{of.To, outgoing.AnyOther}, Witness: of.Witness, Before: of.Before, After: of.After}
}

func changesOfAll(changes ...ask.Change) *outgoing.Changes {
	return &outgoing.Changes{Changes: ask.Changes{Changes: changes}}
}

func forgeOf(t *testing.T) *forge {
	t.Helper()
	f, err := (&Options{Link: "https://git.example/o/r/blob/0123abc/", Path: "mesh"}).forge("after")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestNothingOfOthersIsReadAsMarkdown takes code and links of ours away, and looks
// for signs that a forge would read in what is left.
func TestNothingOfOthersIsReadAsMarkdown(t *testing.T) {
	c := changesOfAll(hostileChange(ask.NewlyAllowed, 1))
	c.Calls, c.Notes = []outgoing.Call{hostileCall(ask.NewlyDenied, 1)}, []string{hostile}
	got, head := forgeOf(t).markdown(c, "", true), ""
	for i, row := range strings.Split(got, "\n") {
		if strings.HasPrefix(row, "| Who") {
			head = row
		}
		if !strings.HasPrefix(row, "| 1") && !strings.HasPrefix(row, "- ") {
			continue
		}
		parts := strings.Split(row, "``")
		if len(parts)%2 == 0 {
			t.Errorf("line %d: code does not end: %s", i, row)
		}
		for at, text := range parts {
			if at%2 == 1 {
				if strings.Contains(text, "`") || strings.Contains(strings.ReplaceAll(text, `\|`, ""), "|") {
					t.Errorf("line %d: this ends code or a cell: %s", i, text)
				}
				continue
			}
			if open := strings.Index(text, "[line 7]("); open >= 0 {
				text = text[:open] + text[open+strings.Index(text[open:], ")")+1:]
			}
			text = strings.ReplaceAll(text, "&#", "&")
			for _, sign := range []string{"`", "<", "**", "~~", "](", "@o", "#1", "!2", "!&91;", "https://", "www.e", "$x"} {
				if strings.Contains(text, sign) {
					t.Errorf("line %d: %q is read: %s", i, sign, text)
				}
			}
		}
		if strings.HasPrefix(row, "|") && strings.Count(strings.ReplaceAll(row, `\|`, ""), "|") != strings.Count(head, "|") {
			t.Errorf("line %d has another number of cells: %s", i, row)
		}
	}
	if strings.ContainsRune(got, 0x1b) || !strings.Contains(got, "(https://git.example/o/r/blob/0123abc/mesh/") {
		t.Errorf("%s", got)
	}
	if strings.Count(got, "\n") != 17 {
		t.Errorf("a text of others broke a line:\n%s", got)
	}
}

func TestACommentIsNeverLongerThanAForgeTakes(t *testing.T) {
	c := changesOfAll()
	for n := range 1000 {
		c.Calls = append(c.Calls, hostileCall(ask.NewlyDenied, n))
		for _, effect := range effects {
			c.Changes.Changes = append(c.Changes.Changes, hostileChange(effect, n))
		}
		c.Notes = append(c.Notes, strings.Repeat("n", 5000))
	}
	got := forgeOf(t).markdown(c, "<!-- trellis diff -->\n", true)
	if n := utf8.RuneCountInString(got); n > 65_536 || n < 20_000 {
		t.Errorf("%d characters", n)
	}
	for _, effect := range effects {
		_, rest, _ := strings.Cut(got, "1000 "+titles[effect]+"\n")
		if effect == ask.ByAnotherRule {
			_, rest, _ = strings.Cut(got, "1000 "+titles[effect]+"</summary>\n")
		}
		section, _, _ := strings.Cut(rest, "####")
		section, _, _ = strings.Cut(section, "<details")
		rows := strings.Count(section, "\n| ") - 1
		if want := fmt.Sprintf("%d more are not shown here", 1000-rows); !strings.Contains(section, want) {
			t.Errorf("%s: %d rows, and not %q", effect, rows, want)
		}
	}
	if !strings.Contains(got, "- and 950 more\n") {
		t.Error("notes that are left out are not counted")
	}
}

// TestSARIFHasWhatTheSchemaAsksFor checks the properties that sarif-schema-2.1.0
// requires of what is written, and what GitHub asks for besides.
func TestSARIFHasWhatTheSchemaAsksFor(t *testing.T) {
	c := changesOfAll()
	c.Notes, c.Calls = []string{"why"}, []outgoing.Call{hostileCall(ask.NewlyDenied, 1)}
	for i, effect := range effects {
		c.Changes.Changes = append(c.Changes.Changes, hostileChange(effect, i))
	}
	first, second := sarifOf(t, c), sarifOf(t, c)
	var log struct {
		Schema  string `json:"$schema"`
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct {
					Name  string
					Rules []struct {
						ID               string
						ShortDescription struct{ Text string }
					}
				}
			}
			Invocations []struct {
				ExecutionSuccessful        *bool
				ToolExecutionNotifications []struct{ Message struct{ Text string } }
			}
			Results []struct {
				RuleID              string
				RuleIndex           int
				Level               string
				Message             struct{ Text string }
				PartialFingerprints map[string]string
				Locations           []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           struct{ StartLine int }
					}
				}
			}
		}
	}
	if err := json.Unmarshal(first, &log); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, second) || log.Version != "2.1.0" || log.Schema == "" || len(log.Runs) != 1 {
		t.Fatalf("%s", first)
	}
	run := log.Runs[0]
	if run.Tool.Driver.Name == "" || len(run.Invocations) != 1 || run.Invocations[0].ExecutionSuccessful == nil || *run.Invocations[0].ExecutionSuccessful || run.Invocations[0].ToolExecutionNotifications[0].Message.Text != "why" {
		t.Errorf("%+v", run.Invocations)
	}
	prints := map[string]bool{}
	for i, r := range run.Results {
		if r.RuleIndex < 0 || r.RuleIndex >= len(run.Tool.Driver.Rules) || run.Tool.Driver.Rules[r.RuleIndex].ID != r.RuleID || run.Tool.Driver.Rules[r.RuleIndex].ShortDescription.Text == "" {
			t.Errorf("result %d is of no rule: %+v", i, r)
		}
		if r.Level != "warning" && r.Level != "note" || r.Message.Text == "" || len(r.PartialFingerprints) != 1 || len(r.Locations) != 1 {
			t.Errorf("%+v", r)
		}
		at := r.Locations[0].PhysicalLocation
		if at.Region.StartLine != 7 || !strings.HasPrefix(at.ArtifactLocation.URI, "mesh/") || strings.ContainsAny(at.ArtifactLocation.URI, " <\n|") {
			t.Errorf("%+v", at)
		}
		prints[r.PartialFingerprints["access/v1"]] = true
	}
	if len(prints) != len(effects)+len(c.Calls) {
		t.Errorf("%d fingerprints of %d results", len(prints), len(run.Results))
	}
	moved := c.Changes.Changes[0]
	moved.After.Because = []ask.Origin{{Object: moved.After.Because[0].Object, Source: "after/other.yaml:99"}}
	if fingerprint(&moved) != fingerprint(&c.Changes.Changes[0]) {
		t.Error("a change that has moved to another line is another one")
	}
}

func sarifOf(t *testing.T, c *outgoing.Changes) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := forgeOf(t).sarif(&out, c); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestNoChangeIsSaidOnlyWhereAllWasComputed(t *testing.T) {
	if got := verdict(changesOfAll()); got != "no change in access" {
		t.Error(got)
	}
	for _, c := range []*outgoing.Changes{{Changes: ask.Changes{Notes: []string{"why"}}}, changesOfAll(hostileChange(ask.NotKnown, 1)), {Calls: []outgoing.Call{hostileCall(ask.NewlyDenied, 1)}}} {
		if got := verdict(c); got == "no change in access" {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func TestAnAddressThatIsNoneOfARepositoryIsRefused(t *testing.T) {
	for _, link := range []string{"javascript:alert(1)", "//x", "https://", "https://user:secret@git.example/", "ftp://git.example/", "::"} {
		if _, err := (&Options{Link: link}).forge("."); err == nil {
			t.Errorf("%s is taken", link)
		}
	}
}
