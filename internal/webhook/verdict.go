// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"regexp"
	"strings"

	"github.com/trellis-mesh/trellis/internal/model"
)

// refusal is one row of the table of what admission refuses.
type refusal struct {
	// reason and field of a finding of severity Error. The field has to begin
	// with prefix and to end with suffix.
	reason, prefix, suffix string
}

// refusals are all findings for which admission refuses an object. The first three
// groups are the three grounds: what is wrong in the document alone (for a binding: beside
// its template, which never changes), what would close the routes of somebody else too,
// and what a layer above forbids by a statement that is there. Every other finding is
// about something that can still come, or be put right elsewhere: a Service, a Secret, a
// workload, an entry in the platform's lists, an approval.
var refusals = []refusal{
	// The document alone.
	{reason: "NameInvalid"},
	{reason: "PathInvalid"},
	{reason: "PathReserved"},
	{reason: "PathConflict"},
	{reason: "MethodNotPossible"},
	{reason: "RouteNotFound"},
	{reason: "PeerInvalid"},
	{reason: "CallInvalid"},
	{reason: "RawPathsRefused"},
	{reason: "TooManyRoutes"},
	{reason: "HostInvalid"},
	{reason: "DomainRepeated"},
	{reason: "KeysInvalid"},
	{reason: "IdentityDefault", prefix: "spec.access.callers", suffix: ".serviceAccount.name"},
	{reason: "ParameterInvalid"},
	{reason: "ParameterMissing"},
	{reason: "ParameterRepeated"},
	{reason: "ParameterUnknown"},
	{reason: "RolloutInvalid"},
	{reason: "SelectorInvalid"},
	{reason: "TemplateInvalid"},
	{reason: reasonTestFailed},
	{reason: "PortNotFound", prefix: "spec.routes"},
	{reason: "ProtocolMismatch", prefix: "spec.routes"},
	// What would close somebody else's routes, or their ways out.
	{reason: "Conflicted"},
	{reason: "HostContested"},
	{reason: "CallConflicted"},
	{reason: "IssuerConflict"},
	{reason: "CostExceeded"},
	{reason: "TemplateNotFound"},
	{reason: "TemplateNotAccepted"},
	// What a layer above forbids.
	{reason: "HostAlreadyClaimed"},
	{reason: "HostnameNotAdmitted"},
	{reason: "NamespaceNotAdmitted", suffix: ".ingress"},
	{reason: "IngressAmbiguous"},
	{reason: "PolicyViolated"},
	// An exception that can never let anything go.
	{reason: "BindingNotFound"},
	{reason: "Expired"},
}

// tolerated are the other reasons of findings of severity Error. A reason that is
// in neither list is tolerated too; a test keeps the lists complete.
var tolerated = []string{
	"ApprovalOutdated", "AudienceNotAllowed", "CallNotAdmitted", "CallNotFound", "CallsNotEnforced", "CertManagerMissing", "CertificateMismatch", "DomainNotFound", "IdentityDefault", "IdentityUnresolved",
	"IngressNotAccepted", "IngressNotFound", "MomentUnknown", "NamespaceNotAdmitted", "NotApproved", "PeerNotFound", "PlainPortNotFound",
	"PolicyBroken", "PortNotFound", "PortUnresolved", "ProtocolMismatch", "ProviderNotFound", "ProviderUnresolved", "SecretInvalid",
	"SecretNotFound", "SecretUnreadable", "ServiceHasNoSelector", "ServiceIsExternalName", "ServiceNotFound", "Unreadable",
}

// refuses tells whether admission refuses an object for a finding about it.
func refuses(f model.Finding) bool {
	if f.Severity != model.SeverityError {
		return false
	}
	for _, r := range refusals {
		if r.reason == f.Reason && strings.HasPrefix(f.Field, r.prefix) && strings.HasSuffix(f.Field, r.suffix) {
			return true
		}
	}
	return false
}

// verdict is what is to be said about a change.
type verdict struct {
	// refused are about the candidate; none of them was there before.
	refused []model.Finding
	// warned are the candidate's other findings.
	warned []model.Finding
	// closed are errors of other objects that were not there before.
	closed []model.Finding
}

// complaint is a finding as people would call it the same: wherever in the
// document it has moved to, and whatever it counts now. A change that makes less
// of something that was wrong is not held up because some is left.
type complaint struct {
	object          model.Reference
	reason, message string
}

var digits = regexp.MustCompile("[0-9]+")

func complaintOf(f model.Finding) complaint {
	return complaint{f.Object, f.Reason, digits.ReplaceAllString(f.Message, "#")}
}

// judge compares what is found with the change and without it.
func judge(candidate model.Reference, before, after []model.Finding) verdict {
	had := make(map[complaint]bool, len(before))
	for _, f := range before {
		if f.Severity == model.SeverityError {
			had[complaintOf(f)] = true
		}
	}
	var v verdict
	for _, f := range after {
		isNew := !had[complaintOf(f)]
		switch {
		case f.Object == candidate && isNew && refuses(f):
			v.refused = append(v.refused, f)
		case f.Object == candidate:
			v.warned = append(v.warned, f)
		case f.Severity == model.SeverityError && isNew:
			v.closed = append(v.closed, f)
		}
	}
	return v
}
