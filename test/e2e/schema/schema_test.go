// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package schema holds the differential test of internal/schema: a real API
// server with our definitions is asked the same questions as the offline
// checker, and both have to give the same answers.
package schema

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/internal/document"
	"github.com/trellis-mesh/trellis/internal/schema"
	"github.com/trellis-mesh/trellis/test/stack"
)

const repository = "../../.."

var server struct {
	*stack.Stack
	rest rest.Interface
}

func TestMain(m *testing.M) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	err := start(ctx)
	cancel()
	code := 1
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
	}
	if server.Stack != nil {
		if code != 0 {
			server.KeepFiles()
		}
		server.Stop()
	}
	os.Exit(code)
}

func start(ctx context.Context) error {
	var err error
	if server.Stack, err = stack.Start(ctx, stack.Options{WithoutIstio: true}); err != nil {
		return err
	}
	if err := server.InstallTrellisCRDs(ctx); err != nil {
		return err
	}
	for _, name := range []string{"shop", "istio-ingress", "neighbour"} {
		if err := server.Namespace(ctx, name, nil); err != nil {
			return err
		}
	}
	set, err := kubernetes.NewForConfig(quick(server.Config()))
	if err != nil {
		return err
	}
	server.rest = set.Discovery().RESTClient()
	return stack.Until(ctx, "our kinds to be served", func(ctx context.Context) error {
		for _, plural := range []string{
			"applications", "secureingresses", "hostclaims", "goals", "policytemplates", "clusterpolicybindings", "policybindings", "policyexceptions",
		} {
			if err := server.rest.Get().AbsPath("/apis/trellis.dev/v1alpha1", plural).Do(ctx).Error(); err != nil {
				return err
			}
		}
		return nil
	})
}

// quick lets a test ask as fast as the server answers.
func quick(c *rest.Config) *rest.Config {
	c.QPS = -1
	return c
}

// answer is what became of a document.
type answer struct {
	taken bool
	// fields have a problem, each once.
	fields []string
	text   string
}

