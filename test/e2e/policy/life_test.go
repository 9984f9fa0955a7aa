// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/cli"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	"github.com/trellis-mesh/trellis/test/stack"
)

const (
	isolation = "isolate-environments"
	// ofStaging keeps what is in test from what is in staging.
	ofStaging = `
  namespaces: {matchLabels: {env: staging}}
  parameters: [{name: environments, value: [test]}]
  goals: [test-without-fear]
`
	goal = `
apiVersion: trellis.dev/v1alpha1
kind: Goal
metadata: {name: test-without-fear}
spec:
  title: Developers test new code without fear
  statement: New code is tried where it cannot reach what others rely on.
  owner: engineering@example.com
`
	// rule is how proxies name the rule that the policy makes.
	rule = "ns[staging]-policy[trellis-application-orders-policy]-rule[0]"
)

// TestDevelopersTestNewCodeWithoutFear is the day in the life of a policy, from the goal
// down to the request that is denied, and from its log line up again.
func TestDevelopersTestNewCodeWithoutFear(t *testing.T) {
	must(t, world.Apply(t.Context(), []byte(goal)))
	binding := bind(t, isolation, v1alpha1.ModeEnforce, ofStaging)
	test, own := called(world.runner, "/start"), called(world.desk, "/start")
	for _, chapter := range []struct {
		what string
		tell func(*testing.T)
	}{
		{"test is kept away from staging, and staging is not", func(t *testing.T) {
			test.becomes(t, 403)
			own.is(t, 200)
			published("GET", "/start", "").is(t, 200)
		}},
		{"everybody sees in a status how it stands", func(t *testing.T) { statuses(t, binding) }},
		{"the log line of the denial leads up to the goal", logLine},
		{"a namespace is what its label says, within seconds", func(t *testing.T) {
			must(t, world.Namespace(t.Context(), "test", map[string]string{"env": "prod"}))
			t.Logf("open after %s", test.becomes(t, 200).Round(time.Millisecond))
			must(t, world.Namespace(t.Context(), "test", map[string]string{"env": "test"}))
			t.Logf("closed after %s", test.becomes(t, 403).Round(time.Millisecond))
		}},
		{"an exception opens when it is approved, until it expires", func(t *testing.T) { exception(t, binding, test) }},
		{"without its goal the binding holds", func(t *testing.T) {
			must(t, world.client.Delete(t.Context(), &v1alpha1.Goal{ObjectMeta: metav1.ObjectMeta{Name: "test-without-fear"}}))
			finds(t, binding, "GoalNotFound")
			await(t, binding, v1alpha1.ConditionHolds, metav1.ConditionTrue, "Passing")
			test.is(t, 403)
			own.is(t, 200)
		}},
		{"without its template everything is closed, and says so", func(t *testing.T) { withoutTemplate(t, binding, test, own) }},
	} {
		if !t.Run(chapter.what, chapter.tell) {
			return
		}
	}
}

// statuses: of the goal, the binding, the template and the Application.
func statuses(t *testing.T, binding *v1alpha1.ClusterPolicyBinding) {
	await(t, binding, v1alpha1.ConditionHolds, metav1.ConditionTrue, "Passing")
	ready(t, binding)
	one := v1alpha1.PolicyRollup{Applications: 1, Passing: 1}
	if binding.Status.Rollup != one || len(binding.Status.Problems)+len(binding.Status.Violations) > 0 {
		t.Errorf("the binding: %+v", binding.Status)
	}
	g := &v1alpha1.Goal{ObjectMeta: metav1.ObjectMeta{Name: "test-without-fear"}}
	await(t, g, v1alpha1.ConditionMet, metav1.ConditionTrue, "Passing")
	ready(t, g)
	if g.Status.Rollup != one || !slices.Equal(g.Status.Bindings, []string{"ClusterPolicyBinding " + isolation}) {
		t.Errorf("the goal: %+v", g.Status)
	}
	of, _ := template(t, isolation)
	ready(t, of)
	if of.Status.Bindings != 1 {
		t.Errorf("the template: %+v", of.Status)
	}
	holds(t, isolation, v1alpha1.BoundPolicy{Tier: "Mandatory", Mode: v1alpha1.ModeEnforce, State: v1alpha1.StatePassing})
	ready(t, orders())
}

// logged is the line of the application's access log with both texts.
func logged(t *testing.T, has ...string) string {
	t.Helper()
	var line string
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	must(t, stack.Until(ctx, "a line of the access log", func(context.Context) error {
		text, err := os.ReadFile(world.orders.Proxy.AccessLog)
		if err != nil {
			return err
		}
		for one := range strings.Lines(string(text)) {
			if !slices.ContainsFunc(has, func(part string) bool { return !strings.Contains(one, part) }) && strings.HasSuffix(one, "\n") {
				line = one
				return nil
			}
		}
		return fmt.Errorf("no line of %s has %q", world.orders.Proxy.AccessLog, has)
	}))
	return line
}

