// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package operator_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/apply"
	"github.com/trellis-mesh/trellis/internal/cli"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
)

func TestTheOperatorSendsTheBytesThatRenderPrints(t *testing.T) {
	w := newWorld(t, server)
	sent := record(w)
	w.start()
	in, app := w.published()
	w.quiet()

	// What a person would have in files: the state without statuses and claims.
	documents := w.export(in, app)
	s, out, problems := streams.Buffers("")
	if code := cli.Main(t.Context(), []string{"trellis", "render", "-o", "json", "-f", documents}, s); code != 0 {
		t.Fatalf("render ended with %d:\n%s", code, problems)
	}
	var rendered []string
	for line := range strings.Lines(out.String()) {
		if line = strings.TrimRight(line, ",\n"); strings.HasPrefix(line, `{"apiVersion"`) && strings.HasSuffix(line, "}") {
			rendered = append(rendered, line)
		}
	}
	slices.Sort(rendered)
	if got := sent(); !slices.Equal(got, rendered) {
		t.Errorf("the operator sent\n%s\n\nand render printed\n%s", strings.Join(got, "\n"), strings.Join(rendered, "\n"))
	}
	if len(rendered) < 6 {
		t.Errorf("only %d objects were compared", len(rendered))
	}
}

// record notes the body of each generated object that is created, as it is sent.
func record(w *world) (sorted func() []string) {
	var mu sync.Mutex
	var bodies []string
	w.refuse = func(o client.Object) error {
		gvk := o.GetObjectKind().GroupVersionKind()
		generated := slices.ContainsFunc(apply.Kinds(), func(k apply.Kind) bool { return k.Kind == gvk.Kind && k.GroupVersion() == gvk.GroupVersion() })
		if !generated || o.GetResourceVersion() != "" {
			return nil
		}
		raw, err := json.Marshal(o)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		bodies = append(bodies, string(bytes.TrimSpace(raw)))
		return nil
	}
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Sorted(slices.Values(bodies))
	}
}

// export writes the documents of a world into a folder.
func (w *world) export(in *v1alpha1.SecureIngress, app *v1alpha1.Application) string {
	w.t.Helper()
	in, app = in.DeepCopy(), app.DeepCopy()
	in.Status, app.Status = v1alpha1.SecureIngressStatus{}, v1alpha1.ApplicationStatus{}
	objects := []client.Object{in, app}
	for _, namespace := range []string{w.shop, w.gateway} {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
		w.must(w.client.Get(context.Background(), client.ObjectKeyFromObject(ns), ns))
		objects = append(objects, ns)
		for _, list := range []client.ObjectList{&corev1.ServiceList{}, &corev1.PodList{}, &corev1.SecretList{}} {
			w.must(w.client.List(context.Background(), list, client.InNamespace(namespace)))
			objects = append(objects, w.items(list)...)
		}
	}
	var out bytes.Buffer
	for _, o := range objects {
		gvk, err := w.client.GroupVersionKindFor(o)
		w.must(err)
		o.GetObjectKind().SetGroupVersionKind(gvk)
		o.SetManagedFields(nil)
		raw, err := yaml.Marshal(o)
		w.must(err)
		out.WriteString("---\n")
		out.Write(raw)
	}
	folder := w.t.TempDir()
	w.must(os.WriteFile(filepath.Join(folder, "cluster.yaml"), out.Bytes(), 0o600))
	return folder
}

func (w *world) items(list client.ObjectList) (out []client.Object) {
	w.t.Helper()
	w.must(eachItem(list, func(o client.Object) { out = append(out, o) }))
	return out
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}
