// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/model"
)

// dear is a policy whose cost grows with the square of a list, and that nothing breaks.
const dear = "params.list.all(a, params.list.exists_one(b, a == b))"

var dearSubjects = []v1alpha1.PolicySubject{v1alpha1.SubjectApplication, v1alpha1.SubjectRoute, v1alpha1.SubjectExposure, v1alpha1.SubjectCaller, v1alpha1.SubjectCall}

// dearWorld has two namespaces whose PolicyBindings cost much, and a policy of the cluster.
// Which name each has is told by names; what it is, is not.
type dearWorld struct {
	// lists are how long the list of each PolicyBinding is, by namespace.
	lists map[string][]int
}

// dearApplications are how many a namespace has.
const dearApplications = 4

func newDearWorld(r *rand.Rand, near, far int) dearWorld {
	out := dearWorld{lists: map[string][]int{"near": nil, "far": nil}}
	for namespace, count := range map[string]int{"near": near, "far": far} {
		for range count {
			out.lists[namespace] = append(out.lists[namespace], 160+r.IntN(18))
		}
	}
	return out
}

func listOf(length int) v1alpha1.JSON {
	list := make([]string, length)
	for i := range list {
		list[i] = fmt.Sprint(i)
	}
	raw, _ := json.Marshal(list)
	return v1alpha1.JSON{Raw: raw}
}

func policyOf(name string, c v1alpha1.Constraint) *v1alpha1.PolicyTemplate {
	t := &v1alpha1.PolicyTemplate{ObjectMeta: metav1.ObjectMeta{Name: name + "-1.0.0"}}
	t.Spec = v1alpha1.PolicyTemplateSpec{
		Policy: v1alpha1.LabelName(name), Version: "1.0.0", Title: name, Remediation: v1alpha1.Remediation{Text: "meet it"},
		Parameters: []v1alpha1.PolicyParameter{{Name: "list", Type: v1alpha1.ParameterStrings}}, Constraints: []v1alpha1.Constraint{c},
	}
	return t
}

// input gives each thing the name that names has for its number.
func (d dearWorld) input(names []int) model.Input {
	in := model.Input{Mesh: model.DefaultMesh(), At: moment}
	for k, subject := range dearSubjects {
		in.Policies.Templates = append(in.Policies.Templates, policyOf(fmt.Sprintf("dear%d", k), v1alpha1.Constraint{Name: "rule", Subject: subject, Expression: dear, Message: "never"}))
	}
	in.Policies.Templates = append(in.Policies.Templates, policyOf("wide", v1alpha1.Constraint{Name: "rule", Subject: v1alpha1.SubjectApplication, Expression: "application.spec.routes.size() > 1", Message: "no"}))
	wide := &v1alpha1.ClusterPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "wide"}}
	wide.Spec.Tier, wide.Spec.Mode, wide.Spec.Policy = v1alpha1.TierMandatory, v1alpha1.ModeEnforce, v1alpha1.PolicyVersion{Name: "wide", Version: "1.0.0"}
	in.Policies.ClusterBindings = []*v1alpha1.ClusterPolicyBinding{wide}
	for namespace, lists := range d.lists {
		in.Namespaces = append(in.Namespaces, model.Namespace{Name: namespace})
		for i := range dearApplications {
			in.Applications = append(in.Applications, dearApplication(namespace, fmt.Sprintf("a%02d", names[i]), i))
		}
		for i, length := range lists {
			b := &v1alpha1.PolicyBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("b%02d", names[i])}}
			b.Spec.Policy = v1alpha1.PolicyVersion{Name: v1alpha1.LabelName(fmt.Sprintf("dear%d", i%len(dearSubjects))), Version: "1.0.0"}
			b.Spec.Mode = []v1alpha1.PolicyMode{v1alpha1.ModeEnforce, v1alpha1.ModeEnforce, v1alpha1.ModeShadow, v1alpha1.ModeAudit}[i%4]
			b.Spec.Parameters = []v1alpha1.ParameterValue{{Name: "list", Value: listOf(length)}}
			in.Policies.Bindings = append(in.Policies.Bindings, b)
		}
	}
	return in
}

