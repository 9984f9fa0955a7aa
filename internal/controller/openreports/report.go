// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package openreports shows how it stands with policies as Reports of openreports.io, which
// dashboards of clusters read: one for each namespace, and only where the cluster has the
// kind. What is in them is computed from a posture alone; the Keeper writes them.
package openreports

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/apply"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy"
	"github.com/trellis-mesh/trellis/internal/posture"
)

const (
	// Name is that of all Reports of Trellis, one in each namespace.
	Name = "trellis-policies"
	// Source is the one that they name.
	Source = "trellis"

	// maxResults and maxMessage bound a Report: it must stay below the size that the API
	// server takes.
	maxResults = 100
	maxMessage = 1024
	// moreResults is in the place of a policy where results were left out.
	moreResults = "more-results"
	// noControl is the category of a policy that names no control.
	noControl = "policy"
)

// The words of OpenReports, what matters most first.
const (
	resultFail  = "fail"
	resultError = "error"
	resultWarn  = "warn"
	resultSkip  = "skip"
)

var (
	results    = []string{resultFail, resultError, resultWarn, resultSkip}
	severities = []string{"critical", "high", "medium", "low", ""}
)

// Report is what is said of one namespace.
type Report struct {
	Namespace string
	content
}

// content is a Report without its metadata.
type content struct {
	Source  string   `json:"source"`
	Summary Summary  `json:"summary"`
	Results []Result `json:"results"`
}

// Summary counts. Pass is how often an object is as a binding has it; all others are
// results, those that were left out included.
type Summary struct {
	Pass  int64 `json:"pass"`
	Fail  int64 `json:"fail"`
	Warn  int64 `json:"warn"`
	Error int64 `json:"error"`
	Skip  int64 `json:"skip"`
}

// Result is one thing that is not as a policy has it.
type Result struct {
	Policy   string `json:"policy"`
	Rule     string `json:"rule,omitempty"`
	Category string `json:"category,omitempty"`
	Severity string `json:"severity,omitempty"`
	Result   string `json:"result"`
	// Scored is true for what is refused, or would be without an exception.
	Scored  bool   `json:"scored,omitempty"`
	Message string `json:"message,omitempty"`
	// Subjects have this name in the documents of OpenReports, and another one in its
	// definition.
	Subjects   []corev1.ObjectReference `json:"resources,omitempty"`
	Properties map[string]string        `json:"properties,omitempty"`
	// Timestamp is when it was found; nil until it is written.
	Timestamp *metav1.Timestamp `json:"timestamp,omitempty"`
}

// Build makes the Reports, in order of their namespaces: one for each in which a binding is
// about something.
func Build(p *posture.Posture) []*Report {
	byNamespace := map[string]*Report{}
	of := func(namespace string) *Report {
		if byNamespace[namespace] == nil {
			byNamespace[namespace] = &Report{Namespace: namespace, content: content{Source: Source, Results: []Result{}}}
		}
		return byNamespace[namespace]
	}
	for _, b := range p.Bindings {
		for _, ref := range b.Objects() {
			if r := of(ref.Namespace); b.StateOf(ref) == v1alpha1.StatePassing {
				r.Summary.Pass++
			}
		}
		for i := range b.Judgements {
			j := &b.Judgements[i]
			r := of(j.Subject.Origin.Object.Namespace)
			r.Results = append(r.Results, resultOf(j))
		}
	}
	out := make([]*Report, 0, len(byNamespace))
	for _, r := range byNamespace {
		r.finish()
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b *Report) int { return strings.Compare(a.Namespace, b.Namespace) })
	return out
}

// finish counts, puts what is violated first, and cuts.
func (r *Report) finish() {
	for i := range r.Results {
		r.Summary.add(r.Results[i].Result)
	}
	slices.SortStableFunc(r.Results, compare)
	if len(r.Results) <= maxResults {
		return
	}
	cut := r.Results[maxResults-1:]
	var count Summary
	for i := range cut {
		count.add(cut[i].Result)
	}
	more := Result{
		Policy: moreResults, Category: noControl, Result: cut[0].Result,
		Message: fmt.Sprintf("%d more results are not shown: %d fail, %d error, %d warn, %d skip; trellis report shows all of them",
			len(cut), count.Fail, count.Error, count.Warn, count.Skip),
	}
	r.Results = append(r.Results[:maxResults-1:maxResults-1], more)
}

