// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package xds_test

import (
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/internal/xds"
)

const traffic = "traffic.sidecar.istio.io/"

// annotated is the proxy of a pod with such annotations.
func annotated(t *testing.T, annotations map[string]string) xds.Node {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: "cart", Labels: map[string]string{"security.istio.io/tlsMode": "istio"}, Annotations: annotations,
	}}
	pod.Status.PodIP = "10.0.0.1"
	nodes := xds.NodesOf([]*corev1.Pod{pod}, nil, xds.Common{Interception: xds.InterceptionRedirect})
	if len(nodes) != 1 {
		t.Fatalf("%d proxies", len(nodes))
	}
	return nodes[0]
}

func TestAnnotationsLeadConnectionsPastAProxy(t *testing.T) {
	for name, c := range map[string]struct {
		annotations map[string]string
		inbound     xds.Captured
		outbound    xds.Captured
		why         string
	}{
		"none":                          {nil, xds.Through, xds.Through, ""},
		"an inbound port":               {map[string]string{traffic + "excludeInboundPorts": "1, 80"}, xds.Past, xds.Through, ""},
		"other inbound ports":           {map[string]string{traffic + "excludeInboundPorts": "81"}, xds.Through, xds.Through, ""},
		"all inbound ports":             {map[string]string{traffic + "includeInboundPorts": ""}, xds.Past, xds.Through, ""},
		"all inbound ports but it":      {map[string]string{traffic + "includeInboundPorts": "80"}, xds.Through, xds.Through, ""},
		"included ports first":          {map[string]string{traffic + "includeInboundPorts": "80", traffic + "excludeInboundPorts": "80"}, xds.Through, xds.Through, ""},
		"no port":                       {map[string]string{traffic + "excludeInboundPorts": "http"}, xds.CaptureUnknown, xds.Through, ""},
		"an outbound port":              {map[string]string{traffic + "excludeOutboundPorts": "80"}, xds.Through, xds.Past, "excludeOutboundPorts"},
		"a range":                       {map[string]string{traffic + "excludeOutboundIPRanges": "10.1.0.0/16"}, xds.Through, xds.Past, "excludeOutboundIPRanges"},
		"another range":                 {map[string]string{traffic + "excludeOutboundIPRanges": "10.2.0.0/16"}, xds.Through, xds.Through, ""},
		"no range":                      {map[string]string{traffic + "excludeOutboundIPRanges": "ten"}, xds.Through, xds.CaptureUnknown, "no list of address ranges"},
		"all but a range":               {map[string]string{traffic + "includeOutboundIPRanges": "10.2.0.0/16"}, xds.Through, xds.Past, "includeOutboundIPRanges"},
		"all but its range":             {map[string]string{traffic + "includeOutboundIPRanges": "10.1.0.0/16"}, xds.Through, xds.Through, ""},
		"all":                           {map[string]string{traffic + "includeOutboundIPRanges": ""}, xds.Through, xds.Past, ""},
		"all, and a port in":            {map[string]string{traffic + "includeOutboundIPRanges": "", traffic + "includeOutboundPorts": "80"}, xds.Through, xds.Through, ""},
		"a port out, which comes first": {map[string]string{traffic + "includeOutboundPorts": "80", traffic + "excludeOutboundPorts": "80"}, xds.Through, xds.Past, ""},
		"a proxy that takes what asks":  {map[string]string{"sidecar.istio.io/interceptionMode": "NONE", traffic + "excludeInboundPorts": "80"}, xds.Through, xds.Through, ""},
	} {
		t.Run(name, func(t *testing.T) {
			node := annotated(t, c.annotations)
			if got, why := node.Inbound(80); got != c.inbound {
				t.Errorf("inbound it is %v (%s), want %v", got, why, c.inbound)
			}
			got, why := node.Outbound(netip.MustParseAddrPort("10.1.0.9:80"))
			if got != c.outbound || !strings.Contains(why, c.why) {
				t.Errorf("outbound it is %v (%s), want %v", got, why, c.outbound)
			}
		})
	}
}

func TestWhatHangsOnAnAddressThatNobodyKnowsIsUnknown(t *testing.T) {
	node := annotated(t, map[string]string{traffic + "excludeOutboundIPRanges": "10.1.0.0/16"})
	if got, why := node.Outbound(netip.AddrPortFrom(netip.Addr{}, 80)); got != xds.CaptureUnknown || why == "" {
		t.Errorf("it is %v (%s)", got, why)
	}
}
