// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package clouddns

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// managedZone is the resource, as far as it is known here.
type managedZone struct {
	Kind             string          `json:"kind"`
	ID               string          `json:"id"`
	Name             string          `json:"name"`
	DNSName          string          `json:"dnsName"`
	Visibility       string          `json:"visibility"`
	NameServers      []string        `json:"nameServers"`
	ForwardingConfig json.RawMessage `json:"forwardingConfig,omitempty"`
	PeeringConfig    json.RawMessage `json:"peeringConfig,omitempty"`
}

// RecordSet is the resource. RoutingPolicy is kept as it was given.
type RecordSet struct {
	Kind             string          `json:"kind,omitempty"`
	Name             string          `json:"name"`
	Type             string          `json:"type"`
	TTL              int64           `json:"ttl"`
	Rrdatas          []string        `json:"rrdatas,omitempty"`
	SignatureRrdatas []string        `json:"signatureRrdatas,omitempty"`
	RoutingPolicy    json.RawMessage `json:"routingPolicy,omitempty"`
}

type key struct{ name, typ string }

func (s RecordSet) key() key { return key{strings.ToLower(s.Name), s.Type} }

func (k key) String() string { return k.name + " (" + k.typ + ")" }

// order is a key as a word that sorts like keys: no name contains a space.
func (k key) order() string { return k.name + " " + k.typ }

// zone is a zone and all that happened to it.
type zone struct {
	ManagedZone managedZone
	Name, ID    string
	DNSName     string
	sets        map[key]RecordSet
	changes     []*change
}

// ZoneOptions are what zones differ in.
type ZoneOptions struct {
	Private bool
	// Forwarding and Peering zones hold no records.
	Forwarding, Peering bool
}

// AddZone makes a zone with SOA and NS at its apex. DNSName ends in a dot.
func (s *Server) AddZone(name, dnsName string, o ZoneOptions) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := managedZone{Kind: "dns#managedZone", ID: strconv.Itoa(1000 + len(s.zones)), Name: name, DNSName: dnsName,
		Visibility: "public", NameServers: []string{"ns-cloud-a1.googledomains.com."}}
	if o.Private {
		m.Visibility = "private"
	}
	if o.Forwarding {
		m.ForwardingConfig = json.RawMessage(`{"targetNameServers": []}`)
	}
	if o.Peering {
		m.PeeringConfig = json.RawMessage(`{"targetNetwork": {}}`)
	}
	z := &zone{ManagedZone: m, Name: name, ID: m.ID, DNSName: dnsName, sets: map[key]RecordSet{}}
	z.put(RecordSet{Name: dnsName, Type: "NS", TTL: 21600, Rrdatas: m.NameServers})
	z.put(RecordSet{Name: dnsName, Type: "SOA", TTL: 21600,
		Rrdatas: []string{"ns-cloud-a1.googledomains.com. cloud-dns-hostmaster.google.com. 1 21600 3600 259200 300"}})
	s.zones[name] = z
}

// Put writes a record set as the console would, whatever was there. It returns
// what is wrong with it, as the API would say.
func (s *Server) Put(zoneName string, set RecordSet) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	z := s.zones[zoneName]
	if refused := z.invalid("console", &set); refused != nil {
		return refused.Error.Message
	}
	z.put(set)
	return ""
}

// Remove takes a record set away.
func (s *Server) Remove(zoneName, name, typ string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.zones[zoneName].sets, key{name, typ})
}

// Dump is all that is in a zone, sorted.
func (s *Server) Dump(zoneName string) []RecordSet {
	s.mu.Lock()
	defer s.mu.Unlock()
	z := s.zones[zoneName]
	return slices.SortedFunc(maps.Values(z.sets), func(a, b RecordSet) int {
		return cmp.Compare(a.key().order(), b.key().order())
	})
}

func (z *zone) put(set RecordSet) {
	set.Kind = "dns#resourceRecordSet"
	set.SignatureRrdatas = []string{}
	z.sets[set.key()] = set
}

func (s *Server) listSets(z *zone, r *http.Request) (any, *refusal) {
	query := r.URL.Query()
	name, typ := query.Get("name"), query.Get("type")
	switch {
	case query.Has("filter"):
		return nil, refuse(http.StatusNotImplemented, "notImplemented", "this stand-in knows no filters")
	case typ != "" && name == "":
		return nil, refuse(http.StatusBadRequest, "invalid", "Invalid value for 'parameters.type': a name is needed with it")
	case name != "" && !strings.HasSuffix(name, "."):
		return nil, refuse(http.StatusBadRequest, "invalid", "Invalid value for 'parameters.name': '%s'", name)
	}
	byOrder := map[string]RecordSet{}
	for k, set := range z.sets {
		if (name == "" || k.name == strings.ToLower(name)) && (typ == "" || k.typ == typ) {
			byOrder[k.order()] = set
		}
	}
	page, next, refused := paged(s, r, slices.Sorted(maps.Keys(byOrder)))
	if refused != nil {
		return nil, refused
	}
	list := []RecordSet{}
	for _, k := range page {
		list = append(list, byOrder[k])
	}
	return map[string]any{"kind": "dns#resourceRecordSetsListResponse", "rrsets": list, "nextPageToken": next}, nil
}
