// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/xds"
	"github.com/trellis-mesh/trellis/internal/xds/configdump"
	"github.com/trellis-mesh/trellis/test/stack"
)

// writers is how many tasks are done at a time.
const writers = 16

// install puts a configuration in place of the one before and returns how many
// objects the API server or istiod did not take.
func (s *stage) install(ctx context.Context, objects []object) (refused []error, err error) {
	wanted := map[string]bool{}
	var change []func() error
	var mu sync.Mutex
	for _, o := range objects {
		wanted[o.key()] = true
		if had, ok := s.applied[o.key()]; ok && reflect.DeepEqual(had, o) {
			continue
		}
		change = append(change, func() error {
			err := s.write(ctx, o)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				s.applied[o.key()] = o
				return nil
			}
			refused = append(refused, err)
			// What was there before is of another configuration.
			if _, ok := s.applied[o.key()]; ok {
				delete(s.applied, o.key())
				return s.remove(ctx, o)
			}
			return nil
		})
	}
	for key, o := range s.applied {
		if wanted[key] {
			continue
		}
		if base, ok := s.sidecars[strings.TrimSuffix(o.name, "-pod")]; ok && o.kind == "Sidecar" {
			if !reflect.DeepEqual(base, o) {
				change = append(change, func() error {
					mu.Lock()
					s.applied[key] = base
					mu.Unlock()
					return s.write(ctx, base)
				})
			}
			continue
		}
		delete(s.applied, key)
		change = append(change, func() error { return s.remove(ctx, o) })
	}
	err = parallel(change)
	return refused, err
}

// parallel runs tasks side by side, a few at a time.
func parallel(tasks []func() error) error {
	var wait sync.WaitGroup
	failures := make([]error, len(tasks))
	next := make(chan int)
	for range min(writers, len(tasks)) {
		wait.Go(func() {
			for i := range next {
				failures[i] = tasks[i]()
			}
		})
	}
	for i := range tasks {
		next <- i
	}
	close(next)
	wait.Wait()
	return errors.Join(failures...)
}

func (s *stage) write(ctx context.Context, o object) error {
	err := s.Client().Apply(ctx, client.ApplyConfigurationFromUnstructured(o.content()), client.FieldOwner("stack"), client.ForceOwnership)
	if err != nil {
		return fmt.Errorf("applying %s: %w", o.key(), err)
	}
	return nil
}

func (s *stage) remove(ctx context.Context, o object) error {
	u := &unstructured.Unstructured{}
	u.SetAPIVersion(o.group + "/v1")
	u.SetKind(o.kind)
	u.SetNamespace(o.namespace)
	u.SetName(o.name)
	if err := client.IgnoreNotFound(s.Client().Delete(ctx, u)); err != nil {
		return fmt.Errorf("removing %s: %w", o.key(), err)
	}
	return nil
}

// marker is in the listeners and the routes of every proxy: a rule that nobody
// meets, and a host that nobody asks for. It is written last, so that a proxy that
// has it has most likely all the rest, too.
const marker = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: marker, namespace: istio-system}
spec: {action: DENY, rules: [{to: [{operation: {ports: ["1"], paths: ["/marker/%[1]d/"]}}]}]}
`

// settle waits until every proxy has everything, and returns what istiod sends
// them.
func (s *stage) settle(ctx context.Context) (*dumps, error) {
	s.marked++
	if err := s.Apply(ctx, fmt.Appendf(nil, marker, s.marked)); err != nil {
		return nil, err
	}
	return s.collect(ctx, func(ctx context.Context, name string, proxy *stack.Proxy) (*xds.Config, error) {
		if err := s.renewed(ctx, name, proxy); err != nil {
			return nil, err
		}
		return s.source.Config(ctx, s.nodes[name])
	})
}

// dump asks the proxies themselves.
func (s *stage) dump(ctx context.Context) (*dumps, error) { return s.collect(ctx, take) }

// collect gets the configuration of every proxy in some way.
func (s *stage) collect(ctx context.Context, get func(context.Context, string, *stack.Proxy) (*xds.Config, error)) (*dumps, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	d := &dumps{configs: map[xds.Key]*xds.Config{}}
	var mu sync.Mutex
	var tasks []func() error
	for name, proxy := range s.proxies {
		tasks = append(tasks, func() error {
			return stack.Until(ctx, name+" to have its configuration", func(ctx context.Context) error {
				config, err := get(ctx, name, proxy)
				if err != nil {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				d.nodes = append(d.nodes, config.Node())
				d.configs[config.Node().Key()] = config
				return nil
			})
		})
	}
	return d, parallel(tasks)
}

// renewed is an error while one listener of a proxy, which always is there, has no
// mark, or while something else of the proxy waits for something.
func (s *stage) renewed(ctx context.Context, name string, proxy *stack.Proxy) error {
	listener := fmt.Sprintf("0.0.0.0_%d", s.gateway.HTTPPort)
	if app, ok := s.apps[name]; ok {
		listener = strings.ReplaceAll(app.PortAddress("web"), ":", "_")
	}
	text, err := proxy.Admin(ctx, "/config_dump?resource=dynamic_listeners&name_regex=^"+listener+"$")
	switch {
	case err != nil:
		return err
	case !bytes.Contains(text, fmt.Appendf(nil, "/marker/%d/", s.marked)):
		return errors.New("an older configuration")
	}
	text, err = proxy.Admin(ctx, "/stats?filter=^(listener_manager.total_listeners_warming|cluster_manager.warming_clusters)$")
	if err == nil && strings.Count(string(text), ": 0\n") != 2 {
		err = fmt.Errorf("it is not done: %s", text)
	}
	return err
}

// take asks one proxy for what it has; it is an error while something is on its way.
func take(ctx context.Context, name string, proxy *stack.Proxy) (*xds.Config, error) {
	text, err := proxy.Admin(ctx, "/config_dump?include_eds")
	if err != nil {
		return nil, err
	}
	config, err := configdump.Read(bytes.NewReader(text), configdump.Options{Name: name})
	if err != nil {
		return nil, err
	}
	for _, p := range config.Problems() {
		if p.Kind == xds.Warming || p.Kind == xds.Missing {
			return nil, fmt.Errorf("%s: %v %s %s", name, p.Kind, p.Type, p.Resource)
		}
	}
	return config, nil
}

// dumps are the configurations that the proxies have.
type dumps struct {
	nodes   []xds.Node
	configs map[xds.Key]*xds.Config
}

// problems are what the proxies refused, or what could not be read.
func (d *dumps) problems() []string {
	var out []string
	for _, c := range d.configs {
		for _, p := range c.Problems() {
			out = append(out, fmt.Sprintf("%s: %v %s %s %s", c.Node(), p.Kind, p.Type, p.TypeURL, p.Detail))
		}
	}
	slices.Sort(out)
	return out
}

// At implements decide.Proxies.
func (d *dumps) At(address netip.Addr) []xds.Node {
	var out []xds.Node
	for _, n := range d.nodes {
		if slices.Contains(n.Addresses, address) {
			out = append(out, n)
		}
	}
	return out
}

// Node implements decide.Proxies.
func (d *dumps) Node(key xds.Key) (xds.Node, bool) {
	c, ok := d.configs[key]
	if !ok {
		return xds.Node{}, false
	}
	return c.Node(), true
}

// Config implements decide.Proxies.
func (d *dumps) Config(node xds.Node) (*xds.Config, error) {
	c, ok := d.configs[node.Key()]
	if !ok {
		return nil, fmt.Errorf("%s gave no dump", node)
	}
	return c, nil
}
