// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
)

func pod(namespace, name, account string, labels map[string]string) model.Workload {
	return model.Workload{Ref: model.Reference{Kind: "Pod", Namespace: namespace, Name: name}, Labels: labels, ServiceAccount: account}
}

func TestASnapshotIsInAFixedOrderWhateverTheInputs(t *testing.T) {
	in := model.Input{Mesh: model.DefaultMesh()}
	for i := range 20 {
		name := fmt.Sprintf("o%02d", i)
		in.Applications = append(in.Applications, &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: fmt.Sprintf("n%d", i%3), Name: name}})
		in.Workloads = append(in.Workloads, pod("n0", name, "account", map[string]string{"app": "x", "index": name}))
		in.Foreign = append(in.Foreign, model.Foreign{Ref: model.Reference{Kind: "Gateway", Namespace: "n0", Name: name}})
	}
	first := model.NewSnapshot(in)
	r := rand.New(rand.NewPCG(1, 1))
	r.Shuffle(20, func(i, j int) {
		in.Applications[i], in.Applications[j] = in.Applications[j], in.Applications[i]
		in.Workloads[i], in.Workloads[j] = in.Workloads[j], in.Workloads[i]
		in.Foreign[i], in.Foreign[j] = in.Foreign[j], in.Foreign[i]
	})
	second := model.NewSnapshot(in)
	if !slices.Equal(first.Applications(), second.Applications()) {
		t.Error("Applications are in another order")
	}
	names := func(s *model.Snapshot) (out []string) {
		for _, w := range s.Selected("n0", map[string]string{"app": "x"}) {
			out = append(out, w.Ref.Name)
		}
		for _, f := range s.Foreign("Gateway") {
			out = append(out, f.Ref.Name)
		}
		return out
	}
	if got := names(second); !slices.Equal(names(first), got) || len(got) != 40 || !slices.IsSorted(got[:20]) {
		t.Errorf("workloads and foreign objects are in another order: %v", got)
	}
	if in.Applications[0] == first.Applications()[0] && in.Applications[1] == first.Applications()[1] && in.Applications[2] == first.Applications()[2] {
		t.Error("the input was sorted in place, or the shuffle did nothing")
	}
}

func TestASelectorSelectsWhatCarriesAllOfIt(t *testing.T) {
	s := model.NewSnapshot(model.Input{Workloads: []model.Workload{
		pod("shop", "one", "web", map[string]string{"app": "web"}),
		pod("shop", "two", "web", map[string]string{"app": "web", "track": "canary"}),
		pod("shop", "three", "other", map[string]string{"track": "canary"}),
		pod("bank", "four", "web", map[string]string{"app": "web"}),
		pod("bank", "five", model.DefaultAccount, map[string]string{"app": "till"}),
	}})
	for _, c := range []struct {
		namespace string
		selector  map[string]string
		names     []string
		one       string
		shared    bool
	}{
		{"shop", map[string]string{"app": "web"}, []string{"web"}, "web", false},
		{"shop", map[string]string{"app": "web", "track": "canary"}, []string{"web"}, "web", true},
		{"shop", map[string]string{"track": "canary"}, []string{"other", "web"}, "", false},
		{"bank", map[string]string{"app": "web"}, []string{"web"}, "web", false},
		{"bank", map[string]string{"app": "till"}, []string{model.DefaultAccount}, "", false},
		{"gone", map[string]string{"app": "web"}, nil, "", false},
	} {
		got := s.Accounts(c.namespace, c.selector)
		if one, ok := got.One(); !slices.Equal(got.Names, c.names) || one != c.one || ok != (c.one != "") || got.Shared != c.shared {
			t.Errorf("%s %v runs as %+v, by one %q", c.namespace, c.selector, got, one)
		}
	}
	for _, c := range []struct {
		selector map[string]string
		want     []string
	}{
		{map[string]string{"app": "web"}, []string{"one", "two"}},
		{map[string]string{"app": "web", "track": "canary"}, []string{"two"}},
		{map[string]string{"track": "canary"}, []string{"three", "two"}},
		{map[string]string{"app": "gone"}, nil},
		{map[string]string{"app": "web", "gone": ""}, nil},
		{nil, nil},
	} {
		var got []string
		for _, w := range s.Selected("shop", c.selector) {
			got = append(got, w.Ref.Name)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%v selects %v, want %v", c.selector, got, c.want)
		}
	}
	if n := s.WithServiceAccount("shop", "web"); n != 2 {
		t.Errorf("%d workloads run as web, want 2", n)
	}
	if s.Selected("gone", map[string]string{"app": "web"}) != nil || s.WithServiceAccount("gone", "web") != 0 {
		t.Error("a namespace without workloads has some")
	}
}

func TestFindingsAreInOneOrderAndSaidOnce(t *testing.T) {
	all := []model.Finding{
		{Reason: "B", Position: model.Position{File: "b.yaml", Line: 1}},
		{Reason: "A", Position: model.Position{File: "a.yaml", Line: 9}},
		{Reason: "A", Position: model.Position{File: "a.yaml", Line: 2}, Fix: "two"},
		{Reason: "A", Position: model.Position{File: "a.yaml", Line: 2}, Fix: "one"},
		{Reason: "A", Position: model.Position{File: "a.yaml", Line: 2}, Fix: "two"},
	}
	want := model.SortFindings(slices.Clone(all))
	if len(want) != 4 || want[0].Fix != "one" || want[3].Reason != "B" {
		t.Errorf("%+v", want)
	}
	r := rand.New(rand.NewPCG(1, 1))
	for range 20 {
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		if got := model.SortFindings(slices.Clone(all)); !slices.Equal(got, want) {
			t.Fatalf("another order: %+v", got)
		}
	}
}

func TestAnIdentityIsWrittenAsIstioWritesIt(t *testing.T) {
	i := model.Identity{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "web"}
	if got := i.Principal(); got != "cluster.local/ns/shop/sa/web" {
		t.Error(got)
	}
}
