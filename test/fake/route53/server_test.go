// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package route53_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/aws/smithy-go"

	"github.com/trellis-mesh/trellis/test/fake/route53"
)

// client is the vendor's own, with a zone example.test.
type client struct {
	*sdk.Client
	server *route53.Server
	zone   string
	url    string
}

func newClient(t *testing.T) *client {
	t.Helper()
	s := route53.New()
	s.AddKey("AKIA", route53.Key{Secret: "secret"})
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	return &client{sdk.New(sdk.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(web.URL), Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider("AKIA", "secret", ""),
	}), s, s.AddZone("example.test", false), web.URL}
}

// set is a record set of the zone; the identifier may be empty.
func set(name string, typ types.RRType, identifier string, values ...string) *types.ResourceRecordSet {
	out := &types.ResourceRecordSet{Name: aws.String(name), Type: typ, TTL: aws.Int64(300)}
	if identifier != "" {
		out.SetIdentifier, out.Weight = aws.String(identifier), aws.Int64(1)
	}
	for _, v := range values {
		out.ResourceRecords = append(out.ResourceRecords, types.ResourceRecord{Value: aws.String(v)})
	}
	return out
}

func create(s *types.ResourceRecordSet) types.Change {
	return types.Change{Action: types.ChangeActionCreate, ResourceRecordSet: s}
}

func remove(s *types.ResourceRecordSet) types.Change {
	return types.Change{Action: types.ChangeActionDelete, ResourceRecordSet: s}
}

func (c *client) send(t *testing.T, changes ...types.Change) error {
	t.Helper()
	_, err := c.ChangeResourceRecordSets(t.Context(), &sdk.ChangeResourceRecordSetsInput{
		HostedZoneId: &c.zone, ChangeBatch: &types.ChangeBatch{Changes: changes}})
	return err
}

// holds is what is in the zone, one line each.
func (c *client) holds(t *testing.T) []string {
	t.Helper()
	var out []string
	pages := sdk.NewListResourceRecordSetsPaginator(c, &sdk.ListResourceRecordSetsInput{HostedZoneId: &c.zone})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range page.ResourceRecordSets {
			line := aws.ToString(s.Name) + " " + string(s.Type) + " " + aws.ToString(s.SetIdentifier)
			for _, r := range s.ResourceRecords {
				line += " " + aws.ToString(r.Value)
			}
			out = append(out, line)
		}
	}
	return out
}

// refused checks that a batch changes nothing and is refused with a code and a
// text.
func (c *client) refused(t *testing.T, code, text string, changes ...types.Change) {
	t.Helper()
	before := c.holds(t)
	err := c.send(t, changes...)
	said := fmt.Sprint(err)
	var batch *types.InvalidChangeBatch
	if errors.As(err, &batch) {
		// The older form has its messages here.
		said += strings.Join(batch.Messages, ", ")
	}
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != code || !strings.Contains(said, text) {
		t.Errorf("the error is %s, want %s with %q", said, code, text)
	}
	if after := c.holds(t); !slices.Equal(before, after) {
		t.Errorf("the zone has changed from %q to %q", before, after)
	}
}

func TestABatchHappensAsAWholeOrNotAtAll(t *testing.T) {
	for _, old := range []bool{false, true} {
		c := newClient(t)
		c.server.OldErrors = old
		there := set("a.example.test", "A", "", "192.0.2.1")
		if err := c.send(t, create(there)); err != nil {
			t.Fatal(err)
		}
		c.refused(t, "InvalidChangeBatch", "but it already exists", create(set("b.example.test", "A", "", "192.0.2.1")), create(there))
		c.refused(t, "InvalidChangeBatch", "but it was not found", remove(there), remove(set("b.example.test", "A", "", "192.0.2.1")))
		if err := c.send(t, remove(there), create(set("a.example.test", "CNAME", "", "b.example.test"))); err != nil {
			t.Error(err)
		}
	}
}

