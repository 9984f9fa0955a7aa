// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package flux_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/polling"
	"github.com/fluxcd/pkg/ssa"
	"github.com/fluxcd/pkg/ssa/utils"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/policy"
	"github.com/trellis-mesh/trellis/test/acme"
	"github.com/trellis-mesh/trellis/test/chart"
	"github.com/trellis-mesh/trellis/test/stack"
	"github.com/trellis-mesh/trellis/test/stack/loopback"
)

// repository is laid out as docs/concepts/gitops.md says.
const repository = "../../../examples/policies"

// step is what of a Kustomization says in which order Flux applies what.
type step struct {
	Metadata struct{ Name string }
	Spec     struct {
		Path      string
		DependsOn []struct{ Name string }
	}
}

// stepsOf are the Kustomizations of the repository, each after those that it depends on.
func stepsOf(t *testing.T) []step {
	t.Helper()
	text, err := os.ReadFile(repository + "/clusters/production/policies.yaml")
	must(t, err)
	var waiting, out []step
	for document := range strings.SplitSeq(string(text), "---\n") {
		var one step
		must(t, yaml.Unmarshal([]byte(document), &one))
		waiting = append(waiting, one)
	}
	done := map[string]bool{}
	for len(waiting) > 0 {
		next := slices.IndexFunc(waiting, func(s step) bool {
			return !slices.ContainsFunc(s.Spec.DependsOn, func(d struct{ Name string }) bool { return !done[d.Name] })
		})
		if next < 0 {
			t.Fatalf("%d Kustomizations wait for each other", len(waiting))
		}
		done[waiting[next].Metadata.Name] = true
		out = append(out, waiting[next])
		waiting = slices.Delete(waiting, next, next+1)
	}
	return out
}

// built are the objects of a folder as Flux builds them: by its kustomization.yaml, or all.
func built(t *testing.T, folder string) []*unstructured.Unstructured {
	t.Helper()
	var text bytes.Buffer
	if _, err := os.Stat(folder + "/kustomization.yaml"); err == nil {
		resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
		must(t, err)
		all, err := resources.AsYaml()
		must(t, err)
		text.Write(all)
	} else {
		must(t, filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || filepath.Ext(path) != ".yaml" {
				return err
			}
			one, err := os.ReadFile(path)
			fmt.Fprintf(&text, "---\n%s\n", one)
			return err
		}))
	}
	objects, err := utils.ReadObjects(&text)
	must(t, err)
	return objects
}

// pipeline applies as Flux's kustomize-controller does.
type pipeline struct {
	*testing.T
	*ssa.ResourceManager
}

func newPipeline(t *testing.T, config *rest.Config) *pipeline {
	t.Helper()
	c, err := client.New(config, client.Options{})
	must(t, err)
	return &pipeline{t, ssa.NewResourceManager(c, polling.NewStatusPoller(c, c.RESTMapper(), polling.Options{}), ssa.Owner{Field: "kustomize-controller", Group: "kustomize.toolkit.fluxcd.io"})}
}

// apply applies all objects, and returns those that it had to write.
func (p *pipeline) apply(objects []*unstructured.Unstructured) (written []string, err error) {
	options := ssa.DefaultApplyOptions()
	options.WaitInterval, options.WaitTimeout = 100*time.Millisecond, time.Minute
	changes, err := p.ApplyAllStaged(p.Context(), copies(objects), options)
	if err != nil {
		return nil, err
	}
	for _, entry := range changes.Entries {
		if entry.Action != ssa.UnchangedAction {
			written = append(written, entry.String())
		}
	}
	return written, nil
}

// unchanged fails where the pipeline finds anything that is not as the repository has it.
func (p *pipeline) unchanged(objects []*unstructured.Unstructured, when string) {
	p.Helper()
	written, err := p.apply(objects)
	must(p.T, err)
	if len(written) > 0 {
		p.Errorf("%s it wrote again %s", when, strings.Join(written, ", "))
	}
}

func copies(objects []*unstructured.Unstructured) []*unstructured.Unstructured {
	out := make([]*unstructured.Unstructured, len(objects))
	for i, o := range objects {
		out[i] = o.DeepCopy()
	}
	return out
}

// statements are those of Trellis's objects of the kinds.
func statements(objects []*unstructured.Unstructured, kinds ...string) []*unstructured.Unstructured {
	return slices.DeleteFunc(slices.Clone(objects), func(u *unstructured.Unstructured) bool {
		return u.GroupVersionKind().Group != v1alpha1.GroupName || len(kinds) > 0 && !slices.Contains(kinds, u.GetKind())
	})
}

// of finds an object.
func of(t *testing.T, objects []*unstructured.Unstructured, kind, name string) *unstructured.Unstructured {
	t.Helper()
	at := slices.IndexFunc(objects, func(u *unstructured.Unstructured) bool { return u.GetKind() == kind && u.GetName() == name })
	if at < 0 {
		t.Fatalf("there is no %s %s", kind, name)
	}
	return objects[at]
}

