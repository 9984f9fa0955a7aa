// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package resolve_test

import (
	"testing"

	securityapi "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"github.com/trellis-mesh/trellis/internal/mtls/resolve"
)

func TestAZtunnelRefusesPlaintextWhereTheModeIsStrict(t *testing.T) {
	strictMesh := accept("istio-system/all", 0, "", "STRICT")
	other := accept("shop/cart", 0, "cart", "", "DISABLE")
	other.Spec.PortLevelMtls[9090] = &securityapi.PeerAuthentication_MutualTLS{Mode: securityapi.PeerAuthentication_MutualTLS_PERMISSIVE}
	for name, c := range map[string]struct {
		objects []*securityv1.PeerAuthentication
		want    resolve.Mode
	}{
		"nothing is said":                          {nil, resolve.Permissive},
		"the mesh is STRICT":                       {[]*securityv1.PeerAuthentication{strictMesh}, resolve.Strict},
		"the namespace is DISABLE":                 {[]*securityv1.PeerAuthentication{strictMesh, accept("shop/all", 0, "", "DISABLE")}, resolve.Permissive},
		"the workload is STRICT":                   {[]*securityv1.PeerAuthentication{accept("shop/cart", 0, "cart", "STRICT")}, resolve.Strict},
		"the port is STRICT":                       {[]*securityv1.PeerAuthentication{accept("shop/cart", 0, "cart", "", "STRICT")}, resolve.Strict},
		"the port is PERMISSIVE":                   {[]*securityv1.PeerAuthentication{strictMesh, accept("shop/cart", 0, "cart", "", "PERMISSIVE")}, resolve.Permissive},
		"the port is DISABLE in a STRICT workload": {[]*securityv1.PeerAuthentication{accept("shop/cart", 0, "cart", "STRICT", "DISABLE")}, resolve.Permissive},
		// Istio looks at a policy's ports only if one of them is PERMISSIVE.
		"the port is DISABLE in a STRICT mesh":   {[]*securityv1.PeerAuthentication{strictMesh, accept("shop/cart", 0, "cart", "", "DISABLE")}, resolve.Strict},
		"another port is PERMISSIVE beside that": {[]*securityv1.PeerAuthentication{strictMesh, other}, resolve.Permissive},
	} {
		t.Run(name, func(t *testing.T) {
			r := resolve.New(resolve.Input{PeerAuthentications: c.objects})
			got := r.PeerAuthentication(resolve.Workload{Namespace: "shop", Labels: map[string]string{"app": "cart"}}, 8080).Ztunnel()
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}
