// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package observe watches what decides about requests in a cluster, for Istio's
// generator and for the compiler, and tells when it has changed. It reads no
// Secret: certificates are taken to be as good as SecureIngresses say. Of pods that
// are alike it keeps one, whether it is ready or not, so that what comes and goes
// every second changes nothing.
package observe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/expiry"
	"github.com/trellis-mesh/trellis/internal/model"
)

// Options say what to look at.
type Options struct {
	// Mesh is what is known of the mesh; Istio's own configuration wins.
	Mesh model.Mesh
	// IstiodNamespace and MeshConfigMap name Istio's mesh configuration.
	IstiodNamespace, MeshConfigMap string
	// Clock says at which moment policies are judged; required by an Observer.
	Clock clock.Clock
	Log   *slog.Logger
}

// Observer watches a cluster. Start it once; all other methods are safe for
// concurrent use.
type Observer struct {
	client  client.WithWatch
	options Options
	rewatch chan struct{}

	mu      sync.Mutex
	watches map[string]*watch

	names naming
	// followers get a signal after each change.
	listening sync.Mutex
	followers []chan struct{}
	// joining are followers of what entries of access logs are joined to.
	joining []chan struct{}
}

// New makes an Observer. The client's scheme needs the kinds of load.AddToScheme.
func New(c client.WithWatch, options Options) *Observer {
	return &Observer{
		client: c, options: options, watches: map[string]*watch{},
		rewatch: make(chan struct{}, 1),
	}
}

// Changed makes a channel that receives after each change from now on, and when a
// PolicyException has expired; several may be one signal. Each follower needs its own.
func (o *Observer) Changed() <-chan struct{} { return o.follower(&o.followers) }

func (o *Observer) follower(among *[]chan struct{}) <-chan struct{} {
	o.listening.Lock()
	defer o.listening.Unlock()
	out := make(chan struct{}, 1)
	*among = append(*among, out)
	return out
}

// Start watches until the context ends.
func (o *Observer) Start(ctx context.Context) error {
	alarm := expiry.NewAlarm(o.options.Clock)
	defer alarm.Stop()
	for {
		if err := o.follow(ctx); err != nil {
			return err
		}
		if alarm.Due(o.expiring()) {
			o.tell(&o.followers)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-o.rewatch:
		case <-alarm.Fired():
		}
	}
}

// NeedLeaderElection is false: every replica answers.
func (*Observer) NeedLeaderElection() bool { return false }

// follow starts and stops watches as kinds are defined and go.
func (o *Observer) follow(ctx context.Context) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	wanted := map[string]source{}
	for _, s := range builtIn(o.options) {
		wanted[s.name] = s
	}
	installed := o.installed()
	for _, s := range custom() {
		if installed[s.name] {
			wanted[s.name] = s
		}
	}
	for name, w := range o.watches {
		if _, ok := wanted[name]; !ok {
			w.stop()
			delete(o.watches, name)
		}
	}
	for name, s := range wanted {
		if o.watches[name] != nil {
			continue
		}
		w, err := startWatch(ctx, o.client, s, o.onEvent(name), o.options.Log)
		if err != nil {
			return err
		}
		o.watches[name] = w
	}
	return nil
}

// installed are the names of all CRDs.
func (o *Observer) installed() map[string]bool {
	out := map[string]bool{}
	if w := o.watches[definitions]; w != nil {
		for _, object := range w.objects() {
			out[object.GetName()] = true
		}
	}
	return out
}

// expiring are those of the policies for which time matters, in no order.
func (o *Observer) expiring() model.Policies {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out model.Policies
	for _, name := range []string{policyTemplates, policyExceptions} {
		w := o.watches[name]
		if w == nil {
			continue
		}
		for _, object := range w.objects() {
			switch object := object.(type) {
			case *v1alpha1.PolicyTemplate:
				out.Templates = append(out.Templates, object)
			case *v1alpha1.PolicyException:
				out.Exceptions = append(out.Exceptions, object)
			}
		}
	}
	return out
}

func (o *Observer) signal() {
	wake(o.rewatch)
	o.tell(&o.followers)
}

// tell wakes whoever follows.
func (o *Observer) tell(followers *[]chan struct{}) {
	o.listening.Lock()
	defer o.listening.Unlock()
	for _, c := range *followers {
		wake(c)
	}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Synced is nil once everything has been read.
func (o *Observer) Synced() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.unread()
}

func (o *Observer) unread() error {
	if len(o.watches) == 0 {
		return errors.New("reading the cluster has not begun")
	}
	for _, name := range slices.Sorted(maps.Keys(o.watches)) {
		w := o.watches[name]
		switch err := w.refusal(); {
		case err != nil:
			return fmt.Errorf("%s may not be read: %w", name, err)
		case !w.synced():
			return fmt.Errorf("%s have not been read yet", name)
		}
	}
	installed := o.installed()
	for _, name := range required {
		if !installed[name] || o.watches[name] == nil {
			return fmt.Errorf("the cluster has no %s", name)
		}
	}
	return nil
}

// State is the cluster at this moment, or an error as long as something has not
// been read.
func (o *Observer) State() (*State, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.unread(); err != nil {
		return nil, err
	}
	var all []client.Object
	for _, name := range slices.Sorted(maps.Keys(o.watches)) {
		if name != definitions {
			all = append(all, o.watches[name].objects()...)
		}
	}
	return NewState(o.options, all, o.options.Clock.Now())
}
