// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package clouddns_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"golang.org/x/oauth2"
	googleauth "golang.org/x/oauth2/google"
	dns "google.golang.org/api/dns/v1"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"

	"github.com/trellis-mesh/trellis/test/fake/clouddns"
)

// client is the vendor's own, with the vendor's own way to a token.
func client(t *testing.T, s *clouddns.Server) *dns.Service {
	t.Helper()
	s.AddZone("example", "example.test.", clouddns.ZoneOptions{})
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	c, err := googleauth.CredentialsFromJSONWithType(t.Context(), s.AccountKey(web.URL, "dns", false), googleauth.ServiceAccount, dns.NdevClouddnsReadwriteScope)
	if err != nil {
		t.Fatal(err)
	}
	service, err := dns.NewService(t.Context(), option.WithEndpoint(web.URL+"/"),
		option.WithHTTPClient(oauth2.NewClient(t.Context(), c.TokenSource)))
	if err != nil {
		t.Fatal(err)
	}
	return service
}

func set(name, typ string, ttl int64, data ...string) *dns.ResourceRecordSet {
	return &dns.ResourceRecordSet{Name: name, Type: typ, Ttl: ttl, Rrdatas: data}
}

func TestTheVendorsClientIsServedAndRefusedAsByTheVendor(t *testing.T) {
	service := client(t, clouddns.New())
	change := func(c *dns.Change) error {
		_, err := service.Changes.Create(clouddns.Project, "example", c).Do()
		return err
	}
	add := func(sets ...*dns.ResourceRecordSet) *dns.Change { return &dns.Change{Additions: sets} }
	remove := func(sets ...*dns.ResourceRecordSet) *dns.Change { return &dns.Change{Deletions: sets} }
	if err := change(add(set("www.example.test.", "A", 300, "192.0.2.1", "192.0.2.2"), set("t.example.test.", "TXT", 300, "plain"),
		set("alias.example.test.", "CNAME", 300, "www.example.test."))); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change *dns.Change
		code   int
		reason string
		says   string
	}{
		"an empty change":                {add(), 400, "required", "entity.change"},
		"an addition that exists":        {add(set("www.example.test.", "A", 60, "192.0.2.9")), 409, "alreadyExists", "entity.change.additions[0]"},
		"a deletion with another TTL":    {remove(set("www.example.test.", "A", 60, "192.0.2.1", "192.0.2.2")), 412, "conditionNotMet", "entity.change.deletions[0]"},
		"a deletion of a part":           {remove(set("www.example.test.", "A", 300, "192.0.2.1")), 412, "conditionNotMet", ""},
		"a deletion of nothing":          {remove(set("no.example.test.", "A", 300, "192.0.2.1")), 404, "notFound", "entity.change.deletions[0]"},
		"a CNAME beside others":          {add(set("www.example.test.", "CNAME", 300, "a.test.")), 400, "cnameResourceRecordSetConflict", "www.example.test."},
		"others beside a CNAME":          {add(set("alias.example.test.", "A", 300, "192.0.2.1")), 400, "cnameResourceRecordSetConflict", ""},
		"a CNAME at the apex":            {add(set("example.test.", "CNAME", 300, "a.test.")), 400, "cnameResourceRecordSetConflict", ""},
		"an apex without NS":             {remove(set("example.test.", "NS", 21600, "ns-cloud-a1.googledomains.com.")), 400, "invalidZoneApex", "'NS'"},
		"a name without a dot":           {add(set("x.example.test", "A", 300, "192.0.2.1")), 400, "invalid", "additions[0].name"},
		"a name outside the zone":        {add(set("x.notexample.test.", "A", 300, "192.0.2.1")), 400, "invalid", "additions[0].name"},
		"a target without a dot":         {add(set("x.example.test.", "CNAME", 300, "a.test")), 400, "invalid", "rrdata[0]"},
		"two targets":                    {add(set("x.example.test.", "CNAME", 300, "a.test.", "b.test.")), 400, "invalid", ""},
		"an address of the wrong family": {add(set("x.example.test.", "A", 300, "2001:db8::1")), 400, "invalid", "rrdata[0]"},
		"the same value twice":           {add(set("x.example.test.", "A", 300, "192.0.2.1", "192.0.2.1")), 400, "invalid", "rrdata[1]"},
		"a text that is too long":        {add(set("x.example.test.", "TXT", 300, `"`+strings.Repeat("x", 256)+`"`)), 400, "invalid", ""},
		"a quote that does not end":      {add(set("x.example.test.", "TXT", 300, `"open`)), 400, "invalid", ""},
		"an unknown type":                {add(set("x.example.test.", "NEW", 300, "x")), 400, "invalid", "type"},
		"a set twice":                    {add(set("x.example.test.", "A", 300, "192.0.2.1"), set("x.example.test.", "A", 300, "192.0.2.2")), 409, "alreadyExists", "additions[1]"},
	} {
		err := change(c.change)
		var refused *googleapi.Error
		if !errors.As(err, &refused) || refused.Code != c.code || refused.Errors[0].Reason != c.reason || !strings.Contains(refused.Message, c.says) {
			t.Errorf("%s gave %v, want %d %s with %q", name, err, c.code, c.reason, c.says)
		}
	}
	// Half of a change that is refused must not have happened.
	if err := change(&dns.Change{Deletions: []*dns.ResourceRecordSet{set("t.example.test.", "TXT", 300, `"plain"`)},
		Additions: []*dns.ResourceRecordSet{set("www.example.test.", "A", 60, "192.0.2.9")}}); err == nil {
		t.Error("an addition that exists was accepted")
	}
	list, err := service.ResourceRecordSets.List(clouddns.Project, "example").Name("t.example.test.").Do()
	if err != nil || len(list.Rrsets) != 1 || list.Rrsets[0].Rrdatas[0] != `"plain"` {
		t.Errorf("there is %v, %v, want the text in quotes", list, err)
	}
}

