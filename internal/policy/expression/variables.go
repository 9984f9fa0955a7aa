// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package expression

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/config/crd"
)

// variable is a name that expressions may use, and its type.
type variable struct {
	name   string
	schema *structuralschema.Structural
}

func object(properties map[string]structuralschema.Structural) structuralschema.Structural {
	return structuralschema.Structural{
		Generic: structuralschema.Generic{Type: "object"}, Properties: properties,
		ValueValidation: &structuralschema.ValueValidation{Required: slices.Sorted(maps.Keys(properties))},
	}
}

func simple(kind string) structuralschema.Structural {
	return structuralschema.Structural{Generic: structuralschema.Generic{Type: kind}}
}

func list(of structuralschema.Structural) structuralschema.Structural {
	return structuralschema.Structural{Generic: structuralschema.Generic{Type: "array"}, Items: &of}
}

// texts is a map of strings, such as labels.
func texts() structuralschema.Structural {
	element := simple("string")
	return structuralschema.Structural{
		Generic:              structuralschema.Generic{Type: "object"},
		AdditionalProperties: &structuralschema.StructuralOrBool{Structural: &element},
	}
}

// The variables that are no objects of ours.
var (
	namespaceSchema = object(map[string]structuralschema.Structural{"name": simple("string"), "labels": texts()})
	ingressSchema   = object(map[string]structuralschema.Structural{"namespace": simple("string"), "name": simple("string")})
	istioSchema     = object(map[string]structuralschema.Structural{
		"kind": simple("string"), "name": simple("string"), "action": simple("string"), "mode": simple("string"),
		"hosts": list(simple("string")), "gateways": list(simple("string")),
	})
	textSchema    = simple("string")
	textsSchema   = list(simple("string"))
	integerSchema = simple("integer")
)

// schemas are those of the kinds of ours, as expressions see them.
type schemas struct {
	application, secureIngress, exception structuralschema.Structural
	route, exposure, caller, call         structuralschema.Structural
}

// own reads the definitions that clusters are given. That they can be read is tested
// with them.
var own = sync.OnceValue(func() *schemas {
	application := definition("trellis.dev_applications.yaml")
	spec := application.Properties["spec"]
	access := spec.Properties["access"]
	return &schemas{
		application:   application,
		secureIngress: definition("trellis.dev_secureingresses.yaml"),
		exception:     definition("trellis.dev_policyexceptions.yaml"),
		route:         *spec.Properties["routes"].Items,
		exposure:      *spec.Properties["exposures"].Items,
		caller:        *access.Properties["callers"].Items,
		call:          *access.Properties["calls"].Items,
	}
})

// read are the same schemas, and those of the other variables, as values are read by them.
var read = sync.OnceValue(func() *reading {
	s := own()
	return &reading{
		application: newSchema(&s.application), secureIngress: newSchema(&s.secureIngress), exception: newSchema(&s.exception),
		route: newSchema(&s.route), exposure: newSchema(&s.exposure), caller: newSchema(&s.caller), call: newSchema(&s.call),
		namespace: newSchema(&namespaceSchema), ingress: newSchema(&ingressSchema), istio: newSchema(&istioSchema),
		text: newSchema(&textSchema), texts: newSchema(&textsSchema), integer: newSchema(&integerSchema),
	}
})

type reading struct {
	application, secureIngress, exception *schema
	route, exposure, caller, call         *schema
	namespace, ingress, istio             *schema
	text, texts, integer                  *schema
}

// definition is an object of a kind with its name, labels, annotations and spec.
func definition(file string) structuralschema.Structural {
	raw, err := crd.Files.ReadFile(file)
	if err != nil {
		panic(fmt.Sprintf("expression: %v", err))
	}
	var of apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(raw, &of); err != nil {
		panic(fmt.Sprintf("expression: %s: %v", file, err))
	}
	var props apiextensions.JSONSchemaProps
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(of.Spec.Versions[0].Schema.OpenAPIV3Schema, &props, nil); err != nil {
		panic(fmt.Sprintf("expression: %s: %v", file, err))
	}
	structural, err := structuralschema.NewStructural(&props)
	if err != nil {
		panic(fmt.Sprintf("expression: %s: %v", file, err))
	}
	return object(map[string]structuralschema.Structural{
		"name": simple("string"), "labels": texts(), "annotations": texts(), "spec": structural.Properties["spec"],
	})
}

