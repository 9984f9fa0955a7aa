// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"github.com/google/cel-go/cel"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy/expression"
)

// compiledTemplate is a template with its expressions compiled.
type compiledTemplate struct {
	spec *v1alpha1.PolicyTemplate
	*programs
	// broken says why it cannot be used; empty where it can.
	broken string
}

// programs are the expressions of a template. They depend on its spec alone.
type programs struct {
	problems    []problem
	constraints map[v1alpha1.PolicySubject][]constraint
	// contributions are in the order of the template.
	contributions []contribution
	assertions    []assertion
	// aboutApplications and the others say whether any rule is, or may be where that cannot
	// be told.
	aboutApplications, aboutIngresses, aboutExceptions bool
}

// problem is something wrong with a template.
type problem struct{ field, message string }

type constraint struct {
	spec           *v1alpha1.Constraint
	expression, of *expression.Program
}

// contribution holds the programs of one; which depends on its sort.
type contribution struct {
	spec *v1alpha1.Contribution
	// from and calling are those of access, when and scopes those of authentication.
	from, calling, when, scopes *expression.Program
	maximum, fallback           *expression.Program
	minimumVersion              *expression.Program
	hosts, retries              *expression.Program
}

// template compiles one and reports what is wrong with it.
func (s *Set) template(t *v1alpha1.PolicyTemplate) {
	origin := model.Origin{
		Object: s.snapshot.PolicyReference("PolicyTemplate", "", t.Name), Layer: model.LayerMandatory,
		Source: t.Annotations[v1alpha1.SourceAnnotation],
	}
	out := &compiledTemplate{spec: t, programs: memo.of(&t.Spec)}
	problems := out.problems
	if want := v1alpha1.TemplateName(t.Spec.Policy, t.Spec.Version); t.Name != want {
		problems = append([]problem{{"metadata.name", fmt.Sprintf("the name of this PolicyTemplate must be %s: its policy, a dash and its version", want)}}, problems...)
	}
	for i, p := range problems {
		if i == 0 {
			out.broken = p.message
		}
		s.refuse(origin, p.field, "TemplateInvalid", p.message+"; whatever binds it is closed or not applied", "PolicyTemplate "+t.Name, "make another version without the mistake, and bind that one")
	}
	s.templates[t.Name] = out
}

// maxMemo bounds the templates whose programs are kept.
const maxMemo = 1024

// memory keeps what was compiled: a compilation of everything happens at each change, and
// templates never change. It is safe for concurrent use.
type memory struct {
	mu   sync.Mutex
	kept map[[sha256.Size]byte]*programs
}

var memo memory

func (m *memory) of(spec *v1alpha1.PolicyTemplateSpec) *programs {
	text, err := json.Marshal(spec)
	if err != nil {
		return &programs{
			problems:          []problem{{"spec", err.Error()}},
			aboutApplications: true, aboutIngresses: true, aboutExceptions: true,
		}
	}
	key := sha256.Sum256(text)
	m.mu.Lock()
	defer m.mu.Unlock()
	if out := m.kept[key]; out != nil {
		return out
	}
	if m.kept == nil || len(m.kept) >= maxMemo {
		m.kept = make(map[[sha256.Size]byte]*programs)
	}
	out := compileTemplate(spec)
	m.kept[key] = out
	return out
}

// compiler collects what is wrong with a template.
type compiler struct {
	spec         *v1alpha1.PolicyTemplateSpec
	out          *programs
	vocabularies map[expression.Sort]*expression.Vocabulary
}

func compileTemplate(spec *v1alpha1.PolicyTemplateSpec) *programs {
	c := &compiler{spec: spec.DeepCopy(), vocabularies: map[expression.Sort]*expression.Vocabulary{}}
	c.out = &programs{constraints: map[v1alpha1.PolicySubject][]constraint{}}
	c.checkParameters()
	rules := make(map[v1alpha1.LabelName]string)
	for i := range c.spec.Constraints {
		one := &c.spec.Constraints[i]
		at := index("spec.constraints", i)
		c.checkName(rules, one.Name, at)
		sort := expression.Sort(one.Subject)
		c.out.constraints[one.Subject] = append(c.out.constraints[one.Subject], constraint{
			spec:       one,
			expression: c.required(sort, one.Expression, expression.Bool, at+".expression"),
			of:         c.compile(sort, one.When, expression.Bool, at+".when"),
		})
	}
	for i := range c.spec.Contributions {
		one := &c.spec.Contributions[i]
		at := index("spec.contributions", i)
		c.checkName(rules, one.Name, at)
		c.out.contributions = append(c.out.contributions, c.contribution(one, at))
	}
	for i := range c.spec.Assertions {
		one := &c.spec.Assertions[i]
		at := index("spec.assertions", i)
		c.checkName(rules, one.Name, at)
		c.out.assertions = append(c.out.assertions, c.assertion(one, at))
	}
	c.out.subjects(c.spec)
	if len(c.spec.Constraints)+len(c.spec.Contributions)+len(c.spec.Assertions) == 0 {
		c.problem("spec", "the policy has neither constraints nor contributions nor assertions")
		c.out.aboutEverything()
	}
	return c.out
}

