// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package outgoing_test

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/outgoing"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/cli/source"
	"github.com/trellis-mesh/trellis/internal/decide"
)

const services = 4

// around is what is in every world: services with a workload each, in two namespaces.
func around() string {
	var b strings.Builder
	for _, namespace := range []string{"left", "right", "kube-system"} {
		fmt.Fprintf(&b, "{apiVersion: v1, kind: Namespace, metadata: {name: %s, labels: {side: %[1]s, istio-injection: enabled}}}\n---\n", namespace)
	}
	for i := range services {
		fmt.Fprintf(&b, `{apiVersion: apps/v1, kind: Deployment, metadata: {name: app%d, namespace: %s}, spec: {template: {metadata: {labels: {app: app%[1]d}}, spec: {serviceAccountName: app%[1]d, containers: [{name: main}]}}}}
---
`, i, home(i))
	}
	return b.String()
}

func home(i int) string { return []string{"left", "right"}[i%2] }

// template is a policy about egress in two versions.
const templates = `
{apiVersion: trellis.dev/v1alpha1, kind: PolicyTemplate, metadata: {name: hosts-1.0.0}, spec: {policy: hosts, version: 1.0.0, title: listed, severity: High, remediation: {text: list it}, contributions: [{name: hosts, egress: {hosts: "['a.example.com', '*.example.org']"}}]}}
---
{apiVersion: trellis.dev/v1alpha1, kind: PolicyTemplate, metadata: {name: hosts-2.0.0}, spec: {policy: hosts, version: 2.0.0, title: listed, severity: High, remediation: {text: list it}, contributions: [{name: hosts, egress: {hosts: "['*.example.org']"}}]}}
---
`

// draw is a world of chance: who states which calls, a policy, Sidecars and ServiceEntries
// of others, and what the mesh does with hosts that it does not know.
func draw(r *rand.Rand) string {
	var b strings.Builder
	b.WriteString(around() + templates)
	one := func(in int) bool { return r.IntN(in) == 0 }
	for i := range services {
		if i > 1 && one(8) {
			continue // there is no such Service
		}
		port := "{name: http, port: 80}"
		if i == 3 {
			port = "{name: tcp-db, port: 5432}"
		}
		fmt.Fprintf(&b, "{apiVersion: v1, kind: Service, metadata: {name: app%d, namespace: %s}, spec: {selector: {app: app%[1]d}, ports: [%[3]s]}}\n---\n", i, home(i), port)
		if i == 3 || one(3) {
			continue
		}
		fmt.Fprintf(&b, "{apiVersion: trellis.dev/v1alpha1, kind: Application, metadata: {name: app%d, namespace: %s}, spec: {service: app%[1]d, ports: [{name: web, port: 80, protocol: HTTP}]%[3]s}}\n---\n", i, home(i), stated(r))
	}
	if mode := []string{"", "Shadow", "Enforce"}[r.IntN(3)]; mode != "" {
		fmt.Fprintf(&b, "{apiVersion: trellis.dev/v1alpha1, kind: ClusterPolicyBinding, metadata: {name: hosts}, spec: {tier: Mandatory, mode: %s, policy: {name: hosts, version: %d.0.0}, namespaces: {matchLabels: {side: left}}}}\n---\n", mode, 1+r.IntN(2))
	}
	if one(3) {
		hosts := []string{`"./*"`, `"*/*"`, `"left/*", "right/app1.right.svc.cluster.local"`, `"~/*"`}[r.IntN(4)]
		mode := []string{"REGISTRY_ONLY", "ALLOW_ANY"}[r.IntN(2)]
		fmt.Fprintf(&b, "{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: default, namespace: right}, spec: {outboundTrafficPolicy: {mode: %s}, egress: [{hosts: [%s]}]}}\n---\n", mode, hosts)
	}
	if one(2) {
		to := []string{"", "exportTo: [.], "}[r.IntN(2)]
		fmt.Fprintf(&b, "{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: wide, namespace: right}, spec: {hosts: ['*.wide.example'], %slocation: MESH_EXTERNAL, resolution: NONE, ports: [{number: 443, name: tls, protocol: TLS}]}}\n---\n", to)
	}
	if one(4) {
		b.WriteString("{apiVersion: v1, kind: ConfigMap, metadata: {name: istio, namespace: istio-system}, data: {mesh: 'outboundTrafficPolicy: {mode: REGISTRY_ONLY}'}}\n---\n")
	}
	return b.String()
}

// stated are calls of chance; empty: none are stated.
func stated(r *rand.Rand) string {
	if r.IntN(2) == 0 {
		return ""
	}
	all := []string{
		"{name: one, peer: {service: {name: app1, namespace: right}}}", "{name: three, peer: {service: {name: app3, namespace: right}}}",
		"{name: a, peer: {external: {hosts: [a.example.com], port: 443, protocol: HTTPS}}}", "{name: b, peer: {external: {hosts: [b.example.org, c.example.net], port: 80, protocol: HTTP}}}",
		"{name: old, peer: {external: {hosts: [old.example.com], port: 5432, protocol: TCP, addresses: [192.0.2.7]}}}",
	}
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return ", access: {calls: [" + strings.Join(all[:r.IntN(len(all)+1)], ", ") + "]}"
}

