// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/policy/access"
	"github.com/trellis-mesh/trellis/internal/policy/bounds"
	"github.com/trellis-mesh/trellis/internal/policy/expression"
)

// MaxAsserted is how many requests one assertion asks of one Application at the most.
const MaxAsserted = 256

// assertion holds the programs of one.
type assertion struct {
	spec                       *v1alpha1.Assertion
	when, from, methods, paths *expression.Program
}

// AssertedRequest is one request that an assertion sends.
type AssertedRequest struct {
	Method string `json:"method"`
	Path   string `json:"path"`
}

// Assertion is what one rule asserts of one Application. Whether it holds is not known
// here: who can ask the proxies' configurations runs it and tells it the Answer.
type Assertion struct {
	Binding *Binding
	Rule    string
	Subject Subject
	// Internet: the requests come from outside of the mesh; else from workloads of
	// Namespaces, by name and in order.
	Internet   bool
	Namespaces []string
	Requests   []AssertedRequest
	Token      *v1alpha1.TestToken
	Expect     v1alpha1.TestExpectation
	// Wrong says what is wrong where it does not hold.
	Wrong string
	// Broken says why it cannot be asked; empty where it can.
	Broken string
	// fix is what to do then, where the policy does not say it.
	fix string
	// Answer is what came of it; nil: nobody has asked.
	Answer *Answer

	set *Set
}

// Answer is what came of an assertion.
type Answer struct {
	// Outcome is Pass, Fail or Unknown.
	Outcome Outcome
	// Says is why it does not hold or cannot be told, or in which way it holds where that
	// is worth to be said.
	Says string
	// Ask is a command that shows every step of the request that it hangs on; empty: there
	// is none.
	Ask string
}

func (c *compiler) assertion(one *v1alpha1.Assertion, at string) assertion {
	out := assertion{
		spec:    one,
		when:    c.compile(expression.SortApplication, one.When, expression.Bool, at+".when"),
		from:    c.compile(expression.SortNamespace, one.From.Namespaces, expression.Bool, at+".from.namespaces"),
		methods: c.compile(expression.SortApplication, one.Request.Methods, expression.Strings, at+".request.methods"),
		paths:   c.required(expression.SortApplication, one.Request.Paths, expression.Strings, at+".request.paths"),
	}
	if (one.From.Internet != nil) == (one.From.Namespaces != "") {
		c.problem(at+".from", "exactly one of internet and namespaces")
	}
	if _, ok := becomes[one.Expect.Verdict]; !ok {
		c.problem(at+".expect.verdict", fmt.Sprintf("%q is none of Allow, Deny, Answered, NoRoute and Fails", one.Expect.Verdict))
	}
	if one.Expect.Code != 0 && one.Expect.Verdict == v1alpha1.VerdictAllow {
		c.problem(at+".expect.code", "the application answers what is allowed, so no code can be expected")
	}
	return out
}

// Assertions are what is asserted of the Application, in order of the bindings and of
// their templates.
func (a *Application) Assertions() []*Assertion {
	var out []*Assertion
	of := a.subject(v1alpha1.SubjectApplication, a.origin)
	for _, b := range a.bound {
		// Of a version that is only compared nothing is asked: a rollout is stopped by all
		// that fails where the new one holds.
		if b.Broken != "" || !b.Held() {
			continue
		}
		for i := range b.compiled.assertions {
			if one := a.assert(b, i); one != nil {
				one.Binding, one.Subject, one.set = b, of, a.set
				out = append(out, one)
			}
		}
	}
	return out
}

// Asserts reports whether any policy that is bound asserts something: of a rollout, any of
// its versions.
func (s *Set) Asserts() bool {
	asserts := func(b *Binding) bool { return b.Broken == "" && len(b.compiled.assertions) > 0 }
	return slices.ContainsFunc(s.Bindings, func(b *Binding) bool { return slices.ContainsFunc(b.Parts(), asserts) })
}

// assert evaluates an assertion; nil where it is not about the Application.
func (a *Application) assert(b *Binding, i int) *Assertion {
	one := &b.compiled.assertions[i]
	facts := b.facts(expression.NewFacts(a.variables()))
	out := &Assertion{
		Rule: string(one.spec.Name), Internet: one.spec.From.Internet != nil, Token: one.spec.Request.Token, Expect: one.spec.Expect, Wrong: one.spec.Message,
	}
	if one.when != nil {
		about, err := one.when.Bool(facts)
		if err == nil && !about {
			return nil
		}
		if err != nil {
			return out.broken(b, "when", err, again(one.when, facts))
		}
	}
	if !out.Internet {
		answer := a.set.answer(b, one.from)
		// Of one of whom that cannot be told nobody knows what would be asked.
		if d := &answer.Doubts; d.Err != nil {
			return out.broken(b, "from", fmt.Errorf("of namespace %s, %w", d.Names[0], d.Err), d.Again)
		}
		out.Namespaces = answer.Namespaces
	}
	var err error
	if out.Requests, err = one.requests(facts); err != nil {
		out.Requests = nil
		return out.broken(b, "request", err, func(params expression.Value) error {
			_, err := one.requests(facts.Anew(params))
			return err
		})
	}
	return out
}

