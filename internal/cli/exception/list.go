// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package exception

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/cli/cluster"
	"github.com/trellis-mesh/trellis/internal/cli/exit"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	"github.com/trellis-mesh/trellis/internal/document"
	"github.com/trellis-mesh/trellis/internal/load"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy"
	"github.com/trellis-mesh/trellis/internal/report"
)

// Exception is what is known of one.
type Exception struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Binding and Subject are as a person would name them.
	Binding string   `json:"binding"`
	Rules   []string `json:"rules,omitempty"`
	Subject string   `json:"subject"`
	// Reason is why somebody asks for it.
	Reason     string    `json:"reason"`
	Expires    time.Time `json:"expires"`
	ApprovedBy string    `json:"approvedBy,omitempty"`
	InForce    bool      `json:"inForce"`
	// Why it is not in force: a word for programs, and the same for people.
	Why     string `json:"why,omitempty"`
	Message string `json:"message,omitempty"`
	// Digest is that of the exception as it is here, by which it is approved.
	Digest string `json:"digest"`
}

func newList(s *streams.Streams) *cobra.Command {
	o := &Options{Now: time.Now}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show exceptions from policies, and whether they are in force",
		Long: `Show exceptions from policies: from what, for what, until when, who has approved
them, and whether they are in force or why not. It is about the files of -f, or else
about the cluster that kubectl would ask.

Whether one is in force is found from the bindings and templates that are there. In
a cluster that does not let you read these, it is what the operator wrote in the
status. The digest is of all of an exception but its approval: approve it by that,
and nothing else is approved.

Exit code 0: shown. 1: wrong usage, a cluster that cannot be asked, or a fault of
Trellis. 3: a document could not be read, so that there may be more.`,
		Example: `  # What is let go, and what waits for somebody?
  trellis exception list -A

  # What will have expired at the end of the year?
  trellis exception list -A --at 2027-01-01T00:00:00Z

  # Of files, for programs
  trellis exception list -f examples/policies -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := output.CheckFormat(o.Output); err != nil {
				return err
			}
			list, complete, err := o.list(cmd.Context(), s)
			if err == nil {
				err = o.write(s, list)
			}
			if err == nil && !complete {
				err = exit.ErrUnknown
			}
			return err
		},
	}
	o.AddFlags(cmd, s)
	o.AddAllNamespaces(cmd)
	o.Source.AddFileFlags(cmd)
	output.AddFlag(cmd, &o.Output)
	return cmd
}

// list reads files or a cluster. It is incomplete where something could not be read.
func (o *Options) list(ctx context.Context, s *streams.Streams) (list []Exception, complete bool, err error) {
	if len(o.Source.Files) > 0 {
		if o.Kubeconfig != "" || o.Context != "" {
			return nil, false, errors.New("choosing what to ask: -f is about files, and --context and --kubeconfig are about a cluster: give one of them")
		}
		return o.ofFiles(ctx, s)
	}
	c, err := o.Connect()
	if err != nil {
		return nil, false, err
	}
	list, err = Run(ctx, o, c)
	if err == nil && len(list) == 0 {
		_, _ = fmt.Fprintln(s.Err, "there are no exceptions from policies "+c.Where())
	}
	return list, true, err
}

// ofFiles are those of files. What could not be read is told.
func (o *Options) ofFiles(ctx context.Context, s *streams.Streams) (list []Exception, complete bool, err error) {
	compiled, err := o.Source.Compile(ctx, s.In)
	if err != nil {
		return nil, false, err
	}
	known := map[model.Reference]bool{}
	for _, e := range compiled.Outcome.Policies.Exceptions {
		known[e.Ref] = true
	}
	var unread []model.Finding
	for _, f := range compiled.Report.Findings {
		if f.Severity == model.SeverityError && (document.Unread(f.Reason) || f.Object.Kind == "PolicyException" && !known[f.Object]) {
			unread = append(unread, f)
		}
	}
	if err := report.Findings(s.Err, unread, s.ErrColour); err != nil {
		return nil, false, fmt.Errorf("writing the findings: %w", err)
	}
	list = slices.DeleteFunc(exceptionsOf(compiled.Outcome.Policies), func(e Exception) bool {
		return o.Namespace != "" && !o.AllNamespaces && e.Namespace != o.Namespace
	})
	return list, len(unread) == 0, nil
}

// Run reads the exceptions of a cluster, ordered by namespace and name. It writes nothing.
func Run(ctx context.Context, o *Options, c *cluster.Cluster) ([]Exception, error) {
	builder := load.NewBuilder(model.DefaultMesh())
	var found []*v1alpha1.PolicyException
	err := cluster.Each(ctx, c, &v1alpha1.PolicyExceptionList{}, func(object client.Object) {
		builder.Add(object)
		if e, ok := object.(*v1alpha1.PolicyException); ok {
			found = append(found, e)
		}
	})
	for _, list := range []client.ObjectList{
		&v1alpha1.PolicyBindingList{}, &v1alpha1.ClusterPolicyBindingList{}, &v1alpha1.PolicyTemplateList{}, &corev1.NamespaceList{},
	} {
		if err == nil {
			err = cluster.Each(ctx, c, list, func(object client.Object) { builder.Add(object) })
			if apierrors.IsForbidden(err) {
				return byStatus(found), nil
			}
		}
	}
	if err != nil {
		return nil, err
	}
	in := builder.Input()
	in.At = o.Source.Moment(o.Now())
	return exceptionsOf(policy.Compile(model.NewSnapshot(in))), nil
}

func exceptionsOf(set *policy.Set) []Exception {
	out := []Exception{}
	for _, e := range set.Exceptions {
		one := exceptionOf(e.Ref.Namespace, e.Ref.Name, e.Spec)
		one.InForce, one.Why, one.Message = e.InForce(), e.Reason, e.Why
		out = append(out, one)
	}
	return out
}

// byStatus is what the operator wrote of exceptions, which are in order.
func byStatus(found []*v1alpha1.PolicyException) []Exception {
	out := []Exception{}
	for _, e := range found {
		one := exceptionOf(e.Namespace, e.Name, &e.Spec)
		ready := meta.FindStatusCondition(e.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || ready.ObservedGeneration != e.Generation {
			one.Why, one.Message = "Unseen", "the operator has not looked at it as it is now"
		} else if one.InForce = ready.Status == metav1.ConditionTrue; !one.InForce {
			one.Why, one.Message = ready.Reason, ready.Message
		}
		out = append(out, one)
	}
	return out
}

func exceptionOf(namespace, name string, spec *v1alpha1.PolicyExceptionSpec) Exception {
	out := Exception{
		Namespace: namespace, Name: name, Binding: spec.Binding.Kind + " " + string(spec.Binding.Name),
		Subject: subject(&spec.Subject), Reason: spec.Reason, Expires: spec.Expires.UTC(),
	}
	for _, r := range spec.Rules {
		out.Rules = append(out.Rules, string(r))
	}
	if spec.Approval != nil {
		out.ApprovedBy = spec.Approval.By
	}
	// Of texts and times there is always one.
	out.Digest, _ = policy.Digest(&v1alpha1.PolicyException{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: *spec})
	return out
}

func subject(s *v1alpha1.ExceptionSubject) string {
	switch {
	case s.SecureIngress != "":
		return "SecureIngress " + string(s.SecureIngress)
	case s.Route != "":
		return "Application " + string(s.Application) + " route " + string(s.Route)
	}
	return "Application " + string(s.Application)
}

// binding names what is not to hold.
func (e Exception) binding() string {
	if len(e.Rules) == 0 {
		return e.Binding
	}
	return e.Binding + " (" + strings.Join(e.Rules, ", ") + ")"
}

func (o *Options) write(s *streams.Streams, list []Exception) error {
	return output.Write(s.Out, o.Output, map[string][]Exception{"exceptions": list}, func(w io.Writer) error {
		if len(list) == 0 {
			return nil
		}
		now := o.Source.Moment(o.Now())
		var rows []output.Row
		for _, e := range list {
			force, mood := "yes", output.Calm
			if !e.InForce {
				force, mood = "no", output.Waiting
			}
			rows = append(rows, output.Row{Mood: mood, Cells: []string{
				e.Namespace, e.Name, e.binding(), e.Subject, e.Expires.Format(time.DateOnly) + " (" + output.In(&e.Expires, now) + ")", fmt.Sprintf("%.*s", fewest, e.Digest), e.ApprovedBy, force, e.Message,
			}})
		}
		header := []string{"NAMESPACE", "NAME", "FROM", "FOR", "EXPIRES", "DIGEST", "APPROVED BY", "IN FORCE", "WHY NOT"}
		return output.Table(w, header, rows, s.OutColour)
	})
}
