// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package clouddns

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"time"
)

// Quotas of a change, from the page "Quotas and limits".
const (
	maxAdditions = 1000
	maxDeletions = 1000
	maxData      = 100_000
	maxValues    = 100
)

// change is the resource.
type change struct {
	Kind      string      `json:"kind"`
	ID        string      `json:"id"`
	StartTime string      `json:"startTime"`
	Status    string      `json:"status"`
	Additions []RecordSet `json:"additions,omitempty"`
	Deletions []RecordSet `json:"deletions,omitempty"`
	IsServing bool        `json:"isServing,omitempty"`

	reads int
}

// change carries a change out as a whole, or says why not.
func (s *Server) change(z *zone, r *http.Request) (any, *refusal) {
	var c change
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&c); err != nil {
		return nil, refuse(http.StatusBadRequest, "parseError", "Parse Error")
	}
	if len(c.Additions)+len(c.Deletions) == 0 {
		return nil, refuse(http.StatusBadRequest, "required", "The 'entity.change' parameter is required but was missing.")
	}
	if refused := overQuota(&c); refused != nil {
		return nil, refused
	}
	next := &zone{DNSName: z.DNSName, sets: maps.Clone(z.sets)}
	if refused := next.delete(c.Deletions); refused != nil {
		return nil, refused
	}
	if refused := next.add(c.Additions); refused != nil {
		return nil, refused
	}
	if refused := next.rules(&c); refused != nil {
		return nil, refused
	}
	z.sets = next.sets
	c.Kind, c.ID, c.Status = "dns#change", strconv.Itoa(len(z.changes)+1), "pending"
	c.StartTime = s.now().UTC().Format(time.RFC3339)
	z.changes = append(z.changes, &c)
	return c, nil
}

// overQuota names every quota that a change exceeds, as the service does.
func overQuota(c *change) *refusal {
	data := 0
	for _, set := range slices.Concat(c.Additions, c.Deletions) {
		for _, v := range set.Rrdatas {
			data += len(v)
		}
	}
	var over []string
	if len(c.Additions) > maxAdditions {
		over = append(over, "additions per change")
	}
	if len(c.Deletions) > maxDeletions {
		over = append(over, "deletions per change")
	}
	if data > maxData {
		over = append(over, "total rrdata size per change")
	}
	for _, set := range c.Additions {
		if len(set.Rrdatas) > maxValues {
			over = append(over, "resource records per rrset")
			break
		}
	}
	if len(over) == 0 {
		return nil
	}
	out := refuse(http.StatusForbidden, "quotaExceeded", "The change would exceed quota for %s.", over[0])
	for _, what := range over[1:] {
		out.Error.Errors = append(out.Error.Errors, refusedFor{
			Message: fmt.Sprintf("The change would exceed quota for %s.", what), Domain: "global", Reason: "quotaExceeded"})
	}
	return out
}

func (z *zone) delete(sets []RecordSet) *refusal {
	for i, set := range sets {
		at := fmt.Sprintf("entity.change.deletions[%d]", i)
		is, exists := z.sets[set.key()]
		if !exists {
			return refuse(http.StatusNotFound, "notFound", "The '%s' resource named '%s' does not exist.", at, set.key())
		}
		if !same(is, set) {
			return refuse(http.StatusPreconditionFailed, "conditionNotMet", "Precondition not met for '%s'", at)
		}
		delete(z.sets, set.key())
	}
	return nil
}

// same compares as the service does: to the letter, in any order.
func same(a, b RecordSet) bool {
	return a.TTL == b.TTL && slices.Equal(slices.Sorted(slices.Values(a.Rrdatas)), slices.Sorted(slices.Values(b.Rrdatas))) &&
		reflect.DeepEqual(loose(a.RoutingPolicy), loose(b.RoutingPolicy))
}

// loose is a value without the formatting of its text and what clients leave out:
// kinds, and fields that are zero, which mean the same as none in the service's own
// form of messages.
func loose(raw json.RawMessage) any {
	var out any
	if len(raw) == 0 || json.NewDecoder(bytes.NewReader(raw)).Decode(&out) != nil {
		return nil
	}
	return essence(out)
}

func essence(v any) any {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "kind")
		for k := range v {
			if v[k] = essence(v[k]); v[k] == 0.0 || v[k] == false || v[k] == "" {
				delete(v, k)
			}
		}
	case []any:
		for i := range v {
			v[i] = essence(v[i])
		}
	}
	return v
}

func (z *zone) add(sets []RecordSet) *refusal {
	for i := range sets {
		at := fmt.Sprintf("entity.change.additions[%d]", i)
		set := sets[i]
		if refused := z.invalid(at, &set); refused != nil {
			return refused
		}
		if _, exists := z.sets[set.key()]; exists {
			return refuse(http.StatusConflict, "alreadyExists", "The resource '%s' named '%s' already exists", at, set.key())
		}
		z.put(set)
		sets[i] = z.sets[set.key()]
	}
	return nil
}

// rules are those of the zone as a whole, after the change.
func (z *zone) rules(c *change) *refusal {
	for i, set := range c.Deletions {
		k := set.key()
		if _, again := z.sets[k]; k.name == z.DNSName && (k.typ == "SOA" || k.typ == "NS") && !again {
			return refuse(http.StatusBadRequest, "invalidZoneApex",
				"The resource record set 'entity.change.deletions[%d]' is invalid because a zone must contain exactly one resource record set of type '%s' at the apex.", i, k.typ)
		}
	}
	types := map[string]int{}
	for k := range z.sets {
		types[k.name]++
	}
	for i, set := range c.Additions {
		name := set.key().name
		if _, cname := z.sets[key{name, "CNAME"}]; cname && types[name] > 1 {
			return refuse(http.StatusBadRequest, "cnameResourceRecordSetConflict",
				"The resource record set 'entity.change.additions[%d]' is invalid because the DNS name '%s' may have either one CNAME resource record set or resource record sets of other types, but not both.", i, name)
		}
	}
	return nil
}

// getChange is a change, which is done after it was seen pending for a while.
func (s *Server) getChange(z *zone, id string) (any, *refusal) {
	n, err := strconv.Atoi(id)
	if err != nil || n < 1 || n > len(z.changes) {
		return nil, refuse(http.StatusNotFound, "notFound", "The 'parameters.changeId' resource named '%s' does not exist.", id)
	}
	c := z.changes[n-1]
	if c.reads++; c.reads > s.PendingReads {
		c.Status = "done"
	}
	return *c, nil
}
