// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package expression knows the language of policies: CEL as Kubernetes has it, over
// objects that have the types of Trellis's own definitions, at a bounded cost. What is
// misspelt is found when an expression is compiled, not when a request is refused.
package expression

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/google/cel-go/cel"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/apiserver/pkg/cel/library"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
)

// CostLimit bounds one evaluation, in the units in which Kubernetes counts the cost of
// CEL: about ten milliseconds at the worst.
const CostLimit = 100_000

// SmallCostLimit bounds one evaluation of many for which somebody else gives the number.
const SmallCostLimit = 5_000

// Sort is a sort of place at which expressions stand. It decides which variables they
// have.
type Sort string

// The sorts: one for each subject of a constraint, and three of contributions.
const (
	SortApplication     = Sort(v1alpha1.SubjectApplication)
	SortRoute           = Sort(v1alpha1.SubjectRoute)
	SortExposure        = Sort(v1alpha1.SubjectExposure)
	SortCaller          = Sort(v1alpha1.SubjectCaller)
	SortCall            = Sort(v1alpha1.SubjectCall)
	SortSecureIngress   = Sort(v1alpha1.SubjectSecureIngress)
	SortIstioObject     = Sort(v1alpha1.SubjectIstioObject)
	SortPolicyException = Sort(v1alpha1.SubjectPolicyException)
	// SortNamespace is that of expressions that choose among the namespaces of callers.
	SortNamespace Sort = "Namespace"
	// SortCallingApplication is that of expressions that choose among Applications that call.
	SortCallingApplication Sort = "CallingApplication"
	// SortParameters is that of expressions that read nothing but parameters.
	SortParameters Sort = "Parameters"
)

// Vocabulary is what expressions of one sort and one template may say. It is safe for
// concurrent use.
type Vocabulary struct {
	env *cel.Env
	// plain is the same, and its programs count nothing.
	plain *cel.Env
	// variables are the names that there are.
	variables map[string]bool
}

// For returns the vocabulary of a sort. An error is a fault of the parameters.
func For(sort Sort, parameters []v1alpha1.PolicyParameter) (*Vocabulary, error) {
	variables, ok := variablesOf(sort)
	if !ok {
		return nil, fmt.Errorf("there is no subject %q; use Application, Route, Exposure, Caller, Call, SecureIngress, IstioObject or PolicyException", sort)
	}
	options := make([]cel.EnvOption, 0, len(variables)+1)
	var declared []*apiservercel.DeclType
	names := make(map[string]bool, len(variables)+1)
	declare := func(name string, schema *structuralschema.Structural) error {
		t := model.SchemaDeclType(schema, false)
		if t == nil {
			return fmt.Errorf("variable %s has no type", name)
		}
		t = t.MaybeAssignTypeName("trellis." + string(sort) + "." + name)
		declared, names[name] = append(declared, t), true
		options = append(options, cel.Variable(name, t.CelType()))
		return nil
	}
	for _, v := range variables {
		if err := declare(v.name, v.schema); err != nil {
			return nil, err
		}
	}
	if err := declare("params", parameterSchema(parameters)); err != nil {
		return nil, err
	}
	base := environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()).StoredExpressionsEnv()
	types, err := apiservercel.NewDeclTypeProvider(declared...).EnvOptions(base.CELTypeProvider())
	if err != nil {
		return nil, fmt.Errorf("declaring the types of %s: %w", sort, err)
	}
	env, err := base.Extend(append(types, options...)...)
	if err != nil {
		return nil, fmt.Errorf("declaring the variables of %s: %w", sort, err)
	}
	plain, err := uncounted(env)
	if err != nil {
		return nil, fmt.Errorf("declaring the functions of %s: %w", sort, err)
	}
	return &Vocabulary{env, plain, names}, nil
}

// Program is a compiled expression. It is safe for concurrent use.
type Program struct {
	// counted ends an evaluation that costs too much. plain counts nothing; it is for facts
	// up to a size.
	counted cel.Program
	plain   cel.Program
	upTo    int
	// small is counted with SmallCostLimit. It is made when it is first asked for.
	small func() (cel.Program, error)
}

// The types that an expression may have to give.
var (
	Bool     = cel.BoolType
	String   = cel.StringType
	Strings  = cel.ListType(cel.StringType)
	Duration = cel.DurationType
	Whole    = cel.IntType
)

// mistakes are those of an expression in one line, each with where it is.
func mistakes(issues *cel.Issues) error {
	var out []string
	for _, e := range issues.Errors() {
		out = append(out, fmt.Sprintf("%s (line %d, column %d)", strings.Join(strings.Fields(e.Message), " "), e.Location.Line(), e.Location.Column()+1))
	}
	return errors.New(strings.Join(out, "; "))
}

// Compile checks an expression, which must give a value of a type. The error says what
// is wrong in words for whoever wrote it.
func (v *Vocabulary) Compile(text v1alpha1.Expression, want *cel.Type) (*Program, error) {
	ast, issues := v.env.Compile(string(text))
	if issues.Err() != nil {
		return nil, mistakes(issues)
	}
	if got := ast.OutputType(); !want.IsAssignableType(got) {
		return nil, fmt.Errorf("the expression gives %s and must give %s", got, want)
	}
	counted := func(limit uint64) (cel.Program, error) {
		return v.env.Program(ast, cel.CostLimit(limit), cel.CostTracking(&library.CostEstimator{}))
	}
	p := &Program{upTo: v.cheapUpTo(ast), small: sync.OnceValues(func() (cel.Program, error) { return counted(SmallCostLimit) })}
	var err error
	if p.counted, err = counted(CostLimit); err != nil {
		return nil, err
	}
	p.plain, err = v.plain.Program(ast, cel.EvalOptions(cel.OptOptimize))
	return p, err
}
