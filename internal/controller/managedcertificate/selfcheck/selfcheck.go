// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package selfcheck looks at the answers to HTTP challenges before a certificate
// authority does, as it does.
package selfcheck

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Check looks whether a GET of a path on port 80 of a host finds a body (RFC 8555
// §8.3). An error says what it found instead, for people, in the same words each
// time, and quotes nothing of it. Safe for concurrent use.
type Check func(ctx context.Context, host, path, body string) error

const (
	checkTimeout = 5 * time.Second
	// maxAnswer bounds what is read, in octets: an answer has fewer than 400.
	maxAnswer    = 4 << 10
	maxRedirects = 3
)

// New makes the look at HTTP challenges that authorities take, as far as it
// matters. Redirects are followed on the same host to the ports 80 and 443 only,
// and whatever certificate is there is taken, as authorities do. Dial may be nil.
func New(dial func(ctx context.Context, network, address string) (net.Conn, error)) Check {
	c := &http.Client{
		Timeout: checkTimeout,
		Transport: &http.Transport{
			DialContext: dial, DisableKeepAlives: true, MaxResponseHeaderBytes: 16 << 10, Proxy: nil,
			// What is there may be the placeholder.
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		},
		CheckRedirect: followed,
	}
	return func(ctx context.Context, host, path, body string) error {
		if err := look(ctx, c, "http://"+host+path, body); err != nil {
			return fmt.Errorf("http://%s%s %w", host, path, err)
		}
		return nil
	}
}

var errRedirect = errors.New("redirects to where no authority follows, or too often")

func followed(next *http.Request, before []*http.Request) error {
	port := next.URL.Port()
	standard := next.URL.Scheme == "http" && (port == "" || port == "80") || next.URL.Scheme == "https" && (port == "" || port == "443")
	if len(before) > maxRedirects || !standard || !strings.EqualFold(next.URL.Hostname(), before[0].URL.Hostname()) {
		return errRedirect
	}
	return nil
}

func look(ctx context.Context, c *http.Client, address, want string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return errors.New("is no URL")
	}
	resp, err := c.Do(req)
	if err != nil {
		return plain(err)
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch {
	case err != nil:
		return plain(err)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("answers HTTP %d", resp.StatusCode)
	case strings.TrimRight(string(got), " \t\r\n") != want:
		return errors.New("answers something else")
	}
	return nil
}

// plain leaves out of an error what differs each time, as ports do.
func plain(err error) error {
	var address *url.Error
	if errors.As(err, &address) {
		err = address.Err
	}
	var unknown *net.DNSError
	var operation *net.OpError
	var slow net.Error
	switch {
	case errors.Is(err, errRedirect):
		return errRedirect
	case errors.As(err, &slow) && slow.Timeout():
		return fmt.Errorf("does not answer within %s", checkTimeout)
	case errors.As(err, &unknown):
		if unknown.IsNotFound {
			return errors.New("has no address")
		}
		return errors.New("has an address that cannot be looked up now")
	case errors.As(err, &operation):
		return fmt.Errorf("cannot be reached: %w", operation.Err)
	}
	return errors.New("gives no answer that is HTTP")
}
