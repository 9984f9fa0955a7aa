// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package route53_test

import (
	"testing"

	"github.com/trellis-mesh/trellis/internal/dns/contract"
	"github.com/trellis-mesh/trellis/internal/dns/route53"
	fake "github.com/trellis-mesh/trellis/test/fake/route53"
)

func TestRoute53KeepsTheContract(t *testing.T) {
	for name, vary := range map[string]func(*fake.Server){
		"as it is":                           func(*fake.Server) {},
		"with errors in the older form":      func(s *fake.Server) { s.OldErrors = true },
		"with stars sorted as their escapes": func(s *fake.Server) { s.EscapedOrder = true },
	} {
		t.Run(name, func(t *testing.T) {
			contract.Run(t, contract.Subject{Names: 700, New: func(t *testing.T) contract.Fixture {
				w := newWorld(t)
				vary(w.server)
				w.server.Polls = 3
				return contract.Fixture{
					Provider: w.provider, Zone: w.zone, Put: w.put, Dump: w.dump,
					Unauthorised: w.as(t, route53.Config{AccessKeyID: "AKIADENIED", SecretAccessKey: secret}),
					Throttle:     w.throttle,
				}
			}})
		})
	}
}

// throttle refuses the next request.
func (w *world) throttle() {
	next := w.server.Calls("")
	w.server.Inject(func(c fake.Call) *fake.Fault {
		if c.Index == next {
			return fake.Throttled()
		}
		return nil
	})
}
