// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/trellis-mesh/trellis/internal/model"
)

// home is where Trellis is explained.
const home = "https://github.com/trellis-mesh/trellis"

// Rule is what results of SARIF are of.
type Rule struct {
	ID string
	// Title and Description say what holds where it is kept, and Help what to do where
	// it is not. Code hosts show all three.
	Title, Description, Help string
	// Link explains it; empty: nothing does.
	Link string
	// Severity is one of those of policies; empty where nobody says it.
	Severity string
	Tags     []string
}

// Result is a finding as a result of SARIF.
type Result struct {
	Finding *model.Finding
	// Rule is the ID of one that is listed.
	Rule string
	// Identity is what keeps it the same result when its words or lines change.
	Identity []string
	// Accepted says why it is let go; empty where it is not.
	Accepted string
}

// The types of SARIF 2.1.0 (OASIS), as far as findings need them.
type sarifLog struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	Tool struct {
		Driver sarifDriver `json:"driver"`
	} `json:"tool"`
	ColumnKind string        `json:"columnKind"`
	Results    []sarifResult `json:"results"`
}

type sarifDriver struct {
	Name           string      `json:"name"`
	Version        string      `json:"version,omitempty"`
	InformationURI string      `json:"informationUri"`
	Rules          []sarifRule `json:"rules"`
}

type sarifRule struct {
	ID         string           `json:"id"`
	Short      sarifText        `json:"shortDescription"`
	Full       sarifText        `json:"fullDescription"`
	Help       sarifText        `json:"help"`
	HelpURI    string           `json:"helpUri,omitempty"`
	Properties *sarifProperties `json:"properties,omitempty"`
}

type sarifProperties struct {
	Tags     []string `json:"tags,omitempty"`
	Severity string   `json:"security-severity,omitempty"`
}

type sarifText struct {
	Text string `json:"text"`
}

type sarifResult struct {
	RuleID              string             `json:"ruleId"`
	RuleIndex           int                `json:"ruleIndex"`
	Level               string             `json:"level"`
	Message             sarifText          `json:"message"`
	Locations           []sarifLocation    `json:"locations,omitempty"`
	PartialFingerprints map[string]string  `json:"partialFingerprints"`
	Suppressions        []sarifSuppression `json:"suppressions,omitempty"`
}

type sarifSuppression struct {
	Kind          string `json:"kind"`
	Status        string `json:"status"`
	Justification string `json:"justification"`
}

type sarifLocation struct {
	Physical *sarifPhysical `json:"physicalLocation,omitempty"`
	Logical  []sarifLogical `json:"logicalLocations,omitempty"`
}

type sarifPhysical struct {
	Artifact struct {
		URI string `json:"uri"`
	} `json:"artifactLocation"`
	Region struct {
		StartLine int `json:"startLine"`
	} `json:"region"`
}

type sarifLogical struct {
	FullyQualifiedName string `json:"fullyQualifiedName"`
	Kind               string `json:"kind"`
}

// SARIF writes a SARIF 2.1.0 log, for code hosts that show findings in a change: a rule
// for each reason.
func SARIF(w io.Writer, r *Report) error {
	var rules []Rule
	results := make([]Result, 0, len(r.Findings))
	for i := range r.Findings {
		f := &r.Findings[i]
		title := spaced(f.Reason)
		rules = append(rules, Rule{ID: f.Reason, Title: title, Description: title + ".", Help: "Each result says what is wrong, whose rule it is and what to do.", Link: home})
		results = append(results, Result{Finding: f, Rule: f.Reason, Identity: []string{f.Object.Group, f.Object.String(), f.Field, f.Reason, f.Message}})
	}
	return Results(w, r.Version, rules, results)
}

// spaced writes a reason as a sentence begins: PolicyViolated as Policy violated.
func spaced(reason string) string {
	var b strings.Builder
	letters := []rune(reason)
	for i, c := range letters {
		if i > 0 && unicode.IsUpper(c) && unicode.IsLower(letters[i-1]) {
			b.WriteByte(' ')
			c = unicode.ToLower(c)
		}
		b.WriteRune(c)
	}
	return b.String()
}

