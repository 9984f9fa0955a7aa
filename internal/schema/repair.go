// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/net/idna"
)

// notInThisVersion are fields that the documentation of other versions shows, by
// path without indexes, and what to do without them.
var notInThisVersion = map[string]string{
	"spec.tls.engine":         "leave it out: secretName stands for a certificate that you bring, email or builtIn for one that Trellis gets, and certManager for one that cert-manager gets",
	"spec.dns.engine":         "leave it out: providerRef stands for entries that Trellis writes, and externalDNS for those that ExternalDNS does",
	"spec.gateway.gatewayRef": "name the Service of the gateway's pods in spec.gateway.service",
	"spec.routes.backends":    "take backends out: a route goes to spec.service",
	"spec.objectives":         "take spec.objectives out",
	"spec.fallback":           "take spec.fallback out",
}

// formats says in words what the patterns of the definitions ask.
var formats = map[string]string{
	`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`:                                   "use lower-case letters, digits and dashes, beginning and ending with a letter or digit",
	`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`: "use the name of the object: lower-case letters, digits, dashes and dots",
	`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+$`: "use an API group, such as awspca.cert-manager.io",
	`^[A-Z][A-Za-z0-9]*$`:                                                "use the kind of the issuer, such as ClusterIssuer",
	`^[a-z0-9][a-z0-9.-]*:[A-Za-z0-9][A-Za-z0-9.()_-]*$`:                 "use a catalog and a control of it, such as nist-800-53:AC-4",
	`^https?://[!-~]+$`:                                                  "use an absolute URL, such as https://wiki.example.com/page",
	`^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9a-z.-]+)?$`: "use a version such as 1.2.0 or 1.2.0-rc.1",
	`^[a-z][A-Za-z0-9]*$`:                                                "use letters and digits, beginning with a lower-case letter, such as maxDays",
	`^[0-9a-f]{64}$`:                                                     "leave approval out: whoever may approve writes it, by trellis exception approve",
	`^[A-Za-z0-9_.\[\]]+$`:                                               "use the path of a field, such as timeout or access.callers[0]",
	`^[^@\s]+@[^@\s]+$`:                                                  "use an e-mail address, such as ops@example.com",
	`^https://`:                                                          "use an https URL, such as https://service.example.com/path",
	`^/[!-~]*$`:                                                          "use a path as it is sent, beginning with a slash; write other characters and blanks percent-encoded, such as %20",
	`^[ -~]*$`:                                                           "use printable ASCII",
	`^[^\s\x00-\x1f\x7f]+( [^\s\x00-\x1f\x7f]+)*$`:                       "use one line of words with single blanks between them",
	`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$`: "use a host name in lower case, without port and without a dot at its end",
	`^https?://`:                   "use the URL of the service",
	`^.+:[0-9]{1,5}$`:              "use host and port, such as ns1.example.com:53",
	`^[a-z]([-a-z0-9]*[a-z0-9])?$`: "use the name of a Kubernetes Service: lower-case letters, digits and dashes, beginning with a letter",
	`^(@|[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*)$`:    `use DNS labels in lower case below the ingress's domain, such as shop or api.shop, or "@" for the domain itself`,
	`^(\*|@|[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*)$`: `use DNS labels in lower case below the domain, "@" for the domain itself, or "*" for every name but "@"`,
	`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)+$`:        "use a domain in lower case with at least two labels, such as example.com",
	`^[^*\s]+$`:                     "use the literal value, without blanks and without an asterisk: proxies would read that as a wildcard",
	`^[^\[\]*]+$`:                   "use the literal name of the claim, without brackets and without an asterisk",
	`^[^\[\]*\s]+$`:                 "use the literal name of the claim, without blanks, brackets and asterisks",
	"^[a-z0-9!#$%&'*+.^_|~-]+$":     "use the name of an HTTP header, in lower case",
	`^([0-9]{1,5}(h|m|s)){1,3}$`:    "use a duration in hours, minutes and seconds, such as 24h, 10m or 1h30m",
	`^([0-9]{1,5}(h|m|s|ms)){1,4}$`: "use a duration such as 500ms, 5s, 10m or 1h30m",
	`^https?://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(:[0-9]{1,5})?$`:                                "use scheme and host in lower case, such as https://www.example.com, without a path and without an asterisk",
	`^(https://[^/?#\s@]+|http://[a-z0-9.-]+\.svc(\.cluster\.local)?(:[0-9]+)?)(/[^\s#]*)?$`: "use an https URL, or http to a Service of the cluster (a host that ends in .svc)",
}

