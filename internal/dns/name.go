// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"fmt"
	"strings"

	"golang.org/x/net/idna"
)

// Limits of RFC 1035 §2.3.4, in octets. A name's 255 octets on the wire are 253
// characters of text.
const (
	maxName  = 253
	maxLabel = 63
)

// maxText bounds what is read as a name: U-labels take up to four octets for one.
const maxText = 4 * maxName

// Name is a domain name in canonical form: A-labels (RFC 5890) in lower case,
// no trailing dot. A wildcard begins with "*." (RFC 4592). Make one with
// ParseName; two names are the same exactly when they are equal.
type Name string

// profile is what resolvers do with names that people type (UTS 46,
// non-transitional), with underscores for service labels.
var profile = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(false), idna.VerifyDNSLength(false))

// ParseName reads a domain name as people and providers write it: any case,
// U-labels or A-labels, with or without a trailing dot, and \052 for a star.
func ParseName(s string) (Name, error) {
	if len(s) > maxText {
		return "", fmt.Errorf("reading a domain name: it has %d octets, and no name has more than %d", len(s), maxText)
	}
	text := strings.TrimSuffix(s, ".")
	text, wildcard := strings.CutPrefix(strings.Replace(text, `\052`, "*", 1), "*.")
	ascii, err := profile.ToASCII(text)
	if err != nil {
		return "", fmt.Errorf("reading the domain name %q: %w", s, err)
	}
	// Some A-labels stand for no U-label, or for one that has another A-label.
	if again, err := profile.ToASCII(ascii); err != nil || again != ascii {
		return "", fmt.Errorf("reading the domain name %q: it has no canonical form", s)
	}
	plain := ascii
	first, rest, _ := strings.Cut(ascii, ".")
	if kind, starred := strings.CutSuffix(first, "-*"); starred && kind != "" && rest != "" && !wildcard {
		// ExternalDNS marks the wildcard *.example.com at a-*.example.com.
		plain = kind + "." + rest
	}
	if err := checkName(plain); err != nil {
		return "", fmt.Errorf("reading the domain name %q: %w", s, err)
	}
	if wildcard {
		ascii = "*." + ascii
	}
	if len(ascii) > maxName {
		return "", fmt.Errorf("reading the domain name %q: it has %d characters, and DNS allows %d", s, len(ascii), maxName)
	}
	return Name(ascii), nil
}

func checkName(ascii string) error {
	for label := range strings.SplitSeq(ascii, ".") {
		switch {
		case label == "":
			return fmt.Errorf("a label is empty")
		case len(label) > maxLabel:
			return fmt.Errorf("the label %q has %d characters, and DNS allows %d", label, len(label), maxLabel)
		}
		for _, c := range label {
			if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-_", c) {
				return fmt.Errorf("the label %q has the character %q", label, c)
			}
		}
	}
	return nil
}

// In reports whether the name is the zone's apex or below it.
func (n Name) In(zone Name) bool {
	return n == zone || strings.HasSuffix(string(n), "."+string(zone))
}

// Wildcard reports whether the name stands for all names that do not exist below
// its parent.
func (n Name) Wildcard() bool { return strings.HasPrefix(string(n), "*.") }

// Starred reports whether the name has an asterisk and is no wildcard: other tools
// mark wildcards there, and some providers have no such names.
func (n Name) Starred() bool { return strings.Contains(string(n), "*") && !n.Wildcard() }

// Relative is the name as zone files write it inside a zone: "@" for the apex.
func (n Name) Relative(zone Name) string {
	if n == zone {
		return "@"
	}
	return strings.TrimSuffix(string(n), "."+string(zone))
}

// FQDN is the name with a trailing dot.
func (n Name) FQDN() string { return string(n) + "." }
