// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/policy"
	"github.com/trellis-mesh/trellis/test/chart"
	"github.com/trellis-mesh/trellis/test/stack"
)

// excused are the policies of the tests. The exceptions from them are made by exceptionFrom.
const excused = `
apiVersion: v1
kind: Namespace
metadata: {name: excused}
---
apiVersion: trellis.dev/v1alpha1
kind: PolicyTemplate
metadata: {name: tokens-1.0.0}
spec:
  policy: tokens
  version: 1.0.0
  title: Every route asks for a token
  severity: High
  remediation: {text: ask for a token}
  constraints: [{name: required, subject: Route, expression: authentication == 'Required', message: the route asks for no token}]
---
apiVersion: trellis.dev/v1alpha1
kind: ClusterPolicyBinding
metadata: {name: tokens}
spec: {policy: {name: tokens, version: 1.0.0}, tier: Mandatory, mode: Enforce}
---
`

func exceptionFrom(t *testing.T, binding, name string, expires time.Time) *v1alpha1.PolicyException {
	t.Helper()
	e := &v1alpha1.PolicyException{}
	text := fmt.Sprintf(`
apiVersion: trellis.dev/v1alpha1
kind: PolicyException
metadata: {name: %s, namespace: excused}
spec:
  binding: {kind: ClusterPolicyBinding, name: %s}
  rules: [required]
  subject: {application: web, route: pages}
  reason: old clients have no tokens yet
  expires: %q
`, name, binding, expires.UTC().Format(time.RFC3339))
	if err := yaml.UnmarshalStrict([]byte(text), e); err != nil {
		t.Fatal(err)
	}
	return e
}

func approvedBy(t *testing.T, e *v1alpha1.PolicyException, by string) *v1alpha1.PolicyException {
	t.Helper()
	digest, err := policy.Digest(e)
	if err != nil {
		t.Fatal(err)
	}
	e.Spec.Approval = &v1alpha1.ExceptionApproval{By: by, Of: digest}
	return e
}

