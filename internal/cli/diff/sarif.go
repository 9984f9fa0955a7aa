// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package diff

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/outgoing"
	"github.com/trellis-mesh/trellis/internal/version"
)

var levels = map[ask.Effect]string{ask.NewlyAllowed: "warning", ask.NewlyDenied: "warning", ask.NotKnown: "warning", ask.ByAnotherRule: "note"}

// maxResults is how many results of one run GitHub takes.
const maxResults = 5000

// sarif is the form of https://docs.oasis-open.org/sarif/sarif/v2.1.0.
func (f *forge) sarif(w io.Writer, c *outgoing.Changes) error {
	type object = map[string]any
	all := results(c)
	shown := []object{}
	for _, one := range all[:min(len(all), maxResults)] {
		if whom := f.whom(one.before, one.after); whom != "" {
			one.text += "; ask " + whom
		}
		result := object{
			"ruleId": string(one.effect), "ruleIndex": index(one.effect), "level": levels[one.effect], "message": object{"text": one.text},
			"partialFingerprints": object{"access/v1": one.fingerprint},
		}
		if p, ok := f.resultPlace(one.before, one.after); ok {
			uri := url.URL{Path: p.file}
			result["locations"] = []object{{"physicalLocation": object{"artifactLocation": object{"uri": uri.String()}, "region": object{"startLine": p.line}}}}
		}
		shown = append(shown, result)
	}
	var rules []object
	for _, effect := range effects {
		rules = append(rules, object{"id": string(effect), "shortDescription": object{"text": "requests that are " + titles[effect]}, "defaultConfiguration": object{"level": levels[effect]}})
	}
	notes := []object{}
	for _, note := range c.Notes {
		notes = append(notes, object{"level": "warning", "message": object{"text": note}})
	}
	if more := len(all) - len(shown); more > 0 {
		notes = append(notes, object{"level": "warning", "message": object{"text": fmt.Sprintf("%d more changes are not among the results", more)}})
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(object{
		"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0",
		"runs": []object{{
			"tool":    object{"driver": object{"name": "trellis", "version": version.String(), "rules": rules}},
			"results": shown, "invocations": []object{{"executionSuccessful": c.Complete(), "toolExecutionNotifications": notes}},
		}},
	})
}

// result is a change of either kind, as SARIF has it.
type result struct {
	effect            ask.Effect
	text, fingerprint string
	before, after     ask.Moment
}

func results(c *outgoing.Changes) []result {
	var out []result
	add := func(effect ask.Effect, title, what, fingerprint, such string, before, after ask.Moment) {
		text := fmt.Sprintf("%s: %s; before: %s; after: %s", title, what, side(before), side(after))
		if such != "" {
			text += "; such as " + such
		}
		out = append(out, result{effect, text, fingerprint, before, after})
	}
	for i := range c.Changes.Changes {
		one := &c.Changes.Changes[i]
		add(one.Effect, titles[one.Effect], who(one)+": "+what(one), fingerprint(one), request(one), one.Before, one.After)
	}
	for i := range c.Calls {
		one := &c.Calls[i]
		mark := sum(string(one.Effect), fmt.Sprint(one.From, one.To))
		add(one.Effect, "calls "+callTitles[one.Effect], callers(one)+": to "+called(one), mark, asked(&one.Witness), one.Before, one.After)
	}
	return out
}

func index(effect ask.Effect) int {
	for i, e := range effects {
		if e == effect {
			return i
		}
	}
	return -1
}

// fingerprint finds the same change again, wherever its line has moved to.
func fingerprint(c *ask.Change) string {
	return sum(string(c.Effect), who(c), what(c), fmt.Sprint(c.Methods, c.Paths), string(c.Needs), strings.Join(c.Token, ","), strings.Join(c.Only, ","))
}

func sum(parts ...string) string {
	all := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(all[:16])
}

// resultPlace is the line to look at: of the side that still has one.
func (f *forge) resultPlace(before, after ask.Moment) (place, bool) {
	for _, m := range []ask.Moment{after, before} {
		for _, origin := range m.Because {
			if p, ok := f.placeOf(origin); ok {
				return p, true
			}
		}
	}
	return place{}, false
}
