// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy"
)

// now is when exceptions are judged.
var now = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)

// policies are in the cluster beside the platform: one that is enforced and broken by
// nothing yet, and one that no exception may outlive.
const policies = `
---
apiVersion: trellis.dev/v1alpha1
kind: Goal
metadata: {name: privacy}
spec: {title: Nobody reads what is not theirs, owner: privacy office}
---
apiVersion: trellis.dev/v1alpha1
kind: PolicyTemplate
metadata: {name: named-pages-1.0.0}
spec:
  policy: named-pages
  version: 1.0.0
  title: Routes are named as the team says
  severity: High
  remediation: {text: rename the route}
  parameters:
  - {name: forbidden, type: Strings, required: true}
  constraints:
  - {name: names, subject: Route, expression: "!(route.name in params.forbidden)", message: the name of this route is forbidden, field: name}
---
apiVersion: trellis.dev/v1alpha1
kind: PolicyTemplate
metadata: {name: short-exceptions-1.0.0}
spec:
  policy: short-exceptions
  version: 1.0.0
  title: Exceptions are short
  severity: Low
  remediation: {text: ask for less time}
  constraints:
  - {name: days, subject: PolicyException, expression: days <= 30, message: an exception lasts at most 30 days, field: spec.expires}
---
apiVersion: trellis.dev/v1alpha1
kind: ClusterPolicyBinding
metadata: {name: names}
spec:
  policy: {name: named-pages, version: 1.0.0}
  tier: Mandatory
  mode: Enforce
  parameters: [{name: forbidden, value: [admin]}]
  applications: {matchExpressions: [{key: legacy, operator: DoesNotExist}]}
  goals: [privacy]
  contact: security@example.com
---
apiVersion: trellis.dev/v1alpha1
kind: ClusterPolicyBinding
metadata: {name: exceptions}
spec:
  policy: {name: short-exceptions, version: 1.0.0}
  tier: Mandatory
  mode: Enforce
`

// binding is one of a namespace with one text replaced.
func binding(t *testing.T, from, to string) string {
	return changed(t, `
apiVersion: trellis.dev/v1alpha1
kind: PolicyBinding
metadata: {name: ours, namespace: shop}
spec:
  policy: {name: named-pages, version: 1.0.0}
  mode: Enforce
  parameters: [{name: forbidden, value: [secret]}]
`, from, to)
}

// exception is one with one text replaced.
func exception(t *testing.T, from, to string) string {
	return changed(t, `
apiVersion: trellis.dev/v1alpha1
kind: PolicyException
metadata: {name: cart, namespace: shop}
spec:
  binding: {kind: ClusterPolicyBinding, name: names}
  subject: {application: cart}
  reason: the old name is printed on boxes
  expires: "2026-06-20T00:00:00Z"
`, from, to)
}

// approved is an exception that somebody has approved as it is.
func approved(t *testing.T, text string) string {
	t.Helper()
	e := &v1alpha1.PolicyException{}
	if err := yaml.UnmarshalStrict([]byte(text), e); err != nil {
		t.Fatal(err)
	}
	digest, err := policy.Digest(e)
	if err != nil {
		t.Fatal(err)
	}
	return text + "  approval: {by: ada, of: " + digest + "}\n"
}

func changed(t *testing.T, text, from, to string) string {
	t.Helper()
	if !strings.Contains(text, from) {
		t.Fatalf("the document has no %s", from)
	}
	return strings.Replace(text, from, to, 1)
}

// newTemplate is a version of a policy that nobody binds yet.
const newTemplate = `
apiVersion: trellis.dev/v1alpha1
kind: PolicyTemplate
metadata: {name: named-pages-2.0.0}
spec:
  policy: named-pages
  version: 2.0.0
  title: Routes have names
  severity: High
  remediation: {text: rename the route}
  constraints:
  - {name: names, subject: Route, expression: "route.name != 'admin'", message: the name of this route is forbidden}
`

func policyInput(t *testing.T, more string) model.Input {
	t.Helper()
	in := input(t, platform+policies+more)
	if len(in.Policies.Templates) != 2 || len(in.Policies.ClusterBindings) != 2 {
		t.Fatalf("the schema refuses the policies: %d templates and %d bindings are left", len(in.Policies.Templates), len(in.Policies.ClusterBindings))
	}
	in.At = now
	return in
}

