// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package questions has what questions are asked of: a picture of the cluster that is made
// anew when something has changed and somebody looks, and what Istio's generator would
// send to each proxy by it, which is opened by the first question that needs it, shared by
// all, and let go when another one takes its place.
package questions

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/server/api"
	"github.com/trellis-mesh/trellis/internal/server/examine"
	"github.com/trellis-mesh/trellis/internal/server/observe"
	"github.com/trellis-mesh/trellis/internal/server/picture"
)

const (
	// quiet is how long after a change others that belong to it are waited for: what is
	// shown is there within two seconds.
	quiet = 250 * time.Millisecond
	// stale is for how long a picture is shown while changes come in: at most so often a
	// cluster that never rests is looked at.
	stale = time.Second
	// attention is how long after a question changes are followed for those who may ask
	// again. With nobody there, nothing is done.
	attention = 10 * time.Minute
)

// Config is what a Keeper works with. All of it is required.
type Config struct {
	State   func() (*observe.State, error)
	Changed <-chan struct{}
	// Client reads what is not watched.
	Client client.Reader
	Clock  clock.Clock
	Log    *slog.Logger
}

// Keeper implements api.Cluster. It is to be added to a manager.
type Keeper struct {
	config Config
	turns  chan struct{}

	// making is held while a picture is made, and mu by whoever looks at what is below.
	making sync.Mutex
	mu     sync.Mutex
	now    *picture.Picture
	at     time.Time
	dirty  bool
	asked  time.Time

	followers map[chan string]bool

	// opening is held while a world is opened: there is one at a time.
	opening sync.Mutex
	world   *opened
	outside outside
}

// New makes a Keeper.
func New(config Config) *Keeper {
	return &Keeper{config: config, turns: make(chan struct{}, atOnce), dirty: true, followers: map[chan string]bool{}}
}

var _ api.Cluster = (*Keeper)(nil)

// NeedLeaderElection is false: every replica answers.
func (*Keeper) NeedLeaderElection() bool { return false }

// Start follows the cluster until ctx ends, and lets everything go then.
func (k *Keeper) Start(ctx context.Context) error {
	defer k.close()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-k.config.Changed:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-k.config.Clock.After(quiet):
		}
		select {
		case <-k.config.Changed: // what came meanwhile is in what is read now
		default:
		}
		k.mu.Lock()
		k.dirty = true
		watched := len(k.followers) > 0 || k.config.Clock.Now().Sub(k.asked) < attention
		k.mu.Unlock()
		if !watched {
			continue
		}
		if _, err := k.renew(); err != nil {
			k.config.Log.Warn("the cluster cannot be looked at", "error", err)
		}
	}
}

// Picture implements api.Cluster.
func (k *Keeper) Picture(context.Context) (*picture.Picture, error) {
	k.mu.Lock()
	k.asked = k.config.Clock.Now()
	now, good := k.now, k.now != nil && (!k.dirty || k.asked.Sub(k.at) < stale)
	k.mu.Unlock()
	if good {
		return now, nil
	}
	p, err := k.renew()
	if err != nil {
		k.config.Log.Warn("the cluster cannot be looked at", "error", err)
		return nil, api.Busy("the cluster has not been read yet, or cannot be", 2*time.Second)
	}
	return p, nil
}

// renew makes a picture where something has changed, and tells followers of it.
func (k *Keeper) renew() (*picture.Picture, error) {
	k.making.Lock()
	defer k.making.Unlock()
	k.mu.Lock()
	before, dirty := k.now, k.dirty
	k.dirty = false
	k.mu.Unlock()
	if before != nil && !dirty {
		return before, nil // somebody else has made it meanwhile
	}
	p, err := k.picture(before)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		k.dirty = true
		return nil, err
	}
	k.now, k.at = p, k.config.Clock.Now()
	if before == nil || before.Revision != p.Revision {
		for f := range k.followers {
			tell(f, p.Revision)
		}
	}
	return p, nil
}

func (k *Keeper) picture(before *picture.Picture) (*picture.Picture, error) {
	state, err := k.config.State()
	if err != nil {
		return nil, err
	}
	revision, err := picture.Revision(state)
	if err != nil {
		return nil, err
	}
	if before != nil && before.Revision == revision {
		return before, nil
	}
	return picture.Of(state, examine.InForce(state, state.Input.At))
}

// tell puts the newest revision in the place of one that was not taken yet.
func tell(f chan string, revision string) {
	for {
		select {
		case f <- revision:
			return
		default:
		}
		select {
		case <-f:
		default:
		}
	}
}

// Follow implements api.Cluster.
func (k *Keeper) Follow() (<-chan string, func()) {
	f := make(chan string, 1)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.followers[f] = true
	return f, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.followers, f)
	}
}
