// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package rfc2136

import (
	"strings"
	"testing"

	mdns "github.com/miekg/dns"
)

func FuzzATextSurvivesTheWire(f *testing.F) {
	for _, s := range []string{"", `a"b\c`, `\065`, "\x00\xff", strings.Repeat("x", 256), strings.Repeat("\\", 255)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 60000 {
			return
		}
		rr := &mdns.TXT{Hdr: mdns.RR_Header{Name: "x.test.", Rrtype: mdns.TypeTXT, Class: mdns.ClassINET}, Txt: cut(s)}
		buffer := make([]byte, 1<<16)
		end, err := mdns.PackRR(rr, buffer, 0, nil, false)
		if err != nil {
			t.Fatal(err)
		}
		back, _, err := mdns.UnpackRR(buffer[:end], 0)
		if err != nil {
			t.Fatal(err)
		}
		txt, ok := back.(*mdns.TXT)
		if !ok || join(txt.Txt) != s {
			t.Errorf("%q came back as %q", s, txt)
		}
	})
}

func TestSerialsGoRoundInCircles(t *testing.T) {
	for _, c := range []struct {
		a, b uint32
		want bool
	}{{1, 2, true}, {2, 1, false}, {1, 1, false}, {1<<32 - 1, 0, true}, {0, 1<<32 - 1, false}} {
		if before(c.a, c.b) != c.want {
			t.Errorf("%d before %d is %v", c.a, c.b, !c.want)
		}
	}
}
