// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package azuredns

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

const (
	maxRecords = 20
	maxTTL     = 1<<31 - 1
	// maxText is how long the strings of one TXT record may be together.
	maxText = 4096
	// The limits of tags stand in for those of metadata.
	maxMetadata      = 50
	maxMetadataName  = 512
	maxMetadataValue = 256
)

// putSet creates or replaces a record set as its headers allow.
func (s *Server) putSet(z *zone, r *request) (int, any, *refusal) {
	k := key{r.name, r.kind}
	there := z.sets[k]
	if refused := compare(r, there); refused != nil {
		return 0, nil, refused
	}
	var in recordSet
	if err := json.Unmarshal(r.body, &in); err != nil {
		return 0, nil, refuse(http.StatusBadRequest, "BadRequest", "The request content was invalid and could not be deserialized: '%v'.", err)
	}
	if refused := z.fits(k, &in.Properties); refused != nil {
		return 0, nil, refused
	}
	set := &recordSet{
		ID: s.id(z) + "/" + k.typ + "/" + k.name, Name: k.name, Type: "Microsoft.Network/dnszones/" + k.typ, Etag: s.etag(),
		Properties: in.Properties,
	}
	set.Properties.ProvisioningState = "Succeeded"
	set.Properties.Fqdn = k.name + "." + z.name + "."
	if k.name == "@" {
		set.Properties.Fqdn = z.name + "."
	}
	if set.Properties.TargetResource == nil {
		// The service answers an empty reference, not none.
		set.Properties.TargetResource = &reference{}
	}
	z.sets[k] = set
	if there == nil {
		return http.StatusCreated, set, nil
	}
	return http.StatusOK, set, nil
}

func (s *Server) deleteSet(z *zone, r *request) (int, any, *refusal) {
	k := key{r.name, r.kind}
	there := z.sets[k]
	if there == nil && s.GoneIsFine {
		return http.StatusNoContent, nil, nil
	}
	if refused := compare(r, there); refused != nil {
		return 0, nil, refused
	}
	switch {
	case there == nil:
		return http.StatusNoContent, nil, nil
	case k.name == "@" && (k.typ == "NS" || k.typ == "SOA"):
		return 0, nil, refuse(http.StatusBadRequest, "BadRequest", "The record set '@' of type '%s' cannot be deleted.", k.typ)
	}
	delete(z.sets, k)
	return http.StatusOK, nil, nil
}

// compare is what If-Match and If-None-Match ask for.
func compare(r *request, there *recordSet) *refusal {
	match, none := r.Header.Get("If-Match"), r.Header.Get("If-None-Match")
	is := ""
	if there != nil {
		is = there.Etag
	}
	switch {
	case none == "*" && there != nil:
		return refuse(http.StatusPreconditionFailed, "PreconditionFailed", "The Record set %s exists already and hence cannot be created again.", r.name)
	case match == "*" && there == nil, match != "" && match != "*" && strings.Trim(match, `"`) != is:
		return refuse(http.StatusPreconditionFailed, "PreconditionFailed",
			"The condition '%s' in the If-Match header was not satisfied. The current was '%s'.", match, is)
	}
	return nil
}

func invalid(format string, a ...any) *refusal {
	return refuse(http.StatusBadRequest, "BadRequest", format, a...)
}

// fits holds a record set against the zone and what is in it.
func (z *zone) fits(k key, p *properties) *refusal {
	if refused := z.validName(k); refused != nil {
		return refused
	}
	for typ, n := range p.records() {
		switch {
		case typ != k.typ:
			return invalid("The record set of type '%s' has records of type '%s'.", k.typ, typ)
		case n > maxRecords:
			return invalid("The record set '%s' has %d records, and the maximum is %d.", k.name, n, maxRecords)
		}
	}
	alias := p.TargetResource != nil && p.TargetResource.ID != ""
	switch {
	case p.TTL < 1 || p.TTL > maxTTL:
		return invalid("The TTL %d is not between 1 and %d.", p.TTL, maxTTL)
	case k.typ == "CNAME" && k.name == "@":
		return invalid("The CNAME record set cannot be created at the zone apex.")
	case k.typ == "CNAME" && p.CNAME == nil && !alias:
		return invalid("The CNAME record set has no record.")
	}
	if refused := z.clash(k); refused != nil {
		return refused
	}
	if refused := validMetadata(p.Metadata); refused != nil {
		return refused
	}
	return validRecords(p)
}

// clash keeps a CNAME alone at its name.
func (z *zone) clash(k key) *refusal {
	for other := range z.sets {
		switch {
		case other.name != k.name || other == k:
		case k.typ == "CNAME":
			return refuse(http.StatusConflict, "Conflict", "The CNAME record could not be created because another record with the same name already exists in this zone.")
		case other.typ == "CNAME":
			return refuse(http.StatusConflict, "Conflict", "The record could not be created because a CNAME record with the same name already exists in this zone.")
		}
	}
	return nil
}

func (z *zone) validName(k key) *refusal {
	if !slices.Contains(types, k.typ) {
		return invalid("The record type '%s' is not known.", k.typ)
	}
	if k.name == "@" {
		return nil
	}
	if len(k.name)+len(z.name)+1 > 253 {
		return invalid("The record name '%s' is too long.", k.name)
	}
	for i, label := range strings.Split(k.name, ".") {
		if label == "*" && i == 0 && k.typ != "NS" {
			continue
		}
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return invalid("The record name '%s' is not valid.", k.name)
		}
	}
	return nil
}

func validMetadata(m map[string]string) *refusal {
	if len(m) > maxMetadata {
		return invalid("The record set has %d metadata entries, and the maximum is %d.", len(m), maxMetadata)
	}
	folded := map[string]bool{}
	for name, value := range m {
		lower := strings.ToLower(name)
		if name == "" || len(name) > maxMetadataName || len(value) > maxMetadataValue || folded[lower] || strings.ContainsAny(name, `<>%&\?/`) {
			return invalid("The metadata entry '%s' is not valid.", name)
		}
		folded[lower] = true
	}
	return nil
}

// validRecords looks at values, and for one that is there twice.
func validRecords(p *properties) *refusal {
	var seen []string
	for _, r := range p.A {
		if a, err := netip.ParseAddr(r.Address); err != nil || !a.Is4() {
			return invalid("The value '%s' is not a valid IPv4 address.", r.Address)
		}
		seen = append(seen, r.Address)
	}
	for _, r := range p.AAAA {
		a, err := netip.ParseAddr(r.Address)
		if err != nil || !a.Is6() || a.Zone() != "" {
			return invalid("The value '%s' is not a valid IPv6 address.", r.Address)
		}
		seen = append(seen, a.String())
	}
	for _, r := range p.TXT {
		if refused := validText(r.Value); refused != nil {
			return refused
		}
		seen = append(seen, fmt.Sprintf("%q", r.Value))
	}
	if c := p.CNAME; c != nil && (c.Cname == "" || strings.ContainsAny(c.Cname, ` "/:`)) {
		return invalid("The domain name '%s' is invalid.", c.Cname)
	}
	slices.Sort(seen)
	if len(slices.Compact(slices.Clone(seen))) != len(seen) {
		return invalid("The record set has the same record twice.")
	}
	return nil
}

func validText(parts []string) *refusal {
	total := 0
	for _, part := range parts {
		if len(part) > 255 {
			return invalid("A string of a TXT record has %d characters, and the maximum is 255.", len(part))
		}
		total += len(part)
	}
	if len(parts) == 0 || total > maxText {
		return invalid("A TXT record has %d characters, and between 1 string and %d characters are possible.", total, maxText)
	}
	return nil
}
