// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"k8s.io/utils/clock"
)

const (
	// Hold is how long an answer waits for news; a client waits longer.
	Hold     = 20 * time.Second
	patience = Hold + 10*time.Second
	// again is how long a client waits after news or a failure, and bearable how long
	// failures last before it says that the server is away: a restart is no news.
	again    = time.Second
	bearable = 5 * time.Second
	// maxReport bounds what is read: failures of thousands of Applications.
	maxReport = 64 << 20
)

// ClientConfig says how the server is asked. All of it is required.
type ClientConfig struct {
	// Address is https://HOST:PORT, and ServerName the name in the certificate.
	Address, ServerName string
	// Roots are the authorities of that certificate at this moment.
	Roots func() (*x509.CertPool, error)
	// Token proves who asks.
	Token func(context.Context) (string, error)
	Clock clock.Clock
	Log   *slog.Logger
}

// Client follows a document of the server's.
type Client[D any, P pointer[D]] struct {
	config ClientConfig
	path   string
}

// pointer is to a Document.
type pointer[D any] interface {
	*D
	Document
}

// ReportClient follows what comes of tests.
type ReportClient = Client[Report, *Report]

// ForecastClient follows the forecasts of MutualTLSRollouts.
type ForecastClient = Client[Forecasts, *Forecasts]

// NewClient makes a client that follows what comes of tests. It checks the address.
func NewClient(config ClientConfig) (*ReportClient, error) {
	return newClient[Report](config, Path)
}

// NewForecastClient makes one that follows the forecasts of MutualTLSRollouts.
func NewForecastClient(config ClientConfig) (*ForecastClient, error) {
	return newClient[Forecasts](config, RolloutPath)
}

func newClient[D any, P pointer[D]](config ClientConfig, path string) (*Client[D, P], error) {
	u, err := url.Parse(config.Address)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("reading the address of trellis-server: %q is no https URL with a host", config.Address)
	}
	config.Address = strings.TrimSuffix(config.Address, "/")
	return &Client[D, P]{config, path}, nil
}

// Run asks until ctx ends. It calls report with each new document, and with an error
// once the server has been away for longer than a restart takes; from one
// goroutine. After an error the next document is told whatever it says.
func (c *Client[D, P]) Run(ctx context.Context, report func(P, error)) error {
	known, away := "", false
	var since time.Time
	for ctx.Err() == nil {
		got, err := c.ask(ctx, known)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			now := c.config.Clock.Now()
			if since.IsZero() {
				since = now
				c.config.Log.Warn("trellis-server does not answer", "error", err)
			}
			if !away && now.Sub(since) >= bearable {
				known, away = "", true
				report(nil, err)
			}
			c.rest(ctx)
			continue
		case got != nil && (away || got.Name() != known):
			report(got, nil)
			known = got.Name()
			// Replicas that say different things, such as stages in another order,
			// would be asked in turn without end.
			c.rest(ctx)
		}
		if !since.IsZero() {
			c.config.Log.Info("trellis-server answers")
		}
		since, away = time.Time{}, false
	}
	return nil
}

// rest waits before asking again.
func (c *Client[D, P]) rest(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-c.config.Clock.After(again):
	}
}

// ask waits for a document that differs from the known one; nil: there is none yet.
func (c *Client[D, P]) ask(ctx context.Context, known string) (P, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	response, err := c.config.get(ctx, c.config.Address+c.path+"?"+After+"="+url.QueryEscape(known))
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	switch response.StatusCode {
	case http.StatusNotModified:
		return nil, nil
	case http.StatusOK:
	default:
		return nil, refused(response)
	}
	out := P(new(D))
	if err := json.NewDecoder(io.LimitReader(response.Body, maxReport)).Decode(out); err != nil {
		return nil, fmt.Errorf("reading what trellis-server says: %w", err)
	}
	return out, nil
}