func variablesOf(sort Sort) ([]variable, bool) {
	s := own()
	// CEL reserves the word namespace; Kubernetes gives it this name in admission policies.
	namespace := variable{"namespaceObject", &namespaceSchema}
	application := variable{"application", &s.application}
	switch sort {
	case SortApplication:
		return []variable{namespace, application}, true
	case SortRoute:
		return []variable{namespace, application, {"route", &s.route}, {"authentication", &textSchema}, {"hosts", &textsSchema}}, true
	case SortExposure:
		return []variable{namespace, application, {"exposure", &s.exposure}, {"hosts", &textsSchema}, {"ingress", &ingressSchema}}, true
	case SortCaller:
		return []variable{namespace, application, {"caller", &s.caller}, {"callerNamespace", &namespaceSchema}}, true
	case SortCall:
		return []variable{namespace, application, {"call", &s.call}, {"calleeNamespace", &namespaceSchema}}, true
	case SortSecureIngress:
		return []variable{namespace, {"ingress", &s.secureIngress}}, true
	case SortIstioObject:
		return []variable{namespace, {"object", &istioSchema}}, true
	case SortPolicyException:
		return []variable{namespace, {"exception", &s.exception}, {"days", &integerSchema}}, true
	case SortNamespace:
		return []variable{{"caller", &namespaceSchema}}, true
	case SortCallingApplication:
		return []variable{{"caller", &namespaceSchema}, {"callerNamespace", &namespaceSchema}}, true
	case SortParameters:
		return nil, true
	}
	return nil, false
}

// Reserved reports whether CEL has another use for a word. Fields of such a name are read
// as __NAME__, as in Kubernetes; nobody should have to for a parameter.
func Reserved(name string) bool {
	escaped, ok := apiservercel.Escape(name)
	return !ok || escaped != name
}

// parameterSchema is the type of the variable params.
func parameterSchema(parameters []v1alpha1.PolicyParameter) *structuralschema.Structural {
	properties := make(map[string]structuralschema.Structural, len(parameters))
	for _, p := range parameters {
		properties[p.Name] = parameterType(p.Type)
	}
	out := object(properties)
	return &out
}

func parameterType(t v1alpha1.ParameterType) structuralschema.Structural {
	switch t {
	case v1alpha1.ParameterStrings:
		return list(simple("string"))
	case v1alpha1.ParameterInteger:
		return simple("integer")
	case v1alpha1.ParameterBoolean:
		return simple("boolean")
	case v1alpha1.ParameterLabels:
		return texts()
	case v1alpha1.ParameterDuration:
		out := simple("string")
		out.ValueValidation = &structuralschema.ValueValidation{Format: "duration"}
		return out
	}
	return simple("string")
}

// Params is the variable params. Each of the parameters has a value of its type.
func Params(parameters []v1alpha1.PolicyParameter, values map[string]any) Value {
	return value(values, newSchema(parameterSchema(parameters)))
}

// Namespace is a namespace with its labels.
func Namespace(name string, labels map[string]string) Value {
	return value(map[string]any{"name": name, "labels": plain(labels)}, read().namespace)
}

// CallingApplication is an Application with its labels, and has the same fields. All those of
// a cluster are asked about: reading what they state would take most of an admission.
func CallingApplication(name string, labels map[string]string) Value { return Namespace(name, labels) }

// Object is what was stated by an Application, SecureIngress or PolicyException, whose
// spec is as in JSON.
func Object(sort Sort, name string, labels, annotations map[string]string, spec map[string]any) Value {
	r := read()
	schema := r.application
	switch sort {
	case SortSecureIngress:
		schema = r.secureIngress
	case SortPolicyException:
		schema = r.exception
	default:
	}
	return value(map[string]any{
		"name": name, "labels": plain(labels), "annotations": plain(annotations), "spec": spec,
	}, schema)
}

// Part is a route, an exposure, a caller or a call, as in JSON.
func Part(sort Sort, of map[string]any) Value {
	r := read()
	switch sort {
	case SortExposure:
		return value(of, r.exposure)
	case SortCaller:
		return value(of, r.caller)
	case SortCall:
		return value(of, r.call)
	default:
		return value(of, r.route)
	}
}

// Ingress names a SecureIngress; both are empty where there is none.
func Ingress(namespace, name string) Value {
	return value(map[string]any{"namespace": namespace, "name": name}, read().ingress)
}

// IstioObject is an object of Istio that Trellis did not make.
func IstioObject(kind, name, action, mode string, hosts, gateways []string) Value {
	return value(map[string]any{
		"kind": kind, "name": name, "action": action, "mode": mode, "hosts": anys(hosts), "gateways": anys(gateways),
	}, read().istio)
}

// Text is a string.
func Text(s string) Value { return value(s, read().text) }

// Texts is a list of strings.
func Texts(list []string) Value { return value(anys(list), read().texts) }

// Integer is a whole number.
func Integer(n int64) Value { return value(n, read().integer) }

func anys(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}

func plain(labels map[string]string) map[string]any {
	out := make(map[string]any, len(labels))
	for k, v := range labels {
		out[k] = v
	}
	return out
}
