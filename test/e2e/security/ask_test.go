// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package security

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"

	"github.com/trellis-mesh/trellis/test/oracle"
	"github.com/trellis-mesh/trellis/test/stack"
)

// What a request may meet, besides a status.
const (
	// notAsked leaves a way out.
	notAsked = 0
	// refused is any status that says no; which one depends on whether a route or
	// a rule is met first.
	refused = -1
	// reset is a connection that ends without an answer.
	reset = -2
)

// ask is one request and what it must meet, at the gateway from outside and at
// the application's own proxy when checkout calls.
type ask struct {
	what   string // default: method, path and token
	method string
	path   string
	token  string
	header http.Header
	// gateway and mesh are statuses, or one of the constants above.
	gateway, mesh int
	// host on the gateway; default shop.example.com.
	host string
}

func (a ask) String() string {
	if a.what != "" {
		return a.what
	}
	name := a.path
	if a.method != "" {
		name = a.method + " " + name
	}
	if a.token != "" {
		name += " with token " + a.token
	}
	return name
}

func (a ask) request(host string) stack.Request {
	header := world.bearer(a.token)
	maps.Copy(header, a.header)
	return stack.Request{Method: a.method, Host: host, Path: a.path, Header: header}
}

// check sends every request both ways.
func check(t *testing.T, asks []ask) {
	t.Helper()
	for _, a := range asks {
		t.Run(a.String(), func(t *testing.T) {
			if a.gateway != notAsked {
				host := a.host
				if host == "" {
					host = "shop.example.com"
				}
				answer, err := world.https(t.Context(), world.public, a.request(host))
				expect(t, "at the gateway", "shop", a.gateway, answer, err)
			}
			if a.mesh != notAsked {
				answer, err := call(t.Context(), "checkout", "shop", a.request(""))
				expect(t, "inside the mesh", "shop", a.mesh, answer, err)
			}
		})
	}
}

// call sends a request from one application to the web port of another.
func call(ctx context.Context, from, to string, r stack.Request) (*stack.Response, error) {
	r.Host = world.apps[to].Host(9080)
	return world.apps[from].Do(ctx, r)
}

func expect(t *testing.T, where, application string, want int, answer *stack.Response, err error) {
	t.Helper()
	if want == reset {
		if err == nil {
			t.Errorf("%s: want a reset, got %d %s", where, answer.Status, answer.Body)
		}
		return
	}
	if err != nil {
		t.Errorf("%s: %v", where, err)
		return
	}
	reached := oracle.Answer{}
	isAnswer := json.Unmarshal(answer.Body, &reached) == nil && reached.Application != ""
	switch {
	case want == refused && slices.Contains([]int{400, 401, 403, 404}, answer.Status) && !isAnswer:
	case want == 200 && answer.Status == 200:
		if reached.Application != application {
			t.Errorf("%s: %q answered, want %s: %s", where, reached.Application, application, answer.Body)
		}
	case want == answer.Status:
		if isAnswer {
			t.Errorf("%s: reached %s", where, reached.Application)
		}
	default:
		name := fmt.Sprint(want)
		if want == refused {
			name = "a refusal"
		}
		t.Errorf("%s: want %s, got %d %s", where, name, answer.Status, answer.Body)
	}
}
