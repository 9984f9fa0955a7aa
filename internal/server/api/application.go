// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/ask/origin"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/posture"
)

// Application is one Application, and what became of it.
type Application struct {
	Namespace  string             `json:"namespace"`
	Name       string             `json:"name"`
	UID        string             `json:"uid"`
	Generation int64              `json:"generation"`
	Addresses  []string           `json:"addresses"`
	Conditions []answer.Condition `json:"conditions"`
	// InForce is false while the statement waits for its tests: routes, callers and calls
	// are what is stated, and what it became is of the last one that is in force.
	InForce   bool            `json:"inForce"`
	Exposures []Exposure      `json:"exposures"`
	Routes    []Route         `json:"routes"`
	Callers   []Caller        `json:"callers"`
	Calls     []Call          `json:"calls"`
	Tests     []Test          `json:"tests"`
	Envelope  []posture.Bound `json:"envelope"`
	Became    []Became        `json:"became"`
	Policies  []*answer.Node  `json:"policies"`
	// Source is where it is kept, as the annotation trellis.dev/source says.
	Source string `json:"source,omitempty"`
	Edit   Edit   `json:"edit"`
}

// Exposure is where some of the routes are published.
type Exposure struct {
	Name string `json:"name"`
	// Ingress is the SecureIngress, NAMESPACE/NAME; empty: the one that admits it.
	Ingress string   `json:"ingress,omitempty"`
	Hosts   []string `json:"hosts"`
	Routes  []string `json:"routes"`
}

// Route is one of spec.routes.
type Route struct {
	Name string `json:"name"`
	Port string `json:"port"`
	// Paths are exact, or end with a star.
	Paths   []string `json:"paths"`
	Methods []string `json:"methods"`
	// Authentication is the mode; empty: as the ingress and its policies have it.
	Authentication string      `json:"authentication,omitempty"`
	Hits           *answer.Hit `json:"hits,omitempty"`
}

// Caller is who calls, or may.
type Caller struct {
	// Peer is NAMESPACE/ACCOUNT, "internet", or a caller as it is declared.
	Peer    string `json:"peer"`
	Allowed uint64 `json:"allowed"`
	Denied  uint64 `json:"denied"`
	// Declared: spec.access.callers has it.
	Declared bool        `json:"declared"`
	Hits     *answer.Hit `json:"hits,omitempty"`
}

// Call is what the Application calls, or may.
type Call struct {
	To       string      `json:"to"`
	Declared bool        `json:"declared"`
	Hits     *answer.Hit `json:"hits,omitempty"`
}

// Test is one of spec.tests, or what a policy asserts.
type Test struct {
	Name string `json:"name"`
	// State is Passed, Failed or Unknown.
	State string `json:"state"`
	Says  string `json:"says,omitempty"`
	// Ask is the command that asks the same.
	Ask string `json:"ask,omitempty"`
}

// Became is an object that was made for the Application.
type Became struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Rules     []Rule `json:"rules"`
}

// Rule is one rule of an object that was made.
type Rule struct {
	// ID is how proxies name it; empty for what is no rule of authorization.
	ID        string            `json:"id,omitempty"`
	Field     string            `json:"field,omitempty"`
	Reason    string            `json:"reason,omitempty"`
	Statement *answer.Statement `json:"statement,omitempty"`
	Hits      *answer.Hit       `json:"hits,omitempty"`
}

// Edit is how the statement is changed. Nothing is changed here.
type Edit struct {
	File string `json:"file,omitempty"`
	URL  string `json:"url,omitempty"`
	// YAML is the statement as it is, to be copied.
	YAML string `json:"yaml"`
}

