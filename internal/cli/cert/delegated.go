// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package cert

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/trellis-mesh/trellis/internal/cli/cluster"
	"github.com/trellis-mesh/trellis/internal/model/delegation"
)

// delegated gives those that cert-manager keeps for Trellis to visit.
func delegated(ctx context.Context, c *cluster.Cluster, visit func(*delegation.Certificate)) error {
	return cluster.EachDelegated(ctx, c, delegation.CertificateKind, func(u *unstructured.Unstructured) {
		cert := &delegation.Certificate{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, cert); err != nil {
			cert = &delegation.Certificate{}
			cert.Name, cert.Namespace = u.GetName(), u.GetNamespace()
		}
		visit(cert)
	})
}

// byCertManager is what cert-manager says of one.
func byCertManager(cert *delegation.Certificate, now time.Time) Certificate {
	status := &cert.Status
	out := Certificate{
		Namespace: cert.Namespace, Name: cert.Name, Hosts: cert.Spec.DNSNames, Secret: cert.Spec.SecretName,
		NotAfter: timeOf(status.NotAfter), RenewAt: timeOf(status.RenewalTime),
		Phase: Unseen, Message: "cert-manager has not looked at it yet",
	}
	ready := meta.FindStatusCondition(status.Conditions, delegation.CertificateReady)
	issuing := meta.FindStatusCondition(status.Conditions, delegation.CertificateIssuing)
	if ready != nil {
		out.Ready, out.Reason = ready.Status == metav1.ConditionTrue, ready.Reason
		out.Phase, out.Message = phaseIssued, "by cert-manager: "+ready.Message
		if !out.Ready {
			out.Phase = phaseWaiting
		}
	}
	switch {
	case status.FailedIssuanceAttempts > 0 && issuing != nil:
		out.Message = "by cert-manager, which failed: " + issuing.Message
		if !out.Ready {
			out.Phase, out.NeedsPerson = phaseFailed, true
		}
	case issuing != nil && issuing.Status == metav1.ConditionTrue:
		out.Phase, out.Message = "Issuing", "by cert-manager: "+issuing.Message
	}
	if out.NotAfter != nil && !now.Before(*out.NotAfter) {
		out.Message, out.NeedsPerson = "it has expired; "+out.Message, true
	}
	out.said = out.Message
	return out
}
