// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/cli/codeowners"
	"github.com/trellis-mesh/trellis/internal/policy"
)

// examplePolicies is the example that is laid out like a repository of several roles.
const examplePolicies = repository + "/examples/policies"

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTemplatesOfTheExampleAreThoseOfTheCatalog(t *testing.T) {
	copies, err := filepath.Glob(examplePolicies + "/security/templates/*.yaml")
	if err != nil || len(copies) == 0 {
		t.Fatalf("finding the templates: %v, %v", copies, err)
	}
	for _, path := range copies {
		var of v1alpha1.PolicyTemplate
		text := read(t, path)
		if err := yaml.Unmarshal([]byte(text), &of); err != nil {
			t.Fatalf("reading %s: %v", path, err)
		}
		if want := of.Name + ".yaml"; filepath.Base(path) != want {
			t.Errorf("%s is to be named %s, as the template is", path, want)
		}
		original := filepath.Join(repository, "catalog", string(of.Spec.Policy), "policy.yaml")
		if text != read(t, original) {
			t.Errorf("%s is not what %s has: copy it", path, original)
		}
	}
}

func TestTheExceptionOfTheExampleIsApprovedAsItStands(t *testing.T) {
	path := examplePolicies + "/teams/shop/exceptions/production.yaml"
	var e v1alpha1.PolicyException
	if err := yaml.UnmarshalStrict([]byte(read(t, path)), &e); err != nil {
		t.Fatalf("reading %s: %v", path, err)
	}
	want, err := policy.Digest(&e)
	if err != nil {
		t.Fatal(err)
	}
	if e.Spec.Approval == nil || e.Spec.Approval.Of != want {
		t.Errorf("%s: the approval must be of %s", path, want)
	}
}

func TestEveryFileOfTheExampleHasAnOwner(t *testing.T) {
	owners, err := codeowners.Find(examplePolicies)
	if err != nil {
		t.Fatal(err)
	}
	files := 0
	err = filepath.WalkDir(examplePolicies, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files++
		if len(owners.Of(path)) == 0 {
			t.Errorf("nobody owns %s", path)
		}
		return nil
	})
	if err != nil || files < 10 {
		t.Errorf("%d files: %v", files, err)
	}
	asked := filepath.Join(examplePolicies, "teams", "shop", "exceptions", "production.yaml")
	if got := owners.Of(asked); !slices.Equal(got, []string{"@example/security"}) {
		t.Errorf("exceptions of a team are merged by %v", got)
	}
}

// literalReason is a reason as code writes it.
var literalReason = regexp.MustCompile(`"([A-Z][a-z]+(?:[A-Z][a-z]+)+)"`)

func TestThePageOfPoliciesExplainsEveryReason(t *testing.T) {
	page := read(t, repository+"/docs/concepts/policies.md")
	sources, err := filepath.Glob(repository + "/internal/policy/*.go")
	if err != nil || len(sources) == 0 {
		t.Fatalf("finding the evaluator: %v, %v", sources, err)
	}
	reasons := map[string]bool{}
	for _, path := range append(sources, repository+"/internal/intent/policies.go", repository+"/internal/intent/timeouts.go") {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		for _, match := range literalReason.FindAllStringSubmatch(read(t, path), -1) {
			reasons[match[1]] = true
		}
	}
	for _, kind := range []string{
		"ClusterPolicyBinding", "PolicyBinding", "PolicyException", "PolicyTemplate", "AuthorizationPolicy", "DestinationRule",
		"PeerAuthentication", "RequestAuthentication", "VirtualService",
	} {
		delete(reasons, kind)
	}
	if len(reasons) < 15 {
		t.Errorf("%d reasons were found", len(reasons))
	}
	for reason := range reasons {
		if !strings.Contains(page, "`"+reason+"`") {
			t.Errorf("the page does not explain %s", reason)
		}
	}
}
