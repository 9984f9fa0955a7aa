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
	"github.com/trellis-mesh/trellis/internal/version"
)

var levels = map[ask.Effect]string{ask.NewlyAllowed: "warning", ask.NewlyDenied: "warning", ask.NotKnown: "warning", ask.ByAnotherRule: "note"}

// maxResults is how many results of one run GitHub takes.
const maxResults = 5000

// sarif is the form of https://docs.oasis-open.org/sarif/sarif/v2.1.0.
func (f *forge) sarif(w io.Writer, c *ask.Changes) error {
	type object = map[string]any
	results := []object{}
	for i := range c.Changes[:min(len(c.Changes), maxResults)] {
		one := &c.Changes[i]
		text := fmt.Sprintf("%s: %s: %s; before: %s; after: %s", titles[one.Effect], who(one), what(one), side(one.Before), side(one.After))
		if such := request(one); such != "" {
			text += "; such as " + such
		}
		if whom := f.whom(one); whom != "" {
			text += "; ask " + whom
		}
		result := object{
			"ruleId": string(one.Effect), "ruleIndex": index(one.Effect), "level": levels[one.Effect], "message": object{"text": text},
			"partialFingerprints": object{"access/v1": fingerprint(one)},
		}
		if p, ok := f.resultPlace(one); ok {
			uri := url.URL{Path: p.file}
			result["locations"] = []object{{"physicalLocation": object{"artifactLocation": object{"uri": uri.String()}, "region": object{"startLine": p.line}}}}
		}
		results = append(results, result)
	}
	var rules []object
	for _, effect := range effects {
		rules = append(rules, object{"id": string(effect), "shortDescription": object{"text": "requests that are " + titles[effect]}, "defaultConfiguration": object{"level": levels[effect]}})
	}
	notes := []object{}
	for _, note := range c.Notes {
		notes = append(notes, object{"level": "warning", "message": object{"text": note}})
	}
	if more := len(c.Changes) - len(results); more > 0 {
		notes = append(notes, object{"level": "warning", "message": object{"text": fmt.Sprintf("%d more changes are not among the results", more)}})
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(object{
		"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0",
		"runs": []object{{
			"tool":    object{"driver": object{"name": "trellis", "version": version.String(), "rules": rules}},
			"results": results, "invocations": []object{{"executionSuccessful": c.Complete(), "toolExecutionNotifications": notes}},
		}},
	})
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
	sum := sha256.Sum256([]byte(strings.Join([]string{
		string(c.Effect), who(c), what(c), fmt.Sprint(c.Methods, c.Paths), string(c.Needs), strings.Join(c.Token, ","), strings.Join(c.Only, ","),
	}, "\x00")))
	return hex.EncodeToString(sum[:16])
}

// resultPlace is the line to look at: of the side that still has one.
func (f *forge) resultPlace(c *ask.Change) (place, bool) {
	for _, m := range []ask.Moment{c.After, c.Before} {
		for _, origin := range m.Because {
			if p, ok := f.placeOf(origin); ok {
				return p, true
			}
		}
	}
	return place{}, false
}