// ask creates a document in the API server without keeping it, as kubectl apply
// does with its default of strict field validation.
func ask(t *testing.T, o *document.Object, body []byte) answer {
	t.Helper()
	path := []string{"/apis", o.Kind.Group, o.Kind.Version}
	if o.Kind.Group == "" {
		path = []string{"/api", o.Kind.Version}
	}
	if o.Ref.Namespace != "" {
		path = append(path, "namespaces", o.Ref.Namespace)
	}
	plural := strings.ToLower(o.Kind.Kind) + "s"
	if strings.HasSuffix(o.Kind.Kind, "s") {
		plural = strings.ToLower(o.Kind.Kind) + "es"
	}
	err := server.rest.Post().AbsPath(append(path, plural)...).
		Param("dryRun", "All").Param("fieldValidation", "Strict").
		SetHeader("Content-Type", "application/yaml").Body(body).Do(t.Context()).Error()
	if err == nil {
		return answer{taken: true}
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Code >= 500 {
		t.Fatalf("asking the API server: %v", err)
	}
	out := answer{text: err.Error()}
	if details := status.Status().Details; details != nil {
		for _, cause := range details.Causes {
			if meant(cause) {
				out.fields = append(out.fields, cause.Field)
			}
		}
	}
	return out.compact()
}

// meant leaves out what the API server says about itself and not about a field.
func meant(cause metav1.StatusCause) bool {
	return !strings.Contains(cause.Message, "some validation rules were not checked") && cause.Field != ""
}

func (a answer) compact() answer {
	slices.Sort(a.fields)
	a.fields = slices.Compact(a.fields)
	return a
}

// check is the offline checker's answer.
func check(t *testing.T, text []byte) (answer, *document.Set) {
	t.Helper()
	checker, err := schema.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	set, err := document.Read([]string{document.Stdin}, bytes.NewReader(text), document.Options{Scope: checker.Scope})
	if err != nil {
		t.Fatal(err)
	}
	objects, findings := checker.Read(t.Context(), set)
	out := answer{taken: len(objects) == 1}
	for _, f := range slices.Concat(set.Findings, findings) {
		out.fields = append(out.fields, f.Field)
		out.text += fmt.Sprintf("%s %s: %s\n", f.Reason, f.Field, f.Message)
	}
	return out.compact(), set
}

// compare asks both about one document.
func compare(t *testing.T, text []byte) (taken bool) {
	t.Helper()
	ours, set := check(t, text)
	if len(set.Objects) != 1 {
		t.Fatalf("%d objects, %s in\n%s", len(set.Objects), ours.text, text)
	}
	theirs := ask(t, &set.Objects[0], text)
	if ours.taken != theirs.taken {
		t.Errorf("offline taken=%v:\n%s\nAPI server taken=%v:\n%s\n%s", ours.taken, ours.text, theirs.taken, theirs.text, text)
		return false
	}
	for _, field := range theirs.fields {
		if !slices.ContainsFunc(ours.fields, func(our string) bool { return covers(our, field) }) {
			t.Errorf("only the API server finds fault with %s: %s\noffline:\n%s\n%s", field, theirs.text, ours.text, text)
		}
	}
	return ours.taken
}

// covers says whether a finding of ours is about what the API server names. Ours
// may be more exact (the name and not the whole spec), and of a list that is too
// long it says nothing else.
func covers(ours, theirs string) bool {
	return ours == theirs || theirs == "<nil>" && ours == "metadata.name" ||
		theirs == "spec" && strings.HasPrefix(ours, "spec.") || strings.HasPrefix(theirs, ours+"[")
}

func TestAnAPIServerRefusesEveryCase(t *testing.T) {
	files, err := filepath.Glob(repository + "/internal/schema/testdata/cases/*.yaml")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d cases: %v", len(files), err)
	}
	for _, file := range files {
		// Istio's definitions are not installed here; and an API server forgets the
		// namespace of what has none, where a reader of files says that it is ignored.
		if strings.Contains(file, "Istio") || strings.HasSuffix(file, "a-rollout-in-a-namespace.yaml") {
			continue
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if compare(t, text) {
				t.Error("it was taken")
			}
		})
	}
}

