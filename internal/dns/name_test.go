// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestNamesAreReadInOneForm(t *testing.T) {
	for in, want := range map[string]Name{
		"example.com":               "example.com",
		"Example.COM.":              "example.com",
		"*.Example.com":             "*.example.com",
		`\052.example.com.`:         "*.example.com",
		"bücher.example":            "xn--bcher-kva.example",
		"BÜCHER.example.":           "xn--bcher-kva.example",
		"XN--BCHER-KVA.example":     "xn--bcher-kva.example",
		"*.bücher.example":          "*.xn--bcher-kva.example",
		"_acme-challenge.shop.test": "_acme-challenge.shop.test",
		"日本。example":                "xn--wgv71a.example",
		"faß.example":               "xn--fa-hia.example",
		"com":                       "com",
	} {
		if got, err := ParseName(in); err != nil || got != want {
			t.Errorf("%q was read as %q, %v, want %q", in, got, err, want)
		}
	}
}

func TestWhatIsNoNameIsRefused(t *testing.T) {
	label := strings.Repeat("x", 63)
	for _, in := range []string{
		"", ".", "..", "a..b", ".a", "*", "*.", "a.*.b", "a*.b", "-*.b", "a-*", "b.a-*.c", "a b.c", "a/b", "a,b.c", `a\.b`, "a\x00.b", "xn--\xff.a",
		label + "x.example", strings.Join([]string{label, label, label, label}, "."), "*." + strings.Join([]string{label, label, label, label[:60]}, "."),
		strings.Repeat("ü", 1<<20), "http://example.com", "example.com:443", "*.*.example.com", "*.a-*.example.com",
	} {
		if got, err := ParseName(in); err == nil {
			t.Errorf("%.80q was read as %q", in, got)
		}
	}
}

func TestNamesKnowTheirZone(t *testing.T) {
	for _, c := range []struct {
		name, zone Name
		in         bool
		relative   string
	}{
		{"example.com", "example.com", true, "@"},
		{"a.b.example.com", "example.com", true, "a.b"},
		{"*.example.com", "example.com", true, "*"},
		{"badexample.com", "example.com", false, "badexample.com"},
		{"com", "example.com", false, "com"},
	} {
		if c.name.In(c.zone) != c.in || c.name.Relative(c.zone) != c.relative {
			t.Errorf("%s in %s: %v as %q", c.name, c.zone, c.name.In(c.zone), c.name.Relative(c.zone))
		}
	}
}

func FuzzANameReadAgainIsTheSame(f *testing.F) {
	for _, s := range []string{"example.com", "*.Bücher.example.", "xn--bcher-kva.de", "_a.b", "a。b", "ß.de", "xn--.a", "İ.tr", `\052.x`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseName(s)
		if err != nil {
			return
		}
		if len(n) > maxName || string(n) != strings.ToLower(string(n)) || strings.HasSuffix(string(n), ".") {
			t.Errorf("%q was read as %q, which is not canonical", s, n)
		}
		if again, err := ParseName(n.FQDN()); err != nil || again != n {
			t.Errorf("%q was read as %q and then as %q, %v", s, n, again, err)
		}
	})
}

func TestMarksAreBelowTheirNames(t *testing.T) {
	for _, c := range []struct {
		key  Key
		want Name
	}{
		{Key{"example.com", TypeA, ""}, "_trellis.a.example.com"},
		{Key{"*.example.com", TypeCNAME, ""}, "_trellis.cname._wildcard.example.com"},
		{Key{"www.example.com", TypeTXT, "eu-1"}, "_trellis.txt-eu-1.www.example.com"},
	} {
		got, err := MarkName(c.key)
		if err != nil || got != c.want {
			t.Errorf("the mark of %s is at %q, %v, want %q", c.key, got, err, c.want)
		}
		if !IsMark(Key{Name: got, Type: TypeTXT}) || IsMark(c.key) {
			t.Errorf("%s and its mark %s are not told apart", c.key, got)
		}
	}
}