// All policies of a namespace would be closed by one that costs too much beside them.
func TestAPolicyThatCostsTooMuchForItsNamespaceIsRefused(t *testing.T) {
	in := policyInput(t, "")
	dear := in.Policies.Templates[0].DeepCopy()
	dear.Name, dear.Spec.Policy, dear.Spec.Version = "dear-1.0.0", "dear", "1.0.0"
	dear.Spec.Parameters = []v1alpha1.PolicyParameter{{Name: "list", Type: v1alpha1.ParameterStrings}}
	dear.Spec.Constraints = nil
	for i := range 60 {
		dear.Spec.Constraints = append(dear.Spec.Constraints, v1alpha1.Constraint{
			Name: v1alpha1.LabelName(fmt.Sprintf("rule-%d", i)), Subject: v1alpha1.SubjectApplication, Expression: "params.list.all(a, params.list.exists_one(b, a == b))", Message: "never",
		})
	}
	in.Policies.Templates = append(in.Policies.Templates, dear)
	list := make([]string, 170)
	for i := range list {
		list[i] = fmt.Sprintf("'%d'", i)
	}
	few := changed(t, binding(t, "named-pages", "dear"), "forbidden, value: [secret]", "list, value: ['1']")
	checkAgainst(t, in, []admissionCase{
		{name: "with a short list", object: few},
		{name: "with a long list", object: changed(t, few, "'1'", strings.Join(list, ", ")), refused: "CostExceeded"},
	})
}

func TestAPolicyThatCannotBeAppliedIsRefused(t *testing.T) {
	in := policyInput(t, "")
	checkAgainst(t, in, []admissionCase{
		{name: "a version of a policy that is right", object: newTemplate},
		{name: "an expression that does not compile", object: changed(t, newTemplate, "route.name !=", "rout.name !="), refused: "TemplateInvalid"},
		{name: "two rules of one name", object: newTemplate + "  - {name: names, subject: Route, expression: 'true', message: it is}\n", refused: "TemplateInvalid"},
		{name: "a binding that is right", object: binding(t, "secret", "hidden")},
		{name: "a binding of a version that is not there", object: binding(t, "version: 1.0.0", "version: 3.0.0"), refused: "TemplateNotFound"},
		{name: "a parameter that the policy does not have", object: binding(t, "name: forbidden", "name: allowed"), refused: "ParameterUnknown"},
		{name: "a parameter of another type", object: binding(t, "value: [secret]", "value: 7"), refused: "ParameterInvalid"},
		{name: "a parameter that is needed", object: binding(t, "  parameters: [{name: forbidden, value: [secret]}]\n", ""), refused: "ParameterMissing"},
		{name: "a selector that cannot be read", object: binding(t, "mode: Enforce", "mode: Enforce\n  applications: {matchExpressions: [{key: a, operator: Near}]}"), refused: "SelectorInvalid"},
		{name: "a goal that is not there may come", object: binding(t, "mode: Enforce", "mode: Enforce\n  goals: [later]"), warned: []string{"GoalNotFound"}},
		{name: "a binding that closes routes of others says so", object: binding(t, "secret", "cart"), warned: []string{"Application shop/cart", "PolicyViolated"}},
		{name: "so does one for the cluster", object: section(t, "metadata: {name: names}", "value: [admin]", "value: [cart]"),
			old: section(t, "metadata: {name: names}", "", ""), warned: []string{"Application shop/cart", "PolicyViolated"}},
		{name: "what was wrong with a binding may stay while something else changes", old: binding(t, "version: 1.0.0", "version: 3.0.0"),
			object: changed(t, binding(t, "version: 1.0.0", "version: 3.0.0"), "[secret]", "[other]"), warned: []string{"TemplateNotFound"}},
	})
}

// rolling is the binding of the cluster on its way to the new version, with one text replaced.
func rolling(t *testing.T, from, to string) string {
	return changed(t, `
apiVersion: trellis.dev/v1alpha1
kind: ClusterPolicyBinding
metadata: {name: names}
spec:
  policy: {name: named-pages, version: 2.0.0}
  tier: Mandatory
  mode: Enforce
  rollout:
    from: 1.0.0
    stages: [{name: first, namespaces: {matchLabels: {kubernetes.io/metadata.name: shop}}}]
    soak: 1h
  parameters: [{name: forbidden, value: [admin]}]
  contact: security@example.com
`, from, to)
}

const halfway = "status: {rollout: {version: 2.0.0, from: 1.0.0, stage: rest, state: Trying, stages: 2, holds: [first]}}\n"

