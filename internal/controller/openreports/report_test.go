// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package openreports

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/load"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy"
	"github.com/trellis-mesh/trellis/internal/posture"
)

var update = flag.Bool("update", false, "rewrite golden files")

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// mesh is the one of testdata, with its exception approved.
func mesh(t *testing.T) model.Input {
	t.Helper()
	text, err := os.ReadFile("testdata/mesh.yaml")
	if err != nil {
		t.Fatal(err)
	}
	scheme := runtime.NewScheme()
	if err := load.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	decoder := serializer.NewCodecFactory(scheme).UniversalDeserializer()
	b := load.NewBuilder(model.DefaultMesh())
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		o, _, err := decoder.Decode([]byte(document), nil, nil)
		if err != nil {
			t.Fatalf("%v\n%s", err, document)
		}
		if e, ok := o.(*v1alpha1.PolicyException); ok {
			approve(t, e)
		}
		b.Add(o)
	}
	in := b.Input()
	in.At = noon
	return in
}

func approve(t *testing.T, e *v1alpha1.PolicyException) {
	t.Helper()
	digest, err := policy.Digest(e)
	if err != nil {
		t.Fatal(err)
	}
	e.Spec.Approval = &v1alpha1.ExceptionApproval{By: "officer", Of: digest}
}

func built(in model.Input) []*Report {
	s := model.NewSnapshot(in)
	return Build(posture.Of(s, compile.Compile(s)))
}

// written are the reports as they are written at noon.
func written(t *testing.T, reports []*Report) string {
	t.Helper()
	var out []string
	for _, r := range reports {
		u, err := r.object(Seen{}, noon)
		if err != nil {
			t.Fatal(err)
		}
		text, err := yaml.Marshal(u.Object)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(text))
	}
	return strings.Join(out, "---\n")
}

func TestEachNamespaceThatIsHeldToSomethingHasAReportOfIt(t *testing.T) {
	const golden = "testdata/reports.yaml"
	got := written(t, built(mesh(t)))
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the reports are not those of %s:\n%s", golden, got)
	}
	if strings.Contains(got, "namespace: quiet") {
		t.Error("a namespace has a report in which nothing is held to anything")
	}
	for range 3 {
		if again := written(t, built(mesh(t))); again != got {
			t.Fatalf("another time they are\n%s", again)
		}
	}
}

// crowd are n Applications without an owner, the first of which are let go.
func crowd(t *testing.T, n, exempt int) model.Input {
	t.Helper()
	in := mesh(t)
	exception := in.Policies.Exceptions[0]
	in.Applications, in.Policies.Exceptions = nil, nil
	for i := range n {
		a := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprintf("a-%04d", i)}}
		a.Spec.Service = a.Name
		in.Applications = append(in.Applications, a)
		if i < exempt {
			e := exception.DeepCopy()
			e.Name, e.Spec.Subject.Application = a.Name, v1alpha1.LabelName(a.Name)
			approve(t, e)
			in.Policies.Exceptions = append(in.Policies.Exceptions, e)
		}
	}
	return in
}

func TestAReportIsCutAndSaysHowMuchIsMissing(t *testing.T) {
	for _, c := range []struct {
		sentence  string
		n, exempt int
		summary   Summary
		results   int
		last      string
	}{
		{"as many as fit are all shown", 100, 1, Summary{Fail: 99, Skip: 1, Pass: 100}, 100, "skip it would fail, and is let go: nobody is named; " +
			"PolicyException shop/a-0000 lets it go until 2026-12-31 (it goes away)"},
		{"violations go before what is let go", 101, 50, Summary{Fail: 51, Skip: 50, Pass: 101}, 100,
			"skip 2 more results are not shown: 0 fail, 0 error, 0 warn, 2 skip; trellis report shows all of them"},
		{"violations that are cut are violations", 300, 10, Summary{Fail: 290, Skip: 10, Pass: 300}, 100,
			"fail 201 more results are not shown: 191 fail, 0 error, 0 warn, 10 skip; trellis report shows all of them"},
	} {
		t.Run(c.sentence, func(t *testing.T) {
			reports := built(crowd(t, c.n, c.exempt))
			i := slices.IndexFunc(reports, func(r *Report) bool { return r.Namespace == "shop" })
			if i < 0 {
				t.Fatal("there is no report")
			}
			r := reports[i]
			last := r.Results[len(r.Results)-1]
			if r.Summary != c.summary || len(r.Results) != c.results || last.Result+" "+last.Message != c.last {
				t.Errorf("summary %+v, %d results, the last %+v", r.Summary, len(r.Results), last)
			}
			if !slices.IsSortedFunc(r.Results[:len(r.Results)-1], compare) {
				t.Error("what is violated is not the first")
			}
		})
	}
}

func TestAResultThatStaysKeepsItsTime(t *testing.T) {
	r := built(mesh(t))[0]
	first, err := r.object(Seen{}, noon)
	if err != nil {
		t.Fatal(err)
	}
	seen := See(first)
	again, err := r.object(seen, noon.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(first, again) {
		t.Errorf("it is another one an hour later:\n%v\n%v", first, again)
	}
	if d, err := digestOf(r.content); err != nil || d != seen.digest {
		t.Errorf("what was written is not recognised: %v", err)
	}
	r.Results = append(r.Results, Result{Policy: "new", Result: resultFail})
	later, err := r.object(seen, noon.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	var c content
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(later.Object, &c); err != nil {
		t.Fatal(err)
	}
	for i, one := range c.Results {
		want := noon
		if one.Policy == "new" {
			want = noon.Add(time.Hour)
		}
		if one.Timestamp.Seconds != want.Unix() {
			t.Errorf("result %d is of %d, want %d", i, one.Timestamp.Seconds, want.Unix())
		}
	}
}
