// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package route53_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"

	"github.com/trellis-mesh/trellis/internal/dns"
)

func TestHostsOfAWSBecomeAliasesAndOthersCNAMEs(t *testing.T) {
	w := newWorld(t)
	private := w.zone
	private.Private = true
	for _, c := range []struct {
		zone  dns.Zone
		host  dns.Name
		types []dns.Type
		alias string
	}{
		{w.zone, "k8s-a-1.us-east-1.elb.amazonaws.com", []dns.Type{dns.TypeA, dns.TypeAAAA}, "Z35SXDOTRQ7X7K"},
		{w.zone, "dualstack.a-1.eu-west-1.elb.amazonaws.com", []dns.Type{dns.TypeA, dns.TypeAAAA}, "Z32O12XQLNTSW2"},
		{w.zone, "a-1.elb.us-east-1.amazonaws.com", []dns.Type{dns.TypeA, dns.TypeAAAA}, "Z26RNL4JYFTOTI"},
		{w.zone, "a-1.elb.cn-north-1.amazonaws.com.cn", []dns.Type{dns.TypeA, dns.TypeAAAA}, "Z3QFB96KMJ7ED6"},
		{w.zone, "d111111abcdef8.cloudfront.net", []dns.Type{dns.TypeA, dns.TypeAAAA}, "Z2FDTNDATAQYW2"},
		{w.zone, "a1.awsglobalaccelerator.com", []dns.Type{dns.TypeA}, "Z2BJ6XQ5FK7U4H"},
		{w.zone, "a1.dualstack.awsglobalaccelerator.com", []dns.Type{dns.TypeA, dns.TypeAAAA}, "Z2BJ6XQ5FK7U4H"},
		{w.zone, "d-1.execute-api.us-east-1.amazonaws.com", []dns.Type{dns.TypeA}, "Z1UJRXOUMOOFQ8"},
		{private, "d111111abcdef8.cloudfront.net", []dns.Type{dns.TypeCNAME}, ""},
		{w.zone, "a-1.moon-west-1.elb.amazonaws.com", []dns.Type{dns.TypeCNAME}, ""},
		{w.zone, "s3.amazonaws.com", []dns.Type{dns.TypeCNAME}, ""},
		{w.zone, "amazonaws.com", []dns.Type{dns.TypeCNAME}, ""},
		{w.zone, "elb.amazonaws.com", []dns.Type{dns.TypeCNAME}, ""},
		{w.zone, "a.eu-west-1.elb.amazonaws.com.example.net", []dns.Type{dns.TypeCNAME}, ""},
		{w.zone, "lb.example.net", []dns.Type{dns.TypeCNAME}, ""},
	} {
		for _, name := range []dns.Name{c.zone.Name, "www.example.test"} {
			got, err := w.provider.Point(c.zone, name, "", 60, dns.Target{Host: c.host})
			if c.alias == "" && name == c.zone.Name {
				if !errors.Is(err, dns.ErrInvalid) {
					t.Errorf("%s at the apex gave %v, %v, want ErrInvalid", c.host, got, err)
				}
				continue
			}
			var types []dns.Type
			for _, s := range got {
				types = append(types, s.Type)
				if c.alias != "" && (s.Alias == nil || s.Alias.Zone != c.alias || s.Alias.Target != c.host || s.TTL != 0) {
					t.Errorf("%s became %+v", c.host, s)
				}
			}
			if err != nil || !slices.Equal(types, c.types) {
				t.Errorf("%s at %s became %v, %v, want %v", c.host, name, types, err, c.types)
			}
		}
	}
}

func TestAnAliasStandsAtTheApexAndGoes(t *testing.T) {
	w := newWorld(t)
	sets, err := w.provider.Point(w.zone, w.zone.Name, "", 60, dns.Target{Host: "a-1.us-east-1.elb.amazonaws.com"})
	if err != nil {
		t.Fatal(err)
	}
	wanted := dns.Wanted{Resource: "shop/web", Name: w.zone.Name, Sets: sets}
	w.mustRun(t, wanted)
	want := []string{"alias a-1.us-east-1.elb.amazonaws.com."}
	seen := 0
	for _, s := range w.dump(t) {
		if s.Name == w.zone.Name && slices.Equal(s.Values, want) {
			seen++
		}
	}
	if seen != 2 {
		t.Errorf("there is %q", texts(w.dump(t)))
	}
	if again := w.mustRun(t, wanted); again.Change != nil {
		t.Errorf("there is still to do %+v", again.Steps)
	}
	wanted.Sets = nil
	w.mustRun(t, wanted)
	if left := w.dump(t); len(left) != 0 {
		t.Errorf("left is %q", texts(left))
	}
}

