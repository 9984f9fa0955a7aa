// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/certificate"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/model/delegation"
)

// isDelegated reports whether an object asks another controller than istiod.
func isDelegated(ref model.Reference) bool {
	return ref.Group == delegation.CertManagerGroup || ref.Group == delegation.ExternalDNSGroup
}

func conditionOf(j judgement) *metav1.Condition {
	return &metav1.Condition{Type: v1alpha1.ConditionReady, Status: j.status, Reason: j.reason, Message: j.message}
}

// keptCertificate is what cert-manager says of a Certificate, and what its dates
// say where it says nothing any more.
func keptCertificate(ref model.Reference, c *delegation.Certificate, now time.Time) kept {
	k := kept{name: ref.Kind + " " + ref.Name}
	if c == nil {
		return k
	}
	k.until = c.Status.NotAfter
	k.ready = conditionOf(certificateJudgement(ref, c, now))
	return k
}

func certificateJudgement(ref model.Reference, c *delegation.Certificate, now time.Time) judgement {
	ready := meta.FindStatusCondition(c.Status.Conditions, delegation.CertificateReady)
	issuing := meta.FindStatusCondition(c.Status.Conditions, delegation.CertificateIssuing)
	look := fmt.Sprintf("look at it with: kubectl describe certificates.cert-manager.io %s -n %s", ref.Name, ref.Namespace)
	switch {
	case ready == nil && issuing == nil:
		return unknown(reasonPending, "cert-manager has not looked at it yet; is its controller running?")
	case c.Status.FailedIssuanceAttempts > 0 && (ready == nil || ready.Status != metav1.ConditionTrue):
		return no("IssuanceFailed", failure(c, ready, issuing)+"; "+look)
	case ready == nil || ready.ObservedGeneration != 0 && ready.ObservedGeneration < c.Generation:
		return unknown(reasonPending, "cert-manager has not looked at the last change yet")
	case ready.Status == metav1.ConditionTrue:
		return inTime(c, issuing, now, look)
	case issuing != nil && issuing.Status == metav1.ConditionTrue:
		return unknown(reasonPending, "cert-manager is getting it: "+issuing.Message)
	}
	// Before its first try cert-manager says False as well.
	return unknown(reasonPending, "cert-manager says: "+ready.Message+"; "+look)
}

// inTime judges a certificate that is good as far as cert-manager has looked. A
// person has to know when it was not renewed for too long, whatever the reason.
func inTime(c *delegation.Certificate, issuing *metav1.Condition, now time.Time, look string) judgement {
	s := &c.Status
	if s.NotAfter == nil {
		return unknown(reasonPending, "cert-manager does not say yet until when it is valid")
	}
	until := s.NotAfter.UTC().Format(time.RFC3339)
	why := "cert-manager has tried nothing since"
	if s.FailedIssuanceAttempts > 0 {
		why = failure(c, nil, issuing)
	}
	switch {
	case !now.Before(s.NotAfter.Time):
		return no("Expired", fmt.Sprintf("it expired at %s: %s; %s", until, why, look))
	case s.NotBefore != nil && now.After(certificate.AlertTime(s.NotBefore.Time, s.NotAfter.Time)):
		return no("NotRenewed", fmt.Sprintf("it expires at %s and was not renewed in time: %s; %s", until, why, look))
	}
	return yes("Issued", "it is valid until "+until)
}

// failure is the last one in cert-manager's own words.
func failure(c *delegation.Certificate, ready, issuing *metav1.Condition) string {
	message := "it does not say why"
	switch {
	case issuing != nil && issuing.Message != "":
		message = issuing.Message
	case ready != nil && ready.Message != "":
		message = ready.Message
	}
	when := ""
	if c.Status.LastFailureTime != nil {
		when = ", the last time at " + c.Status.LastFailureTime.UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("cert-manager failed %d times%s: %s", c.Status.FailedIssuanceAttempts, when, message)
}

// keptEndpoint says what is known of an entry that ExternalDNS writes: whether it
// has read it. It never says what became of it.
func keptEndpoint(ref model.Reference, e *delegation.DNSEndpoint) kept {
	k := kept{name: ref.Kind + " " + ref.Name, handedOver: true}
	switch {
	case e == nil:
	case len(e.Spec.Endpoints) == 0:
		k.ready = conditionOf(unknown("NoAddress", "the gateway's load balancer has no address yet, so there is no entry to hand over"))
	case e.Status.ObservedGeneration == 0:
		k.ready = conditionOf(unknown(reasonPending, "handed over, and ExternalDNS has not read it; "+
			"does it run with --source=crd, and does it look at namespace "+ref.Namespace+"?"))
	case e.Status.ObservedGeneration < e.Generation:
		k.ready = conditionOf(unknown(reasonPending, fmt.Sprintf("handed over, and ExternalDNS has read generation %d of %d", e.Status.ObservedGeneration, e.Generation)))
	default:
		k.ready = conditionOf(yes("HandedOver", fmt.Sprintf("handed over to ExternalDNS, observed generation %d", e.Status.ObservedGeneration)))
	}
	return k
}

// keptBy sums up what is all there, and claims no more than is known.
func keptBy(what string, all []kept) judgement {
	var first *metav1.Time
	handedOver := 0
	for _, k := range all {
		if k.handedOver {
			handedOver++
		}
		if k.until != nil && (first == nil || k.until.Before(first)) {
			first = k.until
		}
	}
	if handedOver == len(all) && handedOver > 0 {
		return yes("HandedOver", fmt.Sprintf("ExternalDNS has read %d DNSEndpoints in their last generation; it does not say whether the entries are in the DNS", handedOver))
	}
	message := fmt.Sprintf("%d %s", len(all), what)
	if first != nil {
		message += ", by cert-manager; the first one expires at " + first.UTC().Format(time.RFC3339)
	}
	return yes("Kept", message)
}

// undelegated adds what an ingress asks of controllers that the cluster lacks, and
// what is kept because there is no address.
func (r *round) undelegated(i *v1alpha1.SecureIngress, f *facts) {
	if i.Spec.TLS.CertManager != nil && r.snapshot.CertManagerMissing() {
		f.certificates = []kept{{name: "cert-manager", ready: conditionOf(no("CertManagerMissing", delegation.MissingCertManager+"; "+delegation.FixCertManager))}}
	}
	if i.Spec.DNS == nil || i.Spec.DNS.ExternalDNS == nil {
		return
	}
	if r.snapshot.ExternalDNSMissing() {
		f.records = []kept{{name: "ExternalDNS", ready: conditionOf(no("ExternalDNSMissing", delegation.MissingExternalDNS+"; "+delegation.FixExternalDNS))}}
		return
	}
	service, ok := r.snapshot.Service(model.Name{Namespace: i.Namespace, Name: i.Spec.Gateway.Service})
	if ok && len(service.Addresses) == 0 && len(f.records) > 0 {
		f.records = append([]kept{{name: "Service " + i.Spec.Gateway.Service, ready: conditionOf(unknown("NoAddress",
			"its load balancer has no address; the entries stay as they were handed over last"))}}, f.records...)
	}
}
