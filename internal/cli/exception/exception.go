// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package exception is the commands `trellis exception list`, `trellis exception approve`
// and `trellis exception revoke`: what is let go that a policy would refuse, and how
// whoever may approve says so.
package exception

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/cli/cluster"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/source"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
)

// New is the command `trellis exception`, with its verbs.
func New(s *streams.Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exception",
		Short: "Show, approve and revoke exceptions from policies",
		Long: `Show exceptions from policies, of files or of a cluster, and approve them in a
cluster or take that back.

An exception lets something of its own namespace go that a policy would refuse:
until the day that it names, and only while it is as somebody has approved it who
has the verb approve on the binding.`,
		Example: `  # What is let go, and what waits for somebody?
  trellis exception list -A`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newList(s), newShow(s), newApprove(s), newRevoke(s))
	return cmd
}

// Options are what the commands were asked.
type Options struct {
	cluster.Options
	// Source are the files of list; none: a cluster is asked. At is the moment at which
	// it is judged what has expired.
	Source source.Options
	// Output is one of output.Formats.
	Output string
	// Of is the digest of what is to be approved; empty: of what is there.
	Of string
	// Now is the clock.
	Now func() time.Time
}

func (o *Options) complete() cobra.CompletionFunc {
	return o.Complete(&v1alpha1.PolicyExceptionList{}, func(object client.Object) []string { return []string{object.GetName()} })
}

// addFlags registers the flags of the commands that write.
func (o *Options) addFlags(cmd *cobra.Command, s *streams.Streams) {
	o.AddFlags(cmd, s)
	output.AddFlag(cmd, &o.Output)
	cmd.ValidArgsFunction = o.complete()
}

// read is the exception of a name.
func read(ctx context.Context, c *cluster.Cluster, name string) (*v1alpha1.PolicyException, error) {
	e := &v1alpha1.PolicyException{}
	err := c.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: name}, e)
	switch {
	case err == nil:
		return e, nil
	case apierrors.IsNotFound(err) && !apierrors.HasStatusCause(err, "UnexpectedServerResponse"):
		return nil, fmt.Errorf("looking for %s: there is no such PolicyException %s", name, c.Where())
	}
	return nil, cluster.Problem("reading the PolicyException "+name, err)
}

// denied is how an API server begins what a ValidatingAdmissionPolicy says.
const denied = "denied request: "

// refusal is an error of the API server without what only its machines need.
func refusal(doing string, err error) error {
	if _, says, ok := strings.Cut(err.Error(), denied); ok && apierrors.IsForbidden(err) {
		return errors.New(doing + ": " + says)
	}
	if apierrors.IsForbidden(err) {
		return fmt.Errorf("%s: you may not change PolicyExceptions there (rule: the API server's RBAC); ask whoever approves exceptions from this binding: %w", doing, err)
	}
	return cluster.Problem(doing, err)
}
