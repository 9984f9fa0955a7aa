// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package source_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/cli/source"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy"
)

const policies = `
apiVersion: trellis.dev/v1alpha1
kind: PolicyException
metadata: {name: cart, namespace: shop}
spec:
  binding: {kind: ClusterPolicyBinding, name: strict}
  subject: {application: cart}
  reason: its client speaks no TLS yet
  expires: "2027-01-31T12:00:00Z"
---
apiVersion: trellis.dev/v1alpha1
kind: PolicyBinding
metadata: {name: strict, namespace: shop}
spec: {policy: {name: strict, version: 1.0.0}, mode: Audit}
---
apiVersion: trellis.dev/v1alpha1
kind: ClusterPolicyBinding
metadata: {name: strict}
spec: {tier: Mandatory, policy: {name: strict, version: 1.0.0}, mode: Audit}
---
apiVersion: trellis.dev/v1alpha1
kind: PolicyTemplate
metadata: {name: strict-1.0.0}
spec:
  policy: strict
  version: 1.0.0
  title: Workloads take mutual TLS
  severity: High
  remediation: {text: set mutualTLS}
  contributions: [{name: strict, mutualTLS: {mode: Strict}}]
---
apiVersion: trellis.dev/v1alpha1
kind: Goal
metadata: {name: private}
spec: {title: Nobody listens, owner: security}
`

func TestPoliciesOfFilesAreCompiledWhateverTheirOrder(t *testing.T) {
	documents := strings.Split(policies, "\n---\n")
	forth := filepath.Join(t.TempDir(), "policies.yaml")
	slices.Reverse(documents)
	back := filepath.Join(t.TempDir(), "policies.yaml")
	for file, text := range map[string]string{forth: policies, back: strings.Join(documents, "\n---\n")} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		o := source.Options{Files: []string{file}}
		read, err := o.Compile(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		got := read.Snapshot.Policies()
		if len(got.Goals) != 1 || len(got.Templates) != 1 || len(got.ClusterBindings) != 1 || len(got.Bindings) != 1 || len(got.Exceptions) != 1 {
			t.Errorf("the compiler got %+v", got)
		}
		for _, f := range read.Report.Findings {
			if f.Severity == model.SeverityError && f.Object.Group != v1alpha1.GroupName {
				t.Errorf("%+v", f)
			}
		}
		if len(read.Report.Subjects) != 5 {
			t.Errorf("%d subjects", len(read.Report.Subjects))
		}
	}
}

func TestPoliciesAreJudgedNowUnlessAMomentIsNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policies.yaml")
	if err := os.WriteFile(file, []byte(policies), 0o600); err != nil {
		t.Fatal(err)
	}
	at := func(arguments ...string) (time.Time, error) {
		o := source.Options{}
		cmd := &cobra.Command{Use: "x"}
		o.AddFlags(cmd)
		if err := cmd.ParseFlags(append([]string{"-f", file}, arguments...)); err != nil {
			return time.Time{}, err
		}
		read, err := o.Compile(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		return read.Snapshot.At(), nil
	}
	began := time.Now()
	if got, err := at(); err != nil || got.Before(began) || got.After(time.Now()) {
		t.Errorf("without the flag it is %s, %v", got, err)
	}
	want := time.Date(2027, 1, 31, 11, 0, 0, 0, time.UTC)
	if got, err := at("--at", "2027-01-31T12:00:00+01:00"); err != nil || !got.Equal(want) {
		t.Errorf("with the flag it is %s, %v", got, err)
	}
	for _, text := range []string{"tomorrow", "2027-01-31", ""} {
		if _, err := at("--at", text); err == nil || !strings.Contains(err.Error(), "2027-01-31T12:00:00Z") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestADraftOfABindingLeavesItsRolloutWhereItStands(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policies.yaml")
	text := strings.ReplaceAll(policies, "version: 1.0.0}, mode: Audit}", "version: 1.0.0}, mode: Enforce}")
	text = strings.Replace(text, "spec: {tier: Mandatory, ", "spec: {rollout: {stages: [{name: dev, namespaces: {}}], soak: 1h}, tier: Mandatory, ", 1)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	there := &v1alpha1.ClusterPolicyBinding{}
	there.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("ClusterPolicyBinding"))
	there.Name = "strict"
	there.Status.Rollout = &v1alpha1.PolicyRolloutStatus{Version: "1.0.0", Holds: []string{"dev"}}
	for want, cluster := range map[int][]client.Object{0: nil, 1: {there}} {
		o := source.Options{Files: []string{file}}
		read, err := o.Over(t.Context(), nil, cluster)
		if err != nil {
			t.Fatal(err)
		}
		set := read.Outcome.Policies.Bindings
		i := slices.IndexFunc(set, func(b *policy.Binding) bool { return b.Rollout != nil })
		if i < 0 || set[i].Rollout.Holding != want {
			t.Errorf("with %d bindings in the cluster: %+v", len(cluster), set)
		}
	}
}