// member is a wanted member of a group, by weight.
func member(t *testing.T, name dns.Name, identifier string, weight uint8, address string) dns.Wanted {
	t.Helper()
	s := set(t, name, dns.TypeA, address)
	s.Identifier, s.Routing = identifier, &dns.Routing{Weight: &weight}
	return dns.Wanted{Resource: "shop/" + identifier, Name: name, Identifier: identifier, Sets: []dns.RecordSet{s}}
}

func TestAnAliasLeavesItsGroupWhileItsTargetIsNotHealthyAndAloneItStays(t *testing.T) {
	w := newWorld(t)
	weight := uint8(1)
	for _, identifier := range []string{"", "blue"} {
		name := dns.Name("www" + identifier + ".example.test")
		sets, err := w.provider.Point(w.zone, name, identifier, 60, dns.Target{Host: "a-1.us-east-1.elb.amazonaws.com"})
		if err != nil {
			t.Fatal(err)
		}
		for i := range sets {
			if identifier != "" {
				sets[i].Routing = &dns.Routing{Weight: &weight}
			}
		}
		w.mustRun(t, dns.Wanted{Resource: "shop/web", Name: name, Identifier: identifier, Sets: sets})
	}
	for _, s := range w.raw(t) {
		if s.AliasTarget != nil && s.AliasTarget.EvaluateTargetHealth != (s.SetIdentifier != nil) {
			t.Errorf("%s, set identifier %s: health is evaluated: %v", aws.ToString(s.Name), aws.ToString(s.SetIdentifier), s.AliasTarget.EvaluateTargetHealth)
		}
	}
}

func TestASetOfAnotherRoutingIsAdoptedByDeletingExactlyWhatIsThere(t *testing.T) {
	w := newWorld(t)
	w.change(t, types.ChangeActionCreate, &types.ResourceRecordSet{
		Name: aws.String("www.example.test"), Type: types.RRTypeA, SetIdentifier: aws.String("blue"), MultiValueAnswer: aws.Bool(true),
		TTL: aws.Int64(60), ResourceRecords: []types.ResourceRecord{{Value: aws.String("192.0.2.1")}},
	})
	wanted := member(t, "www.example.test", "blue", 7, "192.0.2.1")
	if plan := w.mustRun(t, wanted); len(plan.Conflicts) != 1 {
		t.Fatalf("conflicts %v, want one", plan.Conflicts)
	}
	wanted.Adopt = true
	w.mustRun(t, wanted)
	if again := w.mustRun(t, wanted); again.Change != nil || len(again.Conflicts) != 0 {
		t.Errorf("there is still to do %+v, %v", again.Steps, again.Conflicts)
	}
	for _, s := range w.raw(t) {
		if s.SetIdentifier != nil && (s.MultiValueAnswer != nil || aws.ToInt64(s.Weight) != 7) {
			t.Errorf("there is %+v", s)
		}
	}
}

func TestAGroupLargerThanAPageIsReadWhole(t *testing.T) {
	w := newWorld(t)
	var changes []*types.ResourceRecordSet
	for i := range 700 {
		changes = append(changes, &types.ResourceRecordSet{
			Name: aws.String("www.example.test"), Type: types.RRTypeA, SetIdentifier: aws.String(fmt.Sprintf("m%03d", i)), Weight: aws.Int64(1),
			TTL: aws.Int64(60), ResourceRecords: []types.ResourceRecord{{Value: aws.String(fmt.Sprintf("192.0.%d.%d", i/250, i%250))}},
		})
	}
	w.change(t, types.ChangeActionCreate, changes...)
	for _, names := range [][]dns.Name{{"www.example.test"}, {"aaa.example.test", "www.example.test", "zzz.example.test"}} {
		seen, err := w.provider.Read(t.Context(), w.zone, names)
		if err != nil || len(seen) != 700 {
			t.Errorf("%v: %d members were read, %v", names, len(seen), err)
		}
		if !slices.IsSortedFunc(seen, func(a, b dns.Observed) int { return a.Compare(b.Key) }) {
			t.Error("they are in no order")
		}
	}
}

