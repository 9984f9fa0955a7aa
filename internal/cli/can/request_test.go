// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package can

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/directory"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// silent is a mesh without proxies.
type silent struct{}

func (silent) At(netip.Addr) []xds.Node             { return nil }
func (silent) Node(xds.Key) (xds.Node, bool)        { return xds.Node{}, false }
func (silent) Config(xds.Node) (*xds.Config, error) { return nil, fmt.Errorf("there is none") }

// FuzzRequest holds all that stands on the command line to an error or an answer, and
// to no panic.
func FuzzRequest(f *testing.F) {
	f.Add("GET", "https://a.example.com/x", "", "", "", "a: b")
	f.Add("GE T", "http://[::1]:0/%00", "shop/cart", `{"iss": 1}`, "", ":")
	f.Add("", "tcp://a:5432", "192.0.2.1", "", "x.y.z", "host: other")
	f.Add("\x00", "https://\u00fc/", "a/b/c", "[", "\n", "a:\r\nb:")
	world := &ask.World{Evaluator: decide.New(silent{}), Proxies: silent{}, Directory: directory.New(nil, ""), Origins: ask.NewOrigins(nil, nil)}
	f.Fuzz(func(t *testing.T, method, address, from, claims, token, header string) {
		o := &Options{From: from, Claims: claims, Token: token, Headers: []string{header}}
		r, err := o.request([]string{method, address})
		if err != nil {
			return
		}
		answer, err := world.Can(r)
		if err == nil && answer.Outcome == decide.Allow {
			t.Fatalf("%+v is allowed where there is no mesh", r)
		}
	})
}
