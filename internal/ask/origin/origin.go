// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package origin finds the statement that a rule of a proxy was made from.
package origin

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Origin is the statement that a rule was made from.
type Origin struct {
	// Object is whose statement it is: "Application shop/cart".
	Object string `json:"object"`
	// Field is the path of the statement, such as spec.routes[1].authentication;
	// empty for the whole object.
	Field string `json:"field,omitempty"`
	// Source is where the object is kept: what its annotation trellis.dev/source
	// says, or file:line.
	Source string `json:"source,omitempty"`
	// Layer is who made the statement.
	Layer model.Layer `json:"layer,omitempty"`
	// Reason is the one thing that the rule checks.
	Reason compile.Reason `json:"reason,omitempty"`
	// Goals are those that the statement serves, by name and title.
	Goals string `json:"goals,omitempty"`
}

// Origins knows the statements behind generated objects, by what the objects say
// of themselves. It is safe for concurrent use.
type Origins struct {
	objects map[objectKey]compile.Provenance
	// routes are the places of a VirtualService's routes by their names.
	routes map[objectKey]map[string]int
	// sidecars are those that choose workloads, generated or not, by their namespaces.
	sidecars map[string][]*networkingv1.Sidecar
	// position finds the line of a field of an object that was read from a file;
	// nil where nothing was.
	position func(object, field string) model.Position

	// known are the statements that were asked for.
	mu    sync.RWMutex
	known map[ruleKey]*Origin
}

type objectKey struct{ kind, namespace, name string }

type ruleKey struct {
	objectKey
	rule int
}

// Made is one rule of a generated object with the statement that it was made from.
type Made struct {
	// Object as Envoy's configuration names it; Rule counts from 0.
	Object decide.Object
	// Origin is nil where Trellis did not make it.
	Origin *Origin
}

// New reads the annotations of generated objects; other objects are left
// out. Position may be nil.
func New(objects []runtime.Object, position func(object, field string) model.Position) *Origins {
	o := &Origins{
		objects: map[objectKey]compile.Provenance{}, routes: map[objectKey]map[string]int{}, position: position, known: map[ruleKey]*Origin{},
		sidecars: map[string][]*networkingv1.Sidecar{},
	}
	elsewhere := map[objectKey]string{}
	for _, object := range objects {
		if c, ok := object.(*corev1.ConfigMap); ok {
			elsewhere[objectKey{"ConfigMap", c.Namespace, c.Name}] = c.Data["origin"]
		}
		if s, ok := object.(*networkingv1.Sidecar); ok && len(s.Spec.GetWorkloadSelector().GetLabels()) > 0 {
			o.sidecars[s.Namespace] = append(o.sidecars[s.Namespace], s)
		}
	}
	for _, object := range objects {
		accessor, err := meta.Accessor(object)
		if err != nil {
			continue
		}
		text, ok := accessor.GetAnnotations()[compile.AnnotationOrigin]
		if !ok {
			continue
		}
		key := objectKey{object.GetObjectKind().GroupVersionKind().Kind, accessor.GetNamespace(), accessor.GetName()}
		var p compile.Provenance
		// An annotation that somebody has damaged says nothing.
		if json.Unmarshal([]byte(text), &p) != nil {
			continue
		}
		if p.ConfigMap != "" {
			if json.Unmarshal([]byte(elsewhere[objectKey{"ConfigMap", key.namespace, p.ConfigMap}]), &p) != nil {
				continue
			}
		}
		o.objects[key] = p
		if service, ok := object.(*networkingv1.VirtualService); ok {
			o.routes[key] = map[string]int{}
			for i, route := range service.Spec.GetHttp() {
				o.routes[key][route.GetName()] = i
			}
		}
	}
	return o
}

// KeptIn names the Sidecar behind steps that let nothing out of a client's own proxy, since
// the proxy's configuration does not say where that comes from.
func (o *Origins) KeptIn(client xds.Node, v decide.Verdict) decide.Verdict {
	by := o.keeps(client.Namespace, client.Labels)
	if by == nil {
		return v
	}
	v.Steps = slices.Clone(v.Steps)
	for i := range v.Steps {
		if s := &v.Steps[i]; s.Proxy == client.String() && s.Object == nil && decide.KeptIn(s.Rule) {
			s.Object = by
		}
	}
	return v
}

// keeps is the Sidecar that says what a workload may call, with the rule of it that says so
// of all calls together. It is nil where none chooses the workload, where several do, of
// which Istio takes one by chance, and where one lets out what the mesh does not know.
func (o *Origins) keeps(namespace string, workload map[string]string) *decide.Object {
	if o == nil {
		return nil
	}
	var found *networkingv1.Sidecar
	for _, s := range o.sidecars[namespace] {
		if !labels.SelectorFromSet(s.Spec.GetWorkloadSelector().GetLabels()).Matches(labels.Set(workload)) {
			continue
		}
		if found != nil {
			return nil
		}
		found = s
	}
	if found == nil || found.Spec.GetOutboundTrafficPolicy().GetMode() != networkingapi.OutboundTrafficPolicy_REGISTRY_ONLY {
		return nil
	}
	out := &decide.Object{Kind: "Sidecar", Namespace: namespace, Name: found.Name, Rule: -1}
	p, ok := o.objects[objectKey{out.Kind, out.Namespace, out.Name}]
	for i := range p.Rules {
		// An entry of a list is not the list.
		if _, field, _, _ := p.Rule(i); ok && (i == 0 || !strings.Contains(field, "[")) {
			out.Rule = i
		}
	}
	return out
}

