// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/xds"
	"github.com/trellis-mesh/trellis/internal/xds/generator"
	"github.com/trellis-mesh/trellis/test/stack"
)

// atLeast is how many configurations must have been compared.
const atLeast = 50

// TestTheGeneratorSaysWhatARealIstiodSends writes every golden case of the
// compiler, its platform with pods for its templates, into a real API server, and
// compares for every proxy what the generator makes of the API server's objects
// with what istiod sends.
func TestTheGeneratorSaysWhatARealIstiodSends(t *testing.T) {
	folders, err := filepath.Glob("../../../internal/compile/testdata/*/out.yaml")
	if err != nil || len(folders) < 90 {
		t.Fatalf("%d golden cases (%v)", len(folders), err)
	}
	compared, resources, seen := 0, 0, map[string]int{}
	for _, file := range folders {
		folder := filepath.Dir(file)
		t.Run(filepath.Base(folder), func(t *testing.T) {
			c, r := compareFolder(t, folder, seen)
			compared += c
			resources += r
		})
	}
	if compared < atLeast {
		t.Errorf("%d configurations compared, want at least %d", compared, atLeast)
	}
	t.Logf("%d configurations with %d resources are equal; expected differences: %v", compared, resources, seen)
}

func compareFolder(t *testing.T, folder string, seen map[string]int) (compared, resources int) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var all []client.Object
	for _, name := range []string{"platform.yaml", "in.yaml", "out.yaml"} {
		all = append(all, documents(t, filepath.Join(folder, name))...)
	}
	all = slices.DeleteFunc(generator.Complete(all), func(o client.Object) bool { return !taken(o) })
	join(all)
	create(ctx, t, all)
	g := running(t, generator.Input{Objects: objects(ctx, t)})
	for _, p := range g.Problems() {
		if p.Kind == xds.Refused || p.Kind == xds.Unresolved {
			t.Errorf("%+v", p)
		}
	}
	nodes, err := g.Nodes(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range nodes {
		ours, err := g.Config(ctx, node)
		if err != nil {
			t.Error(err)
			continue
		}
		agree(ctx, t, ours, node, seen)
		compared++
		resources += len(byName(ours.Resources()))
	}
	return compared, resources
}

// join puts every pod into the mesh, whose platform files say nothing of it: those
// that a Gateway selects are gateways, the others get a sidecar.
func join(all []client.Object) {
	var selectors []map[string]string
	for _, object := range all {
		if raw, ok := object.(*unstructured.Unstructured); ok && raw.GetKind() == "Gateway" {
			selector, _, _ := unstructured.NestedStringMap(raw.Object, "spec", "selector")
			selectors = append(selectors, selector)
		}
	}
	for _, object := range all {
		pod, ok := object.(*corev1.Pod)
		if !ok {
			continue
		}
		if pod.Labels == nil {
			pod.Labels = map[string]string{}
		}
		pod.Labels["security.istio.io/tlsMode"] = "istio"
		if slices.ContainsFunc(selectors, func(s map[string]string) bool { return model.Selects(s, pod.Labels) }) {
			pod.Spec.Containers = []corev1.Container{{Name: "istio-proxy", Image: "none"}}
		}
	}
}

// agree waits until istiod, which takes its time to see what was written, sends
// the same.
func agree(ctx context.Context, t *testing.T, ours *xds.Config, node xds.Node, seen map[string]int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 8*time.Second)
	defer cancel()
	source := asking(t, node)
	var last []string
	err := stack.Until(ctx, "istiod to send the same to "+node.String(), func(ctx context.Context) error {
		theirs, err := source.Config(ctx, node)
		if err != nil {
			return err
		}
		counts := map[string]int{}
		if found := compare(ours, theirs, generated, counts); len(found) > 0 {
			last = found
			return fmt.Errorf("%d differences", len(found))
		}
		for name, n := range counts {
			seen[name] += n
		}
		return nil
	})
	if err != nil {
		t.Errorf("%v\n%s", err, strings.Join(last[:min(len(last), 12)], "\n"))
	}
}
