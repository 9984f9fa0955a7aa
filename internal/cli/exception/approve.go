// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package exception

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
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
	"github.com/trellis-mesh/trellis/internal/policy"
)

// fieldOwner is whose the approval is among the managers of fields.
const fieldOwner = client.FieldOwner("trellis-cli")

// Decision is what a person has decided about an exception.
type Decision struct {
	Exception
	// Changed is false where it was so already, and nothing was written.
	Changed bool `json:"changed"`
	// Of is the digest of what is approved.
	Of string `json:"of,omitempty"`
	// Policy is the name of the one that the binding binds; empty where whoever approves may
	// not read that.
	Policy v1alpha1.LabelName `json:"policy,omitempty"`

	says string
}

// fewest is how many characters of a digest are shown and asked for. Nobody makes another
// exception whose digest begins with these.
const fewest = policy.ShownDigest

var digests = regexp.MustCompile(fmt.Sprintf("^[0-9a-f]{%d,64}$", fewest))

// seen refuses an exception that is not the one that somebody has looked at.
func (o *Options) seen(e *v1alpha1.PolicyException, digest string) error {
	switch {
	case o.Of == "" || digests.MatchString(o.Of) && strings.HasPrefix(digest, o.Of):
		return nil
	case !digests.MatchString(o.Of):
		return fmt.Errorf("--of %s is no digest: give at least %d of its 64 characters, as trellis exception show prints them", output.Printable(o.Of), fewest)
	}
	return fmt.Errorf("it is not as you have seen it: its digest is %s now, and not %s; look at it again: trellis exception show %s -n %s", digest[:fewest], o.Of[:fewest], e.Name, e.Namespace)
}

func newApprove(s *streams.Streams) *cobra.Command {
	o := &Options{Now: time.Now}
	cmd := &cobra.Command{
		Use:   "approve NAME",
		Short: "Approve an exception from a policy, as it is now",
		Long: `Approve an exception as it is now, in your own name: NAME is a PolicyException.

Written are your name, as the API server knows it, a digest of the exception, and
the name of the policy that its binding binds. What is changed in it afterwards is
not approved, nor is another policy, and lets nothing go before it is approved
again. What is approved is printed.

Between your look at it and the approval somebody may have changed it. With --of and
the digest that list and show print, it is approved as you have seen it or not at
all. The first 20 characters of a digest are enough.

The API server takes an approval only from whoever has the verb
approve on the binding that is not to hold.

Exit code 0: it is approved. 1: it cannot be approved, or not by you, or has another
digest; wrong usage; a cluster that cannot be asked, or a fault of Trellis.`,
		Example: `  # What waits for me, and what is it about?
  trellis exception list -A
  trellis exception show legacy-clients -n shop

  # It is as I have seen it
  trellis exception approve legacy-clients -n shop --of 8ece51babac83d10c008`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return o.decide(cmd.Context(), s, args[0], Approve) },
	}
	o.addFlags(cmd, s)
	cmd.Flags().StringVar(&o.Of, "of", "", "the `digest` of what you have seen: anything else is not approved")
	return cmd
}

func newRevoke(s *streams.Streams) *cobra.Command {
	o := &Options{Now: time.Now}
	cmd := &cobra.Command{
		Use:   "revoke NAME",
		Short: "Take the approval of an exception back",
		Long: `Take the approval of an exception back: NAME is a PolicyException. The policy holds
again as soon as the operator sees it. The exception itself stays, and can be
approved again. Everybody who may change the exception may do that.

Exit code 0: it is not approved. 1: wrong usage, a cluster that cannot be asked or
forbids it, or a fault of Trellis.`,
		Example: `  # Let the policy hold again
  trellis exception revoke legacy-clients -n shop`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return o.decide(cmd.Context(), s, args[0], Revoke) },
	}
	o.addFlags(cmd, s)
	return cmd
}

// decide reads an exception and carries a decision out.
func (o *Options) decide(ctx context.Context, s *streams.Streams, name string, how func(context.Context, *Options, *cluster.Cluster, *v1alpha1.PolicyException) (*Decision, error)) error {
	if err := output.CheckFormat(o.Output); err != nil {
		return err
	}
	c, err := o.Connect()
	if err != nil {
		return err
	}
	e, err := read(ctx, c, name)
	if err != nil {
		return err
	}
	d, err := how(ctx, o, c, e)
	if err != nil {
		return err
	}
	return output.Write(s.Out, o.Output, d, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, d.says)
		return err
	})
}

