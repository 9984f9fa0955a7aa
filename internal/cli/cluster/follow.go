// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

const (
	// together is how long changes are collected before they are looked at.
	together = 100 * time.Millisecond
	// tick is how often one looks although nothing has changed: time has passed.
	tick = 5 * time.Second
	// repeat is how often it is told that the cluster cannot be asked.
	repeat = 30 * time.Second
)

// Follow looks at a copy of the cluster whenever objects of these kinds change, and
// once in a while. It ends without an error when ctx does. A cluster that cannot
// be asked for a time is told to lost, and asked again; one that forbids it ends it.
func (c *Cluster) Follow(ctx context.Context, kinds []client.Object, lost func(error), look func(*Cluster) error) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	kept, err := c.keep(ctx, lost, end)
	if err != nil {
		return err
	}
	changed, err := kept.changes(ctx, kinds)
	if err != nil {
		return err
	}
	go func() { end(kept.Start(ctx)) }()
	if !kept.WaitForCacheSync(ctx) {
		return cause(ctx)
	}
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		if err := look(kept.cluster); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return cause(ctx)
		case <-ticker.C:
		case <-changed:
			select {
			case <-ctx.Done():
				return cause(ctx)
			case <-time.After(together):
			}
		}
	}
}

// cause is why following has ended; nil where somebody asked for it.
func cause(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// copied is a copy of some kinds of a cluster, and the way to read it.
type copied struct {
	cache.Cache
	cluster *Cluster
}

func (c *Cluster) keep(ctx context.Context, lost func(error), end context.CancelCauseFunc) (*copied, error) {
	// It would say on standard error that nobody listens to it.
	log.SetLogger(logr.Discard())
	config := rest.CopyConfig(c.config)
	// Requests that wait for changes take as long as those do.
	config.Timeout, config.WrapTransport = 0, nil
	var told time.Time
	options := cache.Options{Scheme: c.Scheme(), Mapper: c.RESTMapper(), DefaultWatchErrorHandler: func(_ context.Context, _ *toolscache.Reflector, err error) {
		switch {
		case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
			end(Problem("following what changes", err))
		case ended(err) || ctx.Err() != nil || time.Since(told) < repeat:
		default:
			told = time.Now()
			lost(err)
		}
	}}
	if c.Namespace != "" {
		options.DefaultNamespaces = map[string]cache.Config{c.Namespace: {}}
	}
	kept, err := cache.New(config, options)
	if err != nil {
		return nil, fmt.Errorf("following what changes: %w", err)
	}
	reader, err := client.New(config, client.Options{Scheme: c.Scheme(), Mapper: c.RESTMapper(), Cache: &client.CacheOptions{Reader: kept}})
	if err != nil {
		return nil, fmt.Errorf("following what changes: %w", err)
	}
	return &copied{kept, &Cluster{Client: reader, Namespace: c.Namespace, config: config, copied: true}}, nil
}

// ended reports whether a watch ended as watches do, from time to time.
func ended(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || apierrors.IsResourceExpired(err) || apierrors.IsGone(err)
}

// changes receives when something has changed since it was received last.
func (c *copied) changes(ctx context.Context, kinds []client.Object) (<-chan struct{}, error) {
	changed := make(chan struct{}, 1)
	tell := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	for _, kind := range kinds {
		informer, err := c.GetInformer(ctx, kind, cache.BlockUntilSynced(false))
		if err == nil {
			_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
				AddFunc: func(any) { tell() }, UpdateFunc: func(any, any) { tell() }, DeleteFunc: func(any) { tell() },
			})
		}
		if err != nil {
			return nil, fmt.Errorf("following what changes: %w", err)
		}
	}
	return changed, nil
}
