// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"context"

	"github.com/trellis-mesh/trellis/internal/model"
	front "github.com/trellis-mesh/trellis/test/stack/headless"
)

const (
	// sparePort is for bytes at workloads that headless Services stand before.
	sparePort = 9004
	// elsewherePort is one of a headless Service that no workload listens on: its target
	// port is another one, which means something to gateways alone.
	elsewherePort = 8090
)

// headlessService stands before workloads that have a Service with an address, too.
type headlessService struct {
	namespace, name string
	selector        map[string]string
}

// headless are those of the stage: before workloads with proxies, without, and of both
// kinds.
var headless = []headlessService{
	{"shop", "cart-pods", map[string]string{"app": "cart"}},
	{"legacy", "mainframe-pods", map[string]string{"app": "mainframe"}},
	{"shop", "mixed-pods", map[string]string{"shelf": "mixed"}},
}

func (h headlessService) host() string { return h.name + "." + h.namespace + ".svc.cluster.local" }

// openHeadless makes them, once the workloads are there.
func (s *stage) openHeadless(ctx context.Context) error {
	for _, h := range headless {
		options := front.Options{Namespace: h.namespace, Name: h.name, Selector: h.selector, Ports: []front.Port{
			{Name: "web", Port: 8080, Target: 8080, Protocol: "http"},
			{Name: "spare", Port: sparePort, Target: sparePort, Protocol: "tcp"},
			{Name: "elsewhere", Port: elsewherePort, Target: 8080, Protocol: "http"},
		}}
		for _, p := range places() {
			if p.namespace == h.namespace && model.Selects(h.selector, p.labels) {
				options.Applications = append(options.Applications, s.apps[p.name])
			}
		}
		if err := front.Create(ctx, s.Stack, options); err != nil {
			return err
		}
	}
	return nil
}

// headlessHosts are the names of headless.
func headlessHosts() []string {
	var out []string
	for _, h := range headless {
		out = append(out, h.host())
	}
	return out
}