// Approve approves an exception as it was read, in the name of whoever runs the command.
func Approve(ctx context.Context, o *Options, c *cluster.Cluster, e *v1alpha1.PolicyException) (*Decision, error) {
	who := "PolicyException " + e.Namespace + "/" + e.Name
	doing := "approving the " + who
	switch now := o.Now(); {
	case !e.DeletionTimestamp.IsZero():
		return nil, fmt.Errorf("%s: it is being deleted", doing)
	case !e.Spec.Expires.After(now):
		return nil, fmt.Errorf("%s: it has expired (%s), so nothing would be let go; whoever needs it asks for one that expires later", doing, output.In(&e.Spec.Expires.Time, now))
	}
	digest, err := policy.Digest(e)
	if err == nil {
		err = o.seen(e, digest)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	user, err := c.WhoAmI(ctx)
	if err != nil {
		return nil, err
	}
	bound, err := policyOf(ctx, c, e)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	d := &Decision{Exception: exceptionOf(e.Namespace, e.Name, &e.Spec), Of: digest, Policy: bound}
	if a := e.Spec.Approval; a != nil && a.Of == digest && a.Policy == bound {
		d.says = fmt.Sprintf("%s is approved by %s as it is. Nothing was changed.\n%s", who, output.Printable(a.By), d.block(policyWords(bound), o.Now()))
		return d, nil
	}
	d.Changed, d.ApprovedBy = true, user
	if err := o.patch(ctx, c, e, &v1alpha1.ExceptionApproval{By: user, Of: digest, Policy: bound}); err != nil {
		return nil, refusal(doing, err)
	}
	d.says = fmt.Sprintf("%s is approved by %s:\n%s\nSee what comes of it: trellis exception list -n %s", who, user, d.block(policyWords(bound), o.Now()), e.Namespace)
	return d, nil
}

// errNoBinding is why an exception from a binding that is not there is not approved.
var errNoBinding = errors.New("nothing would be let go")

// policyOf is the policy that is bound by the binding of an exception; empty where that may
// not be read.
func policyOf(ctx context.Context, c *cluster.Cluster, e *v1alpha1.PolicyException) (v1alpha1.LabelName, error) {
	name := string(e.Spec.Binding.Name)
	wide, own := &v1alpha1.ClusterPolicyBinding{}, &v1alpha1.PolicyBinding{}
	key, of, bound := client.ObjectKey{Name: name}, client.Object(wide), &wide.Spec.Policy
	if e.Spec.Binding.Kind == "PolicyBinding" {
		key, of, bound = client.ObjectKey{Namespace: e.Namespace, Name: name}, own, &own.Spec.Policy
	}
	err := c.Get(ctx, key, of)
	switch {
	case apierrors.IsForbidden(err):
		return "", nil
	case apierrors.IsNotFound(err):
		return "", fmt.Errorf("there is no %s %s, so %w", e.Spec.Binding.Kind, name, errNoBinding)
	case err != nil:
		return "", fmt.Errorf("reading the %s %s: %w", e.Spec.Binding.Kind, name, err)
	}
	return bound.Name, nil
}

// Revoke takes an approval back.
func Revoke(ctx context.Context, o *Options, c *cluster.Cluster, e *v1alpha1.PolicyException) (*Decision, error) {
	who := "PolicyException " + e.Namespace + "/" + e.Name
	d := &Decision{Exception: exceptionOf(e.Namespace, e.Name, &e.Spec)}
	if e.Spec.Approval == nil {
		d.says = "nobody has approved the " + who + ". Nothing was changed."
		return d, nil
	}
	if err := o.patch(ctx, c, e, nil); err != nil {
		return nil, refusal("revoking the approval of the "+who, err)
	}
	d.says = fmt.Sprintf("the approval of the %s by %s is taken back: %s holds for %s again.",
		who, output.Printable(d.ApprovedBy), output.Printable(d.binding()), d.Subject)
	d.Changed, d.ApprovedBy = true, ""
	return d, nil
}

// patch writes the approval and nothing else. What changes meanwhile is not of the digest.
func (o *Options) patch(ctx context.Context, c *cluster.Cluster, e *v1alpha1.PolicyException, approval *v1alpha1.ExceptionApproval) error {
	// The UID: another object of the same name is not what was looked at.
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": e.UID},
		"spec":     map[string]any{"approval": approval},
	})
	if err != nil {
		return fmt.Errorf("writing the approval: %w", err)
	}
	return c.Patch(ctx, e.DeepCopy(), client.RawPatch(types.MergePatchType, patch), fieldOwner)
}