// TestFluxAppliesTheExampleRepositoryAndFindsNoDrift: by Flux's own engine, on an API server
// that asks the webhook, with the operator at work.
func TestFluxAppliesTheExampleRepositoryAndFindsNoDrift(t *testing.T) {
	w := newCluster(t)
	address := loopback.Unused(t)
	manifest, err := chart.Template(t.Context(), "--set", "webhook.url=https://"+address, "--show-only", "templates/webhook.yaml")
	must(t, err)
	must(t, w.Apply(t.Context(), manifest))
	w.operate(acme.New(t, acme.Options{AlwaysValid: true}), address)
	flux := newPipeline(t, w.Config())

	w.refuses(flux, append(built(t, repository+"/security/templates"), built(t, repository+"/security")...))

	var all []*unstructured.Unstructured
	for _, s := range stepsOf(t) {
		objects := built(t, filepath.Join(repository, s.Spec.Path))
		// Who approves is a person.
		for _, u := range statements(objects, "PolicyException") {
			unstructured.RemoveNestedField(u.Object, "spec", "approval")
		}
		if _, err := flux.apply(objects); err != nil {
			t.Fatalf("%s is not applied: %v", s.Metadata.Name, err)
		}
		must(t, flux.Wait(statements(objects, "Goal", "PolicyTemplate", "ClusterPolicyBinding", "PolicyBinding"), ssa.WaitOptions{Interval: 100 * time.Millisecond, Timeout: time.Minute}))
		all = append(all, objects...)
	}
	w.seen(statements(all))
	flux.unchanged(all, "once the operator has said something of all")

	exception := of(t, all, "PolicyException", "help-pages")
	w.approve(exception.GetNamespace(), exception.GetName())
	must(t, flux.Wait([]*unstructured.Unstructured{exception}, ssa.WaitOptions{Interval: 100 * time.Millisecond, Timeout: time.Minute}))
	flux.unchanged(all, "once a person has approved")

	application := of(t, all, "Application", "orders")
	must(t, w.client.Patch(t.Context(), application.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(`{"spec":{"service":"another"}}`)), client.FieldOwner("kubectl-edit")))
	written, err := flux.apply(all)
	must(t, err)
	if len(written) != 1 || !strings.HasPrefix(written[0], "Application/"+application.GetNamespace()+"/orders") {
		t.Errorf("a change by hand is put right by writing %q", written)
	}
	flux.unchanged(all, "once a change by hand was put right")

	next := of(t, all, "PolicyTemplate", "isolate-environments-1.0.0").DeepCopy()
	next.SetName("isolate-environments-1.1.0")
	must(t, unstructured.SetNestedField(next.Object, "1.1.0", "spec", "version"))
	binding := of(t, all, "ClusterPolicyBinding", "isolate-environments").DeepCopy()
	must(t, unstructured.SetNestedField(binding.Object, "1.1.0", "spec", "policy", "version"))
	for _, objects := range [][]*unstructured.Unstructured{{next}, {binding}} {
		_, err := flux.apply(objects)
		must(t, err)
		must(t, flux.Wait(objects, ssa.WaitOptions{Interval: 100 * time.Millisecond, Timeout: time.Minute}))
	}
}

// refuses waits until the webhook answers, and fails where a binding is applied in the same
// step as its template.
func (w *world) refuses(flux *pipeline, objects []*unstructured.Unstructured) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
	defer cancel()
	must(w.T, stack.Until(ctx, "a binding without its template to be refused", func(context.Context) error {
		written, err := flux.apply(objects)
		if err == nil {
			w.Fatalf("a binding beside its template was applied: %v", written)
		}
		if !strings.Contains(err.Error(), "PolicyTemplate") || !strings.Contains(err.Error(), "does not exist") {
			return err
		}
		return nil
	}))
}

// seen waits until the operator has said something of all objects.
func (w *world) seen(objects []*unstructured.Unstructured) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
	defer cancel()
	for _, u := range objects {
		must(w.T, stack.Until(ctx, u.GetKind()+" "+u.GetName()+" to be looked at", func(ctx context.Context) error {
			_, err := w.judged(ctx, u.DeepCopy())
			return err
		}))
	}
}

// approve approves an exception as a person with the right to.
func (w *world) approve(namespace, name string) {
	w.Helper()
	scheme := runtime.NewScheme()
	must(w.T, v1alpha1.AddToScheme(scheme))
	officer := w.Config()
	officer.Impersonate = rest.ImpersonationConfig{UserName: "officer@example.com", Groups: []string{"system:masters"}}
	c, err := client.New(officer, client.Options{Scheme: scheme})
	must(w.T, err)
	e := &v1alpha1.PolicyException{}
	must(w.T, c.Get(w.Context(), client.ObjectKey{Namespace: namespace, Name: name}, e))
	digest, err := policy.Digest(e)
	must(w.T, err)
	patch := fmt.Sprintf(`{"spec":{"approval":{"by":"officer@example.com","of":%q,"policy":"no-anonymous-routes"}}}`, digest)
	must(w.T, c.Patch(w.Context(), e, client.RawPatch(types.MergePatchType, []byte(patch)), client.FieldOwner("trellis-cli")))
}
