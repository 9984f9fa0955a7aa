// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package generator

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"
	"istio.io/istio/pilot/pkg/features"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/schema/gvk"
	"istio.io/istio/pkg/config/schema/kind"
	"istio.io/istio/pkg/config/schema/resource"

	"github.com/trellis-mesh/trellis/internal/once"
)

// Common is what generators share whose inputs are compared. One whose input differs
// from the first one's in policies and Sidecars alone works on the first one's control
// plane, as istiod goes on working when those change: of all that it knows, only they are
// read anew. What each gives is the same with and without it. The zero value is ready.
type Common struct {
	mu    sync.Mutex
	first *leader
	// judged is what Istio says of objects.
	judged once.Map[said, error]
	// kept are objects of which others that say the same have the specification.
	kept once.Map[said, config.Config]
}

// said is an object by what it says.
type said struct {
	key    configKey
	digest [sha256.Size]byte
}

// judge has Istio judge an object as its webhook does: one that others have, too, once. What
// it says is what the first of them says then, so that it is in memory once.
func (c *Common) judge(known resource.Schema, one *config.Config) error {
	judge := func() error {
		_, err := known.ValidateConfig(*one)
		return err
	}
	spec, is := one.Spec.(proto.Message)
	if c == nil || !is {
		return judge()
	}
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(spec)
	if err != nil {
		return judge()
	}
	kept := c.kept.Get(said{keyOf(*one), sha256.Sum256(raw)}, func() config.Config { return *one })
	one.Spec = kept.Spec
	if sameStatus(one.Status, kept.Status) {
		// It is a part of the object that it was read from, which would be kept with it.
		one.Status = kept.Status
	}
	// Istio looks at these, too. Maps are printed in the order of their keys.
	raw = fmt.Appendf(raw, "%q %q", one.Labels, one.Annotations)
	return c.judged.Get(said{keyOf(*one), sha256.Sum256(raw)}, judge)
}

// leader is the generator whose control plane others may work on.
type leader struct {
	input   *gathered
	cluster string
	// ready is closed when plane is set, or when there will be none.
	ready chan struct{}
	plane *plane
}

// run has a generator work on a control plane.
func (c *Common) run(ctx context.Context, g *Generator, id string) error {
	of, first := c.join(g.input, id)
	if of != nil && !first && of.cluster == id {
		if done, err := g.follow(ctx, of); done || err != nil {
			return err
		}
	}
	var err error
	if g.plane, err = start(ctx, g.input, id); err == nil {
		g.push = g.server.Env().PushContext()
	}
	if first {
		of.plane = g.plane
		close(of.ready)
	}
	return err
}

