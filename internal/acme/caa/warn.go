// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package caa

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Record is one record of type CAA (RFC 8659 §4.1).
type Record struct {
	Critical   bool
	Tag, Value string
}

// Resolver looks up the records at exactly one name; none is no error.
type Resolver interface {
	LookupCAA(ctx context.Context, name string) ([]Record, error)
}

const (
	// patience is how long all names together may take.
	patience = 5 * time.Second
	// maxWarnings are enough to see what is wrong.
	maxWarnings = 5
)

// Warnings say for people which names an authority is forbidden to issue for, which
// calls itself by one of the identities in such records. Names may be wildcards. A resolver that fails is one warning, and the end.
func Warnings(ctx context.Context, resolver Resolver, names, identities []string) []string {
	// Nothing depends on it, so that nobody waits for it long.
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	once := &memo{resolver: resolver, known: map[string][]Record{}}
	var out []string
	for _, name := range names {
		if w := warning(ctx, once, name, identities); w != "" {
			out = append(out, w)
		}
		if once.failed || len(out) == maxWarnings {
			break
		}
	}
	return out
}

// memo asks about each name once: most names of a certificate have the same
// parents.
type memo struct {
	resolver Resolver
	known    map[string][]Record
	failed   bool
}

// LookupCAA implements Resolver.
func (m *memo) LookupCAA(ctx context.Context, name string) ([]Record, error) {
	if records, ok := m.known[name]; ok {
		return records, nil
	}
	records, err := m.resolver.LookupCAA(ctx, name)
	if m.failed = err != nil; err == nil {
		m.known[name] = records
	}
	return records, err
}

// warning climbs from a name towards the root and takes the first records that
// it finds (RFC 8659 §3).
func warning(ctx context.Context, resolver Resolver, name string, identities []string) string {
	base, wildcard := strings.CutPrefix(name, "*.")
	for at := base; at != ""; _, at, _ = strings.Cut(at, ".") {
		records, err := resolver.LookupCAA(ctx, at)
		if err != nil {
			return fmt.Sprintf("the CAA records of %s could not be looked up: %v", at, err)
		}
		if len(records) > 0 {
			if !allows(records, wildcard, identities) {
				return fmt.Sprintf("the CAA records at %s do not let this CA (%s) issue for %s", at, strings.Join(identities, ", "), name)
			}
			return ""
		}
	}
	return ""
}

func allows(records []Record, wildcard bool, identities []string) bool {
	var issue, issuewild []string
	for _, c := range records {
		switch domain, _, _ := strings.Cut(c.Value, ";"); strings.ToLower(c.Tag) {
		case "issue":
			issue = append(issue, strings.TrimSpace(domain))
		case "issuewild":
			issuewild = append(issuewild, strings.TrimSpace(domain))
		}
	}
	relevant := issue
	if wildcard && len(issuewild) > 0 {
		relevant = issuewild
	}
	// Records of other kinds alone forbid nothing.
	if len(relevant) == 0 {
		return true
	}
	for _, domain := range relevant {
		for _, identity := range identities {
			if strings.EqualFold(domain, identity) {
				return true
			}
		}
	}
	return false
}
