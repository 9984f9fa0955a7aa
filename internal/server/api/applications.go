// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/hits"
)

// Me is who asks.
type Me struct {
	User string `json:"user"`
	// Layer is security, platform, application or viewer, by what the user may change.
	Layer string `json:"layer"`
	// Everywhere: the user may see all Applications, those of Namespaces and of others.
	Everywhere bool `json:"everywhere"`
	// Namespaces are those with Applications that the user may see.
	Namespaces []string `json:"namespaces"`
	May        May      `json:"may"`
	Version    string   `json:"version"`
	// Collects says that access logs are counted.
	Collects bool `json:"collects"`
}

// May is which kinds the user may read.
type May struct {
	Goals     bool `json:"goals"`
	Bindings  bool `json:"bindings"`
	Ingresses bool `json:"ingresses"`
}

// Applications are those that the viewer may see.
type Applications struct {
	Items []Summary `json:"items"`
}

// Summary is one Application in a list.
type Summary struct {
	Namespace  string             `json:"namespace"`
	Name       string             `json:"name"`
	Hosts      []string           `json:"hosts"`
	Conditions []answer.Condition `json:"conditions"`
	Ready      bool               `json:"ready"`
	Hits       *answer.Hit        `json:"hits,omitempty"`
}

// me answers who asks.
func (a *API) me(ctx context.Context, c *call) (any, error) {
	layer, err := a.config.Gate.LayerOf(ctx, c.viewer, c.places())
	if err != nil {
		a.config.Log.Warn("rights cannot be reviewed", "error", err)
		return nil, Busy("the API server does not say what you may change", 2*time.Second)
	}
	out := Me{
		User: c.viewer.Name, Layer: string(layer), Everywhere: c.sight.Everywhere, Namespaces: []string{},
		May:     May{Goals: c.sight.Goals, Bindings: c.sight.Bindings, Ingresses: c.sight.AllIngresses || len(c.sight.Ingresses) > 0},
		Version: a.config.Version, Collects: a.collects(),
	}
	for _, namespace := range c.places().Applications {
		if c.sight.Namespace(namespace) {
			out.Namespaces = append(out.Namespaces, namespace)
		}
	}
	return out, nil
}

// applications answers with a list.
func (a *API) applications(ctx context.Context, c *call) (any, error) {
	sums, err := a.sums(ctx, c)
	if err != nil {
		return nil, err
	}
	counts := map[[2]string]*answer.Hit{}
	if sums.known() {
		rows := sums.by(c, hits.Applications, (&answer.Stated{Applications: c.picture.State.Input.Applications}).Lines(hits.Applications), nil)
		for i := range rows {
			counts[[2]string{rows[i].Namespace, rows[i].Application}] = answer.HitOf(&rows[i])
		}
	}
	out := Applications{Items: []Summary{}}
	for _, app := range c.picture.State.Input.Applications {
		if !c.sight.Namespace(app.Namespace) {
			continue
		}
		out.Items = append(out.Items, Summary{
			Namespace: app.Namespace, Name: app.Name, Hosts: hosts(c.picture.Published(app)), Conditions: answer.ConditionsOf(app.Status.Conditions),
			Ready: meta.IsStatusConditionTrue(app.Status.Conditions, v1alpha1.ConditionReady), Hits: counts[[2]string{app.Namespace, app.Name}],
		})
	}
	slices.SortFunc(out.Items, func(a, b Summary) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	return out, nil
}

// hosts are those of URLs, each once and in order.
func hosts(urls []string) []string {
	out := []string{}
	for _, text := range urls {
		if u, err := url.Parse(text); err == nil && u.Host != "" {
			out = append(out, u.Host)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
