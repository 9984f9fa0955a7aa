// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package azuredns

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// key is what is unique in a zone: a relative name in lower case, "@" for the
// apex, and a type.
type key struct{ name, typ string }

// zone is a public DNS zone.
type zone struct {
	group, name, etag string
	sets              map[key]*recordSet
}

// recordSet is one on the wire.
type recordSet struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	Type       string     `json:"type"`
	Etag       string     `json:"etag"`
	Properties properties `json:"properties"`
}

// properties have one list or object for each type.
type properties struct {
	Metadata          map[string]string `json:"metadata,omitempty"`
	Fqdn              string            `json:"fqdn,omitempty"`
	ProvisioningState string            `json:"provisioningState,omitempty"`
	TTL               int64             `json:"TTL"`
	TargetResource    *reference        `json:"targetResource,omitempty"`
	A                 []aRecord         `json:"ARecords,omitempty"`
	AAAA              []aaaaRecord      `json:"AAAARecords,omitempty"`
	CAA               []caaRecord       `json:"caaRecords,omitempty"`
	CNAME             *cnameRecord      `json:"CNAMERecord,omitempty"`
	MX                []mxRecord        `json:"MXRecords,omitempty"`
	NS                []nsRecord        `json:"NSRecords,omitempty"`
	SOA               *soaRecord        `json:"SOARecord,omitempty"`
	TXT               []txtRecord       `json:"TXTRecords,omitempty"`
}

type (
	reference struct {
		ID string `json:"id,omitempty"`
	}
	aRecord struct {
		Address string `json:"ipv4Address"`
	}
	aaaaRecord struct {
		Address string `json:"ipv6Address"`
	}
	caaRecord struct {
		Flags int    `json:"flags"`
		Tag   string `json:"tag"`
		Value string `json:"value"`
	}
	cnameRecord struct {
		Cname string `json:"cname"`
	}
	mxRecord struct {
		Preference int    `json:"preference"`
		Exchange   string `json:"exchange"`
	}
	nsRecord struct {
		Name string `json:"nsdname"`
	}
	soaRecord struct {
		Host         string `json:"host"`
		Email        string `json:"email"`
		SerialNumber int64  `json:"serialNumber"`
	}
	txtRecord struct {
		Value []string `json:"value"`
	}
)

// types are those that this server holds.
var types = []string{"A", "AAAA", "CAA", "CNAME", "MX", "NS", "SOA", "TXT"}

// records is how many a set has of each type that it has any of.
func (p *properties) records() map[string]int {
	out := map[string]int{"A": len(p.A), "AAAA": len(p.AAAA), "CAA": len(p.CAA), "MX": len(p.MX), "NS": len(p.NS), "TXT": len(p.TXT)}
	if p.CNAME != nil {
		out["CNAME"] = 1
	}
	if p.SOA != nil {
		out["SOA"] = 1
	}
	maps.DeleteFunc(out, func(_ string, n int) bool { return n == 0 })
	return out
}

func newZone(group, name, etag string) *zone {
	z := &zone{group, name, etag, map[key]*recordSet{}}
	z.sets[key{"@", "NS"}] = &recordSet{Name: "@", Type: "Microsoft.Network/dnszones/NS", Etag: etag,
		Properties: properties{TTL: 172800, Fqdn: name + ".", NS: []nsRecord{{"ns1-01.azure-dns.com."}, {"ns2-01.azure-dns.net."}}}}
	z.sets[key{"@", "SOA"}] = &recordSet{Name: "@", Type: "Microsoft.Network/dnszones/SOA", Etag: etag,
		Properties: properties{TTL: 3600, Fqdn: name + ".", SOA: &soaRecord{"ns1-01.azure-dns.com.", "azuredns-hostmaster.microsoft.com", 1}}}
	return z
}

// describe is a zone on the wire.
func (s *Server) describe(z *zone) any {
	return map[string]any{
		"id": s.id(z), "name": z.name, "type": "Microsoft.Network/dnszones", "etag": z.etag, "location": "global",
		"properties": map[string]any{
			"maxNumberOfRecordSets": 10000, "maxNumberOfRecordsPerRecordSet": maxRecords, "numberOfRecordSets": len(z.sets),
			"nameServers": []string{"ns1-01.azure-dns.com.", "ns2-01.azure-dns.net."}, "zoneType": "Public",
		},
	}
}

func (s *Server) listZones(r *request) (any, *refusal) {
	var out []any
	for _, z := range s.zones {
		if r.group == "" || strings.EqualFold(r.group, z.group) {
			out = append(out, s.describe(z))
		}
	}
	return page(r, out)
}

// listSets lists all record sets, or those of a type.
func (s *Server) listSets(z *zone, r *request) (any, *refusal) {
	if r.kind != "ALL" && r.kind != "RECORDSETS" && !slices.Contains(types, r.kind) {
		return nil, refuse(http.StatusBadRequest, "BadRequest", "The record type '%s' is not known.", r.kind)
	}
	suffix := r.URL.Query().Get("$recordsetnamesuffix")
	keys := slices.SortedFunc(maps.Keys(z.sets), func(a, b key) int { return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.typ, b.typ)) })
	var out []*recordSet
	for _, k := range keys {
		if (r.kind == "ALL" || r.kind == "RECORDSETS" || r.kind == k.typ) && (suffix == "" || strings.HasSuffix(k.name, "."+suffix)) {
			out = append(out, z.sets[k])
		}
	}
	return page(r, out)
}
