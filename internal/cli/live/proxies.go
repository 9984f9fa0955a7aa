// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"context"
	"sync"

	"github.com/trellis-mesh/trellis/internal/parallel"
	"github.com/trellis-mesh/trellis/internal/xds"
	"github.com/trellis-mesh/trellis/internal/xds/ads"
)

// proxies asks istiod about some proxies at a time, remembers also of which it got
// no answer, and says how far it is. It is safe for concurrent use.
type proxies struct {
	source  *ads.Source
	tokens  *tokens
	waiting *waiting
	// where names istiod for people.
	where string
	lacks []string
	// release lets a forwarded port go; nil without one.
	release func() error

	mu sync.Mutex
	// places bounds how many are asked about at a time.
	places chan struct{}
	known  map[xds.Key]*answered
	// wanted is how many proxies are asked about, done of how many there is an answer.
	wanted, done int
}

// answered is what came of one proxy.
type answered struct {
	once   sync.Once
	config *xds.Config
	err    error
}

var _ xds.Source = (*proxies)(nil)

// Close lets the way to istiod go.
func (p *proxies) Close() error {
	p.waiting.stop()
	if p.release == nil {
		return nil
	}
	return p.release()
}

// Nodes implements xds.Source.
func (p *proxies) Nodes(ctx context.Context) ([]xds.Node, error) { return p.source.Nodes(ctx) }

// Config implements xds.Source. A proxy of which there is no answer is asked about
// once: a question meets it again and again.
func (p *proxies) Config(ctx context.Context, node xds.Node) (*xds.Config, error) {
	p.mu.Lock()
	a, ok := p.known[node.Key()]
	if !ok {
		a = &answered{}
		p.known[node.Key()] = a
	}
	if p.places == nil {
		p.places = make(chan struct{}, atOnce)
	}
	p.mu.Unlock()
	a.once.Do(func() {
		p.count(1, 0)
		p.places <- struct{}{}
		a.config, a.err = p.ask(ctx, node)
		<-p.places
		p.count(0, 1)
	})
	return a.config, a.err
}

func (p *proxies) ask(ctx context.Context, node xds.Node) (*xds.Config, error) {
	if p.tokens != nil {
		// What a stream says of a token that is not there is less clear.
		if _, err := p.tokens.get(ctx, accountOf(node)); err != nil {
			return nil, err
		}
	}
	return p.source.Config(ctx, node)
}

func (p *proxies) count(wanted, done int) {
	p.mu.Lock()
	p.wanted, p.done = p.wanted+wanted, p.done+done
	busy := p.done < p.wanted
	n, of := p.done, p.wanted
	p.mu.Unlock()
	if busy {
		p.waiting.say("asking istiod for %d proxies: %d done", of, n)
	} else {
		p.waiting.stop()
	}
}

// warm asks about all proxies, for questions that are about all.
func (p *proxies) warm(ctx context.Context, view *xds.Mesh) {
	nodes := view.Nodes()
	parallel.Each(len(nodes), atOnce, func(i int) {
		// Who needs the configuration gets the error.
		_, _ = view.Config(ctx, nodes[i])
	})
}
