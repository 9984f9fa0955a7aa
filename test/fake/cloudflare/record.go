// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package cloudflare

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/miekg/dns"
)

// known are the types that this stand-in knows.
var known = []string{"A", "AAAA", "CAA", "CNAME", "MX", "NS", "SRV", "TXT"}

// put checks a record by itself and among the others, and writes it.
func (s *Server) put(z *zone, r Record) (Record, *refusal) {
	r.Name = z.full(r.Name)
	r.Proxiable = r.Type == "A" || r.Type == "AAAA" || r.Type == "CNAME"
	if r.Proxied {
		r.TTL = 1
	}
	if refused := wrong(&r); refused != nil {
		return Record{}, refused
	}
	if refused := z.clash(r); refused != nil {
		return Record{}, refused
	}
	if _, exists := z.records[r.ID]; !exists && s.MaxRecords > 0 && len(z.records) >= s.MaxRecords {
		return Record{}, refuse(http.StatusBadRequest, 81045, "The record quota has been exceeded.")
	}
	r.ModifiedOn = s.stamp()
	if r.ID == "" {
		r.ID, r.CreatedOn = fmt.Sprintf("%032x", s.revision), r.ModifiedOn
	}
	if r.Tags == nil {
		r.Tags = []string{}
	}
	if r.Settings == nil {
		r.Settings = map[string]any{}
	}
	z.records[r.ID] = r
	return r, nil
}

// full is a name as the service reads it: relative to the zone where it does not
// end in it, without a dot at the end.
func (z *zone) full(name string) string {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	switch {
	case name == "@" || name == z.Name:
		return z.Name
	case strings.HasSuffix(name, "."+z.Name):
		return name
	}
	return name + "." + z.Name
}

// wrong says what is wrong with a record by itself.
func wrong(r *Record) *refusal {
	switch {
	case !slices.Contains(known, r.Type):
		return invalid(9001, "Type %q is not known.", r.Type)
	case !validName(r.Name):
		return invalid(9000, "DNS name is invalid.")
	case r.TTL != 1 && (r.TTL < 60 || r.TTL > 86_400):
		return invalid(9021, "Invalid TTL. Must be between 60 and 86,400 seconds, or 1 for Automatic.")
	case r.Proxied && !r.Proxiable:
		return invalid(9004, "This record type cannot be proxied.")
	case len(r.Tags) > 0:
		return invalid(9300, "DNS record has %d tags, exceeding the quota of 0.", len(r.Tags))
	case r.Comment != nil && utf8.RuneCountInString(*r.Comment) > maxComment:
		return invalid(9313, "DNS record comment exceeds the maximum length of %d characters.", maxComment)
	case r.Comment != nil && strings.ContainsAny(*r.Comment, "\r\n"):
		return invalid(9312, "DNS record comment has invalid characters.")
	}
	return wrongContent(r)
}

func wrongContent(r *Record) *refusal {
	switch r.Type {
	case "A", "AAAA":
		a, err := netip.ParseAddr(r.Content)
		if err != nil || a.Is4() != (r.Type == "A") || a.Zone() != "" {
			return invalid(9005, "Content for %s record must be a valid IPv%s address.", r.Type, map[string]string{"A": "4", "AAAA": "6"}[r.Type])
		}
		r.Content = a.String()
	case "CNAME":
		r.Content = strings.TrimSuffix(r.Content, ".")
		if !validName(strings.ToLower(r.Content)) || strings.EqualFold(r.Content, r.Name) {
			return invalid(9007, "Content for CNAME record is invalid.")
		}
	case "TXT":
		if strings.HasPrefix(r.Content, `"`) && !quoted(r.Content) {
			return invalid(9209, "Content for TXT record is invalid.")
		}
		if r.Content == "" || len(r.Content) > maxText {
			return invalid(9205, "Content for TXT record must be 1 to %d octets.", maxText)
		}
	}
	return nil
}

// quoted reports whether a text is quoted strings, as another implementation reads
// zone files. Longer strings than 255 octets are cut by the service.
func quoted(content string) bool {
	if strings.ContainsAny(content, "\n\r\x00") {
		return false
	}
	rr, err := dns.NewRR("name.invalid. 0 IN TXT " + content)
	return err == nil && rr != nil && strings.HasSuffix(content, `"`)
}

// validName: labels of letters, digits, hyphens and underscores, a star first.
func validName(name string) bool {
	if len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimPrefix(name, "*."), ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// clash says which record is in the way of another.
func (z *zone) clash(r Record) *refusal {
	text := 0
	for _, is := range z.records {
		if is.ID == r.ID || is.Name != r.Name {
			continue
		}
		if refused := z.clashOf(r, is); refused != nil {
			return refused
		}
		if is.Type == "TXT" {
			text += len(is.Content)
		}
	}
	if r.Type == "TXT" && text+len(r.Content) > maxText {
		return invalid(9210, "The texts at a name exceed %d octets.", maxText)
	}
	return nil
}

// clashOf says why two records cannot stand at one name.
func (z *zone) clashOf(r, is Record) *refusal {
	address := func(t string) bool { return t == "A" || t == "AAAA" }
	switch {
	case is.Type == r.Type && is.Content == r.Content:
		return refuse(http.StatusBadRequest, 81058, "An identical record already exists.")
	case r.Type == "CNAME" && (address(is.Type) || is.Type == "CNAME"):
		return refuse(http.StatusBadRequest, 81053, "An A, AAAA, or CNAME record with that host already exists.")
	case address(r.Type) && is.Type == "CNAME":
		return refuse(http.StatusBadRequest, 81054, "A CNAME record with that host already exists.")
	case r.Name != z.Name && (r.Type == "NS") != (is.Type == "NS"):
		return refuse(http.StatusBadRequest, 81056, "NS records with that host already exist.")
	}
	return nil
}