// join gives the generator that may be followed, and whether it is this one.
func (c *Common) join(input *gathered, id string) (*leader, bool) {
	if c == nil {
		return nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.first != nil {
		return c.first, false
	}
	c.first = &leader{input: input, cluster: id, ready: make(chan struct{})}
	return c.first, true
}

// anew are the kinds of which Istio reads all anew when one changes, and that nothing else
// is made from.
var anew = map[config.GroupVersionKind]kind.Kind{
	gvk.AuthorizationPolicy:   kind.AuthorizationPolicy,
	gvk.RequestAuthentication: kind.RequestAuthentication,
	gvk.Sidecar:               kind.Sidecar,
}

func isAnew(of config.GroupVersionKind) bool {
	_, is := anew[of]
	return is
}

// follow works on another's control plane, if that is possible. It waits for that to
// be ready only where it is.
func (g *Generator) follow(ctx context.Context, of *leader) (bool, error) {
	g.since, g.changed = of.input, changedConfigs(of.input, g.input)
	kinds, ok := changedKinds(of.input, g.input, g.changed)
	if !ok {
		return false, nil
	}
	select {
	case <-of.ready:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	if of.plane == nil || !of.plane.use() {
		return false, nil
	}
	push, ok := of.plane.with(g.input, kinds)
	if !ok {
		return false, of.plane.leave()
	}
	g.plane, g.push = of.plane, push
	return true, nil
}

// changedKinds are those of the objects that differ, if Istio reads them anew. The ambient
// index is not made from what is read here.
func changedKinds(before, after *gathered, changed []config.Config) ([]kind.Kind, bool) {
	if features.EnableAmbient || before.domain != after.domain || !proto.Equal(before.mesh, after.mesh) || !proto.Equal(before.networks, after.networks) ||
		!sameObjects(before.kube, after.kube) {
		return nil, false
	}
	// Istio's server refuses to start with two of one name.
	names := make(map[configKey]bool, len(after.configs))
	for _, one := range after.configs {
		names[keyOf(one)] = true
	}
	if len(names) < len(after.configs) {
		return nil, false
	}
	kinds := map[kind.Kind]bool{}
	for _, one := range changed {
		is, ok := anew[one.GroupVersionKind]
		if !ok {
			return nil, false
		}
		kinds[is] = true
	}
	if kinds[kind.Sidecar] && (hasEgressProxy(before.configs) || hasEgressProxy(after.configs)) {
		return nil, false
	}
	return slices.Collect(maps.Keys(kinds)), true
}

// hasEgressProxy reports whether a Sidecar names a proxy for what has no name: Istio's cache
// of routes does not tell one of those from another.
func hasEgressProxy(configs []config.Config) bool {
	return slices.ContainsFunc(configs, func(c config.Config) bool { return specOf(&c).GetOutboundTrafficPolicy().GetEgressProxy() != nil })
}

// with is what the control plane makes of objects other than its own.
func (p *plane) with(in *gathered, changed []kind.Kind) (push *model.PushContext, ok bool) {
	defer func() {
		// What Istio cannot work with here, it may in the usual way.
		if recover() != nil {
			push, ok = nil, false
		}
	}()
	of := p.server.Env()
	env := model.NewEnvironment()
	env.ServiceDiscovery, env.Watcher, env.AmbientIndexes = of.ServiceDiscovery, of.Watcher, of.AmbientIndexes
	env.NetworksWatcher, env.NetworkManager, env.DomainSuffix = of.NetworksWatcher, of.NetworkManager, of.DomainSuffix
	env.TrustBundle, env.CredentialsController, env.GatewayAPIController = of.TrustBundle, of.CredentialsController, of.GatewayAPIController
	env.EndpointIndex, env.Cache, env.VirtualServiceController = of.EndpointIndex, of.Cache, of.VirtualServiceController
	env.ConfigStore = &others{ConfigStore: of.ConfigStore, configs: copies(in.configs, isAnew)}
	env.Init()

	old := of.PushContext()
	push = model.NewPushContext()
	push.PushVersion, push.JwtKeyResolver = old.PushVersion, old.JwtKeyResolver
	request := &model.PushRequest{ConfigsUpdated: map[model.ConfigKey]struct{}{}}
	for _, one := range changed {
		request.ConfigsUpdated[model.ConfigKey{Kind: one}] = struct{}{}
	}
	push.InitContext(env, old, request)
	return push, true
}

// others are a store's objects with others in place of those that Istio reads anew.
type others struct {
	model.ConfigStore
	configs []config.Config
}

// List implements model.ConfigStore.
func (o *others) List(of config.GroupVersionKind, namespace string) []config.Config {
	if !isAnew(of) {
		return o.ConfigStore.List(of, namespace)
	}
	var out []config.Config
	for _, one := range o.configs {
		if one.GroupVersionKind == of && (namespace == model.NamespaceAll || one.Namespace == namespace) {
			out = append(out, one)
		}
	}
	return out
}

// Get implements model.ConfigStore.
func (o *others) Get(of config.GroupVersionKind, name, namespace string) *config.Config {
	if !isAnew(of) {
		return o.ConfigStore.Get(of, name, namespace)
	}
	for _, one := range o.List(of, namespace) {
		if one.Name == name {
			return &one
		}
	}
	return nil
}
