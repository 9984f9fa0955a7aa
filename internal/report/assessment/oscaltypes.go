// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package assessment

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
	Back     oscalBack     `json:"back-matter"`
}

type oscalMetadata struct {
	Title        string `json:"title"`
	LastModified string `json:"last-modified"`
	Version      string `json:"version"`
	OSCAL        string `json:"oscal-version"`
}

type oscalLink struct {
	Href string `json:"href"`
}

type oscalBack struct {
	Resources []oscalResource `json:"resources"`
}

type oscalResource struct {
	UUID        string `json:"uuid"`
	Title       string `json:"title"`
	Description string `json:"description"`
}

type oscalResult struct {
	UUID         string             `json:"uuid"`
	Title        string             `json:"title"`
	Description  string             `json:"description"`
	Start        string             `json:"start"`
	End          string             `json:"end"`
	Local        *oscalLocal        `json:"local-definitions,omitempty"`
	Reviewed     oscalReviewed      `json:"reviewed-controls"`
	Observations []oscalObservation `json:"observations,omitempty"`
	Risks        []oscalRisk        `json:"risks,omitempty"`
	Findings     []oscalFinding     `json:"findings,omitempty"`
}

// oscalLocal are the objects that subjects of observations are.
type oscalLocal struct {
	Items []oscalItem `json:"inventory-items"`
}

type oscalItem struct {
	UUID        string `json:"uuid"`
	Description string `json:"description"`
}

type oscalReviewed struct {
	Selections []oscalSelection `json:"control-selections"`
}

// oscalSelection are the controls of one catalog.
type oscalSelection struct {
	Description string         `json:"description,omitempty"`
	Include     []oscalControl `json:"include-controls,omitempty"`
	All         *struct{}      `json:"include-all,omitempty"`
}

type oscalControl struct {
	ID string `json:"control-id"`
}

type oscalObservation struct {
	UUID        string           `json:"uuid"`
	Title       string           `json:"title"`
	Description string           `json:"description"`
	Props       []oscalProp      `json:"props,omitempty"`
	Links       []oscalReference `json:"links,omitempty"`
	Methods     []string         `json:"methods"`
	Types       []string         `json:"types,omitempty"`
	Subjects    []oscalSubject   `json:"subjects,omitempty"`
	Collected   string           `json:"collected"`
	Remarks     string           `json:"remarks,omitempty"`
}

// oscalProp is a property that is Trellis's own, as ns says.
type oscalProp struct {
	Name  string `json:"name"`
	NS    string `json:"ns"`
	Value string `json:"value"`
}

type oscalReference struct {
	Href string `json:"href"`
	Rel  string `json:"rel"`
}

type oscalSubject struct {
	UUID  string `json:"subject-uuid"`
	Type  string `json:"type"`
	Title string `json:"title"`
}

// oscalRisk is an exception.
type oscalRisk struct {
	UUID        string         `json:"uuid"`
	Title       string         `json:"title"`
	Description string         `json:"description"`
	Statement   string         `json:"statement"`
	Props       []oscalProp    `json:"props,omitempty"`
	Status      string         `json:"status"`
	Deadline    string         `json:"deadline,omitempty"`
	Related     []oscalRelated `json:"related-observations,omitempty"`
}

type oscalFinding struct {
	UUID        string             `json:"uuid"`
	Title       string             `json:"title"`
	Description string             `json:"description"`
	Target      oscalTarget        `json:"target"`
	Related     []oscalRelated     `json:"related-observations,omitempty"`
	Risks       []oscalRelatedRisk `json:"related-risks,omitempty"`
}

type oscalTarget struct {
	Type   string `json:"type"`
	ID     string `json:"target-id"`
	Status struct {
		State   string `json:"state"`
		Reason  string `json:"reason"`
		Remarks string `json:"remarks"`
	} `json:"status"`
}

type oscalRelated struct {
	UUID string `json:"observation-uuid"`
}

type oscalRelatedRisk struct {
	UUID string `json:"risk-uuid"`
}
