// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package cert

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/cli/cluster"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
)

// fieldOwner writes the annotations.
const fieldOwner = client.FieldOwner("trellis-cli")

func newRenew(s *streams.Streams) *cobra.Command {
	o := &Options{Now: time.Now}
	cmd := &cobra.Command{
		Use:   "renew NAME",
		Short: "Ask for another certificate now",
		Long: `Ask for another certificate now, without waiting for its time. NAME is the name
of a ManagedCertificate, or a host that it is for.

What is served stays until the new one is there, which has a new key. There is no
need for this in daily work: certificates are renewed in time by themselves. It
does not wait; the limits of the certificate authority are kept.`,
		Example: `  # Another certificate for a host
  trellis cert renew shop.example.com -n istio-ingress`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return o.instruct(cmd.Context(), s, args[0], Renew) },
	}
	o.AddFlags(cmd, s)
	cmd.ValidArgsFunction = o.complete()
	return cmd
}

func newRetry(s *streams.Streams) *cobra.Command {
	o := &Options{Now: time.Now}
	cmd := &cobra.Command{
		Use:   "retry NAME",
		Short: "Try again now what waits or was given up",
		Long: `Try again now what waits after a failure, or was given up: after what was in the
way is gone. NAME is the name of a ManagedCertificate, or a host that it is for.

Every wait is lifted but one: what the certificate authority asked for is kept,
and so are its limits.`,
		Example: `  # The name leads to the gateway now: do not wait for the next try
  trellis cert retry blog.example.com -n istio-ingress`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return o.instruct(cmd.Context(), s, args[0], Retry) },
	}
	o.AddFlags(cmd, s)
	cmd.ValidArgsFunction = o.complete()
	return cmd
}

// Instruction is what a certificate's controller is told.
type Instruction string

// The instructions are annotations whose text has to change.
const (
	Renew Instruction = v1alpha1.RenewAnnotation
	Retry Instruction = v1alpha1.RetryAnnotation
)

func (o *Options) instruct(ctx context.Context, s *streams.Streams, name string, what Instruction) error {
	c, err := o.Connect()
	if err != nil {
		return err
	}
	cert, err := find(ctx, c, name)
	if err != nil {
		return err
	}
	answer, err := Instruct(ctx, c, cert, what, o.Now())
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(s.Out, answer)
	return err
}

// find is the certificate of a name, or else the only one for that host.
func find(ctx context.Context, c *cluster.Cluster, name string) (*v1alpha1.ManagedCertificate, error) {
	cert := &v1alpha1.ManagedCertificate{}
	err := c.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: name}, cert)
	if err == nil {
		return cert, nil
	}
	if !apierrors.IsNotFound(err) {
		return nil, cluster.Problem("reading the ManagedCertificate "+name, err)
	}
	var hits []*v1alpha1.ManagedCertificate
	err = cluster.Each(ctx, c, &v1alpha1.ManagedCertificateList{}, func(object client.Object) {
		if cert, ok := object.(*v1alpha1.ManagedCertificate); ok && serves(cert, name) {
			hits = append(hits, cert.DeepCopy())
		}
	})
	if err != nil {
		return nil, err
	}
	switch len(hits) {
	case 0:
		return nil, missing(c, name)
	case 1:
		return hits[0], nil
	}
	names := make([]string, 0, len(hits))
	for _, h := range hits {
		names = append(names, h.Name)
	}
	return nil, fmt.Errorf("looking for %s: more than one ManagedCertificate is for it, say which: %s", name, strings.Join(names, ", "))
}

// errDeleting: nothing is ordered for what goes away.
var errDeleting = errors.New("it is being deleted")

// Instruct writes an instruction where it has an effect, and says what happens
// next. It does not wait for it.
func Instruct(ctx context.Context, c *cluster.Cluster, cert *v1alpha1.ManagedCertificate, what Instruction, now time.Time) (string, error) {
	who := fmt.Sprintf("ManagedCertificate %s/%s (%s)", cert.Namespace, cert.Name, few(cert.Spec.DNSNames))
	if !cert.DeletionTimestamp.IsZero() {
		return "", fmt.Errorf("instructing the %s: %w", who, errDeleting)
	}
	if what == Retry && cert.Status.Phase == phaseIssued {
		return fmt.Sprintf("%s: there is nothing to try again, it is issued%s. Nothing was changed; for another one now: trellis cert renew",
			who, until(cert, now)), nil
	}
	// The UID: another object of the same name is not what was looked at.
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": cert.UID, "annotations": map[string]string{string(what): now.UTC().Format(time.RFC3339Nano)},
	}})
	if err != nil {
		return "", fmt.Errorf("writing an annotation: %w", err)
	}
	if err := c.Patch(ctx, cert.DeepCopy(), client.RawPatch(types.MergePatchType, patch), fieldOwner); err != nil {
		return "", cluster.Problem("instructing the "+who, err)
	}
	follow := fmt.Sprintf("\nSee how it goes: trellis cert status %s -n %s", cert.Name, cert.Namespace)
	if what == Renew {
		return who + ": " + afterRenew(cert) + caution(cert, now) + follow, nil
	}
	return who + ": every wait is lifted but what the certificate authority asked for; the operator tries again now." + caution(cert, now) + follow, nil
}

func afterRenew(cert *v1alpha1.ManagedCertificate) string {
	switch cert.Status.Phase {
	case "", phaseIssued, phaseWaiting, phaseFailed:
		return "the operator orders another certificate now, with a new key. What is served stays until it is there."
	}
	return fmt.Sprintf("an order is on its way already (%s); it is the certificate that you ask for. What is served stays until it is there.", cert.Status.Phase)
}

// caution says what an instruction does not lift.
func caution(cert *v1alpha1.ManagedCertificate, now time.Time) string {
	var out string
	// The engine's own record says whose wait it is.
	var state struct {
		HeldByCA bool `json:"heldByCA"`
	}
	if at := cert.Status.NextTry; at != nil && at.After(now) && json.Unmarshal([]byte(cert.Status.State), &state) == nil && state.HeldByCA {
		out += fmt.Sprintf("\nThe certificate authority asked to wait until %s (%s), and that is kept.", at.UTC().Format(time.RFC3339), output.In(timeOf(at), now))
	}
	for _, c := range cert.Status.Conditions {
		if c.Type == v1alpha1.ConditionReady && c.Reason == reasonSecretConflict {
			out += "\nIt will not help before this is solved: " + output.Printable(c.Message)
		}
	}
	return out
}

func until(cert *v1alpha1.ManagedCertificate, now time.Time) string {
	if cert.Status.NotAfter == nil {
		return ""
	}
	return fmt.Sprintf(" and expires %s", output.In(timeOf(cert.Status.NotAfter), now))
}
