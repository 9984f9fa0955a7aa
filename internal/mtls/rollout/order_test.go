// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package rollout_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/mtls/resolve"
	"github.com/trellis-mesh/trellis/internal/mtls/rollout"
	"github.com/trellis-mesh/trellis/internal/traffic"
)

// seen are edges "client>service".
func seen(edges ...string) *traffic.Seen {
	out := &traffic.Seen{}
	for _, edge := range edges {
		client, service, _ := strings.Cut(edge, ">")
		out.Edges = append(out.Edges, traffic.Edge{Client: client, Services: strings.Split(service, "+"), Requests: 1})
	}
	return out
}

func TestCallersComeBeforeThoseThatTheyCall(t *testing.T) {
	for _, c := range []struct {
		name   string
		stages string
		seen   *traffic.Seen
		want   string
	}{
		{"nothing was seen", "s/b s/a s/c", nil, "s/a s/b s/c"},
		{"a chain against the alphabet", "s/a s/b s/c", seen("s/c>s/b", "s/b>s/a"), "s/c s/b s/a"},
		{"a client that is no stage only counts", "s/a s/b", seen("x/job>s/a"), "s/b s/a"},
		{"two that call each other, and one that both call", "s/a s/b s/c", seen("s/b>s/c", "s/c>s/b", "s/b>s/a", "s/c>s/a"), "s/b s/c s/a"},
		{"in a circle the one with the fewest callers comes first", "s/a s/b", seen("s/a>s/b", "s/b>s/a", "x/job>s/a"), "s/b s/a"},
		{"a circle behind its caller", "s/a s/b s/z", seen("s/a>s/b", "s/b>s/a", "s/z>s/a"), "s/z s/b s/a"},
		{"who calls itself waits for nobody", "s/a s/b", seen("s/a>s/a", "s/a>s/b"), "s/a s/b"},
		{"one call of several services", "s/a s/b s/c", seen("s/c>s/a+s/b"), "s/c s/a s/b"},
		{"namespaces", "a b", seen("b/web>a/cart"), "b a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var stages []rollout.Stage
			for name := range strings.FieldsSeq(c.stages) {
				s := rollout.Stage{Name: name, Services: []string{name}, Mode: resolve.Permissive}
				if !strings.Contains(name, "/") {
					s.Services = []string{name + "/cart", name + "/web"}
				}
				stages = append(stages, s)
			}
			for range 2 {
				var got []string
				for _, s := range rollout.Order(stages, c.seen) {
					got = append(got, s.Name)
				}
				if strings.Join(got, " ") != c.want {
					t.Errorf("%s, want %s", got, c.want)
				}
				slices.Reverse(stages)
			}
		})
	}
}

func TestAClientWithoutAProxyBlocksOnlyWhereNobodyLookedOrPlaintextOfItWasSeen(t *testing.T) {
	last := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := &rollout.Stage{Name: "s/a", Services: []string{"s/a"}, Mode: resolve.Permissive, Conflicts: []rollout.Conflict{
		{Client: "old/job", Port: 80, Why: "no proxy"}, {Client: "s/b", Proxied: true, Port: 80, Why: "DISABLE"},
	}}
	of := func(client, service string, plaintext uint64) *traffic.Seen {
		return &traffic.Seen{Edges: []traffic.Edge{{Client: client, Services: []string{service}, Port: 8080, Plaintext: plaintext, LastPlaintext: &last}}}
	}
	sentOnly := of("s/d", "s/a", 0)
	sentOnly.Edges[0].SentOnly = true
	whole := *s
	whole.Name = "s"
	strict := *s
	strict.Mode = resolve.Strict
	for _, c := range []struct {
		name        string
		stage       *rollout.Stage
		seen        *traffic.Seen
		want, could string
	}{
		{"nobody looked", s, nil, "Conflict old/job, Conflict s/b", ""},
		{"nothing was seen", s, &traffic.Seen{}, "Conflict old/job, Conflict s/b", ""},
		{"it was not seen", s, of("s/b", "s/a", 0), "Conflict s/b", "old/job"},
		{"plaintext of it was seen", s, of("old/job", "s/a", 3), "PlaintextSeen old/job, Conflict s/b", ""},
		{"nobody looked at the workloads", s, of("old/job", "s/c", 3), "Conflict old/job, Conflict s/b", ""},
		{"a workload of the namespace that no Service selects was called", &whole, of("old/job", "s/worker", 2), "PlaintextSeen old/job, Conflict s/b", ""},
		{"nothing was seen but by a client's proxy", s, sentOnly, "Conflict old/job, Conflict s/b", ""},
		{"it was seen without plaintext", s, of("old/job", "s/a", 0), "Conflict s/b", "old/job"},
		{"plaintext of an address that is nobody's", s, of("10.0.0.9", "s/a", 1), "PlaintextSeen 10.0.0.9, Conflict s/b", "old/job"},
		{"a stage that is done", &strict, of("old/job", "s/a", 3), "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			blocks, could := rollout.Blocks(c.stage, c.seen)
			var got, names []string
			for _, b := range blocks {
				got = append(got, b.Reason+" "+b.Client)
				if b.Reason == v1alpha1.BlockPlaintextSeen && (!strings.Contains(b.Why, "last at 2026-01-02T03:04:05Z") || b.Count == 0) {
					t.Errorf("%+v", b)
				}
			}
			for _, one := range could {
				names = append(names, one.Client)
			}
			if strings.Join(got, ", ") != c.want || strings.Join(names, ", ") != c.could {
				t.Errorf("blocks %q and could %q, want %q and %q", got, names, c.want, c.could)
			}
		})
	}
}

func TestNamespacesAreChosenByNameOrByLabel(t *testing.T) {
	there := []model.Namespace{{Name: "b", Labels: map[string]string{"mesh": "yes"}}, {Name: "a"}}
	for _, c := range []struct {
		name            string
		of              v1alpha1.RolloutNamespaces
		chosen, missing string
	}{
		{"names", v1alpha1.RolloutNamespaces{Names: []string{"c", "b"}}, "b c", "c"},
		{"a label", v1alpha1.RolloutNamespaces{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"mesh": "yes"}}}, "b", ""},
		{"the label that each has by its name", v1alpha1.RolloutNamespaces{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": "a"}}}, "a", ""},
		{"all", v1alpha1.RolloutNamespaces{Selector: &metav1.LabelSelector{}}, "a b", ""},
	} {
		chosen, missing, err := rollout.Chosen(c.of, there)
		if err != nil || strings.Join(chosen, " ") != c.chosen || strings.Join(missing, " ") != c.missing {
			t.Errorf("%s: %v and %v are missing, %v", c.name, chosen, missing, err)
		}
	}
}