func TestReadingCostsByNamesAndNeverMoreThanTheWholeZone(t *testing.T) {
	for _, escaped := range []bool{false, true} {
		w := newWorld(t)
		w.server.EscapedOrder = escaped
		const many = 3000
		var all []dns.Name
		for i := range many {
			name := dns.Name(fmt.Sprintf("n%05d.example.test", i))
			if i%10 == 0 {
				name = "*." + name
			}
			all = append(all, name)
		}
		for batch := range slices.Chunk(all, 1000) {
			var sets []*types.ResourceRecordSet
			for _, name := range batch {
				sets = append(sets, &types.ResourceRecordSet{Name: aws.String(string(name)), Type: types.RRTypeA, TTL: aws.Int64(60),
					ResourceRecords: []types.ResourceRecord{{Value: aws.String("192.0.2.1")}}})
			}
			w.change(t, types.ChangeActionCreate, sets...)
		}
		one, err := dns.Wanted{Name: all[1500]}.Lookup()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			what  string
			names []dns.Name
			found int
			most  int
		}{
			{"one resource", one, 1, len(one)},
			{"names that are far apart", []dns.Name{all[1], all[2999], all[1501]}, 3, 3},
			{"a name that has nothing", []dns.Name{"missing.example.test"}, 0, 1},
			{"all names", all, many, many/300 + 2},
		} {
			before := w.server.Calls("ListResourceRecordSets")
			seen, err := w.provider.Read(t.Context(), w.zone, c.names)
			if err != nil || len(seen) != c.found {
				t.Errorf("%s: %d record sets were read of %d, %v", c.what, len(seen), c.found, err)
			}
			if n := w.server.Calls("ListResourceRecordSets") - before; n > c.most {
				t.Errorf("%s: %d requests, want at most %d (stars as escapes: %v)", c.what, n, c.most, escaped)
			}
		}
	}
}

func TestABatchIsHeldToTheServicesLimits(t *testing.T) {
	texts := func(records, characters int) []dns.Change {
		var out []dns.Change
		for i := range records {
			s := set(t, dns.Name(fmt.Sprintf("t%d.example.test", i)), dns.TypeTXT, strings.Repeat("x", characters))
			out = append(out, dns.Change{Name: s.Name, Create: []dns.RecordSet{s}})
		}
		return out
	}
	together := func(changes []dns.Change) []dns.Change {
		one := dns.Change{Name: "example.test"}
		for _, c := range changes {
			one.Create = append(one.Create, c.Create...)
		}
		return []dns.Change{one}
	}
	for _, c := range []struct {
		what    string
		changes []dns.Change
		want    error
	}{
		{"1,000 records", texts(1000, 1), nil},
		{"1,001 records", texts(1001, 1), dns.ErrTooLarge},
		// Quotes count too, in the fake as in the provider.
		{"32,000 characters", texts(320, 98), nil},
		{"more than 32,000 characters", texts(320, 99), dns.ErrTooLarge},
		{"one change of 1,001 records", together(texts(1001, 1)), dns.ErrInvalid},
		{"one change of too many characters", together(texts(320, 99)), dns.ErrInvalid},
	} {
		w := newWorld(t)
		_, err := w.provider.Apply(t.Context(), w.zone, c.changes)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: the error is %v, want %v", c.what, err, c.want)
		}
	}
}

func TestOfABatchThatIsStaleAndWrongItIsSaidThatItIsStale(t *testing.T) {
	for _, old := range []bool{false, true} {
		w := newWorld(t)
		w.server.OldErrors = old
		there := set(t, "www.example.test", dns.TypeA, "192.0.2.9")
		w.put(t, there)
		bad := set(t, "elsewhere.invalid", dns.TypeA, "192.0.2.1")
		good := set(t, "www.example.test", dns.TypeA, "192.0.2.1")
		changes := []dns.Change{{Name: bad.Name, Create: []dns.RecordSet{bad}}, {Name: good.Name, Create: []dns.RecordSet{good}}}
		if _, err := w.provider.Apply(t.Context(), w.zone, changes); !errors.Is(err, dns.ErrStale) {
			t.Errorf("the error is %v, want ErrStale", err)
		}
		if _, err := w.provider.Apply(t.Context(), w.zone, changes[:1]); !errors.Is(err, dns.ErrInvalid) {
			t.Errorf("the error is %v, want ErrInvalid", err)
		}
	}
}