func TestARolloutIsRefusedWhereAVersionCannotBeApplied(t *testing.T) {
	next := strings.Replace(newTemplate, "  constraints:", "  parameters: [{name: forbidden, type: Strings}]\n  constraints:", 1)
	next = strings.Replace(next, "route.name != 'admin'", "!(route.name in params.forbidden) && route.name != 'cart'", 1)
	in := policyInput(t, "")
	in = with(with(in, decoded(t, next)), decoded(t, strings.ReplaceAll(next, "2.0.0", "2.2.0")))
	old := section(t, "metadata: {name: names}", "", "")
	checkAgainst(t, in, []admissionCase{
		{name: "all is right, and nothing is refused while it is tried", old: old, object: rolling(t, "", "")},
		{name: "without the version that holds now", old: old, object: rolling(t, "    from: 1.0.0\n", ""),
			warned: []string{"RolloutFromAnother", "policy named-pages 1.0.0 holds in all namespaces, and from now on no version holds where version 2.0.0 does not yet"}},
		{name: "a binding that is new has no version before", object: rolling(t, "    from: 1.0.0\n", "")},
		{name: "a rollout of the version that holds already", old: strings.Replace(old, "version: 1.0.0", "version: 2.0.0", 1), object: rolling(t, "", ""),
			warned: []string{"RolloutFromAnother", "from now on version 1.0.0 holds where version 2.0.0 does not yet"}},
		{name: "another stage of a rollout that goes on", old: rolling(t, "", ""), object: rolling(t, "soak: 1h", "soak: 2h")},
		{name: "the next version before this one holds in all stages", old: rolling(t, "spec:\n", halfway+"spec:\n"),
			object: strings.Replace(rolling(t, "from: 1.0.0", "from: 2.0.0"), "version: 2.0.0}", "version: 2.2.0}", 1),
			warned: []string{"RolloutFromAnother", "version 2.0.0 has come to hold in first alone, and from now on holds in all others, where nobody has tried it"}},
		{name: "another version before, when some stages hold", old: rolling(t, "spec:\n", halfway+"spec:\n"), object: rolling(t, "    from: 1.0.0\n", ""),
			warned: []string{"RolloutFromAnother", "version 2.0.0 has come to hold in first, and begins anew: from now on no version holds there"}},
		{name: "a version before that does not exist", old: old, object: rolling(t, "from: 1.0.0", "from: 0.9.0"), refused: "TemplateNotFound"},
		{name: "a new version that does not exist", old: old, object: rolling(t, "version: 2.0.0", "version: 2.1.0"), refused: "TemplateNotFound"},
		{name: "a parameter that neither has", old: old, object: rolling(t, "{name: forbidden,", "{name: allowed,"), refused: "ParameterUnknown"},
		{name: "a version to itself", old: old, object: rolling(t, "from: 1.0.0", "from: 2.0.0"), refused: "RolloutInvalid"},
		{name: "no time", old: old, object: rolling(t, "soak: 1h", "soak: 0s"), refused: "RolloutInvalid"},
		{name: "a stage of the name of the last one", old: old, object: rolling(t, "name: first", "name: rest"), refused: "RolloutInvalid"},
		{name: "two stages of one name", old: old, object: rolling(t, "stages: [", "stages: [{name: first, namespaces: {}}, "), refused: "RolloutInvalid"},
		{name: "a selector of a stage that cannot be read", old: old,
			object: rolling(t, "{matchLabels: {kubernetes.io/metadata.name: shop}}", "{matchExpressions: [{key: a, operator: Near}]}"), refused: "SelectorInvalid"},
		{name: "a version before that is not the one that holds", old: old,
			object: rolling(t, "spec:\n", "status: {rollout: {version: 1.5.0, stage: rest, state: Holding, stages: 2, holds: [first, rest]}}\nspec:\n"),
			warned: []string{"RolloutFromAnother", "version 1.5.0"}},
	})
}

func TestTheVersionBeforeOfARolloutIsNotDeleted(t *testing.T) {
	in := policyInput(t, "")
	in.Policies.ClusterBindings = nil
	in = with(with(in, decoded(t, newTemplate)), decoded(t, rolling(t, "", "")))
	for _, template := range []string{section(t, "metadata: {name: named-pages-1.0.0}", "", ""), newTemplate} {
		r := request(t, template, "")
		r.Operation, r.OldObject, r.Object = admissionv1.Delete, r.Object, runtime.RawExtension{}
		got := New(func() (model.Input, error) { return in, nil }).Handle(t.Context(), r)
		if got.Allowed || !strings.Contains(got.Result.Message, "ClusterPolicyBinding names") {
			t.Errorf("%+v", got)
		}
	}
}

