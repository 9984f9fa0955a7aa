// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package prometheus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
)

// errTooLong is for a response with more bytes than one may have.
var errTooLong = errors.New("the response is too long")

// bounded is a client that reads so many bytes of a response and no more, and follows
// nobody elsewhere.
func bounded(bytes int64) *http.Client {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment}
	if standard, ok := http.DefaultTransport.(*http.Transport); ok {
		transport = standard.Clone()
	}
	return &http.Client{
		Transport:     &limit{next: transport, bytes: bytes},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

type limit struct {
	next  *http.Transport
	bytes int64
}

// RoundTrip sends a request. VictoriaMetrics moves the moments that are asked about
// to where its cache has some, unless it is told not to; others do not know the
// parameter.
func (l *limit) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	query := r.URL.Query()
	query.Set("nocache", "1")
	r.URL.RawQuery = query.Encode()
	response, err := l.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	response.Body = &body{ReadCloser: response.Body, left: l.bytes}
	return response, nil
}

// CloseIdleConnections lets the client end what its transport keeps.
func (l *limit) CloseIdleConnections() { l.next.CloseIdleConnections() }

// body fails where it would be longer; one that is just as long does not.
type body struct {
	io.ReadCloser
	left int64
}

// Read reads, and one byte more than is allowed to see that there is one.
func (b *body) Read(into []byte) (int, error) {
	if int64(len(into)) > b.left+1 {
		into = into[:b.left+1]
	}
	n, err := b.ReadCloser.Read(into)
	if b.left -= int64(n); b.left < 0 {
		return 0, errTooLong
	}
	return n, err
}

// explain says whose error it is and what to do.
func (s *Source) explain(err error) error {
	const asking = "asking the store of metrics at %s: "
	var refused *v1.Error
	switch {
	case errors.Is(err, errTooLong):
		return fmt.Errorf(asking+"its response has more than %d bytes: look into a shorter window, or drop labels that Istio's metrics have been given", s.host, s.options.Bytes)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf(asking+"no answer within %s: look into a shorter window, or see what keeps the store: %w", s.host, s.options.Timeout, err)
	case !errors.As(err, &refused):
		return fmt.Errorf(asking+"see that it runs and is reached from here: %w", s.host, err)
	case refused.Type == v1.ErrBadResponse || refused.Type == v1.ErrClient:
		return fmt.Errorf(asking+"see that the URL is the part before /api/v1 of a store with Prometheus's API, which asks for no login: %w", s.host, err)
	}
	said := strings.TrimSpace(refused.Msg + ": " + refused.Detail)
	return fmt.Errorf(asking+"it refuses the query (%s): %.300s; see its log and its limits of queries", s.host, refused.Type, strings.TrimSuffix(said, ":"))
}
