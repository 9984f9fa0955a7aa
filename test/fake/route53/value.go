// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package route53

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// maxText is how long all strings of a TXT value may be, quotes not counted.
const maxText = 4000

// targets are some of the zones that aliases may lead to, from the pages "Elastic
// Load Balancing endpoints and quotas" and "Values for alias records".
var targets = map[string]string{
	"Z35SXDOTRQ7X7K": ".us-east-1.elb.amazonaws.com.",
	"Z26RNL4JYFTOTI": ".elb.us-east-1.amazonaws.com.",
	"Z32O12XQLNTSW2": ".eu-west-1.elb.amazonaws.com.",
	"Z2IFOLAFXWLO4F": ".elb.eu-west-1.amazonaws.com.",
	"Z2FDTNDATAQYW2": ".cloudfront.net.",
	"Z2BJ6XQ5FK7U4H": ".awsglobalaccelerator.com.",
	"Z1UJRXOUMOOFQ8": ".execute-api.us-east-1.amazonaws.com.",
}

// invalidAlias says what is wrong with an alias's target.
func (z *zone) invalidAlias(s *resourceRecordSet) string {
	a := s.AliasTarget
	target := unescapeName(a.DNSName)
	tried := fmt.Sprintf("Tried to create an alias that targets %s, type %s in zone %s, ", target, s.Type, a.HostedZoneID)
	if a.HostedZoneID == z.id {
		for k := range z.sets {
			if k.name == target && k.typ == s.Type {
				return ""
			}
		}
		return tried + "but that target was not found"
	}
	suffix, known := targets[a.HostedZoneID]
	switch {
	case !known || !strings.HasSuffix(target, suffix):
		return tried + "but the alias target name does not lie within the target zone"
	case s.Type != "A" && s.Type != "AAAA":
		return tried + "but that target was not found"
	case a.HostedZoneID == "Z2FDTNDATAQYW2" && *a.EvaluateTargetHealth:
		return "EvaluateTargetHealth must be false for an alias to a CloudFront distribution"
	}
	return ""
}

// invalidName says what is wrong with a name: RFC 1035 §2.3.4.
func invalidName(name string) string {
	if len(name) > 254 {
		return fmt.Sprintf("DomainLabelTooLong or name too long: '%s'", escapeName(name))
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		if label == "" || len(label) > 63 {
			return fmt.Sprintf("Domain label is empty or too long: '%s'", escapeName(name))
		}
	}
	return ""
}

// invalidValues says what is wrong with values.
func invalidValues(s *resourceRecordSet) string {
	values := s.values()
	for i, v := range values {
		if slices.Contains(values[:i], v) {
			return fmt.Sprintf("Duplicate Resource Record: '%s'", v)
		}
		if problem := invalidValue(s.Type, v); problem != "" {
			return fmt.Sprintf("Invalid Resource Record: 'FATAL problem: %s encountered with '%s''", problem, v)
		}
	}
	if s.Type == "CNAME" && len(values) > 1 {
		return fmt.Sprintf("The CNAME RRSet with DNS name %s has more than one value", escapeName(s.Name))
	}
	return ""
}

func invalidValue(typ, v string) string {
	switch typ {
	case "A":
		if a, err := netip.ParseAddr(v); err != nil || !a.Is4() {
			return "ARRDATAIllegalIPv4Address (Value is not a valid IPv4 address)"
		}
	case "AAAA":
		if a, err := netip.ParseAddr(v); err != nil || !a.Is6() || a.Zone() != "" {
			return "AAAARRDATAIllegalIPv6Address (Value is not a valid IPv6 address)"
		}
	case "CNAME", "NS", "PTR":
		if v == "" || strings.ContainsAny(v, " \"") || invalidName(unescapeName(v)) != "" {
			return "DomainNameInvalid (Value is not a valid domain name)"
		}
	case "TXT", "SPF":
		return invalidText(v)
	}
	return ""
}

// invalidText reads quoted strings with spaces between them. Within a string a
// backslash stands before a quote, a backslash, or three octal digits.
func invalidText(v string) string {
	total := 0
	for rest := strings.TrimSpace(v); ; {
		if rest == "" {
			break
		}
		if rest[0] != '"' {
			return "InvalidCharacterString (Value should be enclosed in quotation marks)"
		}
		n, tail, problem := quoted(rest[1:])
		if problem != "" {
			return problem
		}
		if n > 255 {
			return "CharacterStringTooLong (Value is too long)"
		}
		total += n
		if tail != "" && tail[0] != ' ' {
			return "InvalidCharacterString (Strings should be separated by spaces)"
		}
		rest = strings.TrimLeft(tail, " ")
	}
	switch {
	case v == "":
		return "InvalidCharacterString (Value should be enclosed in quotation marks)"
	case total > maxText:
		return "TXTRDATATooLong (Value is too long)"
	}
	return ""
}

// quoted counts the characters up to the closing quote.
func quoted(s string) (n int, tail, problem string) {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return n, s[i+1:], ""
		case c == '\\' && i+1 < len(s) && strings.IndexByte(`"\`, s[i+1]) >= 0:
			i++
		case c == '\\' && i+3 < len(s) && octal(s[i+1:i+4]):
			i += 3
		case c == '\\', c < ' ', c > '~':
			return 0, "", "InvalidCharacterString (Value contains characters that should be escaped)"
		}
		n++
	}
	return 0, "", "InvalidCharacterString (Value should be enclosed in quotation marks)"
}

func octal(s string) bool {
	return s[0] >= '0' && s[0] <= '3' && s[1] >= '0' && s[1] <= '7' && s[2] >= '0' && s[2] <= '7'
}