func TestADeleteMustRepeatExactlyWhatIsThere(t *testing.T) {
	c := newClient(t)
	full := func() *types.ResourceRecordSet {
		return set("a.example.test", "A", "one", "192.0.2.1", "192.0.2.2")
	}
	if err := c.send(t, create(full())); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(*types.ResourceRecordSet){
		"another value":      func(s *types.ResourceRecordSet) { s.ResourceRecords[0].Value = aws.String("192.0.2.3") },
		"a value less":       func(s *types.ResourceRecordSet) { s.ResourceRecords = s.ResourceRecords[:1] },
		"another TTL":        func(s *types.ResourceRecordSet) { s.TTL = aws.Int64(60) },
		"another weight":     func(s *types.ResourceRecordSet) { s.Weight = aws.Int64(2) },
		"another routing":    func(s *types.ResourceRecordSet) { s.Weight, s.MultiValueAnswer = nil, aws.Bool(true) },
		"an alias":           func(s *types.ResourceRecordSet) { alias(s) },
		"another identifier": func(s *types.ResourceRecordSet) { s.SetIdentifier = aws.String("two") },
		"no identifier":      func(s *types.ResourceRecordSet) { s.SetIdentifier, s.Weight = nil, nil },
		"another type":       func(s *types.ResourceRecordSet) { s.Type = "AAAA" },
	} {
		s := full()
		change(s)
		want := "do not match the current values"
		if strings.HasSuffix(what, "identifier") || strings.HasSuffix(what, "type") {
			want = "was not found"
		}
		t.Run(what, func(t *testing.T) { c.refused(t, "InvalidChangeBatch", want, remove(s)) })
	}
	reordered := full()
	slices.Reverse(reordered.ResourceRecords)
	if err := c.send(t, remove(reordered)); err != nil {
		t.Errorf("the values in another order: %v", err)
	}
}

func alias(s *types.ResourceRecordSet) {
	s.TTL, s.ResourceRecords = nil, nil
	s.AliasTarget = &types.AliasTarget{HostedZoneId: aws.String("Z35SXDOTRQ7X7K"), DNSName: aws.String("a.us-east-1.elb.amazonaws.com")}
}

