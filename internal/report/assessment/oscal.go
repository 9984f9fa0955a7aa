// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package assessment

import (
	"encoding/json"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// The types of OSCAL's assessment results (NIST, version 1.1.3), as far as they are
// needed here.
type oscalDocument struct {
	Results oscalResults `json:"assessment-results"`
}

type oscalResults struct {
	UUID     string        `json:"uuid"`
	Metadata oscalMetadata `json:"metadata"`
	Import   oscalLink     `json:"import-ap"`
	Results  []oscalResult `json:"results"`
}

type oscalMetadata struct {
	Title        string `json:"title"`
	LastModified string `json:"last-modified"`
	Version      string `json:"version"`
	OSCAL        string `json:"oscal-version"`
}

type oscalLink struct {
	Href    string `json:"href"`
	Remarks string `json:"remarks,omitempty"`
}

type oscalResult struct {
	UUID         string             `json:"uuid"`
	Title        string             `json:"title"`
	Description  string             `json:"description"`
	Start        string             `json:"start"`
	End          string             `json:"end"`
	Reviewed     oscalReviewed      `json:"reviewed-controls"`
	Observations []oscalObservation `json:"observations,omitempty"`
	Findings     []oscalFinding     `json:"findings,omitempty"`
}

type oscalReviewed struct {
	Selections []oscalSelection `json:"control-selections"`
}

type oscalSelection struct {
	Include []oscalControl `json:"include-controls,omitempty"`
	All     *struct{}      `json:"include-all,omitempty"`
}

type oscalControl struct {
	ID string `json:"control-id"`
}

type oscalObservation struct {
	UUID        string         `json:"uuid"`
	Title       string         `json:"title"`
	Description string         `json:"description"`
	Props       []oscalProp    `json:"props,omitempty"`
	Methods     []string       `json:"methods"`
	Subjects    []oscalSubject `json:"subjects,omitempty"`
	Collected   string         `json:"collected"`
}

// oscalProp is a property that is Trellis's own, as ns says.
type oscalProp struct {
	Name  string `json:"name"`
	NS    string `json:"ns"`
	Value string `json:"value"`
}

type oscalSubject struct {
	UUID  string `json:"subject-uuid"`
	Type  string `json:"type"`
	Title string `json:"title"`
}

type oscalFinding struct {
	UUID        string         `json:"uuid"`
	Title       string         `json:"title"`
	Description string         `json:"description"`
	Target      oscalTarget    `json:"target"`
	Related     []oscalRelated `json:"related-observations,omitempty"`
}

type oscalTarget struct {
	Type   string `json:"type"`
	ID     string `json:"target-id"`
	Status struct {
		State  string `json:"state"`
		Reason string `json:"reason"`
	} `json:"status"`
}

type oscalRelated struct {
	UUID string `json:"observation-uuid"`
}

// space is the namespace of our UUIDs: equal assessments have equal ones (RFC 9562,
// version 5).
var space = uuid.NewSHA1(uuid.NameSpaceDNS, []byte("trellis.dev"))

func id(parts ...string) string {
	return uuid.NewSHA1(space, []byte(strings.Join(parts, "\x00"))).String()
}

// OSCAL writes assessment results: an observation for each binding, and a finding for
// each control that one of its policies or goals names.
func OSCAL(w io.Writer, a *Assessment) error {
	at := a.At.Format(time.RFC3339)
	result := oscalResult{
		UUID: id("result", at), Title: "Policies of the mesh", Start: at, End: at,
		Description: "What Trellis found when it evaluated every policy that is bound, on the statements that are in force.",
	}
	controls := map[string][]*Policy{}
	for i := range a.Policies {
		p := &a.Policies[i]
		for _, c := range p.Controls {
			controls[c] = append(controls[c], p)
		}
		result.Observations = append(result.Observations, observation(a, p, at))
	}
	names := make([]string, 0, len(controls))
	for c := range controls {
		names = append(names, c)
	}
	slices.Sort(names)
	selection := oscalSelection{}
	for _, c := range names {
		selection.Include = append(selection.Include, oscalControl{controlID(c)})
		result.Findings = append(result.Findings, controlFinding(c, controls[c], at))
	}
	if len(names) == 0 {
		selection.All = &struct{}{}
	}
	result.Reviewed.Selections = []oscalSelection{selection}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(oscalDocument{oscalResults{
		UUID:     id("document", at),
		Metadata: oscalMetadata{Title: "Trellis policy assessment", LastModified: at, Version: a.Version, OSCAL: "1.1.3"},
		Import:   oscalLink{Href: "#", Remarks: "no assessment plan: every policy is evaluated at every change"},
		Results:  []oscalResult{result},
	}})
}

// controlID is how OSCAL's catalogs name a control: without the name of the catalog, and
// for NIST 800-53 in lower case with a dot before the enhancement.
func controlID(c string) string {
	catalog, name, _ := strings.Cut(c, ":")
	if !strings.HasPrefix(catalog, "nist-800-53") {
		return c
	}
	return strings.NewReplacer("(", ".", ")", "").Replace(strings.ToLower(name))
}

func observation(a *Assessment, p *Policy, at string) oscalObservation {
	out := oscalObservation{
		UUID: id("observation", p.Binding), Title: p.Binding, Methods: []string{"TEST"}, Collected: at,
		Description: p.Policy + " " + p.Version + " (" + p.Tier + ", " + p.Mode + "): " + p.Message,
	}
	for _, f := range a.Findings {
		if f.Binding == p.Binding {
			out.Description += "\n" + f.State + ": " + strings.TrimSpace(f.Object+" "+f.Field) + ": " + f.Message
		}
	}
	if p.Hits != nil {
		for i, cell := range numbers(p.Hits) {
			if cell != "" {
				out.Props = append(out.Props, oscalProp{[]string{"allowed", "denied", "would-deny", "failed", "last-hit"}[i], "https://trellis.dev/ns/oscal", cell})
			}
		}
	}
	for _, ref := range p.binding.Objects() {
		out.Subjects = append(out.Subjects, oscalSubject{UUID: id("object", ref.Cluster, ref.Group, ref.String()), Type: "resource", Title: ref.String()})
	}
	return out
}

func controlFinding(c string, by []*Policy, at string) oscalFinding {
	out := oscalFinding{UUID: id("finding", c, at), Title: c, Target: oscalTarget{Type: "objective-id", ID: controlID(c)}}
	out.Target.Status.State, out.Target.Status.Reason = "satisfied", "pass"
	var said []string
	for _, p := range by {
		out.Related = append(out.Related, oscalRelated{id("observation", p.Binding)})
		said = append(said, p.Binding+": "+p.Message)
		switch {
		// What is not enforced shows nothing of what is in force.
		case p.State == "Met" && p.Mode == "Enforce":
		case p.State == "NotMet" || p.State == "Met":
			out.Target.Status.State, out.Target.Status.Reason = "not-satisfied", "fail"
		case out.Target.Status.Reason != "fail":
			out.Target.Status.State, out.Target.Status.Reason = "not-satisfied", "other"
		}
	}
	out.Description = strings.Join(said, "\n")
	return out
}
