// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package route53_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"

	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/internal/dns/route53"
	fake "github.com/trellis-mesh/trellis/test/fake/route53"
)

const (
	secret = "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY"
	owner  = "cluster-a"
)

// world is one account with one zone, our provider, and somebody else who uses
// the vendor's own client.
type world struct {
	server   *fake.Server
	address  string
	zone     dns.Zone
	provider *route53.Provider
	other    *sdk.Client
	waits    *waits
}

// waits counts instead of waiting.
type waits struct{ n atomic.Int64 }

func (w *waits) Wait(ctx context.Context) error {
	w.n.Add(1)
	return ctx.Err()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	// Nothing of the machine's own configuration may be used.
	for name, value := range map[string]string{
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "",
		"AWS_WEB_IDENTITY_TOKEN_FILE": "", "AWS_ROLE_ARN": "", "AWS_REGION": "",
	} {
		t.Setenv(name, value)
	}
	w := &world{server: fake.New(), waits: &waits{}}
	for _, id := range []string{"AKIAOURS", "AKIATHEIRS"} {
		w.server.AddKey(id, fake.Key{Secret: secret})
	}
	w.server.AddKey("AKIADENIED", fake.Key{Secret: secret, Denied: true})
	w.server.AddKey("ASIAEXPIRED", fake.Key{Secret: secret, Token: "session-token-of-old", Expires: time.Now().Add(-time.Hour)})
	w.zone = dns.Zone{ID: w.server.AddZone("example.test", false), Name: "example.test"}
	server := httptest.NewServer(w.server)
	t.Cleanup(server.Close)
	w.address = server.URL
	// STS is wherever the environment says, and not where a Config does.
	t.Setenv("AWS_ENDPOINT_URL_STS", server.URL)
	w.provider = w.as(t, route53.Config{AccessKeyID: "AKIAOURS", SecretAccessKey: secret})
	w.other = sdk.New(sdk.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(server.URL), Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider("AKIATHEIRS", secret, ""),
	})
	return w
}

// as is a provider with other credentials.
func (w *world) as(t *testing.T, c route53.Config) *route53.Provider {
	t.Helper()
	c.Endpoint, c.Limiter = w.address, w.waits
	p, err := route53.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// put is an UPSERT by somebody else. Texts are written with every octet escaped
// and in short strings, which is allowed and not how we do it.
func (w *world) put(t *testing.T, s dns.RecordSet) {
	t.Helper()
	out := &types.ResourceRecordSet{Name: aws.String(string(s.Name)), Type: types.RRType(s.Type), TTL: aws.Int64(int64(s.TTL))}
	for _, v := range s.Values {
		if s.Type == dns.TypeTXT {
			var quoted []string
			for part := range slices.Chunk([]byte(v), 100) {
				text := ""
				for _, c := range part {
					text += fmt.Sprintf(`\%03o`, c)
				}
				quoted = append(quoted, `"`+text+`"`)
			}
			v = strings.Join(quoted, " ")
		}
		out.ResourceRecords = append(out.ResourceRecords, types.ResourceRecord{Value: aws.String(v)})
	}
	w.change(t, types.ChangeActionUpsert, out)
}

func (w *world) change(t *testing.T, action types.ChangeAction, sets ...*types.ResourceRecordSet) {
	t.Helper()
	var changes []types.Change
	for _, s := range sets {
		changes = append(changes, types.Change{Action: action, ResourceRecordSet: s})
	}
	_, err := w.other.ChangeResourceRecordSets(t.Context(), &sdk.ChangeResourceRecordSetsInput{
		HostedZoneId: &w.zone.ID, ChangeBatch: &types.ChangeBatch{Changes: changes}})
	if err != nil {
		t.Fatal(err)
	}
}

// raw is the whole zone as the vendor's paginator reads it.
func (w *world) raw(t *testing.T) []types.ResourceRecordSet {
	t.Helper()
	var out []types.ResourceRecordSet
	pages := sdk.NewListResourceRecordSetsPaginator(w.other, &sdk.ListResourceRecordSetsInput{HostedZoneId: &w.zone.ID})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, page.ResourceRecordSets...)
	}
	return out
}

// dump is raw in the words of package dns, without the zone's own records.
func (w *world) dump(t *testing.T) []dns.RecordSet {
	t.Helper()
	var out []dns.RecordSet
	for _, s := range w.raw(t) {
		if s.Type == types.RRTypeSoa || s.Type == types.RRTypeNs {
			continue
		}
		name, err := dns.ParseName(aws.ToString(s.Name))
		if err != nil {
			t.Fatal(err)
		}
		set := dns.RecordSet{Key: dns.Key{Name: name, Type: dns.Type(s.Type), Identifier: aws.ToString(s.SetIdentifier)}, TTL: uint32(aws.ToInt64(s.TTL))}
		for _, r := range s.ResourceRecords {
			v := aws.ToString(r.Value)
			if s.Type == types.RRTypeTxt {
				v = plain(t, v)
			}
			set.Values = append(set.Values, v)
		}
		if s.AliasTarget != nil {
			set.Values = append(set.Values, "alias "+aws.ToString(s.AliasTarget.DNSName))
		}
		out = append(out, set)
	}
	return out
}

// plain reads quoted strings by taking octal escapes as Go's own.
func plain(t *testing.T, value string) string {
	t.Helper()
	out := ""
	for rest := value; rest != ""; rest = strings.TrimPrefix(rest, " ") {
		quoted, err := strconv.QuotedPrefix(rest)
		if err != nil {
			t.Fatalf("reading %q: %v", value, err)
		}
		text, err := strconv.Unquote(quoted)
		if err != nil {
			t.Fatalf("reading %q: %v", value, err)
		}
		out, rest = out+text, rest[len(quoted):]
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
