// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/ask/explain"
	"github.com/trellis-mesh/trellis/internal/mtls"
	"github.com/trellis-mesh/trellis/internal/mtls/graph"
	"github.com/trellis-mesh/trellis/internal/report/assessment"
)

// Thing is what is to be explained: whatever trellis explain takes.
type Thing struct {
	Thing string `json:"thing"`
	// From is who sends the request, NAMESPACE/NAME; empty: the internet.
	From string `json:"from,omitempty"`
}

// Request is one that is asked about.
type Request struct {
	// From is "internet", an IP address on it, or NAMESPACE/NAME of a workload.
	From   string `json:"from,omitempty"`
	Method string `json:"method,omitempty"`
	URL    string `json:"url"`
}

// from reads who sends a request.
func (c *call) from(text string) (*ask.WorkloadRef, netip.Addr, error) {
	if text == "" || text == "internet" {
		return nil, netip.Addr{}, nil
	}
	if address, err := netip.ParseAddr(text); err == nil {
		return nil, address, nil
	}
	namespace, name, ok := strings.Cut(text, "/")
	if !ok || namespace == "" || name == "" {
		return nil, netip.Addr{}, Invalid(fmt.Errorf("from: %.80q is neither internet, nor an IP address, nor NAMESPACE/NAME", text), "name a Service, a pod or a ServiceAccount")
	}
	if !c.sight.Namespace(namespace) {
		return nil, netip.Addr{}, others(namespace)
	}
	return &ask.WorkloadRef{Namespace: namespace, Name: name}, netip.Addr{}, nil
}

// others refuses to answer for workloads of others.
func others(namespace string) error {
	return problem(http.StatusForbidden, "what the workloads of namespace "+namespace+" may call is for whoever may read its Applications", "ask about your own, or whoever keeps that namespace")
}

// can answers what becomes of one request.
func (a *API) can(ctx context.Context, c *call) (any, error) {
	var in Request
	if err := c.body(&in); err != nil {
		return nil, err
	}
	u, err := url.Parse(in.URL)
	if err != nil || in.URL == "" {
		return nil, Invalid(fmt.Errorf("url: %.200q is no URL", in.URL), "give one such as https://shop.example.com/cart")
	}
	request := &ask.Request{Method: "GET", URL: u}
	if in.Method != "" {
		request.Method = strings.ToUpper(in.Method)
	}
	if request.From, request.Address, err = c.from(in.From); err != nil {
		return nil, err
	}
	var out *answer.Answer
	err = a.config.Cluster.Ask(ctx, func(m *Mesh) error {
		found, err := m.Can(request)
		if err != nil {
			return Invalid(err, "correct the request")
		}
		out = answer.Of(m.World, request, found)
		out.Source = m.From
		return nil
	})
	if err != nil {
		// What has taken too long may still go on, and write to out.
		return nil, err
	}
	return c.sight.Answer(out), nil
}

