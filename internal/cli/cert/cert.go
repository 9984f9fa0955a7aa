// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package cert is the commands `trellis cert status`, `trellis cert renew` and
// `trellis cert retry`: what became of the certificates that Trellis keeps, as the
// operator wrote it down, and how a person tells the operator to go on.
package cert

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/cli/cluster"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/internal/model/delegation"
)

// New is the command `trellis cert`, with its verbs.
func New(s *streams.Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cert",
		Short: "Show and renew the certificates that Trellis keeps, in a cluster",
		Long: `Show the certificates that Trellis keeps, as the operator has written it down in
the cluster, and ask the operator for another one or for another try.`,
		Example: `  # What became of all certificates?
  trellis cert status -A`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newStatus(s), newRenew(s), newRetry(s))
	return cmd
}

// Options are what the commands were asked.
type Options struct {
	cluster.Options
	// Output is one of output.Formats.
	Output string
	// Names are hosts, or names of ManagedCertificates; none: all.
	Names []string
	// Watch stays and shows what changes.
	Watch bool
	// Now is the clock.
	Now func() time.Time

	// mayBeGone: names that are not found are no mistake, they were there before.
	mayBeGone bool
}

func (o *Options) complete() cobra.CompletionFunc {
	return o.Complete(&v1alpha1.ManagedCertificateList{}, func(object client.Object) []string { return []string{object.GetName()} })
}

