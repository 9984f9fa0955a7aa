// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package security

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/compile/provenance"
	"github.com/trellis-mesh/trellis/test/stack"
)

var ruleID = regexp.MustCompile(`ns\[([^\]]*)\]-policy\[([^\]]*)\]-rule\[(\d+)\]`)

func TestADenialNamesTheRuleThatNamesItsReasonAndField(t *testing.T) {
	for _, test := range []struct {
		ask
		reason provenance.Reason
		field  string
	}{
		{ask{path: "/api/x"}, provenance.ReasonNoToken, "spec.routes[2].authentication"},
		{ask{path: "/api/x", token: "partner"}, provenance.ReasonIssuer, "spec.routes[2].authentication"},
		{ask{path: "/api/x", token: "other audience"}, provenance.ReasonAudience, "spec.routes[2].authentication"},
		{ask{path: "/api/admin", token: "mobile"}, provenance.ReasonScope, "spec.routes[3].authentication"},
		{ask{path: "/reviews", token: "reader without the tier"}, provenance.ReasonClaim, "spec.routes[5].authentication.claims[1]"},
		{ask{path: "/reviews", token: "reader without the role"}, provenance.ReasonClaim, "spec.routes[5].authentication.claims[0]"},
		{ask{method: "DELETE", path: "/api/x", token: "good"}, provenance.ReasonMethod, "spec.routes[2].methods"},
		{ask{path: "/profile", token: "good"}, provenance.ReasonScope, "spec.routes[6].authentication"},
	} {
		t.Run(string(test.reason)+" "+test.String(), func(t *testing.T) {
			for where, from := range map[string]struct {
				proxy *stack.Proxy
				send  func(stack.Request) (*stack.Response, error)
			}{
				"at the gateway": {world.public.Proxy, func(r stack.Request) (*stack.Response, error) {
					r.Host = "shop.example.com"
					return world.https(t.Context(), world.public, r)
				}},
				"inside the mesh": {world.apps["shop"].Proxy, func(r stack.Request) (*stack.Response, error) {
					return call(t.Context(), "checkout", "shop", r)
				}},
			} {
				r := test.request("")
				denied(t, where, from.proxy, r, from.send, "Application shop/shop", test.field, test.reason)
			}
		})
	}
	t.Run("Caller", func(t *testing.T) {
		denied(t, "inside the mesh", world.apps["shop"].Proxy, stack.Request{Path: "/open/x"},
			func(r stack.Request) (*stack.Response, error) { return call(t.Context(), "orders", "shop", r) },
			"Application shop/shop", "spec.access.callers", provenance.ReasonCaller)
	})
}

// denied sends a request and follows its denial from the access log to the
// annotation of the policy.
func denied(t *testing.T, where string, proxy *stack.Proxy, r stack.Request, send func(stack.Request) (*stack.Response, error), object, field string, reason compile.Reason) {
	t.Helper()
	r.Path += fmt.Sprintf("?trace=%d", time.Now().UnixNano())
	answer, err := send(r)
	expect(t, where, "shop", 403, answer, err)
	line := logged(t, proxy, r.Path)
	match := ruleID.FindStringSubmatch(line["response_code_details"])
	if match == nil {
		t.Fatalf("%s: no rule in %v", where, line)
	}
	index, err := strconv.Atoi(match[3])
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range world.outcome.Objects {
		if o.Ref.Kind != "AuthorizationPolicy" || o.Ref.Namespace != match[1] || o.Ref.Name != match[2] {
			continue
		}
		var origin compile.Provenance
		if err := json.Unmarshal([]byte(o.Value.GetAnnotations()[compile.AnnotationOrigin]), &origin); err != nil {
			t.Fatal(err)
		}
		gotObject, gotField, gotReason, ok := origin.Rule(index)
		if !ok || gotObject != object || gotField != field || gotReason != reason {
			t.Errorf("%s: %s is from %s %s for %s, want %s %s for %s", where, match[0], gotObject, gotField, gotReason, object, field, reason)
		}
		return
	}
	t.Errorf("%s: %s is nobody's", where, match[0])
}

// logged waits for the line of a request in a proxy's access log.
func logged(t *testing.T, proxy *stack.Proxy, path string) map[string]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var found map[string]string
	err := stack.Until(ctx, "the access log of "+path, func(context.Context) error {
		text, err := os.ReadFile(proxy.AccessLog)
		if err != nil {
			return err
		}
		for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
			var line map[string]any
			if json.Unmarshal(lines.Bytes(), &line) != nil || line["path"] != path {
				continue
			}
			found = map[string]string{}
			for name, value := range line {
				if s, ok := value.(string); ok {
					found[name] = s
				}
			}
		}
		if found == nil {
			return errors.New("no such line")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestAnAllowedRequestIsLoggedWithItsRoute(t *testing.T) {
	path := fmt.Sprintf("/open/x?trace=%d", time.Now().UnixNano())
	answer, err := world.https(t.Context(), world.public, stack.Request{Host: "shop.example.com", Path: path})
	expect(t, "at the gateway", "shop", 200, answer, err)
	if got := logged(t, world.public.Proxy, path)["route_name"]; got != "shop/shop/open" {
		t.Errorf("route %q, want NAMESPACE/APPLICATION/ROUTE", got)
	}
}