// explain answers where something comes from.
func (a *API) explain(ctx context.Context, c *call) (any, error) {
	thing, from, err := c.thing()
	if err != nil {
		return nil, err
	}
	if err := c.mayExplain(thing); err != nil {
		return nil, err
	}
	sums, err := a.sums(ctx, c)
	if err != nil {
		return nil, err
	}
	var out *answer.Explanation
	err = a.config.Cluster.Ask(ctx, func(m *Mesh) error {
		found, err := explain.Explain(m.World, thing, from)
		if err != nil {
			return problem(http.StatusNotFound, err.Error(), "see that it is written as it is in the cluster")
		}
		out = answer.ExplanationOf(m.World, found)
		out.Source = m.From
		// A line of a log says who called, and anybody can write one.
		if r := found.Request; r != nil && r.From != nil && !c.sight.Namespace(r.From.Namespace) && !c.sight.Ends(out.Now) {
			return others(r.From.Namespace)
		}
		if sums.known() {
			of := sums.counted()
			out.Counted = &of
			out.Count(c.sight.Totals(sums.totals))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return c.sight.Explanation(out), nil
}

// thing reads what is to be explained, and who sends it.
func (c *call) thing() (*explain.Thing, *ask.WorkloadRef, error) {
	var in Thing
	if err := c.body(&in); err != nil {
		return nil, nil, err
	}
	text := strings.TrimSpace(in.Thing)
	if text == "" || len(text) > accesslog.MaxLine {
		return nil, nil, Invalid(errors.New("thing: there is nothing to explain, or too much"), "give a URL, a line of an access log, details of a response, or the name of an object")
	}
	// A line stays one word; METHOD URL and KIND NAME are two, as on a command line.
	words := []string{text}
	if fields := strings.Fields(text); len(fields) == 2 || len(fields) == 4 && fields[2] == "-n" {
		words = fields
	}
	namespace := "default"
	if len(words) == 4 {
		namespace, words = words[3], words[:2]
	}
	thing, err := explain.ParseThing(words, namespace)
	if err != nil {
		return nil, nil, Invalid(err, "give a URL, a line of an access log, details of a response, or the name of an object")
	}
	from, _, err := c.from(in.From)
	if err != nil {
		return nil, nil, err
	}
	return thing, from, nil
}

// mayExplain keeps objects of others from those who name them: to them, there is none.
func (c *call) mayExplain(t *explain.Thing) error {
	kind, namespace, name := "", "", ""
	switch {
	case t.Object != nil:
		kind, namespace, name = t.Object.Kind, t.Object.Namespace, t.Object.Name
	case len(t.Route) > 1:
		kind, namespace, name = "Application", t.Route[0], t.Route[1]
	default:
		return nil
	}
	if c.sight.Object(kind, namespace) {
		return nil
	}
	return problem(http.StatusNotFound, strings.TrimSpace("there is no "+kind+" "+strings.TrimPrefix(namespace+"/"+name, "/"))+" that you may see", "ask whoever keeps it")
}

// mutualTLS answers who gets on with whom.
func (a *API) mutualTLS(ctx context.Context, c *call) (any, error) {
	namespace, err := c.namespace()
	if err != nil {
		return nil, err
	}
	var out *answer.MutualTLS
	err = a.config.Cluster.Ask(ctx, func(m *Mesh) error {
		checker := m.Checker()
		rows := checker.CheckAll(checker.ClientsIn(""), checker.TargetsIn(namespace))
		if rows == nil {
			rows = []mtls.Row{}
		}
		out = &answer.MutualTLS{Rows: rows, Notes: m.Missing, Source: m.From}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return c.sight.Check(out), nil
}

// namespace reads the parameter, which is one of those that the viewer may see.
func (c *call) namespace() (string, error) {
	namespace := c.r.URL.Query().Get("namespace")
	if namespace == "" || c.sight.Namespace(namespace) {
		return namespace, nil
	}
	return "", problem(http.StatusNotFound, "there is no namespace "+namespace+" that you may see", Prefix+"me lists those that you may")
}

// graph answers who may use which service.
func (a *API) graph(ctx context.Context, c *call) (any, error) {
	namespace, err := c.namespace()
	if err != nil {
		return nil, err
	}
	var out *answer.Graph
	err = a.config.Cluster.Ask(ctx, func(m *Mesh) error {
		found, notes := graph.Of(m.Checker(), graph.Options{Namespace: namespace})
		out = &answer.Graph{Graph: found, Notes: append(append([]string{}, m.Missing...), notes...), Source: m.From}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return c.sight.Graph(out), nil
}

// diff answers what a draft makes different.
func (a *API) diff(ctx context.Context, c *call) (any, error) {
	if kind, _, _ := strings.Cut(c.r.Header.Get("Content-Type"), ";"); !strings.Contains(kind, "yaml") && !strings.Contains(kind, "json") {
		return nil, problem(http.StatusUnsupportedMediaType, fmt.Sprintf("%.80q is no YAML", kind), "send the documents with Content-Type: application/yaml")
	}
	draft, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, MaxDraft))
	if err != nil {
		return nil, fmt.Errorf("reading the draft: %w", err)
	}
	changes, err := a.config.Cluster.Compare(ctx, draft, c.sight.Namespace)
	if err != nil {
		return nil, err
	}
	return c.sight.Changes(changes), nil
}

// report answers how it stands with goals and policies.
func (a *API) report(ctx context.Context, c *call) (any, error) {
	standing := c.picture.Posture()
	if goal := c.r.URL.Query().Get("goal"); goal != "" {
		if standing = standing.Only(goal); standing == nil {
			return nil, noGoal(goal)
		}
	}
	sums, err := a.sums(ctx, c)
	if err != nil {
		return nil, err
	}
	out := assessment.Of(standing, c.picture.Snapshot.At(), a.config.Version, c.picture.Snapshot.Position)
	if sums.known() {
		of := sums.counted()
		out.Counted = &of
		out.Count(c.sight.Totals(sums.totals), c.picture.Bound())
	}
	seen := c.sight.Assessment(out)
	if goal := c.r.URL.Query().Get("goal"); goal != "" && len(seen.Goals) == 0 {
		return nil, noGoal(goal)
	}
	return seen, nil
}

// noGoal is for a goal that is not there, or of which nothing may be seen: that there is one
// is not told by guessing its name.
func noGoal(name string) error {
	return problem(http.StatusNotFound, "there is no Goal "+name+" that you may see", Prefix+"tree without one lists all")
}
