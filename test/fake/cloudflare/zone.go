// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package cloudflare

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// zoneInfo is the resource, as far as it is known here.
type zoneInfo struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Status string `json:"status"`
	Type   string `json:"type"`
}

type zone struct {
	zoneInfo
	records map[string]Record
}

// Record is the resource. Data is for types that have no content of their own here.
type Record struct {
	ID         string         `json:"id"`
	Name       string         `json:"name"`
	Type       string         `json:"type"`
	Content    string         `json:"content"`
	Proxiable  bool           `json:"proxiable"`
	Proxied    bool           `json:"proxied"`
	TTL        int            `json:"ttl"`
	Settings   map[string]any `json:"settings"`
	Comment    *string        `json:"comment"`
	Tags       []string       `json:"tags"`
	CreatedOn  string         `json:"created_on"`
	ModifiedOn string         `json:"modified_on"`
}

// AddZone makes a zone and returns its id. Status is active, pending, moved and so
// on, typ is full, partial, secondary or internal.
func (s *Server) AddZone(name, status, typ string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revision++
	z := &zone{zoneInfo{ID: fmt.Sprintf("%032x", 0xf000+s.revision), Name: name, Status: status, Type: typ}, map[string]Record{}}
	s.zones = append(s.zones, z)
	return z.ID
}

// Put writes a record as the dashboard would: a new one where it has no id. It
// returns the record, and what is wrong with it, as the API would say.
func (s *Server) Put(zoneID string, r Record) (Record, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	z, _ := s.zone(zoneID, "", Edit)
	next, refused := s.put(z, r)
	if refused != nil {
		return Record{}, fmt.Sprint(refused.problem)
	}
	return next, ""
}

// Remove takes away what matches: records of a name and type.
func (s *Server) Remove(zoneID, name, typ string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	z, _ := s.zone(zoneID, "", Edit)
	maps.DeleteFunc(z.records, func(_ string, r Record) bool { return r.Name == name && r.Type == typ })
}

// Dump is all that is in a zone, in order of ids, which is the order of making.
func (s *Server) Dump(zoneID string) []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	z, _ := s.zone(zoneID, "", Edit)
	return z.sorted()
}

func (z *zone) sorted() []Record {
	return slices.SortedFunc(maps.Values(z.records), func(a, b Record) int { return strings.Compare(a.ID, b.ID) })
}

// stamp is the time of a write; no two are the same.
func (s *Server) stamp() string {
	s.revision++
	return time.Unix(1_790_000_000, int64(s.revision)*1000).UTC().Format("2006-01-02T15:04:05.000000Z")
}

func (s *Server) listRecords(z *zone, r *http.Request) (envelope, *refusal) {
	query := r.URL.Query()
	list := z.sorted()
	for name := range query {
		value := query.Get(name)
		switch name {
		case "name", "name.exact":
			// The API compares without case.
			list = slices.DeleteFunc(list, func(r Record) bool { return !strings.EqualFold(r.Name, value) })
		case "type":
			list = slices.DeleteFunc(list, func(r Record) bool { return r.Type != value })
		case "page", "per_page":
		default:
			return envelope{}, refuse(http.StatusNotImplemented, 10501, "this stand-in does not know the filter %s", name)
		}
	}
	return paged(s, r, list, 100, maxPerPage)
}
