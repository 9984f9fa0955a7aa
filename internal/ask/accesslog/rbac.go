// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package accesslog

import (
	"encoding/json"
	"strings"
)

// RBAC is what Envoy's RBAC filters noted of a request beside its details, in their
// dynamic metadata. It is there for requests that were let through, too.
type RBAC struct {
	// Enforced is of the filter that decided last. Envoy notes it since 1.32.
	Enforced Noted
	// TriedDeny and TriedAllow are of the AuthorizationPolicies that are a dry run, by their
	// action: what they would have done.
	TriedDeny, TriedAllow Noted
}

// Noted is the verdict of one filter.
type Noted struct {
	Verdict NotedVerdict
	// Policy is Envoy's name of the rule that matched; empty where none did.
	Policy string
}

// NotedVerdict is Allowed or Denied in Envoy's words; empty: the entry does not say.
type NotedVerdict string

// The verdicts.
const (
	NotedAllowed NotedVerdict = "allowed"
	NotedDenied  NotedVerdict = "denied"
)

// Keys of the metadata (source/extensions/filters/common/rbac/utility.h), and Istio's
// prefixes for those of a dry run (pilot/pkg/security/authz/model, RBACShadowRulesAllowStatPrefix).
const (
	enforcedPrefix = "enforced_"
	tryAllowPrefix = "istio_dry_run_allow_shadow_"
	tryDenyPrefix  = "istio_dry_run_deny_shadow_"
	resultKey      = "engine_result"
	policyKey      = "effective_policy_id"
)

// rbacOf reads the metadata by what get knows of its keys.
func rbacOf(get func(key string) string) RBAC {
	return RBAC{
		Enforced:   noted(get(enforcedPrefix+resultKey), get(enforcedPrefix+policyKey)),
		TriedDeny:  noted(get(tryDenyPrefix+resultKey), get(tryDenyPrefix+policyKey)),
		TriedAllow: noted(get(tryAllowPrefix+resultKey), get(tryAllowPrefix+policyKey)),
	}
}

func noted(result, policy string) Noted {
	switch v := NotedVerdict(result); v {
	case NotedAllowed, NotedDenied:
		if policy == "none" {
			policy = ""
		}
		return Noted{Verdict: v, Policy: policy}
	}
	return Noted{}
}

// rbacNames are the names that formats have for %DYNAMIC_METADATA(envoy.filters.http.rbac)%,
// as alias writes them. The operator writes an object, and in a format of text its JSON.
var rbacNames = []string{"rbac", "envoy_filters_http_rbac", "dynamic_metadata_rbac", "networkrbac", "envoy_filters_network_rbac"}

// written reads metadata that was written as JSON; what is none says nothing.
func written(text string) RBAC {
	if !strings.Contains(text, resultKey) {
		return RBAC{}
	}
	var keys map[string]value
	if json.Unmarshal([]byte(text), &keys) != nil {
		return RBAC{}
	}
	return rbacOf(func(key string) string { return string(keys[key]) })
}

// nested finds metadata that is an object among the fields of a line.
func nested(line string) RBAC {
	if !strings.Contains(line, resultKey) {
		return RBAC{}
	}
	var named map[string]json.RawMessage
	if json.NewDecoder(strings.NewReader(line)).Decode(&named) != nil {
		return RBAC{}
	}
	for _, own := range rbacNames {
		for name, raw := range named {
			if alias(name) != own {
				continue
			}
			if found := written(string(raw)); found != (RBAC{}) {
				return found
			}
		}
	}
	return RBAC{}
}

// rbac is the metadata where it was written as text.
func (f fields) rbac() RBAC {
	for _, name := range rbacNames {
		if found := written(string(f[name])); found != (RBAC{}) {
			return found
		}
	}
	return RBAC{}
}