// destinations are all that anybody in these worlds may call, by the words of rows.
var destinations = map[string]string{
	"left/app0:80": "http://app0.left.svc.cluster.local/", "right/app1:80": "http://app1.right.svc.cluster.local/", "left/app2:80": "http://app2.left.svc.cluster.local/",
	"right/app3:5432": "tcp://app3.right.svc.cluster.local:5432", "a.example.com:443": "https://a.example.com/", "b.example.org:80": "http://b.example.org/",
	"c.example.net:80": "http://c.example.net/", "old.example.com:5432": "tcp://old.example.com:5432", "*.wide.example:443": "https://any-other.wide.example/",
	outgoing.AnyOther: "https://any-other.example/",
}

// end is what the whole mesh says of a call: whether it comes further than its caller's
// proxy; false: there is nobody to ask, or nothing to be called.
func end(t *testing.T, m *mesh.Mesh, caller int, to string) (letOut, there bool) {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	a, err := m.Can(&ask.Request{From: &ask.WorkloadRef{Namespace: home(caller), Name: fmt.Sprintf("app%d", caller)}, URL: u})
	if err != nil {
		return false, false
	}
	last := ""
	for _, s := range a.Steps {
		if s.Proxy != "" {
			last = s.Proxy
		}
	}
	// What goes past all that the mesh knows has left the proxy, and nobody knows where it ends.
	return a.Outcome == decide.Allow || a.Outcome == decide.Unknown || last != fmt.Sprintf("sidecar %s/app%d", home(caller), caller), true
}

func open(t *testing.T, text string) *mesh.Mesh {
	t.Helper()
	file := filepath.Join(t.TempDir(), "all.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := mesh.Open(t.Context(), &source.Options{Files: []string{file}}, nil, time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, f := range m.Report.Findings {
		if f.Reason == "SchemaInvalid" || f.Reason == "TemplateNotFound" {
			t.Fatalf("%s: %s", f.Object, f.Message)
		}
	}
	return m
}

// TestRowsAreWhatBecomesOfEachCall asks the whole mesh of every call on both sides: what is
// let out on one side alone has one row, and nothing else has any.
func TestRowsAreWhatBecomesOfEachCall(t *testing.T) {
	seen := map[ask.Effect]int{}
	for seed := range uint64(25) {
		r := rand.New(rand.NewPCG(seed, 7))
		texts := [2]string{draw(r), draw(r)}
		sides := [2]*mesh.Mesh{open(t, texts[0]), open(t, texts[1])}
		changes := mesh.Diff(t.Context(), sides[0], sides[1])
		for caller := range services {
			holds(t, sides, changes, caller, seen)
		}
		if t.Failed() {
			t.Fatalf("seed %d:\n%s\n======\n%s", seed, texts[0], texts[1])
		}
		for _, c := range changes.Calls {
			if ask.NotKnown == c.Effect || len(c.Before.Because)+len(c.After.Because) == 0 && c.Before.Why+c.After.Why == "" {
				t.Errorf("seed %d: nothing is said of %+v", seed, c)
			}
		}
	}
	for _, effect := range []ask.Effect{ask.NewlyAllowed, ask.NewlyDenied} {
		if seen[effect] < 50 {
			t.Errorf("only %d calls are %s: the worlds hardly differ", seen[effect], effect)
		}
	}
}

func holds(t *testing.T, sides [2]*mesh.Mesh, changes *outgoing.Changes, caller int, seen map[ask.Effect]int) {
	t.Helper()
	name := fmt.Sprintf("%s/app%d", home(caller), caller)
	var limited [2]bool
	for i, m := range sides {
		any, _ := end(t, m, caller, destinations[outgoing.AnyOther])
		limited[i] = !any
	}
	for words, to := range destinations {
		if strings.HasPrefix(words, name+":") {
			continue // who refuses its own call is on both ends
		}
		var letOut, there [2]bool
		for i, m := range sides {
			letOut[i], there[i] = end(t, m, caller, to)
		}
		// Where a Service has come or gone, it is about who is limited and may call it.
		named := true
		for i := range sides {
			named = named && (there[1-i] || !letOut[i] || limited[i])
		}
		var want ask.Effect
		switch {
		case !named || letOut[0] == letOut[1]:
		case letOut[1]:
			want = ask.NewlyAllowed
		default:
			want = ask.NewlyDenied
		}
		got := said(changes, name, words)
		if len(got) == 0 && want != "" && !known(t, sides, caller, words) {
			got = said(changes, name, outgoing.AnyOther)
		}
		seen[want]++
		if want == "" && len(got) > 0 || want != "" && !slices.Equal(got, []ask.Effect{want}) {
			t.Errorf("%s to %s is let out %v (limited: %v), and the rows say %q", name, words, letOut, limited, got)
		}
	}
}

func said(changes *outgoing.Changes, from, to string) []ask.Effect {
	var out []ask.Effect
	for _, c := range changes.Calls {
		if slices.Contains(c.From, from) && slices.Contains(c.To, to) {
			out = append(out, c.Effect)
		}
	}
	return out
}

// known reports whether a caller's proxy has a name for a destination on either side. If not,
// it is any other host to it.
func known(t *testing.T, sides [2]*mesh.Mesh, caller int, words string) bool {
	t.Helper()
	host, _, _ := strings.Cut(words, ":")
	if namespace, name, ok := strings.Cut(host, "/"); ok {
		host = name + "." + namespace + ".svc.cluster.local"
	}
	return slices.ContainsFunc(sides[:], func(m *mesh.Mesh) bool {
		node, err := m.Workload(ask.WorkloadRef{Namespace: home(caller), Name: fmt.Sprintf("app%d", caller)})
		if err != nil {
			t.Fatal(err)
		}
		config, err := m.Proxies.Config(node)
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(config.Resources().Clusters, func(c *clusterv3.Cluster) bool { return strings.HasSuffix(c.GetName(), "|"+host) })
	})
}
