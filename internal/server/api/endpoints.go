// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/report/assessment"
)

// endpoint is one question. The paths that are served and those that are described both
// come from the list of them.
type endpoint struct {
	method, path, summary string
	// query are the parameters that it takes; others are refused.
	query []parameter
	// takes is an example of the body, and draft says that it is YAML.
	takes any
	draft bool
	// gives is a value of the type of the answer.
	gives any
	// judged and free say what serve finds in its call: free is nothing.
	judged, free bool
	serve        func(context.Context, *call) (any, error)
}

// parameter is one of a query.
type parameter struct {
	name, means string
	// among are its values; nil: any text.
	among []string
}

// known refuses what the endpoint does not know.
func (e *endpoint) known(query url.Values) error {
	for name, values := range query {
		i := slices.IndexFunc(e.query, func(p parameter) bool { return p.name == name })
		if i < 0 {
			return problem(http.StatusBadRequest, fmt.Sprintf("there is no parameter %.80q here", name), Prefix+"openapi.json says which there are")
		}
		if len(values) > 1 {
			return problem(http.StatusBadRequest, "the parameter "+name+" is given more than once", "give it once")
		}
		if p := e.query[i]; p.among != nil && !slices.Contains(p.among, values[0]) {
			return problem(http.StatusBadRequest, fmt.Sprintf("%s: %.80q is none of %s", name, values[0], strings.Join(p.among, ", ")), "give one of them")
		}
	}
	return nil
}

func (a *API) endpoints() []endpoint {
	layers := make([]string, len(hits.Layers))
	for i, l := range hits.Layers {
		layers[i] = string(l)
	}
	since := parameter{name: "since", means: "how long back counts go, such as 24h; at most 2160h"}
	goal := []parameter{{name: "goal", means: "only the goal of this name"}, since}
	truth := []string{"true", "false"}
	namespace := []parameter{{name: "namespace", means: "only services of this namespace"}}
	return []endpoint{
		{method: "GET", path: "me", summary: "Who asks, and at which layer", gives: Me{}, serve: a.me},
		{method: "GET", path: "applications", summary: "The Applications that the viewer may see", query: []parameter{since}, gives: Applications{}, serve: a.applications},
		{method: "GET", path: "applications/{namespace}/{name}", summary: "One Application, and what became of it", query: []parameter{since}, gives: Application{}, judged: true, serve: a.one},
		{method: "GET", path: "envelope/{namespace}/{name}", summary: "What an Application is still free to choose", gives: answer.Envelope{}, judged: true, serve: a.envelope},
		{method: "GET", path: "suggestion/{namespace}/{name}", summary: "What an Application could state of callers and calls, by what was counted",
			query: []parameter{{name: "denied", means: "propose to let in who was refused, too", among: truth}, {name: "calls", means: "propose to state calls where none are stated", among: truth}, since},
			gives: answer.Suggestion{}, serve: a.suggestion},
		{method: "GET", path: "hits", summary: "How often each line was hit that somebody wrote",
			query: []parameter{{name: "by", means: "what is counted", among: layers}, {name: "namespace", means: "only of this namespace"}, {name: "application", means: "only of the Application of this name"}, since},
			gives: answer.Hits{}, serve: a.hits},
		{method: "GET", path: "samples", summary: "The newest requests that were counted, as examples",
			query: []parameter{
				{name: "verdict", means: "only those that ended so", among: []string{string(hits.Allowed), string(hits.Denied), string(hits.WouldDeny), string(hits.Failed)}},
				{name: "statement", means: "only those of this statement, such as Application shop/web"},
				{name: "namespace", means: "only of this namespace"}, {name: "application", means: "only of the Application of this name"}, since,
			}, gives: answer.Samples{}, serve: a.samples},
		{method: "GET", path: "totals", summary: "What was counted, as it is kept apart: for those who sum it themselves", query: []parameter{since}, gives: answer.Totals{}, serve: a.totals},
		{method: "GET", path: "tree", summary: "From goals down to the rules of proxies", query: goal, gives: []*answer.Node{}, judged: true, serve: a.tree},
		{method: "GET", path: "report", summary: "How it stands with goals and policies", query: goal, gives: assessment.Assessment{}, judged: true, serve: a.report},
		{method: "GET", path: "doors", summary: "Hosts, certificates, records and identity providers", gives: answer.Doors{}, serve: a.doors},
		{method: "GET", path: "mtls", summary: "What clients send, compared with what services take", query: namespace, gives: answer.MutualTLS{}, serve: a.mutualTLS},
		{method: "GET", path: "mtls/graph", summary: "Who may use which service, and how that is secured", query: namespace, gives: answer.Graph{}, serve: a.graph},
		{method: "POST", path: "explain", summary: "Where something comes from, and where to change it", query: []parameter{since}, takes: Thing{}, gives: answer.Explanation{}, serve: a.explain},
		{method: "POST", path: "can", summary: "What becomes of one request", takes: Request{}, gives: answer.Answer{}, serve: a.can},
		{method: "POST", path: "diff", summary: "What a draft over the cluster makes different", draft: true, gives: answer.Changes{}, serve: a.diff},
		{method: "GET", path: "openapi.json", summary: "This description", gives: map[string]any{}, free: true,
			serve: func(context.Context, *call) (any, error) { return a.spec, nil }},
	}
}
