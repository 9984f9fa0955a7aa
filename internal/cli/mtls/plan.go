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
	"time"

	"github.com/spf13/cobra"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/cli/exit"
	"github.com/trellis-mesh/trellis/internal/cli/live"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	"github.com/trellis-mesh/trellis/internal/mtls"
	"github.com/trellis-mesh/trellis/internal/mtls/rollout"
	"github.com/trellis-mesh/trellis/internal/traffic"
	"github.com/trellis-mesh/trellis/internal/world"
)

// planOptions are the flags.
type planOptions struct {
	live.Options
	Output string
	// By is what a stage is about; empty: a service.
	By string
	// Rollout is a MutualTLSRollout whose stages they are; empty: nobody's.
	Rollout string
	seenOptions
}

// PlannedStage is a stage with what it applies.
type PlannedStage struct {
	rollout.Stage
	// Change says what the stage does, or what is to be done before it can be.
	Change string `json:"change"`
	// Blocks are clients that would fail, or that were seen to send plaintext, and Could
	// those that could fail and were not seen, where somebody looked.
	Blocks []rollout.Block    `json:"blocks,omitempty"`
	Could  []rollout.Conflict `json:"could,omitempty"`
	// Object is to be applied; absent where the change is one of an Application.
	Object map[string]any `json:"object,omitempty"`
}

func (s *PlannedStage) blocked() bool { return len(s.Blocks) > 0 || len(s.Refusals) > 0 }

// PlanView is the answer as JSON and YAML have it.
type PlanView struct {
	// Stages are those that are not done, in the order in which they are to be taken.
	Stages []PlannedStage `json:"stages"`
	// Unstaged are services that no stage is about, done or not: none of their workloads
	// has a sidecar.
	Unstaged []string `json:"unstaged,omitempty"`
	Notes    []string `json:"notes,omitempty"`
	// Seen is of what time traffic was seen, and where; empty: nobody looked.
	Seen string `json:"seen,omitempty"`
	// Source is where the configuration of the proxies came from; empty: from files.
	Source string `json:"source,omitempty"`

	// staged: there are stages, if only such as are done.
	staged bool
}

