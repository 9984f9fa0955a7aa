// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/model/delegation"
)

func TestWhatCertManagerSaysIsSaidAgain(t *testing.T) {
	now := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(days int) *metav1.Time { return &metav1.Time{Time: now.Add(time.Duration(days) * 24 * time.Hour)} }
	is := func(kind string, status metav1.ConditionStatus, generation int64, message string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: status, ObservedGeneration: generation, Reason: "R", Message: message}
	}
	ref := model.Reference{Kind: "Certificate", Namespace: "istio-ingress", Name: "c"}
	for name, test := range map[string]struct {
		status delegation.CertificateStatus
		want   metav1.ConditionStatus
		words  []string
	}{
		"nothing yet": {delegation.CertificateStatus{}, metav1.ConditionUnknown, []string{"Pending", "is its controller running?"}},
		"on its way": {delegation.CertificateStatus{Conditions: []metav1.Condition{
			is("Ready", metav1.ConditionFalse, 2, "Secret does not exist"), is("Issuing", metav1.ConditionTrue, 2, "asking the issuer"),
		}}, metav1.ConditionUnknown, []string{"Pending", "asking the issuer"}},
		"failed": {delegation.CertificateStatus{FailedIssuanceAttempts: 2, LastFailureTime: at(-1), Conditions: []metav1.Condition{
			is("Ready", metav1.ConditionFalse, 2, "Secret does not exist"), is("Issuing", metav1.ConditionFalse, 2, "the order was refused: CAA"),
		}}, metav1.ConditionFalse, []string{"IssuanceFailed", "2 times", "2026-12-31", "the order was refused: CAA", "kubectl describe certificates.cert-manager.io c -n istio-ingress"}},
		"an older generation": {delegation.CertificateStatus{NotAfter: at(60), Conditions: []metav1.Condition{is("Ready", metav1.ConditionTrue, 1, "")}},
			metav1.ConditionUnknown, []string{"the last change"}},
		"issued": {delegation.CertificateStatus{NotBefore: at(-30), NotAfter: at(60), Conditions: []metav1.Condition{is("Ready", metav1.ConditionTrue, 2, "")}},
			metav1.ConditionTrue, []string{"2027-03-02"}},
		"not renewed": {delegation.CertificateStatus{NotBefore: at(-80), NotAfter: at(10), FailedIssuanceAttempts: 3, Conditions: []metav1.Condition{
			is("Ready", metav1.ConditionTrue, 2, ""), is("Issuing", metav1.ConditionFalse, 2, "no such zone"),
		}}, metav1.ConditionFalse, []string{"NotRenewed", "no such zone", "2027-01-11"}},
		"expired while cert-manager is gone": {delegation.CertificateStatus{NotBefore: at(-90), NotAfter: at(-1), Conditions: []metav1.Condition{is("Ready", metav1.ConditionTrue, 2, "")}},
			metav1.ConditionFalse, []string{"Expired", "tried nothing"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := &delegation.Certificate{ObjectMeta: metav1.ObjectMeta{Generation: 2}, Status: test.status}
			says(t, keptCertificate(ref, c, now).ready, test.want, test.words...)
		})
	}
	summary := allKept("certificates", []kept{
		keptCertificate(ref, &delegation.Certificate{Status: delegation.CertificateStatus{
			NotAfter: at(60), Conditions: []metav1.Condition{is("Ready", metav1.ConditionTrue, 0, "")},
		}}, now),
		{ready: &metav1.Condition{Status: metav1.ConditionTrue}},
	})
	if summary.status != metav1.ConditionTrue || !strings.Contains(summary.message, "2027-03-02") {
		t.Errorf("summed up: %+v", summary)
	}
}

func TestOfADNSEndpointNoMoreIsClaimedThanIsKnown(t *testing.T) {
	ref := model.Reference{Kind: "DNSEndpoint", Namespace: "istio-ingress", Name: "e"}
	entry := []delegation.Endpoint{{DNSName: "a.example.com"}}
	for name, test := range map[string]struct {
		endpoints []delegation.Endpoint
		observed  int64
		want      metav1.ConditionStatus
		words     []string
	}{
		"no address yet":          {nil, 3, metav1.ConditionUnknown, []string{"NoAddress"}},
		"not read":                {entry, 0, metav1.ConditionUnknown, []string{"--source=crd", "istio-ingress"}},
		"an older one read":       {entry, 2, metav1.ConditionUnknown, []string{"generation 2 of 3"}},
		"the last generation":     {entry, 3, metav1.ConditionTrue, []string{"HandedOver", "observed generation 3"}},
		"of another installation": {entry, 9, metav1.ConditionTrue, []string{"HandedOver"}},
	} {
		t.Run(name, func(t *testing.T) {
			e := &delegation.DNSEndpoint{
				ObjectMeta: metav1.ObjectMeta{Generation: 3}, Spec: delegation.DNSEndpointSpec{Endpoints: test.endpoints},
				Status: delegation.DNSEndpointStatus{ObservedGeneration: test.observed},
			}
			says(t, keptEndpoint(ref, e).ready, test.want, test.words...)
		})
	}
	if k := keptEndpoint(ref, nil); k.ready != nil {
		t.Errorf("of one that is not there: %+v", k.ready)
	}
	good := kept{handedOver: true, ready: &metav1.Condition{Status: metav1.ConditionTrue}}
	if j := allKept("names are in the DNS", []kept{good}); j.reason != "HandedOver" || strings.Contains(j.message, "names are in the DNS") {
		t.Errorf("summed up: %+v", j)
	}
}

func says(t *testing.T, c *metav1.Condition, status metav1.ConditionStatus, words ...string) {
	t.Helper()
	if c == nil || c.Status != status {
		t.Fatalf("it is %+v, want %s", c, status)
	}
	for _, word := range words {
		if !strings.Contains(c.Reason+" "+c.Message, word) {
			t.Errorf("%s %q does not say %q", c.Reason, c.Message, word)
		}
	}
}