// one answers with one Application.
func (a *API) one(ctx context.Context, c *call) (any, error) {
	namespace, name, err := c.application()
	if err != nil {
		return nil, err
	}
	sums, err := a.sums(ctx, c)
	if err != nil {
		return nil, err
	}
	app := c.picture.Application(namespace, name)
	ref := c.picture.Snapshot.ApplicationReference(namespace, name)
	standing := c.picture.Posture()
	effective := c.picture.Effective(namespace, name)
	out := Application{
		Namespace: namespace, Name: name, UID: string(app.UID), Generation: app.Generation, Addresses: append([]string{}, c.picture.Published(app)...),
		Conditions: answer.ConditionsOf(app.Status.Conditions), InForce: effective != nil && effective.Generation == app.Generation,
		Exposures: c.exposures(app), Routes: routes(app), Tests: a.tests(app), Envelope: standing.Envelope(c.picture.Snapshot, app, ref),
		Became: c.became(ref), Policies: []*answer.Node{}, Source: app.Annotations[v1alpha1.SourceAnnotation],
	}
	nodes, err := answer.Grow(standing, c.picture.Outcome)
	if err != nil {
		return nil, err
	}
	out.Policies = about(nodes, ref.String())
	if out.Edit, err = a.edit(app); err != nil {
		return nil, err
	}
	out.count(c, app, sums)
	out.Policies = c.sight.Tree(out.Policies)
	return out, nil
}

// about are the trees, with of bindings only what is below the object.
func about(nodes []*answer.Node, statement string) []*answer.Node {
	out := []*answer.Node{}
	for _, n := range nodes {
		if n.Statement == statement {
			out = append(out, n)
			continue
		}
		one := *n
		if one.Below = about(n.Below, statement); len(one.Below) > 0 {
			out = append(out, &one)
		}
	}
	return out
}

func (c *call) exposures(app *v1alpha1.Application) []Exposure {
	out := []Exposure{}
	published := map[string][]string{}
	for _, address := range c.picture.Addresses(app) {
		published[address.Exposure] = append(published[address.Exposure], address.URL)
	}
	for i := range app.Spec.Exposures {
		e := &app.Spec.Exposures[i]
		one := Exposure{Name: string(e.Name), Hosts: hosts(published[string(e.Name)]), Routes: texts(e.Routes)}
		if e.Ingress != nil {
			one.Ingress = string(e.Ingress.Namespace) + "/" + e.Ingress.Name
		}
		out = append(out, one)
	}
	return out
}

func routes(app *v1alpha1.Application) []Route {
	out := []Route{}
	for i := range app.Spec.Routes {
		r := &app.Spec.Routes[i]
		one := Route{Name: string(r.Name), Port: string(r.Port), Paths: []string{}, Methods: texts(r.Methods)}
		for _, p := range r.Paths {
			switch {
			case p.Exact != nil:
				one.Paths = append(one.Paths, *p.Exact)
			case p.Prefix != nil:
				one.Paths = append(one.Paths, strings.TrimSuffix(*p.Prefix, "/")+"/*")
			}
		}
		if r.Authentication != nil {
			one.Authentication = string(r.Authentication.Mode)
		}
		out = append(out, one)
	}
	return out
}

// tests are those of the Application with what came of them.
func (a *API) tests(app *v1alpha1.Application) []Test {
	out := []Test{}
	for i := range app.Spec.Tests {
		out = append(out, Test{Name: app.Spec.Tests[i].Name, State: "Unknown", Says: "it has not been run yet"})
	}
	if a.config.Verdicts == nil {
		return out
	}
	verdicts := a.config.Verdicts()
	for i := range verdicts {
		v := &verdicts[i]
		if v.Namespace != app.Namespace || v.Name != app.Name {
			continue
		}
		for j := range out {
			out[j].State, out[j].Says = "Passed", ""
			if v.More > 0 {
				out[j].State, out[j].Says = "Unknown", "only the first that did not pass are told"
			}
			for k := range v.Failures {
				if f := &v.Failures[k]; f.Test == out[j].Name && f.Policy == "" {
					out[j].State, out[j].Says, out[j].Ask = string(f.State), f.Says, f.Ask
				}
			}
		}
		for _, asserted := range v.Assertions {
			out = append(out, Test{Name: asserted.Binding + " " + asserted.Rule, State: string(asserted.State), Says: asserted.Says, Ask: asserted.Ask})
		}
	}
	return out
}

