// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package zonefile_test

import (
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/trellis-mesh/trellis/internal/dns/zonefile"
)

func TestTextsAreWrittenAsZoneFilesHaveThem(t *testing.T) {
	for text, want := range map[string]string{
		"":                       `""`,
		"two words":              `"two words"`,
		`a "b" \c`:               `"a \"b\" \\c"`,
		"é\t":                    `"\195\169\009"`,
		strings.Repeat("x", 256): `"` + strings.Repeat("x", 255) + `" "x"`,
	} {
		if got := zonefile.Quote(text); got != want {
			t.Errorf("%q became %s, want %s", text, got, want)
		}
	}
}

func TestTextsOfOthersAreReadInEveryForm(t *testing.T) {
	for value, want := range map[string]string{
		`"a" "b"`:    "ab",
		`"a""b"`:     "ab",
		`plain`:      "plain",
		`two words`:  "twowords",
		`"\097\\\""`: `a\"`,
		`"\999"`:     "999",
		`"open`:      "open",
		`"\`:         `\`,
		`"\1`:        "1",
		``:           "",
	} {
		if got := zonefile.Unquote(value); got != want {
			t.Errorf("%s was read as %q, want %q", value, got, want)
		}
	}
}

// The judge is another implementation: what is quoted here goes onto the wire
// there, in strings that fit.
func FuzzTextsSurvive(f *testing.F) {
	for _, seed := range []string{"", "plain", `"\`, "\x00\xff", `\065`, strings.Repeat("long", 200)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		quoted := zonefile.Quote(text)
		if got := zonefile.Unquote(quoted); got != text {
			t.Fatalf("%q became %q on its way", text, got)
		}
		if len(text) > 4000 {
			return
		}
		rr, err := dns.NewRR("name. 0 IN TXT " + quoted)
		if err != nil {
			t.Fatalf("%s is no zone file: %v", quoted, err)
		}
		wire := make([]byte, dns.MaxMsgSize)
		end, err := dns.PackRR(rr, wire, 0, nil, false)
		if err != nil {
			t.Fatalf("%s does not fit: %v", quoted, err)
		}
		// Past the header each string is its length and its octets.
		var octets []byte
		for rest := wire[end-int(rr.Header().Rdlength) : end]; len(rest) > 0; {
			n := int(rest[0])
			octets, rest = append(octets, rest[1:1+n]...), rest[1+n:]
		}
		if string(octets) != text {
			t.Fatalf("%q is %q on the wire", text, octets)
		}
	})
}
