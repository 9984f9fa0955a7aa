// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package schema decides offline whether an API server would take a document,
// with the API server's own code and the definitions that a cluster is given:
// unknown fields, structural schema, list keys and CEL rules. It knows shapes
// and not what they mean together; that is for package intent. What it refuses
// is a finding with what, why, whose rule and what to do.
package schema

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/config/crd"
	"github.com/trellis-mesh/trellis/internal/document"
	"github.com/trellis-mesh/trellis/internal/load"
	"github.com/trellis-mesh/trellis/internal/model"
)

// The reasons of findings about the shape of an object.
const (
	ReasonSchemaInvalid = "SchemaInvalid"
	ReasonUnknownField  = "UnknownField"
	ReasonUnknownKind   = "UnknownKind"
	// ReasonTooManyRoutes is for routes of an Application and paths of a route:
	// each becomes entries of every proxy that enforces them.
	ReasonTooManyRoutes = "TooManyRoutes"
)

// owner is whose rules these are.
var owner = "API " + v1alpha1.GroupVersion.String()

// Checker holds the compiled definitions. It is safe for concurrent use.
type Checker struct {
	scheme *runtime.Scheme
	kinds  map[schema.GroupVersionKind]*kind
}

// kind is one of Trellis's own kinds.
type kind struct {
	gvk        schema.GroupVersionKind
	namespaced bool
	structural *structuralschema.Structural
	schema     validation.SchemaValidator
	// shape is there for objects with nothing wrong, rules for the others; each is
	// made when it is first asked for.
	shape func() *shape
	rules func() *cel.Validator
}

// Embedded is the one Checker of a process, made by New when it is first asked for.
func Embedded() (*Checker, error) { return embedded() }

var embedded = sync.OnceValues(New)

// New compiles the embedded definitions. An error is a fault of the build.
func New() (*Checker, error) {
	c := &Checker{scheme: runtime.NewScheme(), kinds: map[schema.GroupVersionKind]*kind{}}
	if err := load.AddToScheme(c.scheme); err != nil {
		return nil, fmt.Errorf("registering kinds: %w", err)
	}
	files, err := crd.Files.ReadDir(".")
	if err != nil {
		return nil, fmt.Errorf("reading the embedded definitions: %w", err)
	}
	for _, file := range files {
		raw, err := crd.Files.ReadFile(file.Name())
		if err != nil {
			return nil, fmt.Errorf("reading the embedded definitions: %w", err)
		}
		if err := c.define(raw); err != nil {
			return nil, fmt.Errorf("compiling %s: %w", file.Name(), err)
		}
	}
	return c, nil
}

func (c *Checker) define(raw []byte) error {
	var definition apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(raw, &definition); err != nil {
		return err
	}
	for _, version := range definition.Spec.Versions {
		var props apiextensions.JSONSchemaProps
		if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(version.Schema.OpenAPIV3Schema, &props, nil); err != nil {
			return err
		}
		structural, err := structuralschema.NewStructural(&props)
		if err != nil {
			return err
		}
		validator, _, err := validation.NewSchemaValidator(&props)
		if err != nil {
			return err
		}
		gvk := schema.GroupVersionKind{Group: definition.Spec.Group, Version: version.Name, Kind: definition.Spec.Names.Kind}
		c.kinds[gvk] = &kind{
			gvk: gvk, namespaced: definition.Spec.Scope == apiextensionsv1.NamespaceScoped,
			structural: structural, schema: validator,
			shape: sync.OnceValue(func() *shape { return newShape(structural) }),
			rules: sync.OnceValue(func() *cel.Validator { return cel.NewValidator(structural, true, celconfig.PerCallLimit) }),
		}
	}
	return nil
}

// Scope tells which kinds are read. Every kind of Trellis's group is, so that a
// misspelt one is refused and not skipped.
func (c *Checker) Scope(gvk schema.GroupVersionKind) document.Scope {
	switch {
	case gvk.Group == v1alpha1.GroupName:
		if k := c.kinds[gvk]; k != nil && !k.namespaced {
			return document.ScopeCluster
		}
		return document.ScopeNamespaced
	case !c.scheme.Recognizes(gvk) || strings.HasSuffix(gvk.Kind, "List"):
		return document.ScopeUnknown
	case gvk.Kind == "Namespace" || gvk.Kind == "Node" || gvk.Kind == "PersistentVolume":
		return document.ScopeCluster
	}
	return document.ScopeNamespaced
}

