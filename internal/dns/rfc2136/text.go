// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package rfc2136

import (
	"fmt"
	"net"
	"slices"
	"strings"

	mdns "github.com/miekg/dns"

	"github.com/trellis-mesh/trellis/internal/dns"
)

// maxString is the longest string in a TXT record, in octets (RFC 1035 §3.3).
const maxString = 255

// records are the resource records of a set.
func records(s dns.RecordSet) ([]mdns.RR, error) {
	var out []mdns.RR
	header := mdns.RR_Header{Name: s.Name.FQDN(), Class: mdns.ClassINET, Ttl: s.TTL}
	for _, v := range s.Values {
		switch s.Type {
		case dns.TypeA:
			header.Rrtype = mdns.TypeA
			out = append(out, &mdns.A{Hdr: header, A: net.ParseIP(v)})
		case dns.TypeAAAA:
			header.Rrtype = mdns.TypeAAAA
			out = append(out, &mdns.AAAA{Hdr: header, AAAA: net.ParseIP(v)})
		case dns.TypeCNAME:
			header.Rrtype = mdns.TypeCNAME
			out = append(out, &mdns.CNAME{Hdr: header, Target: v + "."})
		case dns.TypeTXT:
			header.Rrtype = mdns.TypeTXT
			out = append(out, &mdns.TXT{Hdr: header, Txt: cut(v)})
		default:
			return nil, fmt.Errorf("%s: %w", s.Key, dns.ErrInvalid)
		}
	}
	return out, nil
}

// set is a record set made of records of one name and type, with the records as
// they are: others cut texts elsewhere.
func set(key dns.Key, rrs []mdns.RR) (dns.Observed, error) {
	var values []string
	ttl := rrs[0].Header().Ttl
	for _, rr := range rrs {
		ttl = min(ttl, rr.Header().Ttl)
		switch rr := rr.(type) {
		case *mdns.A:
			values = append(values, rr.A.String())
		case *mdns.AAAA:
			values = append(values, mapped(rr.AAAA))
		case *mdns.CNAME:
			values = append(values, rr.Target)
		case *mdns.TXT:
			values = append(values, join(rr.Txt))
		}
	}
	s, err := dns.NewRecordSet(key, ttl, values...)
	return dns.Observed{RecordSet: s, Raw: rrs}, err
}

// mapped writes an address of 16 octets; package net writes mapped ones as IPv4.
func mapped(ip net.IP) string {
	if v4 := ip.To4(); v4 != nil {
		return "::ffff:" + v4.String()
	}
	return ip.String()
}

// cut makes strings of a text, escaped as miekg/dns wants them.
func cut(text string) []string {
	if text == "" {
		return []string{""}
	}
	var out []string
	for piece := range slices.Chunk([]byte(text), maxString) {
		out = append(out, escape(piece))
	}
	return out
}

func escape(octets []byte) string {
	var b strings.Builder
	for _, c := range octets {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, `\%03d`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// join is the text of strings that are escaped.
func join(escaped []string) string {
	var b strings.Builder
	for _, s := range escaped {
		for i := 0; i < len(s); i++ {
			if s[i] != '\\' || i+1 == len(s) {
				b.WriteByte(s[i])
				continue
			}
			i++
			if i+2 < len(s) && digits(s[i:i+3]) {
				b.WriteByte((s[i]-'0')*100 + (s[i+1]-'0')*10 + (s[i+2] - '0'))
				i += 2
				continue
			}
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func digits(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c < '0' || c > '9' })
}