func TestWhatTheServiceNeverHoldsIsRefused(t *testing.T) {
	c := newClient(t)
	if err := c.send(t, create(set("host.example.test", "CNAME", "", "b.example.net")), create(set("addr.example.test", "A", "", "192.0.2.1")),
		create(set("group.example.test", "A", "one", "192.0.2.1"))); err != nil {
		t.Fatal(err)
	}
	with := func(s *types.ResourceRecordSet, f func(*types.ResourceRecordSet)) *types.ResourceRecordSet {
		f(s)
		return s
	}
	elsewhere := with(set("b.example.test", "A", ""), alias)
	elsewhere.AliasTarget.DNSName = aws.String("a.eu-west-1.elb.amazonaws.com")
	located := func(l types.GeoLocation) *types.ResourceRecordSet {
		return with(set("b.example.test", "A", "one", "192.0.2.1"), func(s *types.ResourceRecordSet) { s.Weight, s.GeoLocation = nil, &l })
	}
	for what, r := range map[string]struct {
		code, text string
		set        *types.ResourceRecordSet
	}{
		"a CNAME at the apex":          {"InvalidChangeBatch", "not permitted at apex", set("example.test", "CNAME", "", "b.example.net")},
		"a CNAME beside an address":    {"InvalidChangeBatch", "conflicts with other records", set("addr.example.test", "CNAME", "", "b.example.net")},
		"a text beside a CNAME":        {"InvalidChangeBatch", "conflicting RRSet of type CNAME", set("host.example.test", "TXT", "", `"a"`)},
		"a simple set beside a group":  {"InvalidChangeBatch", "exist with the same name and type", set("group.example.test", "A", "", "192.0.2.2")},
		"a member beside a simple set": {"InvalidChangeBatch", "exist with the same name and type", set("addr.example.test", "A", "one", "192.0.2.2")},
		"a name outside the zone":      {"InvalidChangeBatch", "not permitted in zone", set("a.example.net", "A", "", "192.0.2.2")},
		"a long label":                 {"InvalidChangeBatch", "too long", set(strings.Repeat("x", 64)+".example.test", "A", "", "192.0.2.2")},
		"one value twice":              {"InvalidChangeBatch", "Duplicate Resource Record", set("b.example.test", "A", "", "192.0.2.2", "192.0.2.2")},
		"no IPv4 address":              {"InvalidChangeBatch", "IllegalIPv4Address", set("b.example.test", "A", "", "2001:db8::1")},
		"a text without quotes":        {"InvalidChangeBatch", "quotation marks", set("b.example.test", "TXT", "", "a")},
		"a string of 256 characters":   {"InvalidChangeBatch", "CharacterStringTooLong", set("b.example.test", "TXT", "", `"`+strings.Repeat("x", 256)+`"`)},
		"a character to be escaped":    {"InvalidChangeBatch", "should be escaped", set("b.example.test", "TXT", "", `"ü"`)},
		"two targets of a CNAME":       {"InvalidChangeBatch", "more than one value", set("b.example.test", "CNAME", "", "a.example.net", "b.example.net")},
		"an alias into another zone":   {"InvalidChangeBatch", "does not lie within the target zone", elsewhere},
		"an alias to what is not":      {"InvalidChangeBatch", "target was not found", with(set("b.example.test", "A", ""), func(s *types.ResourceRecordSet) { alias(s); s.AliasTarget.HostedZoneId = &c.zone })},
		"no TTL":                       {"InvalidInput", "TTL", with(set("b.example.test", "A", "", "192.0.2.1"), func(s *types.ResourceRecordSet) { s.TTL = nil })},
		"a negative TTL":               {"InvalidInput", "TTL", with(set("b.example.test", "A", "", "192.0.2.1"), func(s *types.ResourceRecordSet) { s.TTL = aws.Int64(-1) })},
		"a weight of 256":              {"InvalidInput", "weight", with(set("b.example.test", "A", "one", "192.0.2.1"), func(s *types.ResourceRecordSet) { s.Weight = aws.Int64(256) })},
		"a weight without identifier":  {"InvalidInput", "SetIdentifier", with(set("b.example.test", "A", "one", "192.0.2.1"), func(s *types.ResourceRecordSet) { s.SetIdentifier = nil })},
		"an identifier alone":          {"InvalidInput", "SetIdentifier", with(set("b.example.test", "A", "one", "192.0.2.1"), func(s *types.ResourceRecordSet) { s.Weight = nil })},
		"an unknown continent":         {"NoSuchGeoLocation", "does not exist", located(types.GeoLocation{ContinentCode: aws.String("XX")})},
		"a state of a small country":   {"NoSuchGeoLocation", "does not exist", located(types.GeoLocation{CountryCode: aws.String("LI"), SubdivisionCode: aws.String("X")})},
		"a routing it does not know":   {"InvalidInput", "does not know the element Region", with(set("b.example.test", "A", "one", "192.0.2.1"), func(s *types.ResourceRecordSet) { s.Weight, s.Region = nil, "eu-west-1" })},
	} {
		t.Run(what, func(t *testing.T) { c.refused(t, r.code, r.text, create(r.set)) })
	}
	t.Run("the zone's own records gone", func(t *testing.T) {
		c.refused(t, "InvalidChangeBatch", "must contain", remove(with(set("example.test", "NS", "", "ns-1.awsdns-00.com.", "ns-2.awsdns-00.net."), func(s *types.ResourceRecordSet) { s.TTL = aws.Int64(172800) })))
	})
	t.Run("a batch without changes", func(t *testing.T) {
		if err := c.send(t, []types.Change{}...); err == nil {
			t.Error("it was accepted")
		}
	})
}

func TestAnUpsertCountsTwice(t *testing.T) {
	c := newClient(t)
	batch := func(n, length int, action types.ChangeAction) []types.Change {
		var out []types.Change
		for i := range n {
			out = append(out, types.Change{Action: action, ResourceRecordSet: set(fmt.Sprintf("t%d.example.test", i), "TXT", "", `"`+strings.Repeat("x", length)+`"`)})
		}
		return out
	}
	c.refused(t, "InvalidChangeBatch", "records limit of 1000", batch(1001, 1, types.ChangeActionCreate)...)
	c.refused(t, "InvalidChangeBatch", "records limit of 1000", batch(501, 1, types.ChangeActionUpsert)...)
	c.refused(t, "InvalidChangeBatch", "characters limit of 32000", batch(161, 198, types.ChangeActionCreate)...)
	c.refused(t, "InvalidChangeBatch", "characters limit of 32000", batch(81, 198, types.ChangeActionUpsert)...)
	for _, good := range [][]types.Change{batch(500, 1, types.ChangeActionUpsert), batch(80, 198, types.ChangeActionUpsert)} {
		if err := c.send(t, good...); err != nil {
			t.Error(err)
		}
	}
}