func TestNoTwoKeysShareAMark(t *testing.T) {
	seen := map[Name]Key{}
	for _, n := range []Name{"example.com", "*.example.com", "a.example.com", "cname.example.com", "_wildcard.example.com", "_trellis.a.example.com"} {
		for _, typ := range Types() {
			for _, id := range []string{"", "a", "b-c"} {
				key := Key{n, typ, id}
				mark, err := MarkName(key)
				if err != nil {
					if !errors.Is(err, ErrInvalid) {
						t.Errorf("%s: %v is not ErrInvalid", key, err)
					}
					continue
				}
				if other, twice := seen[mark]; twice {
					t.Errorf("%s and %s share the mark %s", key, other, mark)
				}
				seen[mark] = key
			}
		}
	}
	if len(seen) != 4*4*3 {
		t.Errorf("%d keys have marks, want those of four names", len(seen))
	}
}

func TestANameWithoutRoomForItsMarkIsRefused(t *testing.T) {
	long := Name(strings.Repeat(strings.Repeat("x", 49)+".", 4) + "example.com")
	if _, err := MarkName(Key{Name: long + ".and.some.more.of.it.to.be.too.long.now", Type: TypeA}); !errors.Is(err, ErrInvalid) {
		t.Errorf("the error is %v, want ErrInvalid", err)
	}
}

func TestAMarkIsReadBack(t *testing.T) {
	want := Mark{Owner: "0b1a-uid", Resource: "shop/web"}
	s, err := want.Set(Key{Name: "example.com", Type: TypeA})
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := parseMark(s.Values[0]); !ok || got != want {
		t.Errorf("%q was read as %+v, %v", s.Values[0], got, ok)
	}
}

func TestOtherTextsAreNoMarks(t *testing.T) {
	for _, text := range []string{"", "heritage=trellis", "heritage=trellis,", "heritage=trellis,trellis/owner=", "heritage=external-dns,external-dns/owner=x",
		"heritage=trellis2,trellis/owner=x", " heritage=trellis,trellis/owner=x", "v=spf1 -all"} {
		if m, ok := parseMark(text); ok {
			t.Errorf("%q was read as the mark %+v", text, m)
		}
	}
}

func TestOtherToolsMarksNameTheirOwner(t *testing.T) {
	for text, want := range map[string]string{
		"heritage=external-dns,external-dns/owner=prod,external-dns/resource=ingress/shop/web":   "external-dns (owner id prod)",
		`"heritage=external-dns,external-dns/owner=prod,external-dns/resource=ingress/shop/web"`: "external-dns (owner id prod)",
		"heritage=kuadrant":       "kuadrant",
		"v=spf1 -all":             "",
		"heritage=":               "",
		"heritage=trellis,x=y":    "",
		"heritage=\u202eevil\x1b": "",
	} {
		if got, ok := foreignOwner(text); got != want || ok != (want != "") {
			t.Errorf("%q names %q, %v, want %q", text, got, ok, want)
		}
	}
}

func TestOtherToolsMarksOfWildcardsAreLookedFor(t *testing.T) {
	got := ForeignMarks(Key{Name: "*.example.com", Type: TypeCNAME})
	if want := []Name{"cname-*.example.com", "*.example.com"}; !slices.Equal(got, want) {
		t.Errorf("the names are %v, want %v", got, want)
	}
	if n := got[0]; !n.Starred() || n.Wildcard() || got[1].Starred() {
		t.Errorf("%v are taken for each other", got)
	}
	if _, err := MakePlan("us", Wanted{Resource: "a/b", Name: got[0]}, nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("a name that is no wildcard was planned: %v", err)
	}
}

func TestOtherToolsMarksAreLookedForWhereTheyAre(t *testing.T) {
	got := ForeignMarks(Key{Name: "www.example.com", Type: TypeA})
	want := []Name{"a-www.example.com", "www.example.com", "cname-www.example.com"}
	if len(got) != len(want) {
		t.Fatalf("the names are %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("the names are %v, want %v", got, want)
		}
	}
}
