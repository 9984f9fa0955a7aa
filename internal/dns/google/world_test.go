// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package google_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/internal/dns/contract"
	"github.com/trellis-mesh/trellis/internal/dns/google"
	"github.com/trellis-mesh/trellis/internal/dns/zonefile"
	"github.com/trellis-mesh/trellis/test/fake/clouddns"
)

var zone = dns.Zone{ID: "example", Name: "example.test"}

// world is a service with one zone, and a provider that sees it.
type world struct {
	server   *clouddns.Server
	base     string
	provider *google.Provider
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{server: clouddns.New()}
	w.server.PendingReads = 2
	w.server.AddZone(zone.ID, zone.Name.FQDN(), clouddns.ZoneOptions{})
	web := httptest.NewServer(w.server)
	t.Cleanup(web.Close)
	w.base = web.URL
	w.provider = w.as(t, w.server.AccountKey(w.base, "dns", false))
	return w
}

// as is a provider with a key.
func (w *world) as(t *testing.T, key []byte) *google.Provider {
	t.Helper()
	p, err := google.New(t.Context(), google.Options{Key: key, Endpoint: w.base + "/"})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// put writes a record set as somebody else.
func (w *world) put(t *testing.T, s dns.RecordSet) {
	t.Helper()
	set := clouddns.RecordSet{Name: s.Name.FQDN(), Type: string(s.Type), TTL: int64(s.TTL)}
	for _, v := range s.Values {
		switch s.Type {
		case dns.TypeTXT:
			v = zonefile.Quote(v)
		case dns.TypeCNAME:
			v = strings.TrimSuffix(v, ".") + "."
		}
		set.Rrdatas = append(set.Rrdatas, v)
	}
	if s.Type != dns.TypeCNAME {
		w.server.Remove(zone.ID, set.Name, "CNAME")
	}
	if wrong := w.server.Put(zone.ID, set); wrong != "" {
		t.Fatal(wrong)
	}
}

// dump is all that is in the zone but SOA and NS of the apex.
func (w *world) dump(*testing.T) []dns.RecordSet {
	var out []dns.RecordSet
	for _, s := range w.server.Dump(zone.ID) {
		if s.Type == "SOA" || s.Type == "NS" {
			continue
		}
		set := dns.RecordSet{Key: dns.Key{Name: dns.Name(strings.TrimSuffix(s.Name, ".")), Type: dns.Type(s.Type)}, TTL: uint32(s.TTL)}
		for _, v := range s.Rrdatas {
			if s.Type == "TXT" {
				v = zonefile.Unquote(v)
			}
			set.Values = append(set.Values, v)
		}
		out = append(out, set)
	}
	return out
}

// failOnce makes the next request end like this.
func (w *world) failOnce(f clouddns.Fault) {
	w.server.Fail(func(call int, _ *http.Request) clouddns.Fault {
		if call == 1 {
			return f
		}
		return clouddns.Serve
	})
}

func TestTheProviderKeepsTheContract(t *testing.T) {
	contract.Run(t, contract.Subject{Names: 250, New: func(t *testing.T) contract.Fixture {
		w := newWorld(t)
		return contract.Fixture{
			Provider: w.provider, Zone: zone, Put: w.put, Dump: w.dump,
			Unauthorised: w.as(t, w.server.AccountKey(w.base, "powerless", true)),
			Throttle:     func() { w.failOnce(clouddns.Throttled) },
		}
	}})
}
