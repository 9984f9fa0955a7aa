// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package clouddns

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// known are the types of the page "Supported DNS record types" that matter here.
var known = []string{"A", "AAAA", "CAA", "CNAME", "DS", "MX", "NS", "PTR", "SOA", "SPF", "SRV", "TXT"}

// invalid says what is wrong with a record set by itself. Texts without quotes get
// some, as the service does it.
func (z *zone) invalid(at string, set *RecordSet) *refusal {
	name := strings.ToLower(set.Name)
	switch {
	case !validName(name) || name != z.DNSName && !strings.HasSuffix(name, "."+z.DNSName):
		return wrong(at+".name", set.Name)
	case !slices.Contains(known, set.Type):
		return wrong(at+".type", set.Type)
	case set.TTL < 0 || set.TTL > 1<<31-1:
		return wrong(at+".ttl", fmt.Sprint(set.TTL))
	case len(set.RoutingPolicy) > 0 && len(set.Rrdatas) > 0:
		return wrong(at+".routingPolicy", "rrdatas and a routing policy")
	case len(set.RoutingPolicy) > 0:
		return nil
	case len(set.Rrdatas) == 0:
		return refuse(http.StatusBadRequest, "required", "The '%s.rrdatas' parameter is required but was missing.", at)
	case set.Type == "CNAME" && len(set.Rrdatas) > 1:
		return wrong(at+".rrdata", "more than one CNAME")
	}
	set.Name = name
	return invalidData(at, set)
}

func invalidData(at string, set *RecordSet) *refusal {
	seen := map[string]bool{}
	for i, text := range set.Rrdatas {
		canonical, ok := rdata(set.Type, text)
		if !ok || seen[canonical] {
			return wrong(fmt.Sprintf("%s.rrdata[%d]", at, i), text)
		}
		seen[canonical] = true
		if set.Type == "TXT" {
			set.Rrdatas[i] = canonical
		}
	}
	return nil
}

func wrong(what, value string) *refusal {
	return refuse(http.StatusBadRequest, "invalid", "Invalid value for '%s': '%s'", what, value)
}

// validName: with a dot at the end, labels of letters, digits, hyphens and
// underscores, a star as the first label.
func validName(name string) bool {
	rest, ok := strings.CutSuffix(strings.TrimPrefix(name, "*."), ".")
	if !ok || len(name) > 254 {
		return false
	}
	for label := range strings.SplitSeq(rest, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// rdata checks data of a type by another implementation of zone files. Names in
// it must end in a dot.
func rdata(typ, text string) (canonical string, ok bool) {
	if typ == "TXT" || typ == "SPF" {
		return texts(text)
	}
	rr, err := dns.NewRR("name.invalid. 0 IN " + typ + " " + text)
	if err != nil || rr == nil || strings.ContainsAny(text, "\n;") {
		return "", false
	}
	switch rr.(type) {
	case *dns.CNAME, *dns.MX, *dns.NS, *dns.PTR, *dns.SRV:
		if !strings.HasSuffix(text, ".") {
			return "", false
		}
	}
	_, canonical, _ = strings.Cut(rr.String(), "\t"+typ+"\t")
	return canonical, true
}

// texts reads strings of at most 255 octets, and gives quotes to those without.
func texts(text string) (canonical string, ok bool) {
	var strs []string
	for rest := strings.TrimLeft(text, " "); rest != ""; rest = strings.TrimLeft(rest, " ") {
		quoted := rest[0] == '"'
		end, octets := stringEnd(rest, quoted)
		if end < 0 || octets > 255 {
			return "", false
		}
		word := rest[:end]
		if !quoted {
			word = `"` + word + `"`
		}
		strs, rest = append(strs, word), rest[end:]
	}
	return strings.Join(strs, " "), len(strs) > 0
}

// stringEnd is where the first string ends, and how many octets it has; -1 where
// it does not end, has a bad escape or what is no printable ASCII.
func stringEnd(s string, quoted bool) (end, octets int) {
	i := 0
	if quoted {
		i = 1
	}
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case c < ' ' || c > '~':
			return -1, 0
		case c == '"' && quoted:
			return i + 1, octets
		case c == '"' || c == ' ' && !quoted:
			return i, octets
		case c == '\\':
			used := escapeLength(s[i+1:])
			if used == 0 {
				return -1, 0
			}
			i += used
		}
		octets++
	}
	if quoted {
		return -1, 0
	}
	return i, octets
}

// escapeLength is how many characters follow the backslash; zero where it is no
// escape of RFC 1035 §5.1.
func escapeLength(s string) int {
	if s == "" {
		return 0
	}
	if s[0] < '0' || s[0] > '9' {
		return 1
	}
	if len(s) < 3 || strings.Trim(s[:3], "0123456789") != "" || s[:3] > "255" {
		return 0
	}
	return 3
}