// Results writes a SARIF 2.1.0 log of results. Rules may repeat, and are listed once each,
// in order of their IDs.
func Results(w io.Writer, version string, rules []Rule, results []Result) error {
	run := sarifRun{ColumnKind: "utf16CodeUnits", Results: make([]sarifResult, 0, len(results))}
	run.Tool.Driver = sarifDriver{Name: "trellis", Version: version, InformationURI: home, Rules: []sarifRule{}}
	slices.SortStableFunc(rules, func(a, b Rule) int { return strings.Compare(a.ID, b.ID) })
	rules = slices.CompactFunc(rules, func(a, b Rule) bool { return a.ID == b.ID })
	for i := range rules {
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, rules[i].sarif())
	}
	for i := range results {
		run.Results = append(run.Results, results[i].sarif(rules))
	}
	return encode(w, sarifLog{
		Schema:  "https://json.schemastore.org/sarif-2.1.0.json",
		Version: "2.1.0", Runs: []sarifRun{run},
	})
}

// maxTags is how many GitHub takes of a rule; it refuses the whole file for one more.
const maxTags = 20

// scores are severities as code hosts have them, which is as CVSS has them.
var scores = map[string]string{"Critical": "9.5", "High": "8.0", "Medium": "5.5", "Low": "3.0"}

func (r *Rule) sarif() sarifRule {
	out := sarifRule{ID: r.ID, Short: sarifText{r.Title}, Full: sarifText{r.Description}, Help: sarifText{r.Help}, HelpURI: r.Link}
	if score := scores[r.Severity]; score != "" {
		// GitHub takes the score of rules with this tag alone.
		out.Properties = &sarifProperties{Severity: score, Tags: append([]string{"security"}, r.Tags[:min(len(r.Tags), maxTags-1)]...)}
	}
	return out
}

func (r *Result) sarif(rules []Rule) sarifResult {
	f := r.Finding
	index, _ := slices.BinarySearchFunc(rules, r.Rule, func(one Rule, id string) int { return strings.Compare(one.ID, id) })
	print := fingerprint(r.Identity)
	out := sarifResult{
		RuleID: r.Rule, RuleIndex: index, Level: "warning", Message: sarifText{Text: sentences(f)},
		// The same finding keeps its fingerprint when lines move. GitHub knows its own
		// name for it alone, and others this one.
		PartialFingerprints: map[string]string{"trellisFinding/v1": print, "primaryLocationLineHash": print},
	}
	switch {
	case r.Accepted != "":
		out.Level = "note"
		out.Suppressions = []sarifSuppression{{Kind: "external", Status: "accepted", Justification: r.Accepted}}
	case f.Severity == model.SeverityError:
		out.Level = "error"
	}
	var location sarifLocation
	if f.Position.File != "" {
		location.Physical = &sarifPhysical{}
		location.Physical.Artifact.URI = uri(f.Position.File)
		location.Physical.Region.StartLine = max(f.Position.Line, 1)
	}
	if f.Object.Kind != "" {
		location.Logical = []sarifLogical{{FullyQualifiedName: f.Object.String() + prefixed(" ", f.Field), Kind: "object"}}
	}
	if location.Physical != nil || location.Logical != nil {
		out.Locations = []sarifLocation{location}
	}
	return out
}

// sentences is everything that a finding says, in one paragraph.
func sentences(f *model.Finding) string {
	out := strings.TrimSuffix(f.Message, ".")
	for _, part := range [][2]string{{"Rule", f.Owner}, {"Fix", f.Fix}} {
		if part[1] != "" {
			out += ". " + part[0] + ": " + strings.TrimSuffix(part[1], ".")
		}
	}
	return out + "."
}

func fingerprint(of []string) string {
	sum := sha256.Sum256([]byte(strings.Join(of, "\x00")))
	return hex.EncodeToString(sum[:16])
}

// uri is a file's path as a URI reference: relative paths stay relative to
// where the command ran, which is the repository's root in a pipeline.
func uri(path string) string {
	path = filepath.ToSlash(path)
	if filepath.IsAbs(path) {
		return (&url.URL{Scheme: "file", Path: path}).String()
	}
	return (&url.URL{Path: path}).String()
}