func logLine(t *testing.T) {
	line := logged(t, "rbac_access_denied_matched_policy["+rule+"]", "spiffe://"+world.runner.Identity())
	d := world.Istiods()[0]
	s, out, problem := streams.Buffers(line)
	code := cli.Main(t.Context(), []string{
		"trellis", "explain", "-", "-o", "json", "--kubeconfig", world.Kubeconfig(), "--istiod", fmt.Sprintf("%s:%d", d.Address, d.SecurePort),
	}, s)
	view := &answer.Explanation{}
	if err := json.Unmarshal(out.Bytes(), view); err != nil || code != 0 {
		t.Fatalf("%d, %v\n%s%s", code, err, out, problem)
	}
	if len(view.Rules) != 1 || view.Rules[0].Statement == nil || len(view.Held) == 0 || len(view.Change) == 0 {
		t.Fatalf("%s", out)
	}
	if got := view.Rules[0]; got.Kind != "AuthorizationPolicy" || got.Name != "trellis-application-orders-policy" || got.Rule != 0 {
		t.Errorf("it leads to %+v", got)
	}
	for _, got := range []struct{ Object, Layer, Goals string }{
		{view.Rules[0].Statement.Object, view.Rules[0].Statement.Layer, view.Rules[0].Statement.Goals},
		{view.Change[0].Object, view.Change[0].Layer, view.Change[0].Goals},
	} {
		if got.Object != "ClusterPolicyBinding "+isolation || got.Layer != "Mandatory" ||
			!strings.Contains(got.Goals, "test-without-fear") || !strings.Contains(got.Goals, "Developers test new code without fear") {
			t.Errorf("up leads to %+v\n%s", got, out)
		}
	}
}

// exception is approved, and then approved again with a moment that is near: what closes
// is the moment, and nothing that anybody does.
func exception(t *testing.T, binding *v1alpha1.ClusterPolicyBinding, test request) {
	e := except(t, isolation, "{application: orders}")
	await(t, e, v1alpha1.ConditionReady, metav1.ConditionFalse, "NotApproved")
	test.is(t, 403)

	approve(t, e, nil)
	test.becomes(t, 200)
	await(t, e, v1alpha1.ConditionReady, metav1.ConditionTrue, "InForce")
	await(t, binding, v1alpha1.ConditionHolds, metav1.ConditionTrue, "Exempt")
	holds(t, isolation, v1alpha1.BoundPolicy{Tier: "Mandatory", Mode: v1alpha1.ModeEnforce, State: v1alpha1.StateExempt})
	if !slices.Equal(e.Status.Exempt, []string{"Application staging/orders"}) {
		t.Errorf("it lets %q go", e.Status.Exempt)
	}

	expires := metav1.NewTime(time.Now().Add(5 * time.Second).Truncate(time.Second))
	approve(t, e, &expires)
	test.becomes(t, 403)
	if now := time.Now(); now.Before(expires.Time) {
		t.Errorf("it is closed at %s, and expires at %s", now, expires)
	} else {
		t.Logf("closed %s after it expired", now.Sub(expires.Time).Round(time.Millisecond))
	}
	await(t, e, v1alpha1.ConditionReady, metav1.ConditionFalse, "Expired")
	await(t, binding, v1alpha1.ConditionHolds, metav1.ConditionTrue, "Passing")
	must(t, world.client.Delete(t.Context(), e))
}

// finds waits until a binding has a problem.
func finds(t *testing.T, binding *v1alpha1.ClusterPolicyBinding, reason string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must(t, stack.Until(ctx, "the binding to say "+reason, func(ctx context.Context) error {
		if err := world.client.Get(ctx, client.ObjectKeyFromObject(binding), binding); err != nil {
			return err
		}
		if !slices.ContainsFunc(binding.Status.Problems, func(p v1alpha1.Problem) bool { return p.Reason == reason }) {
			return fmt.Errorf("problems are %+v", binding.Status.Problems)
		}
		return nil
	}))
}

// withoutTemplate: nobody knows any more what is to be kept away.
func withoutTemplate(t *testing.T, binding *v1alpha1.ClusterPolicyBinding, test, own request) {
	of, text := template(t, isolation)
	must(t, world.client.Delete(t.Context(), of))
	own.becomes(t, 403)
	published("GET", "/start", "").becomes(t, 403)
	test.is(t, 403)
	finds(t, binding, "TemplateNotFound")
	await(t, binding, v1alpha1.ConditionAccepted, metav1.ConditionFalse, "TemplateNotFound")
	await(t, binding, v1alpha1.ConditionHolds, metav1.ConditionUnknown, "PolicyBroken")
	await(t, orders(), v1alpha1.ConditionReady, metav1.ConditionFalse, "")
	a := orders()
	must(t, world.client.Get(t.Context(), client.ObjectKeyFromObject(a), a))
	if !slices.ContainsFunc(a.Status.Problems, func(p v1alpha1.Problem) bool {
		return p.Reason == "PolicyBroken" && strings.Contains(p.Owner, isolation)
	}) {
		t.Errorf("the Application says %+v", a.Status.Problems)
	}

	must(t, world.Apply(t.Context(), text))
	own.becomes(t, 200)
	test.is(t, 403)
	ready(t, orders())
}
