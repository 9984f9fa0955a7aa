// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package questions

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/trellis-mesh/trellis/internal/ask/trial"
	"github.com/trellis-mesh/trellis/internal/mtls"
	"github.com/trellis-mesh/trellis/internal/policy"
	"github.com/trellis-mesh/trellis/internal/server/api"
	"github.com/trellis-mesh/trellis/internal/server/examine"
	"github.com/trellis-mesh/trellis/internal/server/picture"
	"github.com/trellis-mesh/trellis/internal/world"
	"github.com/trellis-mesh/trellis/internal/xds"
	"github.com/trellis-mesh/trellis/internal/xds/generator"
)

const (
	// atOnce is how many questions are worked on at the same time; each may have a processor.
	atOnce = 4
	// queue is how long one waits for its turn.
	queue = 5 * time.Second
)

// opened is a world and who uses it. It is closed when another one has taken its place and
// nobody asks it any more.
type opened struct {
	*world.World
	input   world.Input
	picture *picture.Picture
	missing []string

	mu       sync.Mutex
	users    int
	replaced bool
	// judge makes judged once: what is asserted is asked of every proxy.
	judge  sync.Once
	judged *picture.Picture
}

// enter is false where it is closed.
func (o *opened) enter() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.replaced && o.users == 0 {
		return false
	}
	o.users++
	return true
}

func (o *opened) leave() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.users--
	if o.replaced && o.users == 0 {
		return o.Close()
	}
	return nil
}

func (o *opened) replace() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.replaced = true
	if o.users == 0 {
		return o.Close()
	}
	return nil
}

// Ask implements api.Cluster.
func (k *Keeper) Ask(ctx context.Context, question func(*api.Mesh) error) error {
	p, err := k.Picture(ctx)
	if err != nil {
		return err
	}
	return k.work(ctx, func() error { return k.on(p, func(o *opened) error { return question(o.mesh()) }) })
}

// Judged implements api.Cluster.
func (k *Keeper) Judged(ctx context.Context) (*picture.Picture, error) {
	p, err := k.Picture(ctx)
	if err != nil || len(p.Outcome.Assertions) == 0 {
		return p, err
	}
	var judged *picture.Picture
	err = k.work(ctx, func() error {
		return k.on(p, func(o *opened) error {
			o.judge.Do(func() {
				o.judged = o.picture.Told(func(all []*policy.Assertion) {
					trial.RunAssertions(o.World.World, all, o.input.Mesh.ClusterDomain, o.picture.Published)
				})
			})
			judged = o.judged
			return nil
		})
	})
	var busy *api.Problem
	if err != nil && !errors.As(err, &busy) {
		k.config.Log.Warn("what policies assert cannot be told", "error", err)
		return p.Told(untold), nil
	}
	return judged, err
}

// untold says of assertions that nobody knows.
func untold(all []*policy.Assertion) {
	for _, a := range all {
		a.Answer = &policy.Answer{Outcome: policy.Unknown, Says: "the configuration of proxies is not known: Istio's generator could not be run on these objects"}
	}
}

// work does something in a turn of its own, and waits for it as long as ctx says. What has
// begun goes on to its end and keeps its turn until then: so there are never more at work
// than turns.
func (k *Keeper) work(ctx context.Context, do func() error) error {
	select {
	case k.turns <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-k.config.Clock.After(queue):
		return api.Busy("too many questions are asked at the same time", queue)
	}
	done := make(chan error, 1)
	go func() {
		defer func() { <-k.turns }()
		done <- safely(do)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// safely makes an error of a panic: odd objects make the generator panic, and a question
// must not end the server.
func safely(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the question made the server panic: %v\n%s", p, debug.Stack())
		}
	}()
	return do()
}

// on does something with the world of a picture.
func (k *Keeper) on(p *picture.Picture, do func(*opened) error) error {
	o, err := k.open(p)
	if err != nil {
		return err
	}
	defer func() {
		if err := o.leave(); err != nil {
			k.config.Log.Warn("Istio's generator cannot be let go", "error", err)
		}
	}()
	return do(o)
}

// open enters the world of a picture. Pictures of which proxies are sent the same share
// one.
func (k *Keeper) open(p *picture.Picture) (*opened, error) {
	k.opening.Lock()
	defer k.opening.Unlock()
	if o := k.world; o != nil && same(o.picture, p) && o.enter() {
		return o, nil
	}
	in := examine.InputOf(p.State, p.InForce, p.Outcome, p.State.Input.At)
	w, err := world.Open(context.Background(), in)
	if err != nil {
		return nil, fmt.Errorf("running Istio's generator: %w", err)
	}
	o := &opened{World: w, input: in, picture: p, missing: missing(w.Problems), users: 1}
	if k.world != nil {
		if err := k.world.replace(); err != nil {
			k.config.Log.Warn("Istio's generator cannot be let go", "error", err)
		}
	}
	k.world = o
	return o, nil
}

// same reports whether questions about two pictures have the same answers: goals and the
// words of policies are in answers, too.
func same(a, b *picture.Picture) bool { return a == b || a.Revision == b.Revision }

// missing are the objects that Istio would refuse.
func missing(problems []xds.Problem) []string {
	var out []string
	for _, p := range problems {
		if p.Kind == xds.Refused {
			out = append(out, fmt.Sprintf("%s %s is left out: %s", p.Type, p.Resource, p.Detail))
		}
	}
	return out
}

// mesh is what is asked.
func (o *opened) mesh() *api.Mesh {
	return &api.Mesh{
		World: o.World.World, Picture: o.picture, Missing: o.missing,
		Checker: func() *mtls.Checker {
			return mtls.New(o.World.World, world.Policies(o.input.Objects, o.input.Mesh, o.Problems))
		},
		From: "Istio's generator " + generator.Version() + " in trellis-server, on the objects of the cluster: what that version would send, not what the installed one sends",
	}
}

// close lets everything go.
func (k *Keeper) close() {
	k.opening.Lock()
	defer k.opening.Unlock()
	if k.world != nil {
		if err := k.world.replace(); err != nil {
			k.config.Log.Warn("Istio's generator cannot be let go", "error", err)
		}
		k.world = nil
	}
}
