// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package azuredns_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/dns/armdns"

	"github.com/trellis-mesh/trellis/test/fake/azuredns"
)

const (
	group = "dns"
	zone  = "example.test"
)

// client is the vendor's own, with a zone.
type client struct {
	*armdns.RecordSetsClient
	zones  *armdns.ZonesClient
	server *azuredns.Server
}

type token string

func (t token) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(t), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func newClient(t *testing.T, value string) *client {
	t.Helper()
	s := azuredns.New("11111111-2222-3333-4444-555555555555")
	s.AddToken("good", azuredns.Token{})
	s.AddToken("old", azuredns.Token{Expires: time.Now().Add(-time.Second)})
	s.AddToken("weak", azuredns.Token{Denied: true})
	s.AddZone(group, zone)
	web := httptest.NewTLSServer(s)
	t.Cleanup(web.Close)
	factory, err := armdns.NewClientFactory("11111111-2222-3333-4444-555555555555", token(value), &arm.ClientOptions{ClientOptions: azcore.ClientOptions{
		Transport: web.Client(), Retry: policy.RetryOptions{MaxRetries: -1},
		Cloud: cloud.Configuration{Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
			cloud.ResourceManager: {Audience: "https://management.azure.com", Endpoint: web.URL}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return &client{factory.NewRecordSetsClient(), factory.NewZonesClient(), s}
}

func (c *client) put(t *testing.T, name string, typ armdns.RecordType, p armdns.RecordSetProperties, ifMatch, ifNoneMatch string) (string, error) {
	t.Helper()
	options := &armdns.RecordSetsClientCreateOrUpdateOptions{}
	if ifMatch != "" {
		options.IfMatch = &ifMatch
	}
	if ifNoneMatch != "" {
		options.IfNoneMatch = &ifNoneMatch
	}
	if p.TTL == nil {
		p.TTL = to.Ptr(int64(60))
	}
	out, err := c.CreateOrUpdate(t.Context(), group, zone, name, typ, armdns.RecordSet{Properties: &p}, options)
	if err != nil {
		return "", err
	}
	return *out.Etag, nil
}

func addresses(n int) armdns.RecordSetProperties {
	var p armdns.RecordSetProperties
	for i := range n {
		p.ARecords = append(p.ARecords, &armdns.ARecord{IPv4Address: to.Ptr(fmt.Sprintf("192.0.2.%d", i+1))})
	}
	return p
}

func host(name string) armdns.RecordSetProperties {
	return armdns.RecordSetProperties{CnameRecord: &armdns.CnameRecord{Cname: &name}}
}

func text(parts ...string) armdns.RecordSetProperties {
	return armdns.RecordSetProperties{TxtRecords: []*armdns.TxtRecord{{Value: to.SliceOfPtrs(parts...)}}}
}

// refused checks the status and code of an error.
func refused(t *testing.T, err error, status int, code string) {
	t.Helper()
	var answer *azcore.ResponseError
	if !errors.As(err, &answer) || answer.StatusCode != status || answer.ErrorCode != code {
		t.Errorf("the error is %v, want %d %s", err, status, code)
	}
}

func TestAWriteIsComparedWithTheETagThatIsThere(t *testing.T) {
	c := newClient(t, "good")
	first, err := c.put(t, "www", "A", addresses(1), "", "*")
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.put(t, "www", "A", addresses(2), "", "*")
	refused(t, err, http.StatusPreconditionFailed, "PreconditionFailed")
	second, err := c.put(t, "www", "A", addresses(1), first, "")
	if err != nil || second == first {
		t.Errorf("the ETag is %s after %s, %v", second, first, err)
	}
	_, err = c.put(t, "www", "A", addresses(2), first, "")
	refused(t, err, http.StatusPreconditionFailed, "PreconditionFailed")
	_, err = c.put(t, "new", "A", addresses(1), first, "")
	refused(t, err, http.StatusPreconditionFailed, "PreconditionFailed")
	_, err = c.put(t, "new", "A", addresses(1), "*", "")
	refused(t, err, http.StatusPreconditionFailed, "PreconditionFailed")
	_, err = c.Delete(t.Context(), group, zone, "www", "A", &armdns.RecordSetsClientDeleteOptions{IfMatch: &first})
	refused(t, err, http.StatusPreconditionFailed, "PreconditionFailed")
	if _, err := c.Get(t.Context(), group, zone, "WWW", "A", nil); err != nil {
		t.Errorf("it is gone: %v", err)
	}
	if _, err := c.Delete(t.Context(), group, zone, "www", "A", &armdns.RecordSetsClientDeleteOptions{IfMatch: &second}); err != nil {
		t.Error(err)
	}
	if _, err := c.Delete(t.Context(), group, zone, "www", "A", nil); err != nil {
		t.Errorf("deleting nothing without a condition: %v", err)
	}
	_, err = c.Delete(t.Context(), group, zone, "www", "A", &armdns.RecordSetsClientDeleteOptions{IfMatch: &second})
	refused(t, err, http.StatusPreconditionFailed, "PreconditionFailed")
	c.server.GoneIsFine = true
	if _, err := c.Delete(t.Context(), group, zone, "www", "A", &armdns.RecordSetsClientDeleteOptions{IfMatch: &second}); err != nil {
		t.Errorf("deleting nothing by the other reading: %v", err)
	}
}

func TestWhatTheServiceNeverHoldsIsRefused(t *testing.T) {
	c := newClient(t, "good")
	for name, p := range map[string]armdns.RecordSetProperties{"host": host("lb.example.net"), "addr": addresses(1)} {
		typ := armdns.RecordTypeA
		if p.CnameRecord != nil {
			typ = armdns.RecordTypeCNAME
		}
		if _, err := c.put(t, name, typ, p, "", ""); err != nil {
			t.Fatal(err)
		}
	}
	long := addresses(1)
	long.TTL = to.Ptr(int64(1) << 31)
	zero := addresses(1)
	zero.TTL = to.Ptr(int64(0))
	noted := func(m map[string]*string) armdns.RecordSetProperties {
		p := addresses(1)
		p.Metadata = m
		return p
	}
	many := map[string]*string{}
	for i := range 51 {
		many[fmt.Sprint(i)] = to.Ptr("")
	}
	twice := addresses(1)
	twice.ARecords = append(twice.ARecords, twice.ARecords[0])
	for what, r := range map[string]struct {
		name   string
		typ    armdns.RecordType
		p      armdns.RecordSetProperties
		status int
		code   string
	}{
		"an address beside a CNAME":         {"host", "A", addresses(1), http.StatusConflict, "Conflict"},
		"a CNAME beside an address":         {"addr", "CNAME", host("a.example.net"), http.StatusConflict, "Conflict"},
		"a CNAME at the apex":               {"@", "CNAME", host("a.example.net"), http.StatusBadRequest, "BadRequest"},
		"a CNAME with a quoted target":      {"b", "CNAME", host(`"a.example.net"`), http.StatusBadRequest, "BadRequest"},
		"a CNAME without a target":          {"b", "CNAME", armdns.RecordSetProperties{}, http.StatusBadRequest, "BadRequest"},
		"21 records":                        {"b", "A", addresses(21), http.StatusBadRequest, "BadRequest"},
		"one record twice":                  {"b", "A", twice, http.StatusBadRequest, "BadRequest"},
		"records of another type":           {"b", "AAAA", addresses(1), http.StatusBadRequest, "BadRequest"},
		"a TTL of 0":                        {"b", "A", zero, http.StatusBadRequest, "BadRequest"},
		"a TTL of 2^31":                     {"b", "A", long, http.StatusBadRequest, "BadRequest"},
		"a string of 256 characters":        {"b", "TXT", text(strings.Repeat("x", 256)), http.StatusBadRequest, "BadRequest"},
		"strings of 4,335 characters":       {"b", "TXT", text(strings.Fields(strings.Repeat(strings.Repeat("x", 255)+" ", 17))...), http.StatusBadRequest, "BadRequest"},
		"a text without strings":            {"b", "TXT", text(), http.StatusBadRequest, "BadRequest"},
		"51 entries of metadata":            {"b", "A", noted(many), http.StatusBadRequest, "BadRequest"},
		"a long value of metadata":          {"b", "A", noted(map[string]*string{"a": to.Ptr(strings.Repeat("x", 257))}), http.StatusBadRequest, "BadRequest"},
		"two entries that differ by case":   {"b", "A", noted(map[string]*string{"a": to.Ptr(""), "A": to.Ptr("")}), http.StatusBadRequest, "BadRequest"},
		"a star that is not the first":      {"a.*", "A", addresses(1), http.StatusBadRequest, "BadRequest"},
		"a long label":                      {strings.Repeat("x", 64), "A", addresses(1), http.StatusBadRequest, "BadRequest"},
		"a character that is no host's":     {"a b", "A", addresses(1), http.StatusBadRequest, "BadRequest"},
		"a record type that it has not got": {"b", "HINFO", addresses(1), http.StatusBadRequest, "BadRequest"},
	} {
		t.Run(what, func(t *testing.T) {
			_, err := c.put(t, r.name, r.typ, r.p, "", "")
			refused(t, err, r.status, r.code)
		})
	}
	for _, typ := range []armdns.RecordType{"NS", "SOA"} {
		_, err := c.Delete(t.Context(), group, zone, "@", typ, nil)
		refused(t, err, http.StatusBadRequest, "BadRequest")
	}
}

func TestListsComeInPagesOfAHundred(t *testing.T) {
	c := newClient(t, "good")
	for i := range 250 {
		if _, err := c.put(t, fmt.Sprintf("n%03d.sub", i), "A", addresses(1), "", ""); err != nil {
			t.Fatal(err)
		}
	}
	sizes := []int{}
	for pages := c.NewListByDNSZonePager(group, strings.ToUpper(zone), nil); pages.More(); {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, len(page.Value))
	}
	if fmt.Sprint(sizes) != "[100 100 52]" {
		t.Errorf("the pages have %v", sizes)
	}
	found := 0
	for pages := c.NewListByTypePager(group, zone, "A", &armdns.RecordSetsClientListByTypeOptions{Top: to.Ptr(int32(40)), Recordsetnamesuffix: to.Ptr("sub")}); pages.More(); {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		found += len(page.Value)
	}
	if found != 250 {
		t.Errorf("%d were found by suffix", found)
	}
	_, err := c.NewListAllByDNSZonePager(group, zone, &armdns.RecordSetsClientListAllByDNSZoneOptions{Top: to.Ptr(int32(101))}).NextPage(t.Context())
	refused(t, err, http.StatusBadRequest, "BadRequest")
	z, err := c.zones.Get(t.Context(), group, zone, nil)
	if err != nil || *z.Properties.NumberOfRecordSets != 252 || *z.Properties.ZoneType != armdns.ZoneTypePublic {
		t.Errorf("the zone is %+v, %v", z.Properties, err)
	}
}

func TestTokensAndPlacesThatAreWrongAreToldApart(t *testing.T) {
	for value, want := range map[string]struct {
		status int
		code   string
	}{
		"unknown": {http.StatusUnauthorized, "InvalidAuthenticationToken"},
		"old":     {http.StatusUnauthorized, "ExpiredAuthenticationToken"},
		"weak":    {http.StatusForbidden, "AuthorizationFailed"},
	} {
		_, err := newClient(t, value).Get(t.Context(), group, zone, "@", "SOA", nil)
		refused(t, err, want.status, want.code)
	}
	c := newClient(t, "good")
	_, err := c.Get(t.Context(), group, "other.test", "@", "SOA", nil)
	refused(t, err, http.StatusNotFound, "ResourceNotFound")
	_, err = c.Get(t.Context(), "other", zone, "@", "SOA", nil)
	refused(t, err, http.StatusNotFound, "ResourceNotFound")
	_, err = c.Get(t.Context(), group, zone, "www", "A", nil)
	refused(t, err, http.StatusNotFound, "NotFound")
}