func TestAnExceptionThatLetsNothingGoIsRefusedOrWarnedOf(t *testing.T) {
	in := policyInput(t, "")
	checkAgainst(t, in, []admissionCase{
		{name: "nobody has approved it yet", object: exception(t, "", ""), warned: []string{"NotApproved", "trellis exception approve cart -n shop"}},
		{name: "it is approved", object: approved(t, exception(t, "", "")), old: exception(t, "", "")},
		{name: "it was changed after it was approved", object: changed(t, approved(t, exception(t, "", "")), "boxes", "bags"), warned: []string{"ApprovalOutdated"}},
		{name: "the binding is not there", object: exception(t, "name: names", "name: other"), refused: "BindingNotFound"},
		{name: "it has expired", object: exception(t, "2026-06-20", "2026-05-20"), refused: "Expired"},
		{name: "it is longer than a policy about exceptions allows", object: approved(t, exception(t, "2026-06-20", "2026-09-20")), refused: "PolicyViolated"},
		{name: "a rule that the policy does not have", object: approved(t, exception(t, "  subject:", "  rules: [other]\n  subject:")), warned: []string{"RuleNotFound"}},
	})
}

func TestTakingAnApprovalAwayWarnsOfWhatItCloses(t *testing.T) {
	held := strings.Replace(section(t, "kind: Application", "", ""), "name: cart, port: web", "name: admin, port: web", 1)
	held = strings.Replace(held, "routes: [cart]", "routes: [admin]", 1)
	in := policyInput(t, "")
	in.Applications = nil
	in = with(in, decoded(t, held))
	checkAgainst(t, in, []admissionCase{{
		name: "the approval is removed", old: approved(t, exception(t, "", "")), object: exception(t, "", ""),
		warned: []string{"NotApproved", "closes something of Application shop/cart"},
	}})
}

func TestAChangeThatAPolicyRefusesIsRefused(t *testing.T) {
	forbidden := application("shop", "name: pages, port", "name: admin, port")
	forbidden = strings.Replace(forbidden, "routes: [pages]", "routes: [admin]", 1)
	excused := exception(t, "application: cart", "application: web")
	checkAgainst(t, policyInput(t, ""), []admissionCase{
		{name: "a route with a forbidden name", object: forbidden, refused: "PolicyViolated"},
		{name: "it was so before the policy was bound, and something else changes", old: forbidden,
			object: strings.Replace(forbidden, "methods: [GET]", "methods: [GET, HEAD]", 1), warned: []string{"PolicyViolated"}},
		{name: "a label that policies do not choose by", object: strings.Replace(forbidden, "name: web,", "name: web, labels: {legacy: x},", 1)},
		{name: "a label less that a policy chooses by", old: strings.Replace(forbidden, "name: web,", "name: web, labels: {legacy: x},", 1),
			object: forbidden, refused: "PolicyViolated"},
	})
	checkAgainst(t, policyInput(t, "---\n"+approved(t, excused)), []admissionCase{
		{name: "an exception lets it go", object: forbidden, warned: []string{"PolicyExempt"}},
	})
	checkAgainst(t, policyInput(t, "---\n"+binding(t, "version: 1.0.0", "version: 3.0.0")), []admissionCase{
		{name: "a binding that cannot be applied holds nobody up", object: application("shop", "", ""), warned: []string{"PolicyBroken"}},
	})
}

func TestARefusalByAPolicySaysWhoseItIsForWhichGoalAndWhomToAsk(t *testing.T) {
	in := policyInput(t, "")
	forbidden := strings.Replace(application("shop", "name: pages, port", "name: admin, port"), "routes: [pages]", "routes: [admin]", 1)
	got := New(func() (model.Input, error) { return in, nil }).Handle(t.Context(), request(t, forbidden, ""))
	for _, want := range []string{
		"Application shop/web cannot be accepted", "spec.routes[0].name", "the name of this route is forbidden; the route is closed",
		"rule: ClusterPolicyBinding names (policy named-pages 1.0.0", "for the goal “Nobody reads what is not theirs”", "ask security@example.com", "do: rename the route",
	} {
		if !strings.Contains(got.Result.Message, want) {
			t.Errorf("the refusal does not say %q:\n%s", want, got.Result.Message)
		}
	}
}

