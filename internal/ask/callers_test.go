// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package ask_test

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// TestCallersAreThoseThatWhoFinds asks both of every workload of the examples, and of
// what the command line's answers are made from.
func TestCallersAreThoseThatWhoFinds(t *testing.T) {
	folders, err := filepath.Glob("../cli/testdata/answers/*/in.yaml")
	if err != nil || len(folders) == 0 {
		t.Fatalf("%d folders: %v", len(folders), err)
	}
	cases := [][]string{{"../../examples/bookinfo"}, {"../../examples/two-teams-one-host"}, {"testdata/a-hand-written-policy-is-seen-like-any-other"}}
	for _, file := range folders {
		cases = append(cases, []string{"../cli/testdata/answers/mesh", file})
	}
	compared, named, anybody := 0, 0, 0
	for _, files := range cases {
		m := open(t, files...)
		for _, n := range m.Nodes {
			if n.Type != xds.Sidecar {
				continue
			}
			ports, _ := m.Callers(n)
			for i := range ports {
				c := &ports[i]
				compared++
				if c.Any {
					anybody++
				}
				named += len(c.Named)
				agrees(t, m.World, n, c)
			}
		}
	}
	if compared < 40 || named < 10 || anybody < 10 {
		t.Errorf("there was little to compare: %d ports, %d accounts by name, %d open to any", compared, named, anybody)
	}
}

func agrees(t *testing.T, w *ask.World, n xds.Node, c *ask.Callers) {
	t.Helper()
	who, err := w.Who(ask.Target{Workload: ask.WorkloadRef{Namespace: n.Namespace, Name: n.Name}, Port: c.Port})
	if err != nil {
		t.Fatal(err)
	}
	var accounts []string
	plaintext, anybody := false, false
	for _, r := range who.Rows {
		if r.Port != c.Port {
			continue
		}
		switch r.Clients {
		case ask.Plaintext:
			plaintext = true
		case ask.Workloads:
			anybody = anybody || r.Any
			accounts = append(accounts, r.From...)
		case ask.Nobody, ask.FromInternet:
		}
	}
	slices.Sort(accounts)
	accounts = slices.Compact(accounts)
	let := slices.Clone(c.Named)
	for _, other := range w.Nodes {
		account := other.Namespace + "/" + other.ServiceAccount
		if c.Any && !slices.Contains(c.Refused, account) {
			let = append(let, account)
		}
	}
	slices.Sort(let)
	let = slices.Compact(let)
	if plaintext != c.Plaintext || anybody && !c.Any || !slices.Equal(accounts, let) {
		t.Errorf("%s port %d: %+v lets in %v; who says %v, plaintext %v, any %v", n, c.Port, c, let, accounts, plaintext, anybody)
	}
}