func (a *Assertion) broken(b *Binding, part string, err error, again func(expression.Value) error) *Assertion {
	found := b.mistaken(a.Rule, part, err, again)
	a.Broken, a.fix = found.says, found.fix
	return a
}

// requests are each method with each path, each once.
func (one *assertion) requests(facts expression.Facts) ([]AssertedRequest, error) {
	asked := []string{"GET"}
	var err error
	if one.methods != nil {
		if asked, err = one.methods.Texts(facts); err != nil {
			return nil, err
		}
	}
	paths, err := one.paths.Texts(facts)
	if err != nil {
		return nil, err
	}
	asked, paths = bounds.Once(asked), bounds.Once(paths)
	if err := bounds.Requests(asked, paths); err != nil {
		return nil, err
	}
	if n := len(asked) * len(paths); n > MaxAsserted {
		return nil, TooMany(n)
	}
	var out []AssertedRequest
	for _, m := range asked {
		for _, p := range paths {
			out = append(out, AssertedRequest{m, p})
		}
	}
	return out, nil
}

// TooMany says that an assertion would send more requests than it may.
func TooMany(n int) error {
	return fmt.Errorf("it would send %d requests, and at most %d are sent for one Application", n, MaxAsserted)
}

// becomes says what becomes of requests.
var becomes = map[v1alpha1.TestVerdict]string{
	v1alpha1.VerdictAllow: "allowed", v1alpha1.VerdictDeny: "denied", v1alpha1.VerdictAnswered: "answered by a proxy",
	v1alpha1.VerdictNoRoute: "not published", v1alpha1.VerdictFails: "not delivered",
}

// String says what is asserted, such as: asserts that GET /admin from the internet is
// denied. It is the effect by which tests of templates know it.
func (a *Assertion) String() string {
	if len(a.Requests) == 0 {
		return "asserts nothing, as it names no request"
	}
	var asked, paths []string
	for _, r := range a.Requests {
		asked, paths = append(asked, r.Method), append(paths, r.Path)
	}
	from := "the internet"
	if !a.Internet {
		from = access.Namespaces(a.Namespaces)
	}
	if a.Token != nil {
		from += " with a token of " + a.Token.Issuer
	}
	out := fmt.Sprintf("asserts that %s %s from %s is %s", strings.Join(bounds.Once(asked), ", "), access.Listed(bounds.Once(paths)), from, becomes[a.Expect.Verdict])
	if a.Expect.Code > 0 {
		out += fmt.Sprintf(" with %d", a.Expect.Code)
	}
	return out
}

// Holds reports whether a new generation that fails it must not come into force. What an
// exception lets go may.
func (a *Assertion) Holds() bool {
	return a.Binding.Closes() && a.Broken == "" && a.set.exemption(a.Binding, v1alpha1.LabelName(a.Rule), a.Subject) == nil
}

// Asks reports whether there is anybody to ask, and something.
func (a *Assertion) Asks() bool {
	return a.Broken == "" && len(a.Requests) > 0 && (a.Internet || len(a.Namespaces) > 0)
}

// Digest is that of the question: an answer is about nothing else.
func (a *Assertion) Digest() string {
	raw, err := json.Marshal(struct {
		Binding, Rule string
		Internet      bool
		Namespaces    []string
		Requests      []AssertedRequest
		Token         *v1alpha1.TestToken
		Expect        v1alpha1.TestExpectation
		Holds         bool
	}{a.Binding.Ref.String(), a.Rule, a.Internet, a.Namespaces, a.Requests, a.Token, a.Expect, a.Holds()})
	if err != nil {
		// Strings and numbers: this cannot fail, and no question has an empty digest.
		return ""
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:8])
}

// NotAsked is the answer where nobody runs assertions.
const NotAsked = "nobody has asked it of the configuration of proxies"

// Judge is the judgement by the Answer, and counts it for the binding. Its message says
// nothing where it passes.
func (a *Assertion) Judge() Judgement {
	j := Judgement{Binding: a.Binding, Rule: a.Rule, Subject: a.Subject, Outcome: Pass, Asserts: true}
	switch {
	case a.Broken != "":
		j.Outcome, j.Message, j.fix = Unknown, "whether rule "+j.Rule+" holds cannot be told: "+a.Broken, a.fix
	case a.Answer == nil:
		j.Outcome, j.Message = Unknown, "whether rule "+j.Rule+" holds cannot be told: "+NotAsked
		j.fix = "let trellis-server run (the chart's value server.enabled), or ask with trellis test"
	case a.Answer.Outcome == Unknown:
		j.Outcome, j.Message = Unknown, "whether rule "+j.Rule+" holds cannot be told: "+a.Answer.Says
		j.fix = "see why"
	case a.Answer.Outcome == Fail:
		j.Outcome, j.Message = Fail, a.Wrong+": "+a.Answer.Says
	}
	if a.Answer != nil && a.Answer.Ask != "" && j.Outcome == Unknown {
		j.fix = "see every step with: " + a.Answer.Ask
	}
	j = a.set.exempt(j)
	a.Binding.record(a.Subject.Origin.Object, j.Outcome)
	return j
}