func TestAListComesInPagesInTheServicesOrder(t *testing.T) {
	c := newClient(t)
	names := []string{"b.example.test", "a.b.example.test", "b-c.example.test", `*.b.example.test`, "a.example.test"}
	var changes []types.Change
	for _, n := range names {
		changes = append(changes, create(set(n, "A", "", "192.0.2.1")))
	}
	for i := range 650 {
		changes = append(changes, create(set("z.example.test", "A", fmt.Sprintf("m%03d", i), "192.0.2.1")))
	}
	if err := c.send(t, changes...); err != nil {
		t.Fatal(err)
	}
	first, err := c.ListResourceRecordSets(t.Context(), &sdk.ListResourceRecordSetsInput{HostedZoneId: &c.zone, MaxItems: aws.Int32(5000)})
	if err != nil || len(first.ResourceRecordSets) != 300 || !first.IsTruncated || aws.ToString(first.NextRecordIdentifier) == "" {
		t.Fatalf("the first page has %d, %v, %v", len(first.ResourceRecordSets), first.IsTruncated, err)
	}
	all := c.holds(t)
	if len(all) != len(names)+650+2 {
		t.Errorf("%d record sets were listed", len(all))
	}
	want := []string{"example.test. NS", "example.test. SOA", "a.example.test. A", "b-c.example.test. A", "b.example.test. A", `\052.b.example.test. A`, "a.b.example.test. A"}
	for i, w := range want {
		if !strings.HasPrefix(all[i], w) {
			t.Errorf("at %d there is %s, want %s", i, all[i], w)
		}
	}
	from, err := c.ListResourceRecordSets(t.Context(), &sdk.ListResourceRecordSetsInput{HostedZoneId: &c.zone, MaxItems: aws.Int32(1),
		StartRecordName: aws.String("z.example.test"), StartRecordType: "A", StartRecordIdentifier: aws.String("m649")})
	if err != nil || len(from.ResourceRecordSets) != 1 || from.IsTruncated {
		t.Errorf("the last member alone: %+v, %v", from, err)
	}
	if _, err := c.ListResourceRecordSets(t.Context(), &sdk.ListResourceRecordSetsInput{HostedZoneId: &c.zone, StartRecordType: "A"}); err == nil {
		t.Error("a type without a name was accepted")
	}
}

func TestARequestWithoutASignatureOrWithAChangedBodyIsRefused(t *testing.T) {
	c := newClient(t)
	for what, alter := range map[string]func(*http.Request){
		"no signature":  func(r *http.Request) { r.Header.Del("Authorization") },
		"another body":  func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader("<a/>")), 4 },
		"another query": func(r *http.Request) { r.URL.RawQuery = "maxitems=1" },
		"another path":  func(r *http.Request) { r.URL.Path += "x" },
		"another service": func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "route53", "s3", 1))
		},
	} {
		client := sdk.New(c.Options(), func(o *sdk.Options) { o.HTTPClient = altering(alter) })
		_, err := client.ListHostedZones(t.Context(), &sdk.ListHostedZonesInput{})
		var api smithy.APIError
		if !errors.As(err, &api) || api.ErrorCode() != "SignatureDoesNotMatch" && api.ErrorCode() != "MissingAuthenticationToken" {
			t.Errorf("%s: the error is %v", what, err)
		}
	}
}

// altering changes a request after it was signed.
type altering func(*http.Request)

func (a altering) Do(r *http.Request) (*http.Response, error) {
	a(r)
	return http.DefaultClient.Do(r)
}

func TestAChangeIsPendingAtFirst(t *testing.T) {
	c := newClient(t)
	c.server.Polls = 1
	out, err := c.ChangeResourceRecordSets(t.Context(), &sdk.ChangeResourceRecordSetsInput{HostedZoneId: &c.zone,
		ChangeBatch: &types.ChangeBatch{Changes: []types.Change{create(set("a.example.test", "A", "", "192.0.2.1"))}}})
	if err != nil || out.ChangeInfo.Status != types.ChangeStatusPending {
		t.Fatalf("%+v, %v", out, err)
	}
	for _, want := range []types.ChangeStatus{types.ChangeStatusPending, types.ChangeStatusInsync} {
		got, err := c.GetChange(t.Context(), &sdk.GetChangeInput{Id: out.ChangeInfo.Id})
		if err != nil || got.ChangeInfo.Status != want {
			t.Errorf("%+v, %v, want %s", got, err, want)
		}
	}
	var missing *types.NoSuchChange
	if _, err := c.GetChange(t.Context(), &sdk.GetChangeInput{Id: aws.String("C0")}); !errors.As(err, &missing) {
		t.Errorf("the error is %v, want NoSuchChange", err)
	}
}
