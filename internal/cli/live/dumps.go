// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/directory"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/world"
	"github.com/trellis-mesh/trellis/internal/xds"
	"github.com/trellis-mesh/trellis/internal/xds/configdump"
)

// dumps are the proxies that the files are of. Of all other workloads that those
// know nothing is known: neither whether they have a proxy nor what it does.
type dumps struct {
	configs   []*xds.Config
	directory *directory.Directory
}

// Nodes implements xds.Source.
func (d *dumps) Nodes(context.Context) ([]xds.Node, error) {
	out := d.own()
	taken := map[netip.Addr]bool{}
	for _, n := range out {
		for _, a := range n.Addresses {
			taken[a] = true
		}
	}
	for _, s := range d.directory.Services() {
		for _, a := range s.Endpoints {
			if !taken[a] && !s.External {
				taken[a] = true
				out = append(out, xds.Node{Type: xds.Sidecar, Namespace: s.Name.Namespace, Name: s.Name.Name + " at " + a.String(), Addresses: []netip.Addr{a}})
			}
		}
	}
	return out, nil
}

// own are the proxies of the dumps.
func (d *dumps) own() []xds.Node {
	var out []xds.Node
	for _, c := range d.configs {
		out = append(out, c.Node())
	}
	slices.SortFunc(out, func(a, b xds.Node) int { return strings.Compare(a.String(), b.String()) })
	return out
}

// Config implements xds.Source.
func (d *dumps) Config(_ context.Context, node xds.Node) (*xds.Config, error) {
	for _, c := range d.configs {
		if c.Node().Key() == node.Key() {
			return c, nil
		}
	}
	return nil, fmt.Errorf("reading the configuration of %s: none of the dumps is of it", node)
}

// openDumps asks about the proxies of the dumps. Names and addresses are those that
// the proxies know; files say which statements are behind their rules.
func (o *Options) openDumps(ctx context.Context, s *streams.Streams, at time.Time) (*mesh.Mesh, error) {
	source := &dumps{}
	var lacks []string
	seen := map[xds.Key]string{}
	for _, name := range o.Dumps {
		config, err := readDump(name)
		if err != nil {
			return nil, err
		}
		key := config.Node().Key()
		if other, twice := seen[key]; twice {
			return nil, fmt.Errorf("reading the configuration dump %s: it is of %s, and so is %s", name, config.Node(), other)
		}
		seen[key] = name
		source.configs = append(source.configs, config)
		for _, p := range config.Problems() {
			if p.Kind == xds.Refused || p.Kind == xds.Unresolved {
				lacks = append(lacks, fmt.Sprintf("%s: %s %s: %s", name, p.Type, p.Resource, p.Detail))
			}
		}
	}
	about := o.Override(model.DefaultMesh())
	var made []runtime.Object
	var applications []*v1alpha1.Application
	position := func(_, _ string) model.Position { return model.Position{} }
	if len(o.Files) > 0 {
		own := o.Options
		own.At = at
		files, err := own.ReadMesh(ctx, s.In)
		if err != nil {
			return nil, err
		}
		about, made, applications, position = files.Mesh, mesh.Typed(files), files.Applications, mesh.Position(files)
	}
	source.directory = directory.New(knownTo(source.configs, about.ClusterDomain), about.ClusterDomain)
	view, err := xds.NewMesh(ctx, source)
	if err != nil {
		return nil, fmt.Errorf("listing the proxies: %w", err)
	}
	world := world.Of(ctx, view, source.directory, ask.NewOrigins(made, position), applications, at)
	world.Nodes = source.own()
	return mesh.Running(world, about, "the configuration dumps "+strings.Join(o.Dumps, ", "), lacks, nil), nil
}

func readDump(name string) (config *xds.Config, err error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("reading a configuration dump: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return configdump.Read(file, configdump.Options{Name: name})
}