// Object is one object that an API server would take.
type Object struct {
	Ref model.Reference
	// Value is typed. Read only: reads that share a document.Known share it.
	Value runtime.Object
}

// Read checks every object of a set and decodes those that an API server would
// take. Findings have their positions and are in no order.
func (c *Checker) Read(ctx context.Context, set *document.Set) ([]Object, []model.Finding) {
	var objects []Object
	var findings []model.Finding
	for i, judged := range c.judge(ctx, set.Objects) {
		o := &set.Objects[i]
		for _, f := range judged.findings {
			f.Object = o.Ref
			f.Position = set.Position(o.Ref, f.Field)
			// The set knows the first of two equal objects alone.
			if f.Position.File == "" || o.Refused {
				f.Position = o.Position
			}
			findings = append(findings, f)
		}
		if judged.typed != nil && !o.Refused {
			objects = append(objects, Object{Ref: o.Ref, Value: judged.typed})
		}
	}
	return objects, findings
}

// judgement is what becomes of an object, in whichever file it stands.
type judgement struct {
	// typed is nil for one that an API server would not take.
	typed runtime.Object
	// findings lack the object and its position.
	findings []model.Finding
}

// How many findings about one object's shape are told, and how many of them may
// be about unknown fields.
const (
	maxFindings = 50
	maxUnknown  = 25
)

// bounded keeps what a person can read. The rest shows once these are dealt with.
func bounded(findings []model.Finding) []model.Finding {
	if len(findings) <= maxFindings {
		return findings
	}
	findings = model.SortFindings(findings)
	if len(findings) <= maxFindings {
		return findings
	}
	return append(findings[:maxFindings:maxFindings], more(len(findings)-maxFindings))
}

// more stands for the findings that are left out.
func more(n int) model.Finding {
	return model.Finding{
		Severity: model.SeverityError, Reason: ReasonSchemaInvalid, Owner: owner,
		Message: fmt.Sprintf("there are %d more problems in this object", n),
		Fix:     "correct those that are listed and check again",
	}
}

// check gives the typed object, or what is wrong with it.
func (c *Checker) check(ctx context.Context, o *document.Object) *judgement {
	gvk := o.Kind
	value, err := o.Value()
	if err != nil {
		return refused(refusal(gvk, err))
	}
	if gvk.Group == v1alpha1.GroupName {
		k := c.kinds[gvk]
		if k == nil {
			return refused(c.unknownKind(gvk))
		}
		value = runtime.DeepCopyJSON(value)
		if findings := k.validate(ctx, value); len(findings) > 0 {
			return refused(findings...)
		}
	}
	typed, err := c.decode(gvk, value)
	if err != nil {
		return refused(refusal(gvk, err))
	}
	return &judgement{typed: typed}
}

func refused(findings ...model.Finding) *judgement {
	return &judgement{findings: bounded(findings)}
}

// unknownKind explains a kind or version of Trellis's group that does not exist.
func (c *Checker) unknownKind(gvk schema.GroupVersionKind) model.Finding {
	var names []string
	for known := range c.kinds {
		if known.Version == gvk.Version {
			names = append(names, known.Kind)
		}
	}
	f := model.Finding{
		Severity: model.SeverityError, Field: "kind", Reason: ReasonUnknownKind, Owner: owner,
		Message: fmt.Sprintf("there is no kind %s in %s", gvk.Kind, gvk.GroupVersion()),
		Fix:     suggestion(gvk.Kind, names, "the kinds are"),
	}
	if len(names) == 0 {
		f.Field = "apiVersion"
		f.Message = fmt.Sprintf("there is no version %s", gvk.GroupVersion())
		f.Fix = "write apiVersion: " + v1alpha1.GroupVersion.String()
	}
	return f
}

// refusal is for objects that cannot be decoded at all.
func refusal(kind schema.GroupVersionKind, problem error) model.Finding {
	return model.Finding{
		Severity: model.SeverityError, Reason: ReasonSchemaInvalid,
		Message: fmt.Sprintf("the object cannot be read as a %s: %s", kind.Kind, problem),
		Owner:   "API " + kind.GroupVersion().String(),
		Fix:     "correct the field's type; kubectl explain " + strings.ToLower(kind.Kind) + " shows what is expected",
	}
}