func dearApplication(namespace, name string, number int) *v1alpha1.Application {
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	app.Spec.Access = &v1alpha1.Access{}
	for i := range 1 + number%3 {
		app.Spec.Routes = append(app.Spec.Routes, v1alpha1.Route{Name: v1alpha1.LabelName(fmt.Sprintf("r%d", i))})
		app.Spec.Access.Callers = append(app.Spec.Access.Callers, v1alpha1.Caller{Name: v1alpha1.LabelName(fmt.Sprintf("c%d", i)), Peer: v1alpha1.Peer{Any: &v1alpha1.AnyPeer{}}})
		app.Spec.Access.Calls = append(app.Spec.Access.Calls, v1alpha1.Call{Name: v1alpha1.LabelName(fmt.Sprintf("c%d", i))})
		app.Spec.Exposures = append(app.Spec.Exposures, v1alpha1.Exposure{Name: v1alpha1.LabelName(fmt.Sprintf("e%d", i))})
	}
	return app
}

// said is what policies say, with numbers in place of names.
func said(in model.Input, names []int) (own, wide []string, closed int) {
	outcome := compile.Compile(model.NewSnapshot(in))
	number := func(name string) string {
		var k int
		if _, err := fmt.Sscanf(name[1:], "%d", &k); err != nil {
			return name
		}
		return fmt.Sprint(slices.Index(names, k))
	}
	for _, j := range outcome.Judgements {
		text := fmt.Sprintf("%s %s %s/%s %s %s %s", number(j.Binding.Ref.Name), j.Rule, j.Subject.Namespace, number(j.Subject.Application), j.Subject.Origin.Field, j.Outcome, j.Message)
		if j.Binding.Ref.Kind == "ClusterPolicyBinding" {
			wide = append(wide, text)
		} else {
			own = append(own, text)
		}
		if j.Closes() {
			closed++
		}
	}
	slices.Sort(own)
	slices.Sort(wide)
	return own, wide, closed
}

// Whether the PolicyBindings of a namespace cost too much, and what comes of it, hangs on no
// name. It is all of them or none, and no policy of others.
func TestWhichPoliciesCostTooMuchHangsOnNoName(t *testing.T) {
	over, within := 0, 0
	// A list costs about 90,000 units, and is asked of for 4 to 7 subjects.
	for seed, counts := range [][2]int{{6, 11}, {12, 7}, {9, 9}} {
		r := rand.New(rand.NewPCG(uint64(seed), 7))
		world := newDearWorld(r, counts[0], counts[1])
		names, others := r.Perm(20), r.Perm(20)
		own, wide, closed := said(world.input(names), names)
		again, alike, _ := said(world.input(others), others)
		if !slices.Equal(own, again) || !slices.Equal(wide, alike) {
			t.Fatalf("seed %d: other names, other judgements\n%s\n\n%s", seed, strings.Join(own, "\n"), strings.Join(again, "\n"))
		}
		alone := world
		alone.lists = map[string][]int{"near": world.lists["near"]}
		if without, _, _ := said(alone.input(names), names); !slices.Equal(of(own, "near"), without) {
			t.Fatalf("seed %d: with another namespace, PolicyBindings have another outcome", seed)
		}
		for namespace, lists := range world.lists {
			switch n := len(of(own, namespace)); n {
			case 0:
				within++
			case dearApplications * len(lists):
				over++
			default:
				t.Fatalf("seed %d: %d judgements of %d PolicyBindings about %d Applications of namespace %s:\n%s", seed, n, len(lists), dearApplications, namespace, strings.Join(own, "\n"))
			}
		}
		none := world
		none.lists = map[string][]int{"near": nil, "far": nil}
		if _, without, _ := said(none.input(names), names); !slices.Equal(wide, without) || len(wide) == 0 {
			t.Fatalf("seed %d: a policy of the cluster says something else beside PolicyBindings that cost much: %v, without them %v", seed, wide, without)
		}
		if len(own) > 0 && closed == len(wide) {
			t.Fatalf("seed %d: nothing is closed", seed)
		}
	}
	if over < 2 || within < 1 {
		t.Errorf("%d namespaces cost too much and %d do not: nothing was shown", over, within)
	}
}

// of are judgements of a namespace.
func of(judgements []string, namespace string) []string {
	return slices.DeleteFunc(slices.Clone(judgements), func(j string) bool { return !strings.Contains(j, " "+namespace+"/") })
}
