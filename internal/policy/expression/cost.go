// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package expression

import (
	"slices"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/checker"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/decls"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
	"k8s.io/apiserver/pkg/cel/library"
)

// Counting what an evaluation costs takes several times as long as the evaluation. So it
// is left out where no facts of a size could cost more than CostLimit, by the estimate
// with which API servers accept the rules of definitions. Sizes are counted in elements of
// the longest list or map, and in charactersPerElement of the longest string.
const charactersPerElement = 16

// sizes are those for which an estimate is made.
var sizes = []int{4, 5, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256}

// unbounded is the field whose size is not looked at: tools keep whole manifests in it.
const unbounded = "annotations"

// cheapUpTo is the greatest size of facts that cannot cost more than CostLimit; zero where
// there is none.
func (v *Vocabulary) cheapUpTo(of *cel.Ast) int {
	upTo := 0
	for _, size := range sizes {
		estimate, err := v.env.EstimateCost(of, &library.CostEstimator{SizeEstimator: assumed{size, of.NativeRep(), v.variables}})
		if err != nil || estimate.Max > CostLimit {
			break
		}
		upTo = size
	}
	return upTo
}

// uncounted is an environment with what another one has, in which programs count nothing.
// That of Kubernetes makes every program count (cel.OptTrackCost).
func uncounted(of *cel.Env) (*cel.Env, error) {
	var functions []*decls.FunctionDecl
	for _, f := range of.Functions() {
		functions = append(functions, f)
	}
	// How optional values are evaluated is in their library alone. It declares types, which
	// the provider below has already and would not take.
	return cel.NewCustomEnv(cel.OptionalTypes(), cel.FunctionDecls(functions...),
		cel.CustomTypeAdapter(of.CELTypeAdapter()), cel.CustomTypeProvider(of.CELTypeProvider()))
}

// assumed estimates what an expression costs for facts of a size at the most.
type assumed struct {
	size int
	ast  *ast.AST
	// variables are the names of facts.
	variables map[string]bool
}

// EstimateSize implements checker.CostEstimator. The size of what is no part of a fact is
// for others to tell.
func (a assumed) EstimateSize(element checker.AstNode) *checker.SizeEstimate {
	path := element.Path()
	if slices.Contains(path, unbounded) {
		return nil
	}
	if (len(path) == 0 || !a.variables[path[0]]) && !a.selects(element.Expr()) {
		return nil
	}
	most := a.size
	switch element.Type().Kind() {
	case cel.ListKind, cel.MapKind:
	default:
		most *= charactersPerElement
	}
	return &checker.SizeEstimate{Max: uint64(most)}
}

// selects reports whether an expression whose origin CEL does not follow is a field of an
// object: nothing but facts has objects as fields are read from them. It may be optional,
// with an empty value in its place.
func (a assumed) selects(e ast.Expr) bool {
	switch e.Kind() {
	case ast.SelectKind:
		s := e.AsSelect()
		return s.FieldName() != unbounded && a.isObject(s.Operand())
	case ast.CallKind:
		call := e.AsCall()
		switch {
		case call.FunctionName() == operators.OptSelect:
			field := call.Args()[1]
			return field.Kind() == ast.LiteralKind && field.AsLiteral() != types.String(unbounded) && a.isObject(call.Args()[0])
		case call.FunctionName() == "orValue" && call.IsMemberFunction():
			return a.selects(call.Target()) && isEmpty(call.Args()[0])
		}
	}
	return false
}

// isObject reports whether an expression gives an object of a declared type, or perhaps
// none.
func (a assumed) isObject(e ast.Expr) bool {
	t := a.ast.GetType(e.ID())
	if t.Kind() == cel.OpaqueKind && len(t.Parameters()) == 1 {
		t = t.Parameters()[0]
	}
	return t.Kind() == cel.StructKind
}

func isEmpty(e ast.Expr) bool {
	switch e.Kind() {
	case ast.ListKind:
		return e.AsList().Size() == 0
	case ast.MapKind:
		return e.AsMap().Size() == 0
	case ast.LiteralKind:
		return e.AsLiteral() == types.String("")
	}
	return false
}

// EstimateCallCost implements checker.CostEstimator; calls are for others to tell.
func (assumed) EstimateCallCost(string, string, *checker.AstNode, []checker.AstNode) *checker.CallEstimate {
	return nil
}

// sizeOf is the size of JSON.
func sizeOf(of any) int {
	size := 0
	switch of := of.(type) {
	case string:
		return characters(of)
	case []any:
		size = len(of)
		for _, element := range of {
			size = max(size, sizeOf(element))
		}
	case map[string]any:
		size = len(of)
		for name, field := range of {
			if name != unbounded {
				size = max(size, characters(name), sizeOf(field))
			}
		}
	}
	return size
}

func characters(text string) int {
	return (len(text) + charactersPerElement - 1) / charactersPerElement
}