func newPlan(s *streams.Streams) *cobra.Command {
	o := &planOptions{}
	cmd := &cobra.Command{
		Use:   "plan [NAMESPACE]...",
		Short: "Say by which stages a mesh comes to take mutual TLS only, and what blocks each",
		Long: `plan looks at every service whose workloads take plaintext today, in some namespaces or
in all, and says what would make them take mutual TLS only: one stage for each service,
or with --by namespace for each namespace. A MutualTLSRollout goes by the same stages;
--rollout NAME shows those of one, of the files or of the cluster.

All stages are tried: Istio's generator makes the mesh anew with them, and every client
is compared with every service before and after. A client that gets on today and would
not then blocks the stage: one without a proxy, or one whose DestinationRule sends it
plaintext (trellis mtls fix finds out what to do about that). So does a
PeerAuthentication of somebody else that decides before the stage's own could: of two
for one workload the older one counts.

Stages are in order: callers come before those that they call, as far as that was seen,
and otherwise those come first that the fewest clients could call. What blocks a stage
does not change the order. The exit code is 2 where a stage is blocked,
and otherwise 3 where a document cannot be read.

TODAY is what the workloads take, and CLIENTS how many clients get on today and would
after the stage, too. A service of which no workload has a sidecar has no stage.

With --log or --prometheus, what was seen of traffic counts: a client that sent plaintext
blocks, and one without a proxy that was not seen to call is only named (could).`,
		Example: `  # Everything takes mutual TLS only already
  trellis mtls plan -f examples/bookinfo bookinfo

  # One stage for each namespace
  trellis mtls plan -f examples/bookinfo --by namespace

  # In the running mesh: what is left to do?
  trellis mtls plan --context prod -o yaml

  # Who does send plaintext, by what a proxy logged?
  kubectl logs -n bookinfo deploy/productpage -c istio-proxy | trellis mtls plan --context prod --log - bookinfo`,
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, s, args) },
	}
	o.AddFlags(cmd)
	output.AddFlag(cmd, &o.Output)
	flags := cmd.Flags()
	flags.StringVar(&o.By, "by", "", "what a stage is about: service or namespace (default service)")
	o.addFlags(flags)
	flags.StringVar(&o.Rollout, "rollout", "", "a MutualTLSRollout: its namespaces, and what its stages are about")
	// Cobra's registration fails only for a flag that is not there.
	_ = cmd.RegisterFlagCompletionFunc("by", cobra.FixedCompletions(slices.Sorted(maps.Keys(kinds)), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// kinds are the values of --by.
var kinds = map[string]v1alpha1.RolloutStageKind{"service": v1alpha1.StageService, "namespace": v1alpha1.StageNamespace}

func (o *planOptions) run(cmd *cobra.Command, s *streams.Streams, namespaces []string) error {
	if err := output.CheckFormat(o.Output); err != nil {
		return err
	}
	o.SinceGiven = cmd.Flags().Changed("since")
	if err := o.check(namespaces); err != nil {
		return err
	}
	changeable(&o.Options)
	return asked(cmd, s, &o.Options, func(m *mesh.Mesh) (*PlanView, error) {
		scope, err := o.scope(cmd.Context(), m, namespaces)
		if err != nil {
			return nil, err
		}
		seen, when, err := o.seen(cmd.Context(), m, s.In, time.Now())
		if err != nil {
			return nil, err
		}
		view, err := plan(cmd.Context(), m, scope, seen)
		if err != nil {
			return nil, err
		}
		view.Seen = when
		return view, nil
	}, reply[*PlanView]{
		format:  o.Output,
		text:    func(v *PlanView, w io.Writer) error { return v.text(w, s.OutColour) },
		verdict: (*PlanView).verdict,
	})
}

func (v *PlanView) verdict() error {
	if slices.ContainsFunc(v.Stages, func(s PlannedStage) bool { return s.blocked() }) {
		return exit.ErrFindings
	}
	return nil
}

// check says which flags contradict each other.
func (o *planOptions) check(namespaces []string) error {
	switch {
	case o.By != "" && kinds[o.By] == "":
		return fmt.Errorf("reading --by: %q is neither service nor namespace", o.By)
	case o.Rollout != "" && (o.By != "" || len(namespaces) > 0):
		return errors.New("choosing stages: a MutualTLSRollout says itself what its namespaces and its stages are: leave out --by and NAMESPACE, or --rollout")
	}
	return o.seenOptions.check(o.Files)
}

// plan says which stages there are, what blocks each, and in which order they are to be
// taken. What was seen of traffic may be nil: then all that could fail block.
func plan(ctx context.Context, m *mesh.Mesh, scope rollout.Scope, seen *traffic.Seen) (view *PlanView, err error) {
	rules, known := m.Policies()
	if !known || !m.Changeable() {
		return nil, mesh.ErrNotGenerated
	}
	checker := mtls.New(m.World, rules)
	stages := rollout.Stages(rollout.Mesh{World: m.World, Checker: checker, Policies: rules, Owner: world.MadeFor}, scope)
	view = &PlanView{Stages: []PlannedStage{}, Unstaged: unstaged(checker, scope, stages), Notes: m.Missing(), Source: m.From}
	view.staged = len(stages) > 0
	stages = slices.DeleteFunc(stages, func(s rollout.Stage) bool { return s.Done() })
	if seen != nil && seen.Lost > 0 {
		view.Notes = append(view.Notes, fmt.Sprintf("of what was seen of traffic %d could not be read or placed: clients may be missing", seen.Lost))
	}
	if len(stages) == 0 {
		return view, nil
	}
	after, err := m.With(ctx, objects(rollout.Trial(stages))...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, after.Close()) }()
	changed, _ := after.Policies()
	rollout.Judge(stages, checker, mtls.New(after.World, changed))
	for _, s := range rollout.Order(stages, seen) {
		one := PlannedStage{Stage: s}
		one.Blocks, one.Could = rollout.Blocks(&s, seen)
		if err := one.describe(); err != nil {
			return nil, err
		}
		view.Stages = append(view.Stages, one)
	}
	return view, nil
}

// unstaged are the services of a scope that no stage is about.
func unstaged(c *mtls.Checker, scope rollout.Scope, stages []rollout.Stage) []string {
	about := map[string]bool{}
	for _, s := range stages {
		for _, name := range s.Services {
			about[name] = true
		}
	}
	var out []string
	for _, t := range c.Targets() {
		name := t.Service.Name.Namespace + "/" + t.Service.Name.Name
		if !t.Service.External && scope.In(t.Service.Name.Namespace) && !about[name] {
			out = append(out, name)
		}
	}
	return out
}

func objects(policies []*securityv1.PeerAuthentication) []client.Object {
	out := make([]client.Object, 0, len(policies))
	for _, p := range policies {
		out = append(out, p)
	}
	return out
}

// describe says what the stage changes, or what stands in its way.
func (s *PlannedStage) describe() error {
	apply := s.Stage.Object
	s.Change = fmt.Sprintf("add PeerAuthentication %s/%s, STRICT for %s", apply.Namespace, apply.Name, rollout.Labels(apply.Spec.GetSelector().GetMatchLabels()))
	if len(s.Refusals) > 0 {
		apply = nil
		var fixes []string
		for _, r := range s.Refusals {
			fixes = append(fixes, r.Fix)
			if len(s.Refusals) == 1 && !r.Generated {
				apply = r.Instead
			}
		}
		s.Change = strings.Join(fixes, "; ")
	}
	if apply == nil {
		return nil
	}
	var err error
	s.Object, err = written(apply, peerAuthentication)
	return err
}

var peerAuthentication = securityv1.SchemeGroupVersion.WithKind("PeerAuthentication")

func (v *PlanView) text(w io.Writer, colour bool) error {
	var b strings.Builder
	var rows []output.Row
	for i := range v.Stages {
		s := &v.Stages[i]
		row := output.Row{Cells: []string{fmt.Sprint(i + 1), s.Name, string(s.Mode), fmt.Sprint(s.Clients), s.blocks(), s.Change}}
		if s.blocked() {
			row.Mood = output.Waiting
		}
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		b.WriteString(v.nothing() + "\n")
	} else if err := output.Table(&b, []string{"STAGE", "WORKLOADS", "TODAY", "CLIENTS", "BLOCKED BY", "CHANGE"}, rows, colour); err != nil {
		return err
	}
	if len(v.Unstaged) > 0 {
		b.WriteString("no stage: " + output.Short(separated(v.Unstaged, unstagedShown), unstagedShown) + " (no workload with a sidecar)\n")
	}
	output.Notes(&b, v.Notes)
	if v.Seen != "" {
		b.WriteString("traffic: " + v.Seen + "\n")
	}
	output.Source(&b, v.Source)
	_, err := io.WriteString(w, b.String())
	return err
}

// blocks are the policies that decide and the clients that are shut out, in short.
func (s *PlannedStage) blocks() string {
	var out []string
	for _, r := range s.Refusals {
		out = append(out, r.Object)
	}
	for _, b := range s.Blocks {
		name := b.Client
		switch {
		case b.Reason == v1alpha1.BlockPlaintextSeen:
			name += " (plaintext seen)"
		case !b.Proxied:
			name += " (no proxy)"
		}
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return output.Short(separated(out, shown), shown)
}

// How many of them there are in a line.
const shown, unstagedShown = 3, 8

// separated are names with commas between them, as far as a line has them.
func separated(names []string, most int) []string {
	out := slices.Clone(names)
	for i := range out[:max(0, min(len(out), most)-1)] {
		out[i] += ","
	}
	return out
}

// nothing says why there is no stage to take.
func (v *PlanView) nothing() string {
	switch {
	case !v.staged:
		return "there is nothing to plan: no workload with a sidecar is known here"
	case len(v.Unstaged) > 0:
		return "every workload with a sidecar takes mutual TLS only"
	}
	return "everything takes mutual TLS only"
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
