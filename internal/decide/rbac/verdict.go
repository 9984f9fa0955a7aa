// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

// Outcome is what a set of rules says of a request.
type Outcome int8

// The outcomes. The zero value is for filters without rules, which let all pass.
const (
	Allowed Outcome = iota
	Denied
	Unknown
)

func (o Outcome) String() string { return [...]string{"allowed", "denied", "unknown"}[o] }

// Result is what one set of rules says.
type Result struct {
	// There is false where the filter has no such rules.
	There   bool
	Outcome Outcome
	// Policy is the one that matched, which is the first by name; empty where none
	// did, or where it is not sure which one.
	Policy string
	// Why is the reason for an Unknown outcome, or for one that is sure while its
	// Policy is not.
	Why string
	// Log: rules with the action LOG say whether the request is to be logged.
	Log *bool
}

// Verdict is what a filter says. Only Enforced has an effect on the request.
type Verdict struct {
	Enforced, Shadow Result

	filter *Filter
}

// Outcome is what happens to the request.
func (v Verdict) Outcome() Outcome { return v.Enforced.Outcome }

// Why is why the outcome, or the policy that decided, or what the shadow rules
// say is not known; empty where all is.
func (v Verdict) Why() string {
	if v.Enforced.Why != "" {
		return v.Enforced.Why
	}
	return v.Shadow.Why
}

// The status and body of a denied request.
const (
	DeniedStatus = 403
	DeniedBody   = "RBAC: access denied"
)

// Details are Envoy's response code details of a denied request, or connection
// termination details of a denied connection; empty unless it is denied and the
// policy known.
func (v Verdict) Details() string {
	if v.Enforced.Outcome != Denied || v.Enforced.Why != "" {
		return ""
	}
	id := v.Enforced.Policy
	if id == "" {
		id = "none"
	}
	return "rbac_access_denied_matched_policy[" + withoutSpaces.Replace(id) + "]"
}

// withoutSpaces keeps the details one word of an access log.
var withoutSpaces = strings.NewReplacer(" ", "_", "\t", "_", "\n", "_", "\v", "_", "\f", "_", "\r", "_")

// Names of dynamic metadata (source/extensions/filters/common/rbac/engine_impl.h).
const (
	httpMetadata    = "envoy.filters.http.rbac"
	networkMetadata = "envoy.filters.network.rbac"
	commonMetadata  = "envoy.common"

	shadowResult   = "shadow_engine_result"
	shadowPolicy   = "shadow_effective_policy_id"
	enforcedResult = "enforced_engine_result"
	enforcedPolicy = "enforced_effective_policy_id"
	logHint        = "access_log_hint"
)

// record writes what Envoy does into the metadata.
func (v Verdict) record(s *stream.Stream) {
	says := func(r Result) bool { return r.There && r.Outcome != Unknown }
	switch {
	case v.filter.network && says(v.Shadow):
		s.Metadata.Merge(networkMetadata, v)
	case !v.filter.network && (says(v.Shadow) || says(v.Enforced)):
		s.Metadata.Merge(httpMetadata, v)
	}
	for _, r := range [...]*Result{&v.Shadow, &v.Enforced} {
		if r.Log != nil {
			s.Metadata.Merge(commonMetadata, &structpb.Struct{Fields: map[string]*structpb.Value{logHint: structpb.NewBoolValue(*r.Log)}})
		}
	}
}

// GetFields are what the filter says of itself in dynamic metadata.
func (v Verdict) GetFields() map[string]*structpb.Value {
	fields := map[string]*structpb.Value{}
	add := func(r Result, prefix, result, policy string) {
		if !r.There || r.Outcome == Unknown {
			return
		}
		fields[prefix+result] = structpb.NewStringValue(r.Outcome.String())
		if r.Policy != "" {
			fields[prefix+policy] = structpb.NewStringValue(r.Policy)
		}
	}
	add(v.Shadow, v.filter.shadowPrefix, shadowResult, shadowPolicy)
	if !v.filter.network {
		add(v.Enforced, v.filter.rulesPrefix, enforcedResult, enforcedPolicy)
	}
	return fields
}
