// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"fmt"
	"strings"
)

// A mark's text, and the labels of its name. They are in zones that outlive any
// version of Trellis: never change them.
const (
	heritage      = "heritage=trellis"
	ownerField    = "trellis/owner="
	resourceField = "trellis/resource="
	markLabel     = "_trellis"
	wildcardLabel = "_wildcard"
)

// markTTL is in seconds. Nobody resolves marks but ourselves, at the source.
const markTTL = 300

// Mark says whose a record set is.
type Mark struct {
	// Owner is the cluster: the UID of its namespace kube-system.
	Owner string
	// Resource is "namespace/name" of the ManagedRecord.
	Resource string
}

// MarkName is where the mark of a record set is: below its name, so that it is in
// the same zone at an apex too.
func MarkName(k Key) (Name, error) {
	name, wildcard := strings.CutPrefix(string(k.Name), "*.")
	if first, _, _ := strings.Cut(name, "."); first == wildcardLabel || first == markLabel {
		return "", fmt.Errorf("%w: names that begin with %s are kept for marks", ErrInvalid, first)
	}
	if !validIdentifier(k.Identifier) {
		// Case would be lost: two members would have one mark.
		return "", fmt.Errorf("%w: the identifier %q is no label in lower case", ErrInvalid, k.Identifier)
	}
	label := strings.ToLower(string(k.Type))
	if k.Identifier != "" {
		label += "-" + k.Identifier
	}
	if wildcard {
		name = wildcardLabel + "." + name
	}
	n, err := ParseName(markLabel + "." + label + "." + name)
	if err != nil {
		return "", fmt.Errorf("%w: its name leaves no room for the mark that says whose it is: %w", ErrInvalid, err)
	}
	return n, nil
}

// IsMark reports whether what is at a key can only be a mark.
func IsMark(k Key) bool {
	return k.Type == TypeTXT && strings.HasPrefix(string(k.Name), markLabel+".")
}

// Set is the mark as a record set, for what is at a key.
func (m Mark) Set(of Key) (RecordSet, error) {
	name, err := MarkName(of)
	if err != nil {
		return RecordSet{}, err
	}
	return NewRecordSet(Key{Name: name, Type: TypeTXT}, markTTL, m.text())
}

func (m Mark) text() string {
	return heritage + "," + ownerField + m.Owner + "," + resourceField + m.Resource
}

// parseMark reads a mark; ok is false for any other text, and where its owner
// could not be shown to people.
func parseMark(text string) (m Mark, ok bool) {
	rest, ok := strings.CutPrefix(text, heritage+",")
	if !ok {
		return Mark{}, false
	}
	for field := range strings.SplitSeq(rest, ",") {
		if v, found := strings.CutPrefix(field, ownerField); found {
			m.Owner = plain(v)
		}
		if v, found := strings.CutPrefix(field, resourceField); found {
			m.Resource = plain(v)
		}
	}
	return m, m.Owner != ""
}

// ForeignMarks are where other tools say that a record set is theirs: ExternalDNS
// by its default names, with the type (since 0.12; an alias of Route 53 was said
// to be a CNAME) and without.
func ForeignMarks(k Key) []Name {
	candidates := []string{strings.ToLower(string(k.Type)) + "-" + string(k.Name), string(k.Name)}
	if k.Type == TypeA || k.Type == TypeAAAA {
		candidates = append(candidates, "cname-"+string(k.Name))
	}
	var out []Name
	for _, candidate := range candidates {
		if n, err := ParseName(candidate); err == nil {
			out = append(out, n)
		}
	}
	return out
}

// foreignOwner reads the owner from another tool's mark, for people.
func foreignOwner(text string) (owner string, ok bool) {
	fields := map[string]string{}
	for field := range strings.SplitSeq(strings.Trim(text, `"`), ",") {
		if key, value, found := strings.Cut(field, "="); found {
			fields[key] = value
		}
	}
	tool := plain(fields["heritage"])
	if tool == "" || tool == "trellis" {
		return "", false
	}
	if id := plain(fields[tool+"/owner"]); id != "" {
		return fmt.Sprintf("%s (owner id %s)", tool, id), true
	}
	return tool, true
}

// plain is a word that others wrote, if it can be shown to people as it is.
func plain(s string) string {
	strange := strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' })
	if strange || len(s) > maxName {
		return ""
	}
	return s
}