// subjects notes what the rules of a template are about.
func (p *programs) subjects(spec *v1alpha1.PolicyTemplateSpec) {
	for i := range spec.Constraints {
		switch spec.Constraints[i].Subject {
		case v1alpha1.SubjectApplication, v1alpha1.SubjectRoute, v1alpha1.SubjectExposure, v1alpha1.SubjectCaller, v1alpha1.SubjectCall:
			p.aboutApplications = true
		case v1alpha1.SubjectSecureIngress:
			p.aboutIngresses = true
		case v1alpha1.SubjectPolicyException:
			p.aboutExceptions = true
		case v1alpha1.SubjectIstioObject:
		default:
			p.aboutEverything()
		}
	}
	for i := range spec.Contributions {
		if spec.Contributions[i].TLS != nil {
			p.aboutIngresses = true
		} else {
			p.aboutApplications = true
		}
	}
	p.aboutApplications = p.aboutApplications || len(spec.Assertions) > 0
}

func (p *programs) aboutEverything() {
	p.aboutApplications, p.aboutIngresses, p.aboutExceptions = true, true, true
}

// checkName refuses one name for two rules: exceptions and reports name them.
func (c *compiler) checkName(seen map[v1alpha1.LabelName]string, name v1alpha1.LabelName, at string) {
	if other, ok := seen[name]; ok {
		c.problem(at+".name", fmt.Sprintf("%s has the same name, %s", other, name))
	}
	seen[name] = at
}

func (c *compiler) problem(field, message string) {
	c.out.problems = append(c.out.problems, problem{field, message})
}

// required compiles an expression that must be there.
func (c *compiler) required(sort expression.Sort, text v1alpha1.Expression, want *cel.Type, at string) *expression.Program {
	if text == "" {
		c.problem(at, "the expression is empty")
	}
	return c.compile(sort, text, want, at)
}

// compile compiles an expression; an empty one gives nil.
func (c *compiler) compile(sort expression.Sort, text v1alpha1.Expression, want *cel.Type, at string) *expression.Program {
	if text == "" {
		return nil
	}
	v := c.vocabularies[sort]
	if v == nil {
		var err error
		if v, err = expression.For(sort, c.spec.Parameters); err != nil {
			c.problem(at, err.Error())
			return nil
		}
		c.vocabularies[sort] = v
	}
	p, err := v.Compile(text, want)
	if err != nil {
		c.problem(at, strings.Join(strings.Fields(err.Error()), " "))
	}
	return p
}

// callers compiles which callers are meant.
func (c *compiler) callers(out *contribution, a *v1alpha1.AccessContribution, at string) {
	if (a.From != "") == (a.Applications != "") {
		c.problem(at, "exactly one of from and applications")
	}
	out.from = c.compile(expression.SortNamespace, a.From, expression.Bool, at+".from")
	out.calling = c.compile(expression.SortCallingApplication, a.Applications, expression.Bool, at+".applications")
}

func (c *compiler) contribution(one *v1alpha1.Contribution, at string) contribution {
	out := contribution{spec: one}
	set := 0
	if a := one.DenyAccess; a != nil {
		set++
		c.callers(&out, a, at+".denyAccess")
	}
	if a := one.RestrictAccess; a != nil {
		set++
		c.callers(&out, a, at+".restrictAccess")
	}
	if m := one.MutualTLS; m != nil {
		set++
		if m.Mode != v1alpha1.MutualTLSStrict {
			c.problem(at+".mutualTLS.mode", "a policy asks for Strict and nothing less")
		}
	}
	if a := one.Authentication; a != nil {
		set++
		out.when = c.compile(expression.SortRoute, a.When, expression.Bool, at+".authentication.when")
		out.scopes = c.compile(expression.SortParameters, a.Scopes, expression.Strings, at+".authentication.scopes")
	}
	if t := one.Timeout; t != nil {
		set++
		if t.Maximum == "" && t.Fallback == "" {
			c.problem(at+".timeout", "at least one of maximum and fallback")
		}
		out.maximum = c.compile(expression.SortParameters, t.Maximum, expression.Duration, at+".timeout.maximum")
		out.fallback = c.compile(expression.SortParameters, t.Fallback, expression.Duration, at+".timeout.fallback")
	}
	if t := one.TLS; t != nil {
		set++
		out.minimumVersion = c.required(expression.SortParameters, t.MinimumVersion, expression.String, at+".tls.minimumVersion")
	}
	if e := one.Egress; e != nil {
		set++
		out.hosts = c.required(expression.SortParameters, e.Hosts, expression.Strings, at+".egress.hosts")
	}
	if r := one.Retries; r != nil {
		set++
		out.retries = c.required(expression.SortParameters, r.Maximum, expression.Whole, at+".retries.maximum")
	}
	if set != 1 {
		c.problem(at, "exactly one of denyAccess, restrictAccess, mutualTLS, authentication, timeout, tls, egress and retries")
	}
	return out
}
