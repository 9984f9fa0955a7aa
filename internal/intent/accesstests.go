// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package intent

import (
	"fmt"
	"slices"

	"github.com/trellis-mesh/trellis/internal/model"
)

// checkTests warns of tests that cannot be run as they are written. Tests change
// nothing of what is generated, so nothing of them is an error here; whoever runs
// them counts those that cannot run as not passed.
func (r *resolver) checkTests(a *Application) {
	for i := range a.Spec.Tests {
		test := &a.Spec.Tests[i]
		at := field(a.Origin, "spec.tests[%d]", i)
		if test.From.Internet != nil {
			if test.Request.Host == "" && !slices.ContainsFunc(a.Publications, func(p *Publication) bool { return !p.Unpublished }) {
				r.warn(field(at, "request"), refusal{"TestWithoutHost",
					fmt.Sprintf("test %q comes from the internet and names no host, and %s is published at none", test.Name, a.Ref),
					a.Ref.String(), "write request.host, or an exposure"})
			}
			continue
		}
		if test.Request.Port == "" && len(a.Spec.HTTPPorts()) != 1 {
			r.warn(field(at, "request"), refusal{"TestWithoutPort",
				fmt.Sprintf("test %q names no port, and %s has %d that are not TCP", test.Name, a.Ref, len(a.Spec.HTTPPorts())),
				a.Ref.String(), "write request.port: the name of one of spec.ports"})
		}
		if peer := test.From.Application; peer != nil && r.snapshot.Application(model.Name{Namespace: string(peer.Namespace), Name: peer.Name}) == nil {
			r.warn(field(at, "from.application"), refusal{"TestClientNotFound",
				fmt.Sprintf("test %q comes from Application %s/%s, which does not exist", test.Name, peer.Namespace, peer.Name),
				a.Ref.String(), "correct the name, or take a serviceAccount"})
		}
	}
}
