// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/trellis-mesh/trellis/internal/traffic"
)

const (
	// prompt is how long one replica may take to say what it has seen.
	prompt = 10 * time.Second
	// maxSeen bounds what one says: some 20,000 edges.
	maxSeen = 32 << 20
)

// Replica is one running trellis-server.
type Replica struct {
	// Name is the pod's, for messages, and Address is HOST:PORT of its HTTPS endpoint.
	Name, Address string
}

// TrafficClient asks every replica of the server what it has seen: each sees a part.
type TrafficClient struct {
	// Config says how; its Address is not used.
	Config ClientConfig
	// Replicas are those that run now.
	Replicas func(context.Context) ([]Replica, error)
}

// Seen is what all replicas together have seen since a time. One that does not answer is
// an error that names it: what it has seen may be what matters.
func (c *TrafficClient) Seen(ctx context.Context, from time.Time) (traffic.Seen, error) {
	replicas, err := c.Replicas(ctx)
	if err != nil {
		return traffic.Seen{}, fmt.Errorf("finding trellis-server: %w", err)
	}
	if len(replicas) == 0 {
		return traffic.Seen{}, errors.New("finding trellis-server: no replica of it runs")
	}
	ctx, cancel := context.WithTimeout(ctx, prompt)
	defer cancel()
	parts := make([]traffic.Seen, len(replicas))
	var group errgroup.Group
	group.SetLimit(8)
	for i, r := range replicas {
		group.Go(func() error {
			if err := c.ask(ctx, r, from, &parts[i]); err != nil {
				return fmt.Errorf("replica %s: %w", r.Name, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return traffic.Seen{}, err
	}
	return traffic.Merge(parts...), nil
}

func (c *TrafficClient) ask(ctx context.Context, r Replica, from time.Time, into *traffic.Seen) error {
	if _, _, err := net.SplitHostPort(r.Address); err != nil {
		return fmt.Errorf("reading its address: %w", err)
	}
	response, err := c.Config.get(ctx, "https://"+r.Address+traffic.Path+"?"+traffic.From+"="+url.QueryEscape(from.UTC().Format(time.RFC3339Nano)))
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return errors.New("it takes no access logs: set server.collector.enabled of the chart")
	default:
		return refused(response)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxSeen)).Decode(into); err != nil {
		return fmt.Errorf("reading what trellis-server has seen: %w", err)
	}
	if into.From.IsZero() || into.To.IsZero() {
		return errors.New("reading what trellis-server has seen: it does not say of what time")
	}
	if !into.InOrder() {
		return errors.New("reading what trellis-server has seen: the times that it says it has watched contradict each other")
	}
	return nil
}
