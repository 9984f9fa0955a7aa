// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package trial_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/directory"
	"github.com/trellis-mesh/trellis/internal/ask/trial"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// nowhere has no proxies.
type nowhere struct{}

func (nowhere) At(netip.Addr) []xds.Node             { return nil }
func (nowhere) Node(xds.Key) (xds.Node, bool)        { return xds.Node{}, false }
func (nowhere) Config(xds.Node) (*xds.Config, error) { return nil, fmt.Errorf("there is none") }

func empty() *ask.World {
	return &ask.World{Evaluator: decide.New(nowhere{}), Proxies: nowhere{}, Directory: directory.New(nil, ""), Origins: ask.NewOrigins(nil, nil)}
}

// FuzzOfFile holds files of tests to an error or to tests that can be run, and none
// of them to passing where there is nothing.
func FuzzOfFile(f *testing.F) {
	for _, seed := range []string{
		`tests: [{name: a, from: {internet: {}}, request: {url: "https://a/"}, expect: {verdict: Deny}}]`,
		`tests: [{name: a, from: {serviceAccount: {name: x, namespace: y}}, request: {url: "http://a:1/%2f", token: {issuer: i, claims: [{name: n, path: [a, b], values: [v]}]}}, expect: {verdict: Allow}}]`,
		`tests: [{name: "", request: {url: "::"}}]`, "tests: 1", "{", "\x00", strings.Repeat("[", 1000), "a: &a [*a]",
	} {
		f.Add([]byte(seed))
	}
	world := empty()
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > 1<<14 {
			t.Skip()
		}
		tests, err := trial.OfFile(world, "tests.yaml", raw)
		if err != nil {
			return
		}
		for _, one := range tests {
			if got := trial.Run(world, one); got.Status == trial.Passed {
				t.Fatalf("%q passes in a mesh without proxies", one.Name)
			}
		}
	})
}