func TestZonesOfOneNameAndPrivateOnesAreAllListed(t *testing.T) {
	w := newWorld(t)
	want := []dns.Zone{w.zone, {ID: w.server.AddZone("example.test.", false), Name: "example.test"}, {ID: w.server.AddZone("internal.test", true), Name: "internal.test", Private: true}}
	w.server.AddZone("0/25.2.0.192.in-addr.arpa", false)
	for i := range 150 {
		want = append(want, dns.Zone{ID: w.server.AddZone(fmt.Sprintf("z%d.test", i), false), Name: dns.Name(fmt.Sprintf("z%d.test", i))})
	}
	got, err := w.provider.Zones(t.Context())
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("the zones are %v, %v, want %v", got, err, want)
	}
}

func TestAChangeIsPendingBeforeItIsEverywhereAndAForgottenOneIs(t *testing.T) {
	w := newWorld(t)
	w.server.Polls = 2
	s := set(t, "www.example.test", dns.TypeA, "192.0.2.1")
	receipt, err := w.provider.Apply(t.Context(), w.zone, []dns.Change{{Name: s.Name, Create: []dns.RecordSet{s}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		receipt dns.Receipt
		want    bool
	}{{receipt, false}, {receipt, false}, {receipt, true}, {"C0FORGOTTEN", true}, {"", true}} {
		if done, err := w.provider.Spread(t.Context(), w.zone, c.receipt); err != nil || done != c.want {
			t.Errorf("the change %q is everywhere: %v, %v, want %v", c.receipt, done, err, c.want)
		}
	}
}

func TestEveryRequestTakesAPlaceInTheAccountsQuota(t *testing.T) {
	w := newWorld(t)
	for i := range 250 {
		w.server.AddZone(fmt.Sprintf("z%d.test", i), false)
	}
	before := w.server.Calls("")
	if _, err := w.provider.Zones(t.Context()); err != nil {
		t.Fatal(err)
	}
	wanted := dns.Wanted{Resource: "shop/web", Name: "www.example.test", Sets: []dns.RecordSet{set(t, "www.example.test", dns.TypeA, "192.0.2.1")}}
	w.mustRun(t, wanted)
	if _, err := w.provider.Spread(t.Context(), w.zone, "C00000000000001"); err != nil {
		t.Fatal(err)
	}
	if sent, waited := w.server.Calls("")-before, int(w.waits.n.Load()); sent != waited || sent < 6 {
		t.Errorf("%d requests were sent and %d waited", sent, waited)
	}
}

func TestTheMarkAndTheDataComeInOneRequestAndNothingNeedsNone(t *testing.T) {
	w := newWorld(t)
	wanted := dns.Wanted{Resource: "shop/web", Name: "*.example.test", Sets: []dns.RecordSet{set(t, "*.example.test", dns.TypeA, "192.0.2.1")}}
	for want := range 2 {
		w.mustRun(t, wanted)
		if n := w.server.Calls("ChangeResourceRecordSets"); n != 1 {
			t.Errorf("%d writes in run %d, want 1 in all", n, want+1)
		}
	}
	names := ""
	for _, s := range w.raw(t) {
		names += aws.ToString(s.Name) + " "
	}
	if !strings.Contains(names, `\052.example.test. `) || !strings.Contains(names, "_trellis.a._wildcard.example.test. ") {
		t.Errorf("there is %s", names)
	}
}

func TestNamesAreFoundWhereverTheServiceSortsStars(t *testing.T) {
	for _, escaped := range []bool{false, true} {
		w := newWorld(t)
		w.server.EscapedOrder = escaped
		names := []dns.Name{"*.example.test", "0.example.test", "-.example.test", "_a.example.test", "a.example.test", "*.a.example.test", "0.a.example.test"}
		for _, n := range names {
			w.put(t, set(t, n, dns.TypeA, "192.0.2.1"))
		}
		for i := range names {
			for j := range names {
				seen, err := w.provider.Read(t.Context(), w.zone, []dns.Name{names[i], names[j], names[i]})
				want := 2
				if i == j {
					want = 1
				}
				if err != nil || len(seen) != want {
					t.Errorf("stars as escapes %v: of %s and %s there are %d, %v", escaped, names[i], names[j], len(seen), err)
				}
			}
		}
	}
}
