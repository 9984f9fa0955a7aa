// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mtls

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/cli/exit"
	"github.com/trellis-mesh/trellis/internal/cli/live"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/mtls"
	"github.com/trellis-mesh/trellis/internal/mtls/rollout"
)

// planOptions are the flags.
type planOptions struct {
	live.Options
	Output string
}

// PlannedStage is a stage with what it applies.
type PlannedStage struct {
	rollout.Stage
	// Object is to be applied; absent where the change is one of an Application.
	Object map[string]any `json:"object,omitempty"`
}

// PlanView is the answer as JSON and YAML have it.
type PlanView struct {
	// Stages are in order: those that nothing blocks come first.
	Stages []PlannedStage `json:"stages"`
	Notes  []string       `json:"notes,omitempty"`
	// Source is where the configuration of the proxies came from; empty: from files.
	Source string `json:"source,omitempty"`
}

func newPlan(s *streams.Streams) *cobra.Command {
	o := &planOptions{}
	cmd := &cobra.Command{
		Use:   "plan [NAMESPACE]...",
		Short: "Say by which stages a mesh comes to take mutual TLS only, and what blocks each",
		Long: `plan looks at every service whose workloads take plaintext today, in some namespaces or
in all, and says what would make them take mutual TLS only: one stage for each service.

All stages are tried: Istio's generator makes the mesh anew with them, and every client
is compared with every service before and after. A client that gets on today and would
not then blocks the stage: one without a proxy, or one whose DestinationRule sends it
plaintext (trellis mtls fix finds out what to do about that). Stages that nothing blocks
come first, and of these the ones with the fewest clients.

What clients could do counts, and not what they do: nobody's access log is read here.
The exit code is 2 where a stage is blocked.`,
		Example: `  # Everything takes mutual TLS only already
  trellis mtls plan -f examples/bookinfo bookinfo

  # In the running mesh: what is left to do?
  trellis mtls plan --context prod -o yaml`,
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, s, args) },
	}
	o.AddFlags(cmd)
	output.AddFlag(cmd, &o.Output)
	return cmd
}

func (o *planOptions) run(cmd *cobra.Command, s *streams.Streams, namespaces []string) error {
	if err := output.CheckFormat(o.Output); err != nil {
		return err
	}
	changeable(&o.Options)
	view, err := asked(cmd, s, &o.Options, o.Output, func(m *mesh.Mesh) (*PlanView, error) { return plan(cmd.Context(), m, namespaces) },
		func(v *PlanView, w io.Writer) error { return v.text(w, s.OutColour) })
	if err != nil {
		return err
	}
	if slices.ContainsFunc(view.Stages, func(s PlannedStage) bool { return len(s.Blocks) > 0 }) {
		return exit.ErrFindings
	}
	return nil
}

func plan(ctx context.Context, m *mesh.Mesh, namespaces []string) (view *PlanView, err error) {
	w, known := newWorkshop(m)
	if !known {
		return nil, mesh.ErrNotGenerated
	}
	for _, n := range namespaces {
		if n == "" || len(w.checker.TargetsIn(n)) == 0 {
			return nil, fmt.Errorf("reading NAMESPACE: there is no service in namespace %s", n)
		}
	}
	stages := rollout.Stages(w.checker, m.Proxies, w.rules, namespaces)
	view = &PlanView{Stages: []PlannedStage{}, Notes: m.Refused(), Source: m.From}
	if len(stages) == 0 {
		return view, nil
	}
	objects := make([]client.Object, 0, len(stages))
	for _, s := range stages {
		o := s.Object.DeepCopy()
		o.SetGroupVersionKind(peerAuthentication)
		objects = append(objects, o)
	}
	after, err := m.With(ctx, objects...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, after.Close()) }()
	rules, _ := after.Policies()
	checker := mtls.New(after.World, rules)
	proxied := map[string]bool{}
	for _, c := range w.clients {
		proxied[c.String()] = c.Node != nil
	}
	stages = rollout.Judge(stages, w.checker.CheckAll(w.clients, w.checker.Targets()), checker.CheckAll(checker.Clients(), checker.Targets()),
		func(client string) bool { return proxied[client] })
	for _, s := range stages {
		one := PlannedStage{Stage: s}
		if owner := generatedFor(s.Object); owner != "" {
			one.Change = "set access.mutualTLS of " + owner + " to Strict"
		} else if one.Object, err = written(s.Object, peerAuthentication); err != nil {
			return nil, err
		}
		view.Stages = append(view.Stages, one)
	}
	return view, nil
}

var peerAuthentication = securityv1.SchemeGroupVersion.WithKind("PeerAuthentication")

// generatedFor is the statement that Trellis made an object for, as "Application
// shop/cart"; empty for objects of others.
func generatedFor(o client.Object) string {
	labels := o.GetLabels()
	if labels[compile.LabelManagedBy] != compile.ManagedBy {
		return ""
	}
	return fmt.Sprintf("%s %s/%s", labels[compile.LabelOwnerKind], labels[compile.LabelOwnerNamespace], labels[compile.LabelOwnerName])
}

func (v *PlanView) text(w io.Writer, colour bool) error {
	var b strings.Builder
	var rows []output.Row
	for i := range v.Stages {
		s := &v.Stages[i]
		row := output.Row{Cells: []string{fmt.Sprint(i + 1), s.Namespace + "/" + s.Name, string(s.Mode), fmt.Sprint(s.Clients), s.blocks(), s.Change}}
		if len(s.Blocks) > 0 {
			row.Mood = output.Waiting
		}
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		b.WriteString("everything takes mutual TLS only\n")
	} else if err := output.Table(&b, []string{"STAGE", "SERVICE", "TODAY", "CLIENTS", "BLOCKED BY", "CHANGE"}, rows, colour); err != nil {
		return err
	}
	output.Notes(&b, v.Notes)
	output.Source(&b, v.Source)
	_, err := io.WriteString(w, b.String())
	return err
}

// blocks are the clients that are shut out, in short.
func (s *PlannedStage) blocks() string {
	var out []string
	for _, b := range s.Blocks {
		name := b.Client
		if !b.Proxy {
			name += " (no proxy)"
		}
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return output.Short(out, 3)
}

// written is an object as it is to be applied: its name, what people said of it, and what
// it says. The rest is the cluster's.
func written(object client.Object, kind schema.GroupVersionKind) (map[string]any, error) {
	raw, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return nil, fmt.Errorf("writing %s %s/%s: %w", kind.Kind, object.GetNamespace(), object.GetName(), err)
	}
	u := &unstructured.Unstructured{Object: map[string]any{"spec": raw["spec"]}}
	u.SetGroupVersionKind(kind)
	u.SetNamespace(object.GetNamespace())
	u.SetName(object.GetName())
	u.SetLabels(object.GetLabels())
	annotations := maps.Clone(object.GetAnnotations())
	delete(annotations, lastApplied)
	u.SetAnnotations(annotations)
	sayModes(u.Object)
	return u.Object, nil
}

// lastApplied is what kubectl apply keeps in an object, and writes anew by itself.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"
