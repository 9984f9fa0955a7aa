// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package security

import (
	"crypto/tls"
	"testing"
)

func TestGRPCPathsAreServedToPOSTAlone(t *testing.T) {
	const host = "rpc.example.com"
	config := &tls.Config{RootCAs: world.pools["example.com"], ServerName: host}
	for _, test := range []struct {
		method, path, token string
		gateway, mesh       int
	}{
		{"POST", "/greet.Greeter/Hello", "", 200, 200},
		{"POST", "/greet.Greeter", "", 200, 200},
		{"GET", "/greet.Greeter/Hello", "", 403, 403},
		{"OPTIONS", "/greet.Greeter/Hello", "", 403, 403},
		{"POST", "/greet.GreeterX/Hello", "", refused, 403},
		{"POST", "/greet.Ledger/Get", "", 403, 403},
		{"POST", "/greet.Ledger/Get", "good", 200, 200},
		{"GET", "/greet.Ledger/Get", "good", 403, 403},
		{"POST", "/greet.Ledger/Put", "good", refused, 403},
		{"POST", "/greet.Greeter/..%2f..%2fgreet.Ledger/Get", "", refused, 403},
		{"POST", "/open/x", "", refused, 403},
	} {
		t.Run(test.method+" "+test.path+" with token "+test.token, func(t *testing.T) {
			fields := [][2]string{{":method", test.method}, {":path", test.path}}
			rest := [][2]string{{"content-type", "application/grpc"}, {"te", "trailers"}}
			if test.token != "" {
				rest = append(rest, [2]string{"authorization", "Bearer " + world.tokens[test.token]})
			}
			at := func(scheme, authority string) [][2]string {
				return append(append(fields[:2:2], [2]string{":scheme", scheme}, [2]string{":authority", authority}), rest...)
			}
			answer, err := sendHTTP2(t.Context(), world.public.HTTPSAddress, config, at("https", host))
			expectRPC(t, "at the gateway", test.gateway, answer, err)
			shop := world.apps["shop"]
			answer, err = sendHTTP2(t.Context(), world.apps["checkout"].EgressAddress(9082), nil, at("http", shop.Host(9082)))
			expectRPC(t, "inside the mesh", test.mesh, answer, err)
		})
	}
}
