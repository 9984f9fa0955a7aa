// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package azure_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/dns/armdns"

	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/internal/dns/azure"
	fake "github.com/trellis-mesh/trellis/test/fake/azuredns"
)

const (
	subscription = "11111111-2222-3333-4444-555555555555"
	tenant       = "66666666-7777-8888-9999-aaaaaaaaaaaa"
	group        = "dns"
	secret       = "a-client-secret~never-shown"
	owner        = "cluster-a"
)

// world is one subscription with one zone, our provider, and somebody else who
// uses the vendor's own client.
type world struct {
	server   *fake.Server
	web      *httptest.Server
	zone     dns.Zone
	provider *azure.Provider
	other    *armdns.RecordSetsClient
	clock    *clock
}

// clock stands still but for what is added.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// fixed is a credential that has one token for ever.
type fixed string

func (f fixed) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(f), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func newWorld(t *testing.T) *world {
	t.Helper()
	// Nothing of the machine's own configuration may be used.
	for _, name := range []string{"AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_AUTHORITY_HOST"} {
		t.Setenv(name, "")
	}
	w := &world{server: fake.New(subscription), clock: &clock{now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}}
	w.server.AddClient("ours", fake.Client{Secret: secret, Assertion: "a-pod's-token"})
	w.server.AddClient("expired", fake.Client{Secret: secret, Expired: true})
	w.server.AddToken("theirs", fake.Token{})
	w.zone = dns.Zone{ID: w.server.AddZone(group, "example.test"), Name: "example.test"}
	w.web = httptest.NewTLSServer(w.server)
	t.Cleanup(w.web.Close)
	w.provider = w.as(t, azure.Config{ClientID: "ours", ClientSecret: secret})
	other, err := armdns.NewRecordSetsClient(subscription, fixed("theirs"), &arm.ClientOptions{ClientOptions: azcore.ClientOptions{
		Transport: w.web.Client(), Retry: policy.RetryOptions{MaxRetries: -1},
		Cloud: cloud.Configuration{Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
			cloud.ResourceManager: {Audience: "https://management.core.windows.net/", Endpoint: w.web.URL}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	w.other = other
	return w
}

// as is a provider with other credentials.
func (w *world) as(t *testing.T, c azure.Config) *azure.Provider {
	t.Helper()
	c.SubscriptionID, c.TenantID, c.Endpoint, c.Authority = subscription, tenant, w.web.URL, w.web.URL+"/"
	c.Now = w.clock.Now
	if c.HTTPClient == nil {
		c.HTTPClient = w.web.Client()
	}
	p, err := azure.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// put writes by somebody else, unconditionally. Texts are in short strings.
func (w *world) put(t *testing.T, s dns.RecordSet) {
	t.Helper()
	p := &armdns.RecordSetProperties{TTL: to.Ptr(int64(s.TTL)), Metadata: map[string]*string{"team": to.Ptr("theirs")}}
	for _, v := range s.Values {
		switch s.Type {
		case dns.TypeA:
			p.ARecords = append(p.ARecords, &armdns.ARecord{IPv4Address: to.Ptr(v)})
		case dns.TypeAAAA:
			p.AaaaRecords = append(p.AaaaRecords, &armdns.AaaaRecord{IPv6Address: to.Ptr(v)})
		case dns.TypeCNAME:
			p.CnameRecord = &armdns.CnameRecord{Cname: to.Ptr(v)}
		case dns.TypeTXT:
			r := &armdns.TxtRecord{}
			for part := range slices.Chunk([]byte(v), 100) {
				r.Value = append(r.Value, to.Ptr(string(part)))
			}
			p.TxtRecords = append(p.TxtRecords, r)
		case "MX":
			r := &armdns.MxRecord{Preference: new(int32), Exchange: new(string)}
			scan(t, v, "%d %s", r.Preference, r.Exchange)
			p.MxRecords = append(p.MxRecords, r)
		case "CAA":
			r := &armdns.CaaRecord{Flags: new(int32), Tag: new(string), Value: new(string)}
			scan(t, v, "%d %s %q", r.Flags, r.Tag, r.Value)
			p.CaaRecords = append(p.CaaRecords, r)
		}
	}
	_, err := w.other.CreateOrUpdate(t.Context(), group, string(w.zone.Name), s.Name.Relative(w.zone.Name), armdns.RecordType(s.Type), armdns.RecordSet{Properties: p}, nil)
	if err != nil {
		t.Fatal(err)
	}
}

func scan(t *testing.T, text, format string, to ...any) {
	t.Helper()
	if _, err := fmt.Sscanf(text, format, to...); err != nil {
		t.Fatalf("reading %q: %v", text, err)
	}
}

// raw is the whole zone as the vendor's pager reads it.
func (w *world) raw(t *testing.T) []*armdns.RecordSet {
	t.Helper()
	var out []*armdns.RecordSet
	for pages := w.other.NewListByDNSZonePager(group, string(w.zone.Name), nil); pages.More(); {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, page.Value...)
	}
	return out
}

// dump is raw in the words of package dns, without the zone's own records.
func (w *world) dump(t *testing.T) []dns.RecordSet {
	t.Helper()
	var out []dns.RecordSet
	for _, s := range w.raw(t) {
		typ := dns.Type(strings.TrimPrefix(*s.Type, "Microsoft.Network/dnszones/"))
		if typ == "SOA" || typ == "NS" {
			continue
		}
		name := w.zone.Name
		if *s.Name != "@" {
			name = dns.Name(*s.Name + "." + string(w.zone.Name))
		}
		set := dns.RecordSet{Key: dns.Key{Name: name, Type: typ}, TTL: uint32(*s.Properties.TTL)}
		p := s.Properties
		for _, r := range p.ARecords {
			set.Values = append(set.Values, *r.IPv4Address)
		}
		for _, r := range p.AaaaRecords {
			set.Values = append(set.Values, *r.IPv6Address)
		}
		for _, r := range p.TxtRecords {
			text := ""
			for _, part := range r.Value {
				text += *part
			}
			set.Values = append(set.Values, text)
		}
		for _, r := range p.MxRecords {
			set.Values = append(set.Values, fmt.Sprintf("%d %s", *r.Preference, *r.Exchange))
		}
		for _, r := range p.CaaRecords {
			set.Values = append(set.Values, fmt.Sprintf("%d %s %q", *r.Flags, *r.Tag, *r.Value))
		}
		if p.CnameRecord != nil {
			set.Values = append(set.Values, *p.CnameRecord.Cname)
		}
		out = append(out, set)
	}
	return out
}

// run does what the engine does for one resource: read, plan, write.
func (w *world) run(t *testing.T, p dns.Provider, wanted dns.Wanted) (*dns.Plan, error) {
	t.Helper()
	names, err := wanted.Lookup()
	if err != nil {
		t.Fatal(err)
	}
	there, err := p.Read(t.Context(), w.zone, names)
	if err != nil {
		return nil, err
	}
	plan, err := dns.MakePlan(owner, wanted, there)
	if err != nil {
		t.Fatal(err)
	}
	if plan.Change == nil {
		return plan, nil
	}
	_, err = p.Apply(t.Context(), w.zone, []dns.Change{*plan.Change})
	return plan, err
}

func (w *world) mustRun(t *testing.T, wanted dns.Wanted) *dns.Plan {
	t.Helper()
	plan, err := w.run(t, w.provider, wanted)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func set(t *testing.T, name dns.Name, typ dns.Type, values ...string) dns.RecordSet {
	t.Helper()
	s, err := dns.NewRecordSet(dns.Key{Name: name, Type: typ}, 60, values...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func texts(sets []dns.RecordSet) []string {
	var out []string
	for _, s := range sets {
		out = append(out, s.Text())
	}
	slices.Sort(out)
	return out
}
