// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy"
)

// whomTheyKeepAway are those in doubt, and whom each rule about callers of PolicyBindings of
// namespace n keeps away, by the length of the list that it looks through.
func whomTheyKeepAway(t *testing.T, callers []*v1alpha1.Application, names []string, lengths ...int) (all []string) {
	t.Helper()
	tmpl := &v1alpha1.PolicyTemplate{ObjectMeta: metav1.ObjectMeta{Name: "p-1.0.0"}}
	tmpl.Spec = v1alpha1.PolicyTemplateSpec{
		Policy: "p", Version: "1.0.0", Parameters: []v1alpha1.PolicyParameter{{Name: "list", Type: v1alpha1.ParameterStrings}},
		Contributions: []v1alpha1.Contribution{{Name: "rule", DenyAccess: &v1alpha1.AccessContribution{
			Applications: "params.list.all(l, caller.labels.all(k, caller.labels[k] != l)) && caller.name == 'meant'",
		}}},
	}
	in := model.Input{Mesh: model.DefaultMesh(), Applications: callers}
	in.Policies.Templates = []*v1alpha1.PolicyTemplate{tmpl}
	for i, length := range lengths {
		list, err := json.Marshal(make([]string, length))
		if err != nil {
			t.Fatal(err)
		}
		b := &v1alpha1.PolicyBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: names[i]}}
		b.Spec.Mode, b.Spec.Policy = v1alpha1.ModeEnforce, v1alpha1.PolicyVersion{Name: "p", Version: "1.0.0"}
		b.Spec.Parameters = []v1alpha1.ParameterValue{{Name: "list", Value: v1alpha1.JSON{Raw: list}}}
		in.Policies.Bindings = append(in.Policies.Bindings, b)
	}
	set := policy.Compile(model.NewSnapshot(in))
	app := application("n", "web", nil)
	for _, c := range set.Application(app, origin(app)).Contributions() {
		var kept []string
		for _, a := range c.Access.Applications {
			kept = append(kept, a.Name.Name)
		}
		all = append(all, fmt.Sprintf("%d: in doubt %v, kept away %v", lengths[slices.Index(names, c.Binding.Ref.Name)], c.Access.Doubts.Names, kept))
		if c.Outcome != policy.Pass || c.Closes() {
			t.Errorf("%+v", c)
		}
	}
	if set.Overspent() {
		t.Error("callers are charged to what expressions about the namespace's own may cost")
	}
	slices.Sort(all)
	return all
}

// How many callers there are, and with how many labels, is for others to say. Who has many
// labels is kept away, and makes no policy of somebody else cost more about anybody else.
func TestACallerThatCostsTooMuchIsKeptAwayAlone(t *testing.T) {
	labelled := func(name string, count int) *v1alpha1.Application {
		labels := map[string]string{}
		for i := range count {
			labels[fmt.Sprintf("label-%d", i)] = "x"
		}
		return application("far", name, labels)
	}
	callers := []*v1alpha1.Application{labelled("meant", 2), labelled("other", 2)}
	for i := range 200 {
		callers = append(callers, labelled(fmt.Sprintf("many-%03d", i), 60))
	}
	got := whomTheyKeepAway(t, callers, []string{"a"}, 40)
	if text := fmt.Sprint(got); strings.Count(text, "far/many-") != 200 || strings.Contains(text, "far/other") || strings.Contains(text, "far/meant") || !strings.Contains(text, "kept away [many-000") || !strings.HasSuffix(text, "meant]]") {
		t.Errorf("%v", got)
	}
	// Rules that cost too much together are all in doubt, whichever comes first.
	few := callers[:2]
	const alone, both = "[100: in doubt [], kept away [meant] 110: in doubt [], kept away [meant]]", "far/meant far/other"
	if got := fmt.Sprint(whomTheyKeepAway(t, few, []string{"a", "b"}, 100, 110)); got != alone {
		t.Errorf("%s, want %s", got, alone)
	}
	first, second := whomTheyKeepAway(t, few, []string{"a", "b"}, 200, 300), whomTheyKeepAway(t, few, []string{"b", "a"}, 200, 300)
	if !slices.Equal(first, second) || strings.Count(fmt.Sprint(first), both) != 2 {
		t.Errorf("%v, and with other names %v", first, second)
	}
}