// Of finds the statement behind a step of a verdict; nil where nothing generated
// is behind it. It must not be changed.
func (o *Origins) Of(step decide.Step) *Origin {
	if o == nil || step.Object == nil {
		return nil
	}
	key := objectKey{step.Object.Kind, step.Object.Namespace, step.Object.Name}
	rule := step.Object.Rule
	if rule < 0 {
		at, ok := o.routes[key][step.Rule]
		if !ok {
			return nil
		}
		rule = at
	}
	o.mu.RLock()
	out, known := o.known[ruleKey{key, rule}]
	o.mu.RUnlock()
	if known {
		return out
	}
	// What is not there is found out soon, and there is no end of it.
	if out = o.find(key, rule); out != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.known[ruleKey{key, rule}] = out
	}
	return out
}

func (o *Origins) find(key objectKey, rule int) *Origin {
	p, ok := o.objects[key]
	if !ok && key.kind == "AuthorizationPolicy" {
		// Rules that Trellis puts into proxies by itself have names of the same form.
		key.kind = "EnvoyFilter"
		p, ok = o.objects[key]
	}
	if !ok {
		return nil
	}
	object, field, reason, ok := p.Rule(rule)
	if !ok {
		return nil
	}
	out := &Origin{Object: object, Field: field, Reason: reason, Layer: p.Rules[rule].Layer}
	if at := p.Rules[rule].Source; at >= 0 && at < len(p.Sources) {
		out.Source = p.Sources[at]
	}
	if at := p.Rules[rule].Goals - 1; at >= 0 && at < len(p.Goals) {
		out.Goals = p.Goals[at]
	}
	if o.position != nil {
		if position := o.position(object, field); position.File != "" {
			out.Source = fmt.Sprintf("%s:%d", position.File, position.Line)
		}
	}
	return out
}

// Behind is Of, or the rule itself where somebody wrote it by hand in a file that was
// read: also that has a line which can be looked at.
func (o *Origins) Behind(step decide.Step) *Origin {
	if origin := o.Of(step); origin != nil || o == nil || step.Object == nil {
		return origin
	}
	out := Origin{Object: fmt.Sprintf("%s %s/%s", step.Object.Kind, step.Object.Namespace, step.Object.Name)}
	if step.Object.Rule >= 0 {
		out.Field = fmt.Sprintf("spec.rules[%d]", step.Object.Rule)
	}
	if out = o.Locate(out); out.Source == "" {
		return nil
	}
	return &out
}

// Locate fills in where the source of a statement is, for one that was read from a
// file.
func (o *Origins) Locate(of Origin) Origin {
	if o.position != nil {
		if position := o.position(of.Object, of.Field); position.File != "" {
			of.Source = fmt.Sprintf("%s:%d", position.File, position.Line)
		}
	}
	return of
}

// RouteOf is the place of a step's route in its VirtualService.
func (o *Origins) RouteOf(step decide.Step) (int, bool) {
	if o == nil || step.Object.Rule >= 0 {
		return 0, false
	}
	at, ok := o.routes[objectKey{step.Object.Kind, step.Object.Namespace, step.Object.Name}][step.Rule]
	return at, ok
}

// RouteNamed is the name of a route of a VirtualService, by its place.
func (o *Origins) RouteNamed(of decide.Object) string {
	for name, at := range o.routes[objectKey{of.Kind, of.Namespace, of.Name}] {
		if at == of.Rule {
			return name
		}
	}
	return ""
}

// MadeFrom are the rules that were made from an object, in the order of kind,
// namespace, name and rule.
func (o *Origins) MadeFrom(object string) []Made {
	return o.made(func(p *compile.Provenance, i int) bool {
		from, _, _, ok := p.Rule(i)
		return ok && from == object
	})
}

// MadeFor are the rules that serve a goal, in the same order.
func (o *Origins) MadeFor(goal string) []Made {
	return o.made(func(p *compile.Provenance, i int) bool {
		at := p.Rules[i].Goals - 1
		return at >= 0 && at < len(p.Goals) && slices.ContainsFunc(strings.Split(p.Goals[at], "; "), func(one string) bool {
			return strings.HasPrefix(one, goal+" “")
		})
	})
}

func (o *Origins) made(wanted func(p *compile.Provenance, rule int) bool) []Made {
	var out []Made
	for key, p := range o.objects {
		for i := range p.Rules {
			if !wanted(&p, i) {
				continue
			}
			made := Made{Object: decide.Object{Kind: key.kind, Namespace: key.namespace, Name: key.name, Rule: i}}
			made.Origin = o.Of(decide.Step{Object: &made.Object})
			out = append(out, made)
		}
	}
	slices.SortFunc(out, func(a, b Made) int {
		return cmp.Or(strings.Compare(a.Object.Kind, b.Object.Kind), strings.Compare(a.Object.Namespace, b.Object.Namespace),
			strings.Compare(a.Object.Name, b.Object.Name), cmp.Compare(a.Object.Rule, b.Object.Rule))
	})
	return out
}

// Count is how many rules a generated object has; false where it is none.
func (o *Origins) Count(kind, namespace, name string) (int, bool) {
	p, ok := o.objects[objectKey{kind, namespace, name}]
	return len(p.Rules), ok
}

// PolicyName is Envoy's name of a rule of an AuthorizationPolicy
// (pilot/pkg/security/authz/builder/builder.go, policyName).
func PolicyName(o decide.Object) string {
	return fmt.Sprintf("ns[%s]-policy[%s]-rule[%d]", o.Namespace, o.Name, o.Rule)
}