func TestATemplateThatIsBoundIsNotDeleted(t *testing.T) {
	in := policyInput(t, "---\n"+binding(t, "", ""))
	unbound := in
	unbound.Policies.ClusterBindings, unbound.Policies.Bindings = nil, nil
	used := section(t, "metadata: {name: named-pages-1.0.0}", "", "")
	for _, test := range []struct {
		name, object string
		input        func() (model.Input, error)
		code         int32
		says         []string
	}{
		{"it is bound", used, func() (model.Input, error) { return in, nil }, 409, []string{
			"PolicyTemplate named-pages-1.0.0 cannot be deleted", "rule: ClusterPolicyBinding names, PolicyBinding shop/ours", "do: bind another version",
		}},
		{"nobody binds it", used, func() (model.Input, error) { return unbound, nil }, 0, nil},
		{"nobody binds this version", newTemplate, func() (model.Input, error) { return in, nil }, 0, nil},
		{"nothing is known yet", used, func() (model.Input, error) { return model.Input{}, errors.New("the cluster is still being read") }, 503, []string{"try again"}},
		{"it is a binding that is deleted", binding(t, "", ""), func() (model.Input, error) { return model.Input{}, errors.New("nothing is known") }, 0, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := request(t, test.object, "")
			r.Operation, r.OldObject, r.Object = admissionv1.Delete, r.Object, runtime.RawExtension{}
			got := New(test.input).Handle(t.Context(), r)
			if got.Allowed != (test.code == 0) {
				t.Fatalf("allowed: %t, %+v", got.Allowed, got.Result)
			}
			for _, want := range test.says {
				if !strings.Contains(got.Result.Message, want) || got.Result.Code != test.code {
					t.Errorf("code %d, and it does not say %q:\n%s", got.Result.Code, want, got.Result.Message)
				}
			}
		})
	}
}

// Leaving out what a binding has nothing to do with must not change what is found.
func TestNarrowingToANamespaceChangesNothing(t *testing.T) {
	in := policyInput(t, "---\n"+strings.Replace(application("rival", "hostnames: [shop]", "hostnames: [rival]"), "name: web,", "name: other,", 1))
	b := decoded(t, binding(t, "secret", "cart"))
	ref := model.Reference{Cluster: in.Mesh.Cluster, Group: "trellis.dev", Kind: "PolicyBinding", Namespace: "shop", Name: "ours"}
	_, after := inputs(in, ref, b, nil)
	if len(after.Applications) != len(in.Applications)-1 {
		t.Fatalf("%d of %d Applications are left", len(after.Applications), len(in.Applications))
	}
	inShop := func(all []model.Finding) []model.Finding {
		return slices.DeleteFunc(slices.Clone(all), func(f model.Finding) bool { return f.Object.Namespace != "shop" })
	}
	whole, narrowed := inShop(findings(with(in, b))), inShop(findings(after))
	if !slices.Equal(whole, narrowed) || len(whole) == 0 {
		t.Errorf("the whole finds\n%+v\nand the narrowed\n%+v", whole, narrowed)
	}
}