// repair says what to write in place of a value that a pattern or a CEL rule
// refuses.
func (k *kind) repair(path, written, message string) string {
	if ascii := asciiName(written); ascii != "" && (strings.Contains(path, "domain") || strings.Contains(path, "hostnames") || strings.Contains(path, "origins")) {
		return fmt.Sprintf("write its ASCII form: %s", ascii)
	}
	if path == "metadata.namespace" && message == "not allowed on this type" {
		return "take it out: a " + k.gvk.Kind + " is for the whole cluster"
	}
	switch path {
	case "metadata":
		return "write names, labels and annotations as text: numbers, true, false, yes and no need quotes"
	case "metadata.name", "<nil>":
		if k.gvk.Kind == "HostClaim" {
			return "name it by the host, in lower case"
		}
		return "rename it: lower-case letters, digits and dashes, at most 63 of them"
	}
	place := k.at(path)
	if hint := formats[place.pattern()]; hint != "" {
		if lower := strings.ToLower(written); lower != written && matches(place.pattern(), lower) {
			hint += fmt.Sprintf("; for example %s", lower)
		}
		return hint
	}
	// The message of a CEL rule says itself what must hold.
	if strings.HasPrefix(message, "exactly one of ") && place != nil {
		return "set one of these fields and no other"
	}
	return "change " + path + " so that this holds"
}

func matches(pattern, text string) bool {
	ok, err := regexp.MatchString(pattern, text)
	return ok && err == nil
}

// asciiName is the IDNA form of a name with other letters, or empty. It is what
// goes on the wire in DNS, TLS and HTTP.
func asciiName(name string) string {
	if strings.IndexFunc(name, func(r rune) bool { return r > unicode.MaxASCII }) < 0 {
		return ""
	}
	scheme, host, found := strings.Cut(name, "://")
	if !found {
		scheme, host = "", name
	}
	ascii, err := idna.Lookup.ToASCII(host)
	if err != nil || ascii == "" {
		return ""
	}
	if found {
		return scheme + "://" + ascii
	}
	return ascii
}

// expected describes the type of a field: " as a list", " as text".
func (k *kind) expected(path string) string {
	place := k.at(path)
	if place == nil {
		return ""
	}
	if place.ValueValidation != nil && len(place.ValueValidation.Enum) > 0 {
		var values []string
		for _, v := range place.ValueValidation.Enum {
			values = append(values, fmt.Sprint(v.Object))
		}
		return ", one of " + strings.Join(values, ", ")
	}
	switch place.Type {
	case "array":
		return " as a list"
	case "object":
		if place.ValueValidation != nil && len(place.ValueValidation.Required) > 0 {
			return " as a mapping with " + strings.Join(place.ValueValidation.Required, ", ")
		}
		if len(place.Properties) == 0 {
			return " as {}"
		}
		return " as a mapping with " + strings.Join(slices.Sorted(maps.Keys(place.Properties)), " or ")
	case "string":
		return " as text"
	case "integer":
		return " as a whole number, without quotes"
	case "boolean":
		return " as true or false, without quotes"
	}
	return ""
}

// suggestion names the known word nearest to one that is not, or all of them.
func suggestion(word string, known []string, all string) string {
	slices.Sort(known)
	if best := nearest(word, known); best != "" {
		return fmt.Sprintf("did you mean %s? Otherwise take it out", best)
	}
	if len(known) == 0 {
		return "take it out"
	}
	return fmt.Sprintf("take it out; %s %s", all, strings.Join(known, ", "))
}

// nearest is the known word that a person may have meant, or empty.
func nearest(word string, known []string) string {
	best, distance := "", max(2, len(word)/3)+1
	for _, candidate := range known {
		// A word that shares nothing is not what was meant, however short it is.
		d := edits(strings.ToLower(word), strings.ToLower(candidate))
		if d < distance && d < len(word) {
			best, distance = candidate, d
		}
	}
	return best
}

// edits is the Levenshtein distance of two words. Long words are not compared:
// no name of a field is long.
func edits(a, b string) int {
	const longest = 64
	if len(a) > longest || len(b) > longest {
		return longest
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
