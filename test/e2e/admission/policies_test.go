// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/test/stack/loopback"
)

// template is one version of a policy, and of those below each is one that binds it.
func template(t *testing.T, version string) *v1alpha1.PolicyTemplate {
	t.Helper()
	out := &v1alpha1.PolicyTemplate{}
	must(t, yaml.UnmarshalStrict([]byte(strings.ReplaceAll(`
apiVersion: trellis.dev/v1alpha1
kind: PolicyTemplate
metadata: {name: named-VERSION}
spec:
  policy: named
  version: VERSION
  title: Routes are named as the team says
  severity: High
  remediation: {text: rename the route}
  parameters: [{name: forbidden, type: Strings, required: true}]
  constraints:
  - {name: names, subject: Route, expression: "!(route.name in params.forbidden)", message: the name of this route is forbidden, field: name}
`, "VERSION", version)), out))
	return out
}

func clusterBinding(t *testing.T, version, parameter string) *v1alpha1.ClusterPolicyBinding {
	t.Helper()
	out := &v1alpha1.ClusterPolicyBinding{}
	must(t, yaml.UnmarshalStrict([]byte(`
apiVersion: trellis.dev/v1alpha1
kind: ClusterPolicyBinding
metadata: {name: names}
spec:
  policy: {name: named, version: `+version+`}
  tier: Mandatory
  mode: Enforce
  parameters: [{name: `+parameter+`, value: [pages]}]
  contact: security@example.com
`), out))
	return out
}

func TestAnAPIServerRefusesPoliciesThatCannotBeAppliedAndWhatPoliciesRefuse(t *testing.T) {
	address := loopback.Unused(t)
	shared.register(t, address)
	_, stop := shared.serve(t, address, clock.RealClock{})
	ctx, api := t.Context(), shared.api
	refused := func(t *testing.T, err error, texts ...string) {
		t.Helper()
		if err == nil {
			t.Fatal("it is taken")
		}
		for _, want := range texts {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("the refusal does not say %q: %v", want, err)
			}
		}
	}
	// The order counts: each step stands on those before it.
	refused(t, api.Create(ctx, clusterBinding(t, "1.0.0", "forbidden")), "PolicyTemplate named-1.0.0 does not exist", "do: install that version")
	wrong := template(t, "1.0.0")
	wrong.Spec.Constraints[0].Expression = "rout.name != ''"
	refused(t, api.Create(ctx, wrong), "spec.constraints[0].expression", "undeclared reference to 'rout'", "(TemplateInvalid)")
	must(t, api.Create(ctx, template(t, "1.0.0")))
	changed := &v1alpha1.PolicyTemplate{}
	changed.Name = "named-1.0.0"
	refused(t, api.Patch(ctx, changed, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"title":"Another"}}`))), "a version of a policy never changes; make another version")
	refused(t, api.Create(ctx, clusterBinding(t, "1.0.0", "allowed")), "has no parameter allowed; it has forbidden", "(ParameterUnknown)", "needs the parameter forbidden")
	must(t, api.Create(ctx, clusterBinding(t, "1.0.0", "forbidden")))
	defer func() {
		shared.withoutWebhook(t)
		for _, o := range []client.Object{clusterBinding(t, "1.0.0", "forbidden"), template(t, "1.0.0"), template(t, "3.0.0")} {
			shared.until(t, "the webhook to be gone", func(ctx context.Context) error { return client.IgnoreNotFound(api.Delete(ctx, o)) })
		}
	}()

	err := api.Create(ctx, read(t, application("shop", "", "")))
	refused(t, err, "spec.routes[0].name", "the name of this route is forbidden", "rule: ClusterPolicyBinding names (policy named 1.0.0; ask security@example.com)", "do: rename the route")
	err = api.Delete(ctx, template(t, "1.0.0"))
	refused(t, err, "PolicyTemplate named-1.0.0 cannot be deleted", "rule: ClusterPolicyBinding names", "do: bind another version")
	if !apierrors.IsConflict(err) {
		t.Errorf("it is no conflict: %v", err)
	}
	must(t, api.Create(ctx, template(t, "2.0.0")))
	must(t, api.Delete(ctx, template(t, "2.0.0")))

	shared.warnings.take()
	e := exception(t, "admitted", "ClusterPolicyBinding", "names")
	must(t, api.Create(ctx, e, client.DryRunAll))
	if got := shared.warnings.take(); !strings.Contains(got, "NotApproved") || !strings.Contains(got, "trellis exception approve admitted -n shop") {
		t.Errorf("what nobody has approved gets the warnings %q", got)
	}
	refused(t, api.Create(ctx, exception(t, "lost", "PolicyBinding", "names")), "PolicyBinding names does not exist", "(BindingNotFound)")
	must(t, api.Create(ctx, template(t, "3.0.0")))
	stop()
	refused(t, api.Delete(ctx, template(t, "3.0.0")), "policytemplates.trellis.dev")
}
