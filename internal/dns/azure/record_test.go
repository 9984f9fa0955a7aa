// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package azure_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/dns/armdns"

	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/internal/dns/azure"
)

// metadata of the record set at a key, as "name=value" in order.
func (w *world) metadata(t *testing.T, key dns.Key) []string {
	t.Helper()
	for _, s := range w.raw(t) {
		if *s.Name != key.Name.Relative(w.zone.Name) || !strings.HasSuffix(*s.Type, "/"+string(key.Type)) {
			continue
		}
		var out []string
		for name, value := range s.Properties.Metadata {
			out = append(out, name+"="+*value)
		}
		slices.Sort(out)
		return out
	}
	t.Fatalf("%s is not there", key)
	return nil
}

func TestTheMetadataSaysTheOwnerAndKeepsWhatOthersPutThere(t *testing.T) {
	w := newWorld(t)
	mine, theirs := set(t, "mine.example.test", dns.TypeA, "192.0.2.1"), set(t, "theirs.example.test", dns.TypeA, "192.0.2.9")
	wanted := dns.Wanted{Resource: "shop/web", Name: mine.Name, Sets: []dns.RecordSet{mine}}
	for _, address := range []string{"192.0.2.1", "192.0.2.2"} {
		wanted.Sets[0].Values = []string{address}
		w.mustRun(t, wanted)
		if got := w.metadata(t, mine.Key); !slices.Equal(got, []string{"trellis-owner=" + owner}) {
			t.Errorf("with %s the metadata is %q", address, got)
		}
	}
	w.put(t, theirs)
	next := set(t, theirs.Name, dns.TypeA, "192.0.2.1")
	w.mustRun(t, dns.Wanted{Resource: "shop/web", Name: next.Name, Sets: []dns.RecordSet{next}, Adopt: true})
	if got := w.metadata(t, next.Key); !slices.Equal(got, []string{"team=theirs", "trellis-owner=" + owner}) {
		t.Errorf("after adoption the metadata is %q", got)
	}
	other, err := dns.MakePlan("cluster-b", dns.Wanted{Resource: "shop/web", Name: next.Name, Sets: []dns.RecordSet{set(t, next.Name, dns.TypeA, "192.0.2.7")}, Adopt: true}, w.read(t, next.Name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.provider.Apply(t.Context(), w.zone, []dns.Change{*other.Change}); err != nil {
		t.Fatal(err)
	}
	if got := w.metadata(t, next.Key); !slices.Equal(got, []string{"team=theirs", "trellis-owner=cluster-b"}) {
		t.Errorf("after adoption by another cluster the metadata is %q", got)
	}
}

// read is what is there for a resource at a name.
func (w *world) read(t *testing.T, name dns.Name) []dns.Observed {
	t.Helper()
	names, err := dns.Wanted{Name: name}.Lookup()
	if err != nil {
		t.Fatal(err)
	}
	there, err := w.provider.Read(t.Context(), w.zone, names)
	if err != nil {
		t.Fatal(err)
	}
	return there
}

func TestReadingListsTheZoneOrGetsNamesWhicheverTakesLessOfTheQuota(t *testing.T) {
	w := newWorld(t)
	var all []dns.Name
	for i := range 1000 {
		s := set(t, dns.Name(fmt.Sprintf("n%04d.example.test", i)), dns.TypeA, "192.0.2.1")
		w.put(t, s)
		all = append(all, s.Name)
	}
	w.put(t, dns.RecordSet{Key: dns.Key{Name: all[7], Type: "MX"}, TTL: 60, Values: []string{"10 mail.example.net."}})
	for _, c := range []struct {
		what        string
		names       []dns.Name
		found       int
		pages, gets int
	}{
		{"one name", all[7:8], 2, 0, 9},
		{"a name that has nothing", []dns.Name{"missing.example.test"}, 0, 0, 9},
		{"the apex", []dns.Name{"example.test"}, 2, 0, 10},
		{"a name of another zone", []dns.Name{"www.example.net"}, 0, 0, 0},
		{"half of all", all[:500], 501, 11, 0},
		{"all", all, 1001, 11, 0},
		{"none", nil, 0, 0, 0},
	} {
		pages, gets := w.server.Calls("GET records"), w.server.Calls("GET record")
		seen, err := w.provider.Read(t.Context(), w.zone, c.names)
		if err != nil || len(seen) != c.found {
			t.Errorf("%s: %d record sets were read of %d, %v", c.what, len(seen), c.found, err)
		}
		if !slices.IsSortedFunc(seen, func(a, b dns.Observed) int { return a.Compare(b.Key) }) {
			t.Errorf("%s: they are in no order", c.what)
		}
		if p, g := w.server.Calls("GET records")-pages, w.server.Calls("GET record")-gets; p != c.pages || g != c.gets {
			t.Errorf("%s: %d pages and %d record sets, want %d and %d", c.what, p, g, c.pages, c.gets)
		}
	}
}

func TestZonesOfAllResourceGroupsOrOfOneAreListed(t *testing.T) {
	w := newWorld(t)
	want := []dns.Zone{w.zone}
	for i := range 150 {
		want = append(want, dns.Zone{ID: w.server.AddZone("other", fmt.Sprintf("z%d.test", i)), Name: dns.Name(fmt.Sprintf("z%d.test", i))})
	}
	// The same name in another group: the engine refuses to choose.
	want = append(want, dns.Zone{ID: w.server.AddZone("other", "example.test"), Name: "example.test"})
	for group, want := range map[string][]dns.Zone{"": want, "other": want[1:], "OTHER": want[1:], "none": nil} {
		got, err := w.as(t, azure.Config{ClientID: "ours", ClientSecret: secret, ResourceGroup: group}).Zones(t.Context())
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("in group %q the zones are %v, %v", group, got, err)
		}
	}
}

func TestAnAliasToAResourceOfAzureIsSeenAndReplacedOnlyByAdoption(t *testing.T) {
	w := newWorld(t)
	id := "/subscriptions/" + subscription + "/resourceGroups/dns/providers/Microsoft.Network/publicIPAddresses/gateway"
	_, err := w.other.CreateOrUpdate(t.Context(), group, "example.test", "www", armdns.RecordTypeA, armdns.RecordSet{
		Properties: &armdns.RecordSetProperties{TTL: to.Ptr(int64(60)), TargetResource: &armdns.SubResource{ID: &id}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	wanted := dns.Wanted{Resource: "shop/web", Name: "www.example.test", Sets: []dns.RecordSet{set(t, "www.example.test", dns.TypeA, "192.0.2.1")}}
	plan := w.mustRun(t, wanted)
	if len(plan.Conflicts) != 1 || !strings.Contains(plan.Conflicts[0].Error(), id) {
		t.Fatalf("the conflicts are %v, want one that names the resource", plan.Conflicts)
	}
	wanted.Adopt = true
	w.mustRun(t, wanted)
	if again := w.mustRun(t, wanted); again.Change != nil || len(again.Conflicts) != 0 {
		t.Errorf("there is still to do %+v, %v", again.Steps, again.Conflicts)
	}
}

func TestWhatAzureCannotHoldIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	weight := uint8(1)
	routed := set(t, "www.example.test", dns.TypeA, "192.0.2.1")
	routed.Identifier, routed.Routing = "blue", &dns.Routing{Weight: &weight}
	alias := dns.RecordSet{Key: dns.Key{Name: "www.example.test", Type: dns.TypeA}, Alias: &dns.Alias{Target: "lb.example.net"}}
	odd := dns.RecordSet{Key: dns.Key{Name: "www.example.test", Type: "MX"}, TTL: 60, Values: []string{"10 mail.example.net"}}
	for what, s := range map[string]dns.RecordSet{
		"a member of a group": routed, "an alias to a host name": alias, "a type that is not ours": odd,
		"a CNAME at the apex": set(t, "example.test", dns.TypeCNAME, "lb.example.net"),
		"another zone's name": set(t, "www.example.net", dns.TypeA, "192.0.2.1"),
	} {
		w := newWorld(t)
		good := set(t, "_trellis.a.www.example.test", dns.TypeTXT, "a mark")
		_, err := w.provider.Apply(t.Context(), w.zone, []dns.Change{{Name: s.Name, Create: []dns.RecordSet{good, s}}})
		if !errors.Is(err, dns.ErrInvalid) {
			t.Errorf("%s: the error is %v, want ErrInvalid", what, err)
		}
		if n := w.server.Calls("PUT record"); n != 0 {
			t.Errorf("%s: %d record sets were written", what, n)
		}
	}
}

func TestTheServicesOwnLimitsAreInvalid(t *testing.T) {
	w := newWorld(t)
	var many []string
	for i := range 21 {
		many = append(many, fmt.Sprintf("192.0.2.%d", i))
	}
	zero := set(t, "www.example.test", dns.TypeA, "192.0.2.1")
	zero.TTL = 0
	for what, s := range map[string]dns.RecordSet{
		"21 values": set(t, "www.example.test", dns.TypeA, many...), "a TTL of 0": zero,
		"a text of 4,097 characters": set(t, "www.example.test", dns.TypeTXT, strings.Repeat("x", 4097)),
	} {
		if _, err := w.provider.Apply(t.Context(), w.zone, []dns.Change{{Name: s.Name, Create: []dns.RecordSet{s}}}); !errors.Is(err, dns.ErrInvalid) {
			t.Errorf("%s: the error is %v, want ErrInvalid", what, err)
		}
	}
}

func TestTextsAreCutBetweenCharacters(t *testing.T) {
	w := newWorld(t)
	for i, text := range []string{strings.Repeat("ü", 300), "x" + strings.Repeat("ü", 300), strings.Repeat("😀", 200), "xyz" + strings.Repeat("😀", 200)} {
		s := set(t, dns.Name(fmt.Sprintf("t%d.example.test", i)), dns.TypeTXT, text)
		if _, err := w.provider.Apply(t.Context(), w.zone, []dns.Change{{Name: s.Name, Create: []dns.RecordSet{s}}}); err != nil {
			t.Fatal(err)
		}
		seen, err := w.provider.Read(t.Context(), w.zone, []dns.Name{s.Name})
		if err != nil || len(seen) != 1 || !slices.Equal(seen[0].Values, s.Values) {
			t.Errorf("text %d came back as %v, %v", i, seen, err)
		}
	}
}

func TestAChangeIsEverywhereAfterAMinute(t *testing.T) {
	w := newWorld(t)
	s := set(t, "www.example.test", dns.TypeA, "192.0.2.1")
	receipt, err := w.provider.Apply(t.Context(), w.zone, []dns.Change{{Name: s.Name, Create: []dns.RecordSet{s}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		pass time.Duration
		r    dns.Receipt
		want bool
	}{{0, receipt, false}, {59 * time.Second, receipt, false}, {time.Second, receipt, true}, {0, "", true}, {0, "not ours", true}} {
		w.clock.add(c.pass)
		if done, err := w.provider.Spread(t.Context(), w.zone, c.r); err != nil || done != c.want {
			t.Errorf("after %s more %q is everywhere: %v, %v, want %v", c.pass, c.r, done, err, c.want)
		}
	}
}

func TestAWriteOfWhatWasNotReadIsStale(t *testing.T) {
	w := newWorld(t)
	s := set(t, "www.example.test", dns.TypeA, "192.0.2.1")
	w.put(t, s)
	if _, err := w.provider.Apply(t.Context(), w.zone, []dns.Change{{Name: s.Name, Delete: []dns.Observed{{RecordSet: s}}}}); !errors.Is(err, dns.ErrStale) {
		t.Errorf("the error is %v, want ErrStale", err)
	}
	if len(w.dump(t)) != 1 {
		t.Error("it was deleted")
	}
}

func TestAnUnknownCloudIsRefused(t *testing.T) {
	if _, err := azure.New(azure.Config{SubscriptionID: subscription, Cloud: "AzureMoonCloud"}); err == nil || !strings.Contains(err.Error(), "AzureMoonCloud") {
		t.Errorf("the error is %v", err)
	}
	for _, name := range []string{"", azure.CloudPublic, azure.CloudChina, azure.CloudGovernment} {
		if _, err := azure.New(azure.Config{SubscriptionID: subscription, TenantID: tenant, ClientID: "c", ClientSecret: "s", Cloud: name}); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}
