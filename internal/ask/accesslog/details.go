// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package accesslog

import "strings"

// Ending is how a logged request ended, in the words of package decide.
type Ending string

// The endings. The zero value: the line does not say.
const (
	Allowed  Ending = "Allow"
	Denied   Ending = "Deny"
	Answered Ending = "Answered"
	NoRoute  Ending = "NoRoute"
	Failed   Ending = "Fails"
)

// Ending is how the request of a line ended.
func (e *Entry) Ending() Ending {
	d := ParseDetails(e.Details)
	if e.Details == "" {
		d = ParseDetails(e.Termination)
	}
	switch {
	case d.Kind == KindDirect && e.Code >= 400:
		return Denied
	case d.Ending != "":
		return d.Ending
	}
	for _, flag := range e.Flags {
		if ending, ok := flagEndings[flag]; ok {
			return ending
		}
	}
	return ""
}

// flagEndings are those that a flag settles by itself
// (source/common/stream_info/utility.h).
var flagEndings = map[string]Ending{
	"NR": NoRoute, "UAEX": Denied, "RL": Denied, "UH": Failed, "UF": Failed, "UC": Failed, "UT": Failed, "UO": Failed, "URX": Failed,
	"UR": Failed, "NC": Failed, "LR": Failed, "LH": Failed, "DPE": Failed, "UPE": Failed, "DF": Failed,
}

// Kind is the part of Envoy that wrote response code details.
type Kind string

// The kinds of details. KindOther is for those that are not known here.
const (
	KindRBAC          Kind = "RBAC"
	KindToken         Kind = "Token"
	KindAuthorizer    Kind = "Authorizer"
	KindNoRoute       Kind = "NoRoute"
	KindNoFilterChain Kind = "NoFilterChain"
	KindDirect        Kind = "DirectResponse"
	KindUpstream      Kind = "Upstream"
	KindFailure       Kind = "Failure"
	KindRequest       Kind = "Request"
	KindOther         Kind = "Other"
)

// Details are Envoy's response code details, or connection termination details,
// taken apart.
type Details struct {
	Kind Kind
	// Policy is the rule of an RBAC denial; empty where no rule that allows
	// matched.
	Policy string
	// Reason is what stands in braces, with blanks in place of underscores.
	Reason string
	Ending Ending
	// Means is a sentence without a period.
	Means string
}

// rbacDetails begins the details of a denial by RBAC.
const rbacDetails = "rbac_access_denied_matched_policy["

// enclosed is what stands between a beginning and an end, on one line.
func enclosed(s, before, after string) (string, bool) {
	inner, is := strings.CutPrefix(s, before)
	if !is {
		return "", false
	}
	inner, is = strings.CutSuffix(inner, after)
	return inner, is && !strings.Contains(inner, "\n")
}

// braced takes WORD{REASON} apart.
func braced(s string) (word, reason string, ok bool) {
	word, rest, found := strings.Cut(s, "{")
	if !found || word == "" || strings.ContainsFunc(word, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' && r != '.'
	}) {
		return "", "", false
	}
	reason, ok = enclosed(rest, "", "}")
	return word, reason, ok
}

// known are details by their first word.
var known = map[string]Details{
	"via_upstream":                           {Kind: KindUpstream, Ending: Allowed, Means: "the proxy let it through, and what it was sent to answered"},
	"direct_response":                        {Kind: KindDirect, Ending: Answered, Means: "the proxy answered in the application's place, as its route says"},
	"route_not_found":                        {Kind: KindNoRoute, Ending: NoRoute, Means: "the proxy has no route for this host and path"},
	"filter_chain_not_found":                 {Kind: KindNoFilterChain, Ending: NoRoute, Means: "the proxy has no filter chain for this connection: at a gateway a host that is not served; at a sidecar plaintext where mutual TLS is demanded"},
	"cluster_not_found":                      {Kind: KindFailure, Ending: Failed, Means: "the route sends it to a service that the proxy does not know"},
	"no_healthy_upstream":                    {Kind: KindFailure, Ending: Failed, Means: "the service has no endpoint that could take it"},
	"upstream_reset_before_response_started": {Kind: KindFailure, Ending: Failed, Means: "the connection to what it was sent to broke before an answer: often mutual TLS that one side does not speak"},
	"upstream_response_timeout":              {Kind: KindFailure, Ending: Failed, Means: "no answer came in time"},
	"response_timeout":                       {Kind: KindFailure, Ending: Failed, Means: "no answer came in time"},
	"ext_authz_denied":                       {Kind: KindAuthorizer, Ending: Denied, Means: "the external authorization service that a CUSTOM policy asks refused it"},
	"ext_authz_error":                        {Kind: KindAuthorizer, Ending: Denied, Means: "the external authorization service that a CUSTOM policy asks could not be asked"},
	"jwt_authn_access_denied":                {Kind: KindToken, Ending: Denied, Means: "the token is not good"},
	"cors_response":                          {Kind: KindDirect, Ending: Answered, Means: "the gateway answered a browser's preflight"},
	"http1.codec_error":                      {Kind: KindRequest, Ending: Failed, Means: "what came is no HTTP/1.1 request"},
	"path_normalization_failed":              {Kind: KindRequest, Ending: Denied, Means: "the path is written in a way that the proxy refuses"},
	"missing_host_header":                    {Kind: KindRequest, Ending: Denied, Means: "the request names no host"},
	"upgrade_failed":                         {Kind: KindRequest, Ending: Denied, Means: "the proxy does not let this connection change its protocol"},
}

// ParseDetails takes details apart. What is not known is KindOther.
func ParseDetails(s string) Details {
	s = strings.TrimSpace(s)
	if rule, is := enclosed(s, rbacDetails, "]"); is {
		out := Details{Kind: KindRBAC, Policy: rule, Ending: Denied, Means: "a rule of an AuthorizationPolicy refused it"}
		if rule == "none" {
			out.Policy, out.Means = "", "there are AuthorizationPolicies that allow, and none of their rules matched"
		}
		return out
	}
	name, reason := s, ""
	if word, inner, is := braced(s); is {
		name, reason = word, strings.ReplaceAll(inner, "_", " ")
	}
	out, ok := known[name]
	if !ok {
		return Details{Kind: KindOther, Reason: reason}
	}
	if out.Reason = reason; reason != "" {
		out.Means += ": " + reason
	}
	return out
}
