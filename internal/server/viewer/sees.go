// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package viewer

import (
	"context"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/trellis-mesh/trellis/internal/server/sight"
)

// Layer is the part of a mesh that somebody works at.
type Layer string

// The layers, by what one may change there: goals and bindings of the cluster,
// SecureIngresses, Applications, nothing.
const (
	Security    Layer = "security"
	Platform    Layer = "platform"
	Application Layer = "application"
	Onlooker    Layer = "viewer"
)

// Places are where something is that a right may be needed for.
type Places struct {
	// Applications and Ingresses are the namespaces that have such objects.
	Applications, Ingresses []string
}

// Sight finds out what a viewer may read of what is in some places.
func (g *Gate) Sight(ctx context.Context, v *Viewer, p Places) (*sight.Sight, error) {
	out := &sight.Sight{}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxReviews)
	for resource, to := range map[string]*bool{"goals": &out.Goals, "clusterpolicybindings": &out.Bindings, "policytemplates": &out.Templates} {
		group.Go(func() (err error) {
			*to, err = g.May(ctx, v, Action{Verb: "get", Resource: resource})
			return err
		})
	}
	var everywhere, allDoors bool
	group.Go(func() (err error) {
		everywhere, out.Namespaces, err = g.within(ctx, v, "applications", p.Applications)
		return err
	})
	group.Go(func() (err error) {
		allDoors, out.Ingresses, err = g.within(ctx, v, "secureingresses", p.Ingresses)
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	out.Everywhere, out.AllIngresses = everywhere, allDoors
	return out, nil
}

// within are those of some namespaces in which the viewer may read a resource.
func (g *Gate) within(ctx context.Context, v *Viewer, resource string, namespaces []string) (everywhere bool, some map[string]bool, err error) {
	everywhere, err = g.May(ctx, v, Action{Verb: "get", Resource: resource})
	if err != nil || everywhere {
		return everywhere, nil, err
	}
	some = map[string]bool{}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxReviews)
	for _, namespace := range namespaces {
		group.Go(func() error {
			may, err := g.May(ctx, v, Action{Verb: "get", Resource: resource, Namespace: namespace})
			if err != nil || !may {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			some[namespace] = true
			return nil
		})
	}
	return false, some, group.Wait()
}

// LayerOf is the layer that a viewer works at, by what they may change.
func (g *Gate) LayerOf(ctx context.Context, v *Viewer, p Places) (Layer, error) {
	for _, one := range []struct {
		layer      Layer
		resource   string
		namespaces []string
	}{
		{Security, "clusterpolicybindings", nil},
		{Security, "goals", nil},
		{Platform, "secureingresses", p.Ingresses},
		{Application, "applications", p.Applications},
	} {
		for _, namespace := range slices.Concat([]string{""}, one.namespaces) {
			may, err := g.May(ctx, v, Action{Verb: "update", Resource: one.resource, Namespace: namespace})
			if err != nil {
				return "", err
			}
			if may {
				return one.layer, nil
			}
		}
	}
	return Onlooker, nil
}
