// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/test/stack"
)

// wouldDeny is how many requests the application's proxy would have denied.
func wouldDeny(ctx context.Context) (int, error) {
	text, err := world.orders.Proxy.Admin(ctx, "/stats?filter=rbac.istio_dry_run_deny_.*shadow_denied$")
	if err != nil {
		return 0, err
	}
	all := 0
	for line := range strings.Lines(string(text)) {
		_, count, _ := strings.Cut(strings.TrimSpace(line), ": ")
		n, err := strconv.Atoi(count)
		if err != nil {
			return 0, fmt.Errorf("reading %q, %w", line, err)
		}
		all += n
	}
	return all, nil
}

func TestAPolicyInShadowDeniesNothingAndProxiesCountWhatItWouldDeny(t *testing.T) {
	binding := bind(t, isolation, v1alpha1.ModeShadow, ofStaging)
	test, own := called(world.runner, "/start/shadow"), called(world.desk, "/start/shadow")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must(t, stack.Until(ctx, "the proxy to count a request of test", func(ctx context.Context) error {
		test.is(t, 200)
		if n, err := wouldDeny(ctx); err != nil || n > 0 {
			return err
		}
		return errors.New("none is counted")
	}))
	before, err := wouldDeny(ctx)
	must(t, err)
	for range 3 {
		own.is(t, 200)
		test.is(t, 200)
	}
	if n, err := wouldDeny(ctx); err != nil || n != before+3 {
		t.Errorf("of three requests of test %d are counted, %v", n-before, err)
	}
	logged(t, `"response_code":200`, "spiffe://"+world.runner.Identity(), `"istio_dry_run_deny_shadow_engine_result":"denied"`,
		`"istio_dry_run_deny_shadow_effective_policy_id":"ns[staging]-policy[trellis-application-orders-shadow]-rule[0]"`)
	holds(t, isolation, v1alpha1.BoundPolicy{Tier: "Mandatory", Mode: v1alpha1.ModeShadow, State: v1alpha1.StatePassing})
	ready(t, orders())

	patch(t, binding, `{"spec": {"mode": "Enforce"}}`)
	test.becomes(t, 403)
	own.is(t, 200)
}

func TestOnlyTheRouteThatBreaksAPolicyIsClosedAndAnExceptionOpensIt(t *testing.T) {
	const name = "no-anonymous-routes"
	bind(t, name, v1alpha1.ModeEnforce, `
  namespaces: {matchLabels: {env: staging}}
`)
	start, items := published("GET", "/start", ""), published("GET", "/items", token(t, ""))
	start.becomes(t, 403)
	called(world.desk, "/start").becomes(t, 403)
	items.is(t, 200)
	published("POST", "/buy", token(t, "")).is(t, 200)
	published("GET", "/items", "").is(t, 403)
	holds(t, name, v1alpha1.BoundPolicy{Tier: "Mandatory", Mode: v1alpha1.ModeEnforce, State: v1alpha1.StateFailing})

	e := except(t, name, "{application: orders, route: start}")
	approve(t, e, nil)
	start.becomes(t, 200)
	called(world.desk, "/start").becomes(t, 200)
	items.is(t, 200)
	published("GET", "/items", "").is(t, 403)
	holds(t, name, v1alpha1.BoundPolicy{Tier: "Mandatory", Mode: v1alpha1.ModeEnforce, State: v1alpha1.StateExempt})
	ready(t, orders())
}