func TestExceptionsOfFilesAreShownWithWhyTheyAreNotInForce(t *testing.T) {
	until := time.Date(2027, 6, 1, 0, 0, 0, 0, time.UTC)
	changed := approvedBy(t, exceptionFrom(t, "tokens", "changed", until), "olga")
	changed.Spec.Reason = "old clients have no tokens at all"
	text := strings.TrimSuffix(excused, "---\n")
	for _, e := range []*v1alpha1.PolicyException{
		approvedBy(t, exceptionFrom(t, "tokens", "approved", until), "olga"), changed, exceptionFrom(t, "tokens", "asked", until),
		exceptionFrom(t, "other", "lost", until), approvedBy(t, exceptionFrom(t, "tokens", "over", until.AddDate(-1, 0, 0)), "olga"),
	} {
		e.TypeMeta = metav1.TypeMeta{APIVersion: "trellis.dev/v1alpha1", Kind: "PolicyException"}
		one, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		text += "---\n" + strings.ReplaceAll(string(one), `,"status":{}`, "") + "\n"
	}
	file := filepath.Join(t.TempDir(), "in.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got := trellis(t, "", "exception", "list", "-f", file, "--at", "2027-01-01T00:00:00Z")
	if got.code != 0 || got.err != "" {
		t.Fatalf("%+v", got)
	}
	for _, want := range [][]string{
		{"NAMESPACE", "NAME", "FROM", "FOR", "EXPIRES", "DIGEST", "APPROVED BY", "IN FORCE", "WHY NOT"},
		{"excused", "approved", "ClusterPolicyBinding tokens (required)", "Application web route pages", "2027-06-01 (in 151d)", digestOf(t, exceptionFrom(t, "tokens", "approved", until)), "olga", "yes", "-"},
		{"excused", "asked", "2027-06-01", "-", "no", "nobody has approved it"},
		{"excused", "changed", "olga", "no", "it was changed after olga approved it"},
		{"excused", "lost", "ClusterPolicyBinding other", "no", "ClusterPolicyBinding other does not exist"},
		{"excused", "over", "olga", "no", "it expired at 2026-06-01T00:00:00Z"},
	} {
		if !hasLine(got.out, want) {
			t.Errorf("no line has %q:\n%s", want, got.out)
		}
	}
	if got := trellis(t, "", "exception", "list", "-f", file, "-o", "json", "--at", "2027-01-01T00:00:00Z"); !strings.Contains(got.out, `"why": "ApprovalOutdated"`) || !strings.Contains(got.out, `"inForce": true`) {
		t.Errorf("%+v", got)
	}
	if got := trellis(t, "", "exception", "list", "-f", file, "-n", "elsewhere"); got.code != 0 || got.out != "" {
		t.Errorf("in another namespace are %+v", got)
	}
	if got := trellis(t, "kind: [", "exception", "list", "-f", file, "-f", "-"); got.code != 3 || got.err == "" {
		t.Errorf("with a document that cannot be read: %+v", got)
	}
	if got := trellis(t, "", "exception", "list", "-f", file, "--context", "x"); got.code != 1 || !strings.Contains(got.err, "give one of them") {
		t.Errorf("with a cluster, too: %+v", got)
	}
}

// digestOf is as much of the digest of an exception as is shown.
func digestOf(t *testing.T, e *v1alpha1.PolicyException) string {
	t.Helper()
	digest, err := policy.Digest(e)
	if err != nil {
		t.Fatal(err)
	}
	return digest[:policy.ShownDigest]
}

// hasLine reports whether some line has the texts in this order.
func hasLine(text string, want []string) bool {
	for line := range strings.Lines(text) {
		rest, found := line, true
		for _, w := range want {
			var after string
			if _, after, found = strings.Cut(rest, w); !found {
				break
			}
			rest = after
		}
		if found {
			return true
		}
	}
	return false
}

// officers have the rights of the chart: olga as the security officer, and dora as a
// developer of the namespace, who reads nothing of the cluster.
const officers = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: olga}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: trellis-security-officer}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: olga}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: dora, namespace: excused}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: trellis-application-developer}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: dora}]
`

// logIn writes a kubeconfig of a user.
func logIn(t *testing.T, user string) string {
	t.Helper()
	config, err := clientcmd.LoadFromFile(apiServer.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range config.AuthInfos {
		info.Impersonate = user
	}
	path := filepath.Join(t.TempDir(), user)
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAnExceptionIsApprovedByWhoeverMayAndRevoked(t *testing.T) {
	c := cluster(t)
	manifest, err := chart.Template(t.Context(), "--show-only", "templates/user-roles.yaml", "--show-only", "templates/guards.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{string(manifest), excused, officers} {
		if err := apiServer.Apply(t.Context(), []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	until := time.Now().Add(30 * day).Truncate(time.Second)
	asked := have(t, c, exceptionFrom(t, "tokens", "asked", until), nil)
	have(t, c, exceptionFrom(t, "tokens", "over", time.Now().Add(-day)), nil)
	have(t, c, exceptionFrom(t, "gone", "astray", until), nil)
	olga, dora := logIn(t, "olga"), logIn(t, "dora")
	inForce(t, c, asked)
	seen := digestOf(t, asked)
	// The order counts: each step stands on those before it.
	for _, step := range []struct {
		who  string
		verb []string
		code int
		says []string
	}{
		{dora, []string{"approve", "asked"}, 1, []string{"approving the PolicyException excused/asked: spec.approval: dora may not approve exceptions from ClusterPolicyBinding tokens", "Do: "}},
		{dora, []string{"list"}, 0, []string{"asked", "no", "the operator has not looked at it as it is now"}},
		{olga, []string{"approve", "none"}, 1, []string{"there is no such PolicyException in the namespace excused"}},
		{olga, []string{"approve", "astray"}, 1, []string{"there is no ClusterPolicyBinding gone, so nothing would be let go"}},
		{olga, []string{"show", "astray"}, 0, []string{
			"PolicyException excused/astray\n  not to hold: ClusterPolicyBinding gone (required), which is not there", "old clients have no tokens yet", "Approving it would let nothing go",
		}},
		{olga, []string{"approve", "over"}, 1, []string{"it has expired (1d0h ago)"}},
		{olga, []string{"show", "asked"}, 0, []string{
			"PolicyException excused/asked\n  not to hold: ClusterPolicyBinding tokens (required), policy tokens", "old clients have no tokens yet", "digest:      " + seen,
			"it is not in force", "trellis exception approve asked -n excused --of " + seen,
		}},
		{dora, []string{"show", "asked", "-o", "json"}, 0, []string{`"digest": "` + seen}},
		{olga, []string{"approve", "asked", "--of", strings.Repeat("0", 20)}, 1, []string{
			"approving the PolicyException excused/asked: it is not as you have seen it: its digest is " + seen + " now, and not 00000000000000000000; look at it again: trellis exception show asked -n excused",
		}},
		{olga, []string{"approve", "asked", "--of", seen[:19]}, 1, []string{"is no digest"}},
		{olga, []string{"approve", "asked", "--of", seen}, 0, []string{
			"PolicyException excused/asked is approved by olga", "not to hold: ClusterPolicyBinding tokens (required), policy tokens", "Application web route pages",
			until.UTC().Format(time.RFC3339), "old clients have no tokens yet",
		}},
		{olga, []string{"approve", "asked"}, 0, []string{"is approved by olga as it is. Nothing was changed."}},
		{olga, []string{"revoke", "asked"}, 0, []string{"the approval of the PolicyException excused/asked by olga is taken back"}},
		{olga, []string{"revoke", "asked"}, 0, []string{"nobody has approved", "Nothing was changed."}},
		{olga, []string{"approve", "asked", "-o", "json"}, 0, []string{`"approvedBy": "olga"`, `"changed": true`, `"policy": "tokens"`}},
		{dora, []string{"revoke", "asked", "-o", "yaml"}, 0, []string{"changed: true"}},
	} {
		got := trellis(t, "", append(append([]string{"exception"}, step.verb...), "-n", "excused", "--kubeconfig", step.who)...)
		for _, want := range step.says {
			if got.code != step.code || !strings.Contains(got.out+got.err, want) {
				t.Errorf("%v: not %d with %q: %+v", step.verb, step.code, want, got)
			}
		}
	}
}

