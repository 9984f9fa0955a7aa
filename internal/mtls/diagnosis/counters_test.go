// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package diagnosis_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/trellis-mesh/trellis/internal/mtls/diagnosis"
	"github.com/trellis-mesh/trellis/internal/xds"
)

const noHosts = `{"cluster_statuses": []}`

func hosts(cluster, stat string, value int) string {
	return fmt.Sprintf(`{"cluster_statuses": [{"name": %q, "host_statuses": [{"address": {"socket_address": {"address": "10.0.0.3", "port_value": 9080}}, "stats": [{"name": "cx_total", "value": "9"}, {"name": %q, "value": "%d"}]}]}]}`, cluster, stat, value)
}

func TestCountersSayWhatFails(t *testing.T) {
	const cart = "outbound|80||cart.shop.svc.cluster.local"
	for name, c := range map[string]struct {
		kind            xds.NodeType
		stats, clusters string
		counts          bool
		want            []string
	}{
		"nothing":                      {xds.Sidecar, "", noHosts, false, nil},
		"nothing failed":               {xds.Sidecar, "cluster." + cart + ";.upstream_cx_connect_fail: 0\nserver.live: 1\n", noHosts, true, nil},
		"a name that is not accepted":  {xds.Sidecar, "cluster." + cart + ";.ssl.fail_verify_san: 3\ncluster." + cart + ";.upstream_cx_connect_fail: 3\n", hosts(cart, "cx_connect_fail", 3), true, []string{"3 shop/web>cart.shop.svc.cluster.local:80 MutualTLS NameMismatch Certain"}},
		"without the semicolon":        {xds.Sidecar, "cluster." + cart + ".ssl.fail_verify_error: 1\n", noHosts, true, []string{"1 shop/web>cart.shop.svc.cluster.local:80 MutualTLS CertificateUntrusted Likely"}},
		"TLS that nobody answers":      {xds.Sidecar, "cluster." + cart + ";.ssl.connection_error: 2\n", noHosts, true, []string{"2 shop/web>cart.shop.svc.cluster.local:80 MutualTLS MutualTLSToPlaintext Possible"}},
		"connections, by the endpoint": {xds.Sidecar, "", hosts(cart, "cx_connect_fail", 4), false, []string{"4 shop/web>cart.shop.svc.cluster.local:80 Undecided ConnectionRefused Possible"}},
		"errors of requests":           {xds.Sidecar, "", hosts(cart, "rq_error", 5), false, []string{"5 shop/web>cart.shop.svc.cluster.local:80 Undecided ApplicationError Possible"}},
		"plaintext at a sidecar":       {xds.Sidecar, "listener.0.0.0.0_15006.no_filter_chain_match: 7\n", noHosts, false, []string{"7 >shop/web MutualTLS PlaintextToStrict Likely"}},
		"a host that is not served":    {xds.Router, "listener.0.0.0.0_8443.no_filter_chain_match: 7\n", noHosts, false, []string{"7 >shop/web NotMutualTLS HostNotServed Likely"}},
		"a client without certificate": {xds.Sidecar, "listener.0.0.0.0_15006.ssl.fail_verify_no_cert: 1\n", noHosts, false, []string{"1 >shop/web MutualTLS NoCertificate Certain"}},
		"the application beside it":    {xds.Sidecar, "", hosts("inbound|8080||", "cx_connect_fail", 2), false, []string{"2 >inbound|8080|| NotMutualTLS ConnectionRefused Possible"}},
		"Istio's own are left out":     {xds.Sidecar, "cluster.xds-grpc;.upstream_cx_connect_fail: 9\nlistener.admin.main_thread.no_filter_chain_match: 1\nlistener_manager.x: 1\n", noHosts, false, nil},
		"numbers that are none":        {xds.Sidecar, "cluster." + cart + ";.ssl.fail_verify_san: x\nnothing\n: 3\ncluster.: 1\n", noHosts, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			node := xds.Node{Type: c.kind, Namespace: "shop", Name: "web-6d8c4f7b9d-b5t2m"}
			found, counts, err := diagnosis.Count(diagnosis.Admin{Node: node, Stats: []byte(c.stats), Clusters: []byte(c.clusters)}, nil)
			var got []string
			for _, f := range found {
				got = append(got, fmt.Sprintf("%d %s>%s %s %s %s", f.Count, f.Client, f.Service, f.Conclusion, f.Candidates[0].Cause, f.Candidates[0].Certainty))
			}
			if err != nil || counts != c.counts || !slices.Equal(got, c.want) {
				t.Errorf("counts %v: %v\ngot  %q\nwant %q", counts, err, got, c.want)
			}
		})
	}
	if _, _, err := diagnosis.Count(diagnosis.Admin{Clusters: []byte("cluster::1")}, nil); err == nil {
		t.Error("text of another format is read as nothing")
	}
}
