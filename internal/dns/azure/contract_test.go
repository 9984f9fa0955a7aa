// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package azure_test

import (
	"context"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/internal/dns/azure"
	"github.com/trellis-mesh/trellis/internal/dns/contract"
	fake "github.com/trellis-mesh/trellis/test/fake/azuredns"
)

// passing lets half a minute pass whenever somebody asks whether a change is
// everywhere.
type passing struct {
	*azure.Provider
	clock *clock
}

func (p passing) Spread(ctx context.Context, z dns.Zone, r dns.Receipt) (bool, error) {
	done, err := p.Provider.Spread(ctx, z, r)
	p.clock.add(30 * time.Second)
	return done, err
}

func TestAzureKeepsTheContract(t *testing.T) {
	for name, vary := range map[string]func(*fake.Server){
		"as it is":                               func(*fake.Server) {},
		"with a delete of nothing that succeeds": func(s *fake.Server) { s.GoneIsFine = true },
	} {
		t.Run(name, func(t *testing.T) {
			contract.Run(t, contract.Subject{Names: 250, New: func(t *testing.T) contract.Fixture {
				w := newWorld(t)
				vary(w.server)
				return contract.Fixture{
					Provider: passing{w.provider, w.clock}, Zone: w.zone, Put: w.put, Dump: w.dump,
					Unauthorised: w.as(t, azure.Config{ClientID: "ours", ClientSecret: "wrong"}),
					Throttle:     func() { w.next(fake.Throttled(7)) },
				}
			}})
		})
	}
}

// next is what happens to the next request that is not for a token.
func (w *world) next(f *fake.Fault) {
	done := false
	w.server.Inject(func(c fake.Call) *fake.Fault {
		if done || c.Operation == "POST token" || c.Operation == "GET metadata" {
			return nil
		}
		done = true
		return f
	})
}