func TestQuotasOfAChangeAreKept(t *testing.T) {
	service := client(t, clouddns.New())
	large := &dns.Change{}
	for i := range 1001 {
		large.Additions = append(large.Additions, set(fmt.Sprintf("n%d.example.test.", i), "TXT", 300, `"`+strings.Repeat("x", 200)+`"`))
	}
	_, err := service.Changes.Create(clouddns.Project, "example", large).Do()
	var refused *googleapi.Error
	if !errors.As(err, &refused) || refused.Code != http.StatusForbidden || len(refused.Errors) != 2 || refused.Errors[0].Reason != "quotaExceeded" {
		t.Errorf("the answer is %v, want two quotas exceeded", err)
	}
}

func TestListsComeInPages(t *testing.T) {
	s := clouddns.New()
	s.PageSize = 7
	service := client(t, s)
	for i := range 20 {
		if wrong := s.Put("example", clouddns.RecordSet{Name: fmt.Sprintf("n%d.example.test.", i), Type: "A", TTL: 1, Rrdatas: []string{"192.0.2.1"}}); wrong != "" {
			t.Fatal(wrong)
		}
	}
	pages, sets := 0, map[string]bool{}
	err := service.ResourceRecordSets.List(clouddns.Project, "example").MaxResults(1000).Pages(t.Context(), func(page *dns.ResourceRecordSetsListResponse) error {
		pages++
		for _, r := range page.Rrsets {
			sets[r.Name+r.Type] = true
		}
		return nil
	})
	if err != nil || pages != 4 || len(sets) != 22 {
		t.Errorf("%d pages with %d record sets, %v, want 4 with 22", pages, len(sets), err)
	}
	if _, err := service.ResourceRecordSets.List(clouddns.Project, "example").PageToken("%").Do(); err == nil {
		t.Error("a page token that was never given out was accepted")
	}
}

func TestAChangeIsPendingBeforeItIsDone(t *testing.T) {
	s := clouddns.New()
	s.PendingReads = 1
	service := client(t, s)
	c, err := service.Changes.Create(clouddns.Project, "example", &dns.Change{Additions: []*dns.ResourceRecordSet{set("a.example.test.", "A", 1, "192.0.2.1")}}).Do()
	if err != nil || c.Status != "pending" {
		t.Fatalf("the change is %v, %v, want pending", c, err)
	}
	for _, want := range []string{"pending", "done"} {
		if seen, err := service.Changes.Get(clouddns.Project, "example", c.Id).Do(); err != nil || seen.Status != want {
			t.Errorf("the change is %v, %v, want %s", seen, err, want)
		}
	}
}
