// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package cloudflare_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/internal/dns/cloudflare"
	"github.com/trellis-mesh/trellis/internal/dns/contract"
	"github.com/trellis-mesh/trellis/internal/dns/zonefile"
	fake "github.com/trellis-mesh/trellis/test/fake/cloudflare"
)

const (
	goodToken  = "good-token-good-token-good-token-good-token"
	readToken  = "read-token-read-token-read-token-read-token"
	oldToken   = "old-token-old-token-old-token-old-token-old"
	otherToken = "none-token-none-token-none-token-none-token"
)

// world is a service with one zone, and a provider that sees it.
type world struct {
	server   *fake.Server
	base     string
	zone     dns.Zone
	provider *cloudflare.Provider
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{server: fake.New()}
	w.server.PageSize = 40
	w.server.Token(goodToken, fake.Edit)
	w.server.Token(readToken, fake.ReadOnly)
	w.server.Token(oldToken, fake.Expired)
	w.zone = dns.Zone{ID: w.server.AddZone("example.test", "active", "full"), Name: "example.test"}
	web := httptest.NewServer(w.server)
	t.Cleanup(web.Close)
	w.base = web.URL + "/client/v4"
	w.provider = w.as(t, goodToken)
	return w
}

// as is a provider with a token.
func (w *world) as(t *testing.T, token string) *cloudflare.Provider {
	t.Helper()
	p, err := cloudflare.New(cloudflare.Options{Token: token, Endpoint: w.base, Settle: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// put writes a record set as somebody else, whatever was there.
func (w *world) put(t *testing.T, s dns.RecordSet) {
	t.Helper()
	w.server.Remove(w.zone.ID, string(s.Name), string(s.Type))
	for _, v := range s.Values {
		if s.Type == dns.TypeTXT {
			v = zonefile.Quote(v)
		}
		if _, wrong := w.server.Put(w.zone.ID, fake.Record{Name: string(s.Name), Type: string(s.Type), Content: v, TTL: int(s.TTL)}); wrong != "" {
			t.Fatal(wrong)
		}
	}
}

// dump is all that is in the zone, as record sets.
func (w *world) dump(*testing.T) []dns.RecordSet {
	var out []dns.RecordSet
	for _, r := range w.server.Dump(w.zone.ID) {
		value := r.Content
		if r.Type == "TXT" {
			value = zonefile.Unquote(value)
		}
		key := dns.Key{Name: dns.Name(r.Name), Type: dns.Type(r.Type)}
		i := slices.IndexFunc(out, func(s dns.RecordSet) bool { return s.Key == key })
		if i < 0 {
			i = len(out)
			out = append(out, dns.RecordSet{Key: key, TTL: uint32(r.TTL)})
		}
		out[i].Values = append(out[i].Values, value)
	}
	for _, s := range out {
		slices.Sort(s.Values)
	}
	slices.SortFunc(out, func(a, b dns.RecordSet) int { return a.Compare(b.Key) })
	return out
}

// texts are record sets as text.
func texts(sets []dns.RecordSet) string {
	var out []string
	for _, s := range sets {
		out = append(out, s.Text())
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// failOnce makes the next request end like this.
func (w *world) failOnce(f fake.Fault) {
	w.server.Fail(func(call int, _ *http.Request) fake.Fault {
		if call == 1 {
			return f
		}
		return fake.Serve
	})
}

func TestTheProviderKeepsTheContract(t *testing.T) {
	contract.Run(t, contract.Subject{Names: 130, New: func(t *testing.T) contract.Fixture {
		w := newWorld(t)
		return contract.Fixture{
			Provider: w.provider, Zone: w.zone, Put: w.put, Dump: w.dump,
			Unknown:      dns.Zone{ID: strings.Repeat("0", 32), Name: w.zone.Name},
			Unauthorised: w.as(t, oldToken),
			Throttle:     func() { w.failOnce(fake.Throttled) },
		}
	}})
}