func (s *Summary) add(result string) {
	switch result {
	case resultFail:
		s.Fail++
	case resultError:
		s.Error++
	case resultWarn:
		s.Warn++
	case resultSkip:
		s.Skip++
	}
}

// compare orders results: what is refused first, and what is severe before what is not.
func compare(a, b Result) int {
	place := func(r Result) string {
		return strings.Join([]string{r.Policy, r.Properties["binding"], subject(r), r.Properties["field"], r.Rule, r.Message}, "\x00")
	}
	return cmp.Or(
		cmp.Compare(slices.Index(results, a.Result), slices.Index(results, b.Result)),
		cmp.Compare(slices.Index(severities, a.Severity), slices.Index(severities, b.Severity)),
		strings.Compare(place(a), place(b)),
	)
}

func subject(r Result) string {
	if len(r.Subjects) == 0 {
		return ""
	}
	return r.Subjects[0].Kind + " " + r.Subjects[0].Name
}

func resultOf(j *policy.Judgement) Result {
	b := j.Binding
	out := Result{
		Policy: string(b.Spec.Policy.Name), Rule: j.Rule, Category: category(b), Result: word(j), Scored: b.Closes(), Message: j.Message,
		Subjects: []corev1.ObjectReference{referenceTo(j.Subject.Origin.Object)},
		Properties: map[string]string{
			"binding": b.Ref.String(), "mode": string(b.Spec.Mode), "tier": string(b.Origin.Layer), "version": b.Spec.Policy.Version,
		},
	}
	if b.Template != nil {
		out.Severity = strings.ToLower(string(b.Template.Spec.Severity))
	}
	if j.Outcome == policy.Exempt {
		out.Message = "it would fail, and is let go: " + out.Message
		out.Properties["exception"] = j.Exception.Ref.Namespace + "/" + j.Exception.Ref.Name
		out.Properties["expires"] = j.Exception.Spec.Expires.UTC().Format(time.RFC3339)
	}
	out.Message = clip(out.Message)
	var goals []string
	for _, g := range b.Goals {
		goals = append(goals, g.Name)
	}
	for name, value := range map[string]string{"goals": strings.Join(goals, ", "), "field": j.Field(), "fix": clip(j.Fix())} {
		if value != "" {
			out.Properties[name] = value
		}
	}
	return out
}

func word(j *policy.Judgement) string {
	switch {
	case j.Outcome == policy.Exempt:
		return resultSkip
	case j.Outcome == policy.Unknown:
		return resultError
	case j.Severity() == model.SeverityError:
		return resultFail
	}
	return resultWarn
}

// category is the first control that the policy helps to meet, or else one of its goals.
func category(b *policy.Binding) string {
	if b.Template != nil && len(b.Template.Spec.Controls) > 0 {
		return string(b.Template.Spec.Controls[0])
	}
	for _, g := range b.Goals {
		if len(g.Spec.Controls) > 0 {
			return string(g.Spec.Controls[0])
		}
	}
	return noControl
}

func referenceTo(ref model.Reference) corev1.ObjectReference {
	// All kinds of Istio that are read have this version, but for those on the list.
	version := schema.GroupVersion{Group: ref.Group, Version: "v1"}
	if ref.Group == v1alpha1.GroupName {
		version = v1alpha1.GroupVersion
	}
	for _, k := range apply.Kinds() {
		if k.Group == ref.Group && k.Kind == ref.Kind {
			version = k.GroupVersion()
		}
	}
	return corev1.ObjectReference{APIVersion: version.String(), Kind: ref.Kind, Namespace: ref.Namespace, Name: ref.Name}
}

func clip(s string) string {
	if len(s) <= maxMessage {
		return s
	}
	return strings.ToValidUTF8(s[:maxMessage-len("…")], "") + "…"
}