// TestAVersionOfAPolicyNeverChanges asks for changes of a template that is kept.
func TestAVersionOfAPolicyNeverChanges(t *testing.T) {
	texts, err := os.ReadFile("testdata/complete.yaml")
	if err != nil {
		t.Fatal(err)
	}
	documents := strings.Split(string(texts), "\n---\n")
	at := slices.IndexFunc(documents, func(text string) bool { return strings.Contains(text, "\nkind: PolicyTemplate\n") })
	path := "/apis/trellis.dev/v1alpha1/policytemplates"
	err = server.rest.Post().AbsPath(path).SetHeader("Content-Type", "application/yaml").Body([]byte(documents[at])).Do(t.Context()).Error()
	if err != nil {
		t.Fatal(err)
	}
	path += "/bounded-1.2.0-rc.1"
	t.Cleanup(func() { _ = server.rest.Delete().AbsPath(path).Do(context.Background()).Error() })
	for name, c := range map[string]struct {
		patch, subresource string
		taken              bool
	}{
		"another title":               {`{"spec":{"title":"Another"}}`, "", false},
		"a default that has no type":  {`{"spec":{"parameters":[{"name":"count","type":"Integer","default":4}]}}`, "", false},
		"an object of a test":         {`{"spec":{"tests":null}}`, "", false},
		"another version":             {`{"spec":{"version":"1.2.1"}}`, "", false},
		"a label":                     {`{"metadata":{"labels":{"team":"security"}}}`, "", true},
		"what became of it":           {`{"status":{"bindings":1}}`, "/status", true},
		"the same that it says today": {`{"spec":{"title":"Routes are bounded"}}`, "", true},
	} {
		err := server.rest.Patch(types.MergePatchType).AbsPath(path + c.subresource).Body([]byte(c.patch)).Do(t.Context()).Error()
		switch {
		case c.taken && err != nil:
			t.Errorf("%s is refused: %v", name, err)
		case !c.taken && !strings.Contains(fmt.Sprint(err), "a version of a policy never changes"):
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestARepeatedKeyIsRefusedByBoth(t *testing.T) {
	text := []byte("apiVersion: trellis.dev/v1alpha1\nkind: HostClaim\nmetadata: {name: a.example.com}\nspec: {namespace: a, namespace: b}\n")
	if compare(t, text) {
		t.Error("it was taken")
	}
}

// TestRandomDocumentsGetTheSameAnswer changes documents that use every field at
// random places, and asks both.
func TestRandomDocumentsGetTheSameAnswer(t *testing.T) {
	texts, err := os.ReadFile("testdata/complete.yaml")
	if err != nil {
		t.Fatal(err)
	}
	documents := strings.Split(string(texts), "\n---\n")
	random := rand.New(rand.NewPCG(20261123, 1))
	verdicts := map[bool]int{}
	for _, text := range documents {
		if !compare(t, []byte(text)) {
			t.Fatalf("a complete document is refused:\n%s", text)
		}
	}
	for i := range 1500 {
		var value map[string]any
		if err := yaml.Unmarshal([]byte(documents[i%len(documents)]), &value); err != nil {
			t.Fatal(err)
		}
		value = runtime.DeepCopyJSON(value)
		for range 1 + random.IntN(3) {
			value["spec"] = mutate(random, value["spec"])
		}
		raw, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		verdicts[compare(t, raw)]++
		if t.Failed() {
			break
		}
	}
	// Mutations that only break things, or never do, would test nothing.
	if verdicts[true] < 50 || verdicts[false] < 500 {
		t.Errorf("%d documents taken and %d refused", verdicts[true], verdicts[false])
	}
}

// replacements are values that some field somewhere takes and most do not.
var replacements = []any{
	nil, "", "x", "pages", "api", "web", "UPPER", "a.b", "a*b", "ü", strings.Repeat("a", 64), strings.Repeat("a", 300),
	"5s", "25h", "1 day", "GET", "None", "Required", "https://a.example.com", int64(-1), int64(0), int64(80), int64(70000), 1.5, true, false,
	[]any{}, []any{"x"}, []any{"x", "x"}, map[string]any{}, map[string]any{"name": "x"}, map[string]any{"unknown": "x"},
}

// mutate changes one place at or below a value.
func mutate(random *rand.Rand, value any) any {
	switch v := value.(type) {
	case map[string]any:
		if len(v) == 0 || random.IntN(12) == 0 {
			return addOrReplace(random, v)
		}
		name := names(v)[random.IntN(len(v))]
		switch random.IntN(6) {
		case 0:
			delete(v, name)
		default:
			v[name] = mutate(random, v[name])
		}
		return v
	case []any:
		if len(v) == 0 {
			return replacement(random)
		}
		i := random.IntN(len(v))
		switch random.IntN(8) {
		case 0:
			return append(v, runtime.DeepCopyJSONValue(v[i]))
		case 1:
			return slices.Delete(v, i, i+1)
		}
		v[i] = mutate(random, v[i])
		return v
	}
	return replacement(random)
}

func addOrReplace(random *rand.Rand, v map[string]any) any {
	if random.IntN(2) == 0 {
		return replacement(random)
	}
	v["added"] = replacement(random)
	return v
}

func replacement(random *rand.Rand) any {
	return runtime.DeepCopyJSONValue(replacements[random.IntN(len(replacements))])
}

func names(v map[string]any) []string {
	out := make([]string, 0, len(v))
	for name := range v {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}
