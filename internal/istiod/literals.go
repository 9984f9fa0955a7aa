// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package istiod

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	securityapi "istio.io/api/security/v1beta1"
)

// set is a set of strings.
type set map[string]struct{}

func newSet(values ...string) set {
	s := make(set, len(values))
	s.add(values...)
	return s
}

func (s set) add(values ...string) {
	for _, v := range values {
		s[v] = struct{}{}
	}
}

func (s set) equal(o set) bool {
	return maps.EqualFunc(s, o, func(struct{}, struct{}) bool { return true })
}

func (s set) sorted() []string { return slices.Sorted(maps.Keys(s)) }

// literals are the values that an Envoy RBAC policy compares with: those that it
// compares whole, and the regular expressions, without their backslashes.
type literals struct{ plain, patterns set }

// literalFields are the fields of Envoy's matchers that hold such a value. Names
// of headers and metadata are not among them: those follow from the values' kind.
var literalFields = newSet("exact", "prefix", "suffix", "contains",
	"exact_match", "prefix_match", "suffix_match", "contains_match", "address_prefix")

// readPolicy collects a policy's literals, whatever the shape of its matchers:
// that differs between versions of Istio, the values do not.
func readPolicy(policy *rbacv3.Policy) literals {
	out := literals{plain: set{}, patterns: set{}}
	out.collect(policy.ProtoReflect())
	return out
}

func (l literals) collect(message protoreflect.Message) {
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		name := string(field.Name())
		switch {
		case field.IsMap():
		case field.IsList() && field.Kind() == protoreflect.MessageKind:
			for i := range value.List().Len() {
				l.collect(value.List().Get(i).Message())
			}
		case field.Kind() == protoreflect.MessageKind:
			l.collect(value.Message())
		case name == "regex":
			if pattern := strings.ReplaceAll(value.String(), `\`, ""); strings.Trim(pattern, ".*+^$") != "" {
				l.patterns.add(pattern)
			}
		case name == "destination_port":
			l.plain.add(strconv.FormatUint(value.Uint(), 10))
		default:
			if _, ok := literalFields[name]; ok && value.String() != "" {
				l.plain.add(value.String())
			}
		}
		return true
	})
}

// ruleLiterals are the values that a rule of an AuthorizationPolicy compares
// with.
func ruleLiterals(rule *securityapi.Rule) set {
	out := set{}
	for _, from := range rule.GetFrom() {
		collectStrings(from.GetSource(), out)
	}
	for _, to := range rule.GetTo() {
		collectStrings(to.GetOperation(), out)
	}
	for _, when := range rule.GetWhen() {
		for _, value := range slices.Concat(when.GetValues(), when.GetNotValues()) {
			out.add(literalsOf(kindOf[when.GetKey()], value)...)
		}
	}
	delete(out, "")
	return out
}

func collectStrings(message proto.Message, out set) {
	message.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		if !field.IsList() || field.Kind() != protoreflect.StringKind {
			return true
		}
		kind := strings.TrimPrefix(string(field.Name()), "not_")
		for i := range value.List().Len() {
			out.add(literalsOf(kind, value.List().Get(i).String())...)
		}
		return true
	})
}

// kindOf are the conditions whose values are like those of a source.
var kindOf = map[string]string{
	"request.auth.principal": "request_principals", "source.ip": "ip_blocks", "remote.ip": "remote_ip_blocks",
}

// literalsOf are what Istio makes of a value: of a request principal an issuer
// and a subject, of a block of addresses the first, of the rest the value without
// the asterisks, which turn into the kind of comparison.
func literalsOf(kind, value string) []string {
	text := strings.Trim(value, "*")
	switch kind {
	case "request_principals":
		if slash := strings.LastIndex(text, "/"); slash >= 0 {
			return []string{text[:slash], text[slash+1:]}
		}
	case "ip_blocks", "remote_ip_blocks":
		address, _, _ := strings.Cut(text, "/")
		return []string{address}
	}
	return []string{text}
}

// differs names one value that is in the rule and not in the policy, or the
// other way round; empty when there is none.
func (l literals) differs(rule set) string {
	for _, value := range rule.sorted() {
		if !l.holds(value) {
			return value
		}
	}
	for _, value := range slices.Concat(l.plain.sorted(), l.patterns.sorted()) {
		if !explained(value, rule) {
			return value
		}
	}
	return ""
}

func (l literals) holds(value string) bool {
	for plain := range l.plain {
		if same(plain, value) {
			return true
		}
	}
	for pattern := range l.patterns {
		if strings.Contains(pattern, value) {
			return true
		}
	}
	return false
}

func explained(got string, rule set) bool {
	for value := range rule {
		if same(got, value) || strings.Contains(got, value) && strings.ContainsAny(got, ".*+^$") {
			return true
		}
	}
	return false
}

// same allows for the scheme that Istio puts before a principal.
func same(got, value string) bool { return got == value || got == "spiffe://"+value }