// An Application that is left out may be one that a policy means as a caller.
func TestCallersThatAPolicyMeansAreKnownWhereTheyAreLeftOut(t *testing.T) {
	in := input(t, platform+policies+`---
apiVersion: trellis.dev/v1alpha1
kind: Application
metadata: {name: jobs, namespace: rival, labels: {scope: pci}}
spec: {service: jobs, ports: [{name: web, port: 80, protocol: HTTP}]}
---
apiVersion: v1
kind: Service
metadata: {name: jobs, namespace: rival}
spec: {selector: {app: jobs}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: jobs, namespace: rival, labels: {app: jobs}}
spec: {serviceAccountName: jobs, containers: [{name: main}]}
---
apiVersion: trellis.dev/v1alpha1
kind: PolicyTemplate
metadata: {name: scope-1.0.0}
spec:
  policy: scope
  version: 1.0.0
  title: Only what is in scope calls
  severity: High
  remediation: {text: call from there}
  contributions: [{name: wall, restrictAccess: {applications: "caller.labels[?'scope'].orValue('') == 'pci'"}}]
---
apiVersion: trellis.dev/v1alpha1
kind: ClusterPolicyBinding
metadata: {name: scope}
spec: {policy: {name: scope, version: 1.0.0}, tier: Mandatory, mode: Enforce}
`)
	if len(in.Policies.Templates) != 3 {
		t.Fatalf("%d templates are left", len(in.Policies.Templates))
	}
	in.At = now
	a, ok := decoded(t, application("shop", "", "")).(*v1alpha1.Application)
	if !ok {
		t.Fatal("it is no Application")
	}
	for name, refused := range map[string]bool{"jobs": false, "others": true} {
		account := &v1alpha1.NamespacedName{Name: name, Namespace: "rival"}
		a.Spec.Access = &v1alpha1.Access{Callers: []v1alpha1.Caller{{Name: "jobs", Peer: v1alpha1.Peer{ServiceAccount: account}}}}
		_, after := inputs(in, model.Reference{Cluster: in.Mesh.Cluster, Group: "trellis.dev", Kind: "Application", Namespace: "shop", Name: "web"}, a, nil)
		if slices.ContainsFunc(after.Applications, func(a *v1alpha1.Application) bool { return a.Name == "jobs" }) {
			t.Fatal("the Application that calls is not left out")
		}
		if got := slices.ContainsFunc(findings(after), func(f model.Finding) bool { return f.Reason == "PolicyViolated" && f.Object.Name == "web" }); got != refused {
			t.Errorf("service account rival/%s is refused: %v", name, got)
		}
	}
}

func decoded(t *testing.T, text string) client.Object {
	t.Helper()
	var meta metav1.TypeMeta
	if err := yaml.Unmarshal([]byte(text), &meta); err != nil {
		t.Fatal(err)
	}
	object, err := decodeOne(meta.Kind, raw(t, text).Raw)
	if err != nil {
		t.Fatal(err)
	}
	return object
}

// A version of a policy never changes, so one that does not do what it says must not
// come in.
func TestATemplateWhoseOwnTestsFailIsRefused(t *testing.T) {
	tested := newTemplate + `  tests:
  - name: admin is no name
    objects:
    - apiVersion: trellis.dev/v1alpha1
      kind: Application
      metadata: {name: web, namespace: shop}
      spec:
        service: web
        ports: [{name: web, port: 80, protocol: HTTP}]
        routes: [{name: admin, port: web, paths: [{prefix: /}], authentication: {mode: None}}]
    violations: [{constraint: names, subject: "Application shop/web spec.routes[0]"}]
`
	checkAgainst(t, policyInput(t, ""), []admissionCase{
		{name: "it finds what its test says", object: tested},
		{name: "it does not", object: changed(t, tested, "!= 'admin'", "!= 'root'"), refused: "TemplateTestFailed"},
		{name: "it finds more", object: changed(t, tested, "    violations: [{constraint: names, subject: \"Application shop/web spec.routes[0]\"}]\n", ""), refused: "TemplateTestFailed"},
	})
}

// An assertion shows in tests of a template by what it asks.
func TestATemplateThatAssertsSomethingElseThanItsTestsSayIsRefused(t *testing.T) {
	const asserting = `
apiVersion: trellis.dev/v1alpha1
kind: PolicyTemplate
metadata: {name: admin-2.0.0}
spec:
  policy: admin
  version: 2.0.0
  title: Nobody administers
  severity: Low
  remediation: {text: close it}
  assertions:
  - name: outside
    from: {internet: {}}
    request: {paths: "['/admin']"}
    expect: {verdict: Deny}
    message: anybody administers
  tests:
  - name: each Application is asked
    objects:
    - apiVersion: trellis.dev/v1alpha1
      kind: Application
      metadata: {name: web, namespace: shop}
      spec: {service: web, ports: [{name: web, port: 80, protocol: HTTP}]}
    effects: [{contribution: outside, subject: Application shop/web, effect: "asserts that GET /admin from the internet is denied"}]
`
	checkAgainst(t, policyInput(t, ""), []admissionCase{
		{name: "it asks what its test says", object: asserting},
		{name: "it asks for something else", object: changed(t, asserting, "['/admin']", "['/']"), refused: "TemplateTestFailed"},
		{name: "it expects something else", object: changed(t, asserting, "verdict: Deny", "verdict: NoRoute"), refused: "TemplateTestFailed"},
		{name: "its paths are no list", object: changed(t, asserting, "['/admin']", "'/admin'"), refused: "TemplateInvalid"},
	})
}
