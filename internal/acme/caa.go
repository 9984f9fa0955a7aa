// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"context"
	"fmt"
	"strings"
)

// CAARecord is one record of type CAA (RFC 8659 §4.1).
type CAARecord struct {
	Critical   bool
	Tag, Value string
}

// CAAResolver looks up the CAA records at exactly one name; none is no error.
type CAAResolver interface {
	LookupCAA(ctx context.Context, name string) ([]CAARecord, error)
}

// warnOfCAA looks whether records forbid the CA to issue. It only warns: the CA
// looks itself, from elsewhere, and decides.
func (r *run) warnOfCAA() {
	r.Warnings = nil
	if r.engine.options.CAA == nil {
		return
	}
	directory, err := r.client().read(r.ctx, r.now)
	if err != nil || directory.Meta == nil || len(directory.Meta.CAAIdentities) == 0 {
		return
	}
	for _, name := range r.spec.Names {
		if w := caaWarning(r.ctx, r.engine.options.CAA, name, directory.Meta.CAAIdentities); w != "" {
			r.Warnings = append(r.Warnings, clean(w))
		}
	}
}

// caaWarning climbs from a name towards the root and takes the first records that
// it finds (RFC 8659 §3).
func caaWarning(ctx context.Context, resolver CAAResolver, name string, identities []string) string {
	base, wildcard := strings.CutPrefix(name, "*.")
	for at := base; at != ""; _, at, _ = strings.Cut(at, ".") {
		records, err := resolver.LookupCAA(ctx, at)
		if err != nil {
			return fmt.Sprintf("the CAA records of %s could not be looked up: %v", at, err)
		}
		if len(records) > 0 {
			if !caaAllows(records, wildcard, identities) {
				return fmt.Sprintf("the CAA records at %s do not let this CA (%s) issue for %s", at, strings.Join(identities, ", "), name)
			}
			return ""
		}
	}
	return ""
}

func caaAllows(records []CAARecord, wildcard bool, identities []string) bool {
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
