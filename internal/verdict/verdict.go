// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package verdict is what trellis-server tells the operator: what came of the tests
// of each Application, by the digest of the statement that they were run on. The
// server writes it, the operator asks for it; neither links the other.
package verdict

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
)

// Path is where a report is asked for. The parameter After has the revision that
// is known already: the answer then waits for another one.
const (
	Path  = "/v1/tests"
	After = "after"
)

// Audience is that of the token by which the operator proves who it is.
const Audience = "trellis-server"

// State is what came of all tests of one statement.
type State string

// The states. What cannot be told has not passed.
const (
	Passed  State = "Passed"
	Failed  State = "Failed"
	Unknown State = "Unknown"
)

// Report is what is known at one moment.
type Report struct {
	// Revision names the content: two reports that say the same have the same one.
	Revision string `json:"revision"`
	// Applications are those with tests or assertions that were run, in order of their
	// names. One
	// that is not here has not been tested yet.
	Applications []Application `json:"applications"`
	// Problem is why nothing is known; empty where something is.
	Problem string `json:"problem,omitempty"`
}

// Application is what came of the tests of one.
type Application struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Digest is that of the statement: a verdict is about nothing else.
	Digest string `json:"digest"`
	State  State  `json:"state"`
	// Tests is how many there are, and Failures those that did not pass, the first
	// MaxFailures of them. More counts the others.
	Tests    int       `json:"tests"`
	Failures []Failure `json:"failures,omitempty"`
	More     int       `json:"more,omitempty"`
	// Assertions are what came of all that policies assert of it. Those that hold back a
	// new generation are among the tests as well.
	Assertions []Assertion `json:"assertions,omitempty"`
}

// Assertion is what came of one assertion of a policy.
type Assertion struct {
	// Of is the digest of the question (policy.Assertion.Digest).
	Of string `json:"of"`
	// Binding is the object that binds the policy, and Rule the assertion by name.
	Binding string `json:"binding"`
	Rule    string `json:"rule"`
	State   State  `json:"state"`
	// Says is why it does not hold, Ask the command that shows every step of the request
	// that it hangs on.
	Says string `json:"says,omitempty"`
	Ask  string `json:"ask,omitempty"`
}

// Answers reports whether it is known of all of some questions what came of them.
func (a *Application) Answers(questions []string) bool {
	for _, q := range questions {
		if !slices.ContainsFunc(a.Assertions, func(one Assertion) bool { return one.Of == q }) {
			return false
		}
	}
	return true
}

// MaxFailures is how many failures are told of one Application.
const MaxFailures = 8

// Failure is one test that did not pass.
type Failure struct {
	// Test is its name, and Field its place: spec.tests[2], and spec for what policies
	// assert.
	Test  string `json:"test"`
	Field string `json:"field"`
	// Policy is the binding whose assertion it is; empty for a test of the Application's own.
	Policy string `json:"policy,omitempty"`
	// Wrong is what is wrong in the words of that policy, Rule the binding with its goals
	// and whom to ask, and Fix what to do by the policy.
	Wrong string `json:"wrong,omitempty"`
	Rule  string `json:"rule,omitempty"`
	Fix   string `json:"fix,omitempty"`
	// State is Failed or Unknown.
	State State `json:"state"`
	// Says is what came and what was expected; Why is why, and By the statement
	// that decided, where there is one.
	Says string `json:"says"`
	Why  string `json:"why,omitempty"`
	By   string `json:"by,omitempty"`
	// Whom is who can change that statement.
	Whom string `json:"whom,omitempty"`
	// Ask is the command that shows every step of the request it hangs on.
	Ask string `json:"ask,omitempty"`
}

// Sentence is a failure in one line.
func (f *Failure) Sentence() string {
	out := fmt.Sprintf("test %q: %s", f.Test, f.Says)
	if f.Policy != "" {
		out = fmt.Sprintf("assertion %q of %s: %s", f.Test, f.Policy, f.Says)
	}
	if f.Why != "" {
		out += ": " + f.Why
	}
	if f.By != "" {
		out += " (" + f.By + ")"
	}
	return out
}

// Key names an Application and one statement of it.
type Key struct {
	model.Name
	Digest string
}

// Key is that of the statement which was tested.
func (a *Application) Key() Key {
	return Key{model.Name{Namespace: a.Namespace, Name: a.Name}, a.Digest}
}

// KeyOf is that of what an Application states now.
func KeyOf(a *v1alpha1.Application) Key {
	return Key{model.Name{Namespace: a.Namespace, Name: a.Name}, Digest(&a.Spec)}
}

// Digest is the SHA-256 of a statement's JSON, whose fields are in a fixed order.
func Digest(spec *v1alpha1.ApplicationSpec) string {
	raw, err := json.Marshal(spec)
	if err != nil {
		// Strings, numbers and lists of them: this cannot fail, and no digest is one
		// that nothing was tested for.
		return ""
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// Document is what is told as soon as there is another one: a Report or Forecasts.
type Document interface {
	// Name is its revision: two documents that say the same have the same one.
	Name() string
}

// Name implements Document.
func (r *Report) Name() string { return r.Revision }

// Name implements Document.
func (f *Forecasts) Name() string { return f.Revision }

// Seal makes a report with its revision.
func Seal(applications []Application, problem string) (*Report, error) {
	out := &Report{Applications: applications, Problem: problem}
	var err error
	out.Revision, err = revision(out)
	return out, err
}

// SealForecasts does for forecasts what Seal does for a report.
func SealForecasts(rollouts []Forecast, problem string) (*Forecasts, error) {
	out := &Forecasts{Rollouts: rollouts, Problem: problem}
	var err error
	out.Revision, err = revision(out)
	return out, err
}

// revision is that of a document which has none yet.
func revision(of Document) (string, error) {
	raw, err := json.Marshal(of)
	if err != nil {
		return "", fmt.Errorf("writing what is told: %w", err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:8]), nil
}
