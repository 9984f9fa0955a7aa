// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package exception

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/cli/cluster"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
)

func newShow(s *streams.Streams) *cobra.Command {
	o := &Options{Now: time.Now}
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Show an exception from a policy, and the digest to approve it by",
		Long: `Show an exception of a cluster as it is now: what is not to hold, for what, until
when, why, and whether it is in force, as the operator wrote in the status. NAME is a
PolicyException. The digest is of all of it but the approval: approve it by that, and
nothing else is approved.

Exit code 0: shown. 1: wrong usage, a cluster that cannot be asked, or a fault of
Trellis.`,
		Example: `  trellis exception show legacy-clients -n shop`,
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return o.show(cmd.Context(), s, args[0]) },
	}
	o.addFlags(cmd, s)
	return cmd
}

func (o *Options) show(ctx context.Context, s *streams.Streams, name string) error {
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
	shown, says, err := Show(ctx, o, c, e)
	if err != nil {
		return err
	}
	return output.Write(s.Out, o.Output, shown, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, says)
		return err
	})
}

// Show is an exception, and the same for people. It writes nothing.
func Show(ctx context.Context, o *Options, c *cluster.Cluster, e *v1alpha1.PolicyException) (Exception, string, error) {
	bound, err := policyOf(ctx, c, e)
	words, gone := policyWords(bound), errors.Is(err, errNoBinding)
	if gone {
		words = "which is not there"
	} else if err != nil {
		return Exception{}, "", fmt.Errorf("showing the PolicyException %s/%s: %w", e.Namespace, e.Name, err)
	}
	one := byStatus([]*v1alpha1.PolicyException{e})[0]
	force := "it is in force, approved by " + output.Printable(one.ApprovedBy)
	if !one.InForce {
		force = "it is not in force: " + output.Printable(one.Message)
	}
	next := fmt.Sprintf("Approve it as it is here: trellis exception approve %s -n %s --of %.*s", e.Name, e.Namespace, fewest, one.Digest)
	if gone {
		next = "Approving it would let nothing go: it has to name a binding that is there"
	}
	return one, fmt.Sprintf("PolicyException %s/%s\n%s\n%s\n%s", e.Namespace, e.Name, one.block(words, o.Now()), force, next), nil
}

// policyWords are a policy in words; it is empty where it may not be read.
func policyWords(bound v1alpha1.LabelName) string {
	if bound == "" {
		return "whatever policy that binds: you may not read which it is"
	}
	return "policy " + string(bound)
}

// block is what an exception from a policy lets go, a line for each thing.
func (e Exception) block(of string, now time.Time) string {
	return fmt.Sprintf("  not to hold: %s, %s\n  for:         %s\n  until:       %s (%s)\n  since:       %s\n  digest:      %s",
		output.Printable(e.binding()), of, e.Subject, e.Expires.Format(time.RFC3339), output.In(&e.Expires, now), output.Printable(e.Reason), e.Digest)
}