// became are the objects that were made for an Application, with what each rule is for.
func (c *call) became(ref model.Reference) []Became {
	var objects []runtime.Object
	out := []Became{}
	for i := range c.picture.Outcome.Objects {
		o := &c.picture.Outcome.Objects[i]
		if object, ok := o.Value.(client.Object); ok && slices.Contains(o.Owners, ref) {
			objects = append(objects, object)
		}
	}
	origins := origin.New(objects, nil)
	for _, object := range objects {
		o, ok := object.(client.Object)
		if _, config := object.(*corev1.ConfigMap); config || !ok {
			continue
		}
		kind := object.GetObjectKind().GroupVersionKind().Kind
		one := Became{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName(), Rules: []Rule{}}
		count, _ := origins.Count(kind, o.GetNamespace(), o.GetName())
		for i := range count {
			rule := Rule{ID: posture.Rule{Object: model.Reference{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName()}, Index: i}.ID()}
			made := origins.Of(decide.Step{Object: &decide.Object{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName(), Rule: i}})
			if made != nil {
				rule.Field, rule.Reason = made.Field, string(made.Reason)
				rule.Statement = c.sight.Statement(answer.StatementOf(made))
				if rule.Statement.Field == "" {
					rule.Field = ""
				}
			}
			one.Rules = append(one.Rules, rule)
		}
		out = append(out, one)
	}
	return out
}

// edit is how a statement is changed, and where.
func (a *API) edit(app *v1alpha1.Application) (Edit, error) {
	clean := map[string]any{"apiVersion": v1alpha1.GroupVersion.String(), "kind": "Application"}
	raw, err := json.Marshal(app.Spec)
	if err != nil {
		return Edit{}, err
	}
	var spec map[string]any
	if err := json.Unmarshal(raw, &spec); err != nil {
		return Edit{}, err
	}
	metadata := map[string]any{"name": app.Name, "namespace": app.Namespace}
	if len(app.Labels) > 0 {
		metadata["labels"] = app.Labels
	}
	clean["metadata"], clean["spec"] = metadata, spec
	text, err := yaml.Marshal(clean)
	if err != nil {
		return Edit{}, err
	}
	out := Edit{YAML: string(text)}
	source := app.Annotations[v1alpha1.SourceAnnotation]
	if strings.HasPrefix(source, "https://") {
		out.URL = source
		return out, nil
	}
	out.File = source
	if path, _, _ := strings.Cut(source, ":"); path != "" && a.config.Repository != "" {
		out.URL = strings.ReplaceAll(a.config.Repository, "{path}", strings.TrimPrefix(path, "/"))
	}
	return out, nil
}

func texts[T ~string](of []T) []string {
	out := make([]string, len(of))
	for i, text := range of {
		out[i] = string(text)
	}
	return out
}

// count notes what was counted, and who calls and is called.
func (o *Application) count(c *call, app *v1alpha1.Application, sums *counted) {
	declared := declaredCallers(app)
	o.Calls = declaredCalls(app)
	if !sums.known() {
		o.Callers = declared
		return
	}
	totals := c.sight.Totals(sums.totals)
	rows := hits.By(hits.Routes, totals, nil, nil)
	counts := map[string]*answer.Hit{}
	for i := range rows {
		if rows[i].Namespace == o.Namespace && rows[i].Application == o.Name {
			counts[rows[i].Route] = answer.HitOf(&rows[i])
		}
	}
	for i := range o.Routes {
		if o.Routes[i].Hits = counts[o.Routes[i].Name]; o.Routes[i].Hits == nil {
			o.Routes[i].Hits = &answer.Hit{}
		}
	}
	answer.Count(o.Policies, totals, c.picture.Bound())
	o.countRules(totals)
	o.Callers = callers(declared, app, totals)
	o.countCalls(c, sums.totals, app)
}

func (o *Application) countRules(totals []hits.Total) {
	counts := answer.RuleHits(totals)
	for i := range o.Became {
		for j := range o.Became[i].Rules {
			if r := &o.Became[i].Rules[j]; r.ID != "" {
				if r.Hits = counts[r.ID]; r.Hits == nil {
					r.Hits = &answer.Hit{}
				}
			}
		}
	}
}
