// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package cloudflare

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
)

// operation is a record as it comes in: what is missing is nil.
type operation struct {
	ID       *string         `json:"id"`
	Name     *string         `json:"name"`
	Type     *string         `json:"type"`
	Content  *string         `json:"content"`
	TTL      *int            `json:"ttl"`
	Proxied  *bool           `json:"proxied"`
	Comment  *string         `json:"comment"`
	Tags     []string        `json:"tags"`
	Settings *map[string]any `json:"settings"`
}

// onto is a record with what the operation says.
func (o operation) onto(r Record) Record {
	set(&r.Name, o.Name)
	set(&r.Type, o.Type)
	set(&r.Content, o.Content)
	set(&r.TTL, o.TTL)
	set(&r.Proxied, o.Proxied)
	set(&r.Settings, o.Settings)
	if o.Comment != nil {
		r.Comment = o.Comment
	}
	if o.Tags != nil {
		r.Tags = o.Tags
	}
	return r
}

func set[T any](to *T, value *T) {
	if value != nil {
		*to = *value
	}
}

// request is the body of a batch.
type request struct {
	Deletes []operation `json:"deletes"`
	Patches []operation `json:"patches"`
	Puts    []operation `json:"puts"`
	Posts   []operation `json:"posts"`
}

func decode(r *http.Request, into any) *refusal {
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return refuse(http.StatusBadRequest, 9207, "Request body is invalid.")
	}
	return nil
}

// batch carries a batch out as a whole, or says why not.
func (s *Server) batch(z *zone, r *http.Request) (envelope, *refusal) {
	var b request
	if refused := decode(r, &b); refused != nil {
		return envelope{}, refused
	}
	n := len(b.Deletes) + len(b.Patches) + len(b.Puts) + len(b.Posts)
	if n == 0 || n > maxOperations {
		return envelope{}, refuse(http.StatusBadRequest, 9207, "A batch has 1 to %d operations, and this has %d", maxOperations, n)
	}
	return s.transact(z, b)
}

// transact does the operations in the order that the reference gives.
func (s *Server) transact(z *zone, b request) (envelope, *refusal) {
	next := &zone{z.zoneInfo, maps.Clone(z.records)}
	done := map[string][]Record{"deletes": {}, "patches": {}, "puts": {}, "posts": {}}
	for _, stage := range []struct {
		name string
		list []operation
	}{{"deletes", b.Deletes}, {"patches", b.Patches}, {"puts", b.Puts}, {"posts", b.Posts}} {
		for _, o := range stage.list {
			result, refused := s.operate(next, stage.name, o)
			if refused != nil {
				return envelope{}, refused
			}
			done[stage.name] = append(done[stage.name], result)
		}
	}
	z.records = next.records
	return envelope{Result: done}, nil
}

func (s *Server) operate(z *zone, kind string, o operation) (Record, *refusal) {
	var old Record
	if kind == "posts" {
		if o.ID != nil {
			return Record{}, refuse(http.StatusBadRequest, 9207, "Request body is invalid.")
		}
	} else {
		exists := false
		if o.ID != nil {
			old, exists = z.records[*o.ID]
		}
		if !exists {
			return Record{}, refuse(http.StatusNotFound, 81044, "Record does not exist.")
		}
	}
	switch kind {
	case "deletes":
		delete(z.records, old.ID)
		return old, nil
	case "puts":
		// What is not given is not kept.
		old = Record{ID: old.ID, CreatedOn: old.CreatedOn}
	}
	if kind != "patches" && (o.Name == nil || o.Type == nil || o.Content == nil || o.TTL == nil) {
		return Record{}, invalid(9020, "name, type, content and ttl are needed.")
	}
	return s.put(z, o.onto(old))
}

// single is a request for one record: a batch of one.
func (s *Server) single(z *zone, r *http.Request, id []string) (envelope, *refusal) {
	var o operation
	kind := map[string]string{http.MethodDelete: "deletes", http.MethodPatch: "patches", http.MethodPut: "puts"}[r.Method]
	switch {
	case len(id) == 0 && r.Method == http.MethodPost:
		kind = "posts"
	case len(id) == 1 && r.Method == http.MethodGet:
		record, exists := z.records[id[0]]
		if !exists {
			return envelope{}, refuse(http.StatusNotFound, 81044, "Record does not exist.")
		}
		return envelope{Result: record}, nil
	case len(id) != 1 || kind == "":
		return envelope{}, refuse(http.StatusMethodNotAllowed, 10405, "Method not allowed for this authentication scheme")
	}
	if kind != "deletes" {
		if refused := decode(r, &o); refused != nil {
			return envelope{}, refused
		}
	}
	if kind != "posts" {
		o.ID = &id[0]
	}
	b := map[string]request{"deletes": {Deletes: []operation{o}}, "patches": {Patches: []operation{o}},
		"puts": {Puts: []operation{o}}, "posts": {Posts: []operation{o}}}[kind]
	answer, refused := s.transact(z, b)
	if refused != nil {
		return envelope{}, refused
	}
	done, _ := answer.Result.(map[string][]Record)
	if kind == "deletes" {
		return envelope{Result: map[string]string{"id": id[0]}}, nil
	}
	return envelope{Result: slices.Concat(done[kind])[0]}, nil
}
