// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/test/stack"
)

// cutOff stands for a connection that ends without an answer.
const cutOff = 0

// request is one that can be sent again and again.
type request struct {
	what string
	send func(context.Context) (*stack.Response, error)
}

// called is a request to the application by another one, through both sidecars.
func called(from *stack.Application, path string) request {
	return request{from.Namespace + "/" + from.Name + " calls " + path, func(ctx context.Context) (*stack.Response, error) {
		return from.Do(ctx, stack.Request{Host: world.orders.Host(9080), Path: path})
	}}
}

// plainly is a request past the sidecar of who sends it, in plaintext.
func plainly(from *stack.Application, path string) request {
	return request{from.Namespace + "/" + from.Name + " calls " + path + " in plaintext", func(ctx context.Context) (*stack.Response, error) {
		return from.DoPast(ctx, world.orders.PortAddress("http"), stack.Request{Host: world.orders.Host(9080), Path: path})
	}}
}

// published is a request through the gateway.
func published(method, path, token string) request {
	return throughTLS(tls.VersionTLS13, method, path, token)
}

// throughTLS is a request through the gateway of a client that knows no newer version.
func throughTLS(newest uint16, method, path, token string) request {
	r := stack.Request{Method: method, Host: host, Path: path, Header: http.Header{}}
	what := fmt.Sprintf("%s %s through the gateway, %s", method, path, tls.VersionName(newest))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
		what += ", with a token"
	}
	return request{what, func(ctx context.Context) (*stack.Response, error) {
		return stack.Send(ctx, world.gateway.HTTPSAddress, &tls.Config{RootCAs: world.pool, ServerName: host, MaxVersion: newest}, r)
	}}
}

// token is one of the ingress's default identity provider.
func token(t *testing.T, scope string) string {
	t.Helper()
	text, err := world.issuer.Token(stack.Claims{"aud": "shop", "scope": scope})
	must(t, err)
	return text
}

// status is that of the answer.
func (r request) status(ctx context.Context) (int, error) {
	answer, err := r.send(ctx)
	if err != nil {
		return cutOff, err
	}
	return answer.Status, nil
}

// until sends until it is answered so.
func (r request) until(ctx context.Context, want int) error {
	return stack.Until(ctx, fmt.Sprintf("%d where %s", want, r.what), func(ctx context.Context) error {
		got, err := r.status(ctx)
		switch {
		case got == want && ctx.Err() == nil:
			return nil
		case err != nil:
			return err
		}
		return fmt.Errorf("%d", got)
	})
}

// becomes waits until a request is answered so, and returns how long that took.
func (r request) becomes(t *testing.T, want int) time.Duration {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must(t, r.until(ctx, want))
	return time.Since(began)
}

// is sends a request once.
func (r request) is(t *testing.T, want int) {
	t.Helper()
	if got, err := r.status(t.Context()); got != want {
		t.Errorf("%s: %d, want %d; %v", r.what, got, want, err)
	}
}