func TestAnApprovalIsInForceUntilTheRestChanges(t *testing.T) {
	c := cluster(t)
	if err := apiServer.Apply(t.Context(), []byte(excused)); err != nil {
		t.Fatal(err)
	}
	e := have(t, c, exceptionFrom(t, "tokens", "mine", time.Now().Add(30*day)), nil)
	list := func() string {
		return trellis(t, "", "exception", "list", "-n", "excused", "--kubeconfig", apiServer.Kubeconfig()).out
	}
	if got := trellis(t, "", "exception", "approve", "mine", "-n", "excused", "--kubeconfig", apiServer.Kubeconfig()); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	if got := list(); !hasLine(got, []string{"mine", "admin", "yes"}) {
		t.Errorf("approved, it is not in force:\n%s", got)
	}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(e), e); err != nil {
		t.Fatal(err)
	}
	if got := e.Spec.Approval.Policy; got != "tokens" {
		t.Errorf("approved is an exception from policy %q", got)
	}
	seen := digestOf(t, e)
	e.Spec.Subject.Route = ""
	if err := c.Update(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if got := list(); !hasLine(got, []string{"mine", "admin", "no", "it was changed after admin approved it"}) {
		t.Errorf("changed, it is in force:\n%s", got)
	}
	// Approved is what somebody has looked at, and not what it has become since.
	if got := trellis(t, "", "exception", "approve", "mine", "-n", "excused", "--kubeconfig", apiServer.Kubeconfig(), "--of", seen); got.code != 1 || !strings.Contains(got.err, "it is not as you have seen it") {
		t.Errorf("approved is what was changed: %+v", got)
	}
	if got := list(); !hasLine(got, []string{"mine", "no"}) {
		t.Errorf("refused, it is in force:\n%s", got)
	}
}

// inForce waits until the API server asks who approves.
func inForce(t *testing.T, c client.Client, e *v1alpha1.PolicyException) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := stack.Until(ctx, "approvals to be guarded", func(ctx context.Context) error {
		forged := approvedBy(t, e.DeepCopy(), "somebody else")
		if err := c.Update(ctx, forged, client.DryRunAll); err == nil || !strings.Contains(err.Error(), "trellis-exception-approval") {
			return fmt.Errorf("a forged approval is answered: %w", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
