// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package generator

import (
	"context"
	"errors"
	"fmt"
	buildinfo "runtime/debug"
	"sync"
	"time"

	"istio.io/istio/pilot/pkg/model"
	pilotxds "istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/cluster"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/mesh/meshwatcher"
	"istio.io/istio/pkg/config/schema/gvk"
	"istio.io/istio/pkg/kube"
	"istio.io/istio/pkg/log"
	"istio.io/istio/pkg/test"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/trellis-mesh/trellis/internal/xds"
)

// Generator is Istio's control plane on one Input. It is an xds.Source, safe for
// concurrent use, and holds memory and goroutines until Close.
type Generator struct {
	nodes    []xds.Node
	objects  []runtime.Object
	problems []xds.Problem
	// input is kept to be compared with another's; read only.
	input *gathered
	// changed is what is different since another input.
	since   *gathered
	changed []config.Config

	*plane
	// push is what the control plane makes of this input.
	push   *model.PushContext
	made   xds.Provenance
	closed sync.Once
}

// plane is a control plane that runs. Generators may share it.
type plane struct {
	server   *pilotxds.FakeDiscoveryServer
	messages messages
	// gateways is held while listeners of a gateway are made.
	gateways sync.Mutex
	// started is when the control plane was ready, by the clock of this machine,
	// for Istio's cache.
	started time.Time

	stop  chan struct{}
	ended chan error

	mu    sync.Mutex
	users int
}

var _ xds.Source = (*Generator)(nil)

var silence sync.Once

// New starts Istio's control plane on the objects; it takes some 0.3 ms for each.
// ctx bounds only the start.
func New(ctx context.Context, in Input) (*Generator, error) {
	fix()
	silence.Do(func() {
		// Istio logs to standard output.
		for _, scope := range log.Scopes() {
			scope.SetOutputLevel(log.NoneLevel)
		}
	})
	if in.Cluster == "" {
		in.Cluster = defaultCluster
	}
	gathered, err := gather(in)
	if err != nil {
		return nil, err
	}
	g := &Generator{
		nodes: nodes(gathered, in.Cluster), objects: gathered.kube, problems: gathered.problems, input: gathered,
		made: xds.Provenance{Source: xds.FromGenerator, Name: Version(), Time: gathered.newest},
	}
	if err := in.Common.run(ctx, g, in.Cluster); err != nil {
		return nil, fmt.Errorf("starting Istio's control plane in this process: %w", err)
	}
	return g, nil
}

// quiet is how long nothing may happen before the server makes its state: without it,
// it makes one after the other while it learns of the objects, each as large as the
// last.
const quiet = 10 * time.Millisecond

// start runs the server in a goroutine of its own: test.Wrap cleans up when its
// function returns, so that function waits for the end.
func start(ctx context.Context, in *gathered, id string) (*plane, error) {
	p := &plane{stop: make(chan struct{}), ended: make(chan error, 1), users: 1}
	ready := make(chan struct{})
	go func() {
		p.ended <- test.Wrap(func(t test.Failer) {
			// A panic of Istio's about odd objects must not end the program.
			defer func() {
				if problem := recover(); problem != nil {
					t.Fatal(fmt.Sprintf("Istio cannot work with these objects: %v\n%s", problem, buildinfo.Stack()))
				}
			}()
			options := pilotxds.FakeOptions{
				Configs: withLast(copies(in.configs, all)), KubernetesObjects: in.kube, MeshConfig: in.mesh, DefaultClusterName: cluster.ID(id),
				KubeClientBuilder: kubeClient, DebounceTime: quiet,
			}
			options.NetworksWatcher = meshwatcher.NewFixedNetworksWatcher(in.networks)
			p.server = pilotxds.NewFakeDiscoveryServer(t, options)
			if in.domain != defaultDomain {
				inDomain(t, p.server, in, id, p.stop)
			}
			settled(ctx, t, p.server, in)
			p.started = time.Now()
			close(ready)
			<-p.stop
		})
	}()
	select {
	case <-ready:
		return p, nil
	case err := <-p.ended:
		if err == nil {
			err = errors.New("it ended at once")
		}
		return nil, err
	case <-ctx.Done():
		close(p.stop)
		return nil, ctx.Err()
	}
}

// untouched are the kinds of objects that Istio's server only reads.
var untouched = map[config.GroupVersionKind]bool{gvk.AuthorizationPolicy: true, gvk.RequestAuthentication: true}

// copies are objects of the wanted kinds for Istio's server alone, which writes into those
// of some kinds: the input is compared with others while the server starts.
func copies(configs []config.Config, wanted func(config.GroupVersionKind) bool) []config.Config {
	var out []config.Config
	for _, one := range configs {
		if !wanted(one.GroupVersionKind) {
			continue
		}
		if !untouched[one.GroupVersionKind] {
			one = one.DeepCopy()
		}
		out = append(out, one)
	}
	return out
}

// all wants every kind.
func all(config.GroupVersionKind) bool { return true }

// use takes part in a control plane, if it still runs.
func (p *plane) use() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.users == 0 {
		return false
	}
	p.users++
	return true
}

// leave ends a control plane that nobody uses any more, and waits for it.
func (p *plane) leave() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.users--; p.users > 0 {
		return nil
	}
	close(p.stop)
	return <-p.ended
}

// kubeClient is a client whose API server is a table in memory. Kubernetes' own
// kinds are put into it as they are: written like a user's they would cost 2 ms
// each, for the bookkeeping of server-side apply.
func kubeClient(objects ...runtime.Object) kube.Client {
	var others []runtime.Object
	var plain []runtime.Object
	for _, object := range objects {
		if kinds, _, err := scheme.Scheme.ObjectKinds(object); err == nil && len(kinds) > 0 {
			plain = append(plain, object)
		} else {
			others = append(others, object)
		}
	}
	client := kube.NewFakeClient(others...)
	if table, ok := client.Kube().(*fake.Clientset); ok {
		for _, object := range plain {
			if err := table.Tracker().Add(object); err != nil {
				panic(fmt.Sprintf("keeping %T: %v", object, err))
			}
		}
	}
	return client
}

// Close ends the control plane, unless others work on it, and waits for it.
func (g *Generator) Close() error {
	var err error
	g.closed.Do(func() { err = g.leave() })
	if err != nil {
		return fmt.Errorf("ending Istio's control plane in this process: %w", err)
	}
	return nil
}

// Nodes implements xds.Source.
func (g *Generator) Nodes(context.Context) ([]xds.Node, error) { return g.nodes, nil }

// Objects are the Kubernetes objects that it works on: those of the input and, for
// one that is FromFiles, what a cluster would have made of them. Read only.
func (g *Generator) Objects() []runtime.Object { return g.objects }

// Problems are what is wrong with the input as a whole; every Config has them
// too.
func (g *Generator) Problems() []xds.Problem { return g.problems }

// Version is the module version of Istio that is linked.
func Version() string {
	info, _ := buildinfo.ReadBuildInfo()
	if info != nil {
		for _, module := range info.Deps {
			if module.Path == "istio.io/istio" {
				return module.Path + "@" + module.Version
			}
		}
	}
	return "istio.io/istio"
}