// Certificate is what is known of one certificate.
type Certificate struct {
	Namespace string   `json:"namespace"`
	Name      string   `json:"name"`
	Hosts     []string `json:"hosts"`
	Secret    string   `json:"secret"`
	// Phase is the ManagedCertificate's own, or Unseen where the operator has not
	// looked at what is wanted now.
	Phase string `json:"phase"`
	// NotAfter and RenewAt are about the certificate that was issued last.
	NotAfter *time.Time `json:"notAfter,omitempty"`
	RenewAt  *time.Time `json:"renewAt,omitempty"`
	NextTry  *time.Time `json:"nextTry,omitempty"`
	// Ready is whether a certificate of an authority is served; Reason and Message
	// are of that condition.
	Ready   bool   `json:"ready"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// NeedsPerson: it will not go away by itself, or it is about to hurt.
	NeedsPerson bool `json:"needsPerson"`

	// said is Message without what only time has changed.
	said string
}

// Unseen is the phase of what the operator has not looked at yet.
const Unseen = "Unseen"

const (
	// overdue is how late the operator may be before one asks whether it runs.
	overdue = 5 * time.Minute
	// patience is how long a host may be without a certificate before a person
	// should look.
	patience = time.Hour
)

// Run reads the certificates, ordered by namespace and name. It writes nothing.
func Run(ctx context.Context, o *Options, c *cluster.Cluster) ([]Certificate, error) {
	out := []Certificate{}
	found := map[string]bool{}
	asked := func(cert *v1alpha1.ManagedCertificate) bool {
		return len(o.Names) == 0 || slices.ContainsFunc(o.Names, func(name string) bool {
			hit := cert.Name == name || serves(cert, name)
			found[name] = found[name] || hit
			return hit
		})
	}
	err := cluster.Each(ctx, c, &v1alpha1.ManagedCertificateList{}, func(object client.Object) {
		if cert, ok := object.(*v1alpha1.ManagedCertificate); ok && asked(cert) {
			out = append(out, certificateOf(cert, o.Now()))
		}
	})
	err = errors.Join(err, delegated(ctx, c, func(cert *delegation.Certificate) {
		if asked(&v1alpha1.ManagedCertificate{ObjectMeta: cert.ObjectMeta, Spec: v1alpha1.ManagedCertificateSpec{DNSNames: cert.Spec.DNSNames}}) {
			out = append(out, byCertManager(cert, o.Now()))
		}
	}))
	if err != nil {
		return nil, err
	}
	for _, name := range o.Names {
		if !found[name] && !o.mayBeGone {
			return nil, missing(c, name)
		}
	}
	slices.SortFunc(out, func(a, b Certificate) int {
		return strings.Compare(a.Namespace+"\x00"+a.Name, b.Namespace+"\x00"+b.Name)
	})
	return out, nil
}

func missing(c *cluster.Cluster, name string) error {
	return fmt.Errorf("looking for %s: there is no ManagedCertificate of this name or for this host %s", name, c.Where())
}

// serves reports whether a certificate is for a host; a wildcard stands for
// exactly one label (RFC 9525 section 6.3).
func serves(cert *v1alpha1.ManagedCertificate, host string) bool {
	name, err := dns.ParseName(host)
	if err != nil {
		return false
	}
	_, parent, _ := strings.Cut(string(name), ".")
	return slices.ContainsFunc(cert.Spec.DNSNames, func(s string) bool {
		n, err := dns.ParseName(s)
		return err == nil && (n == name || string(n) == "*."+parent)
	})
}

func certificateOf(cert *v1alpha1.ManagedCertificate, now time.Time) Certificate {
	status := &cert.Status
	out := Certificate{
		Namespace: cert.Namespace, Name: cert.Name, Hosts: cert.Spec.DNSNames, Secret: cert.Spec.SecretName,
		NotAfter: timeOf(status.NotAfter), RenewAt: timeOf(status.RenewAt),
		Phase: Unseen, Message: "the operator has not looked at it yet",
	}
	expired := out.NotAfter != nil && !now.Before(*out.NotAfter)
	if status.ObservedGeneration != cert.Generation || status.Phase == "" {
		if status.Phase != "" {
			out.Message = "the operator has not looked at the last change yet; before, it was " + status.Phase
		}
		out.NeedsPerson, out.said = expired, out.Message
		return out
	}
	out.Phase, out.NextTry, out.Message = status.Phase, timeOf(status.NextTry), ""
	ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady)
	if ready != nil {
		out.Ready, out.Reason, out.Message = ready.Status == metav1.ConditionTrue, ready.Reason, ready.Message
	}
	expiring := meta.FindStatusCondition(status.Conditions, conditionExpiring)
	late := expiring != nil && expiring.Status == metav1.ConditionTrue
	if late && !out.Ready {
		out.Message += "; " + expiring.Message
	} else if late {
		out.Message = expiring.Message
	}
	if expired {
		out.Message = "it has expired; " + out.Message
	}
	out.NeedsPerson, out.said = late || expired || stuck(out, ready, now), out.Message
	if out.NextTry != nil && now.Sub(*out.NextTry) > overdue {
		out.Message += fmt.Sprintf("; it was to be tried again %s ago: is the operator running?", output.Span(now.Sub(*out.NextTry)))
	}
	return out
}

// The words of the operator that say that a person is needed. They are its
// conditions' and phases', which are part of the API.
const (
	conditionExpiring    = "Expiring"
	phaseIssued          = "Issued"
	phaseFailed          = "Failed"
	phaseWaiting         = "Waiting"
	reasonFailed         = "Failed"
	reasonSecretConflict = "SecretConflict"
)

// stuck reports whether what is wrong will not go away by itself, as far as can
// be told: the authority refused for good or did not believe us, the Secret is
// somebody else's, or there has been no certificate for long.
func stuck(c Certificate, ready *metav1.Condition, now time.Time) bool {
	switch {
	case c.Phase == phaseFailed:
		return true
	case ready == nil || c.Ready:
		return false
	case c.Reason == reasonSecretConflict, c.Reason == reasonFailed && c.Phase == phaseWaiting:
		return true
	}
	return now.Sub(ready.LastTransitionTime.Time) > patience
}

func timeOf(t *metav1.Time) *time.Time {
	if t == nil {
		return nil
	}
	at := t.UTC()
	return &at
}
