// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package questions

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/ask/outgoing"
	"github.com/trellis-mesh/trellis/internal/document"
	"github.com/trellis-mesh/trellis/internal/manifest"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/server/api"
	"github.com/trellis-mesh/trellis/internal/server/observe"
	"github.com/trellis-mesh/trellis/internal/world"
	"github.com/trellis-mesh/trellis/internal/xds/generator"
)

// maxObjects is how many objects a draft may have: each is compiled with the cluster.
const maxObjects = 500

// Compare implements api.Cluster. As trellis diff does, it compares what is stated in the
// cluster with the same and the draft over it.
func (k *Keeper) Compare(ctx context.Context, draft []byte, within func(string) bool) (*outgoing.Changes, error) {
	p, err := k.Picture(ctx)
	if err != nil {
		return nil, err
	}
	var out *outgoing.Changes
	err = k.work(ctx, func() (err error) {
		out, err = compare(p.State, draft, within)
		return err
	})
	if err != nil {
		// What has taken too long may still go on, and write to out.
		return nil, err
	}
	return out, nil
}

// side is one of the two that are compared.
type side struct {
	*manifest.Mesh
	world *world.World
}

func (s *side) compared() world.Compared {
	return world.Compared{World: s.world, Findings: s.Report.Findings}
}

func compare(state *observe.State, draft []byte, within func(string) bool) (out *outgoing.Changes, err error) {
	cluster := objectsOf(state)
	options := manifest.Options{At: state.Input.At, Override: func(model.Mesh) model.Mesh { return state.Input.Mesh }}
	with := options
	// A draft of nothing is refused in terms of drafts, as one of other things is: by admit.
	with.Files, with.MayBeEmpty = []string{document.Stdin}, true
	after, err := with.Over(context.Background(), bytes.NewReader(draft), cluster)
	if err != nil {
		return nil, api.Invalid(fmt.Errorf("reading the draft: %w", err), "send YAML documents as kubectl apply takes them")
	}
	if err := admit(after, within); err != nil {
		return nil, err
	}
	after.LeaveOutRunning(podsOf(state))
	before, err := options.Over(context.Background(), nil, cluster)
	if err != nil {
		return nil, err
	}
	sides := [2]*side{{Mesh: before}, {Mesh: after}}
	if err := open(state, &sides); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, sides[0].world.Close(), sides[1].world.Close()) }()
	out = world.Diff(context.Background(), sides[0].compared(), sides[1].compared())
	out.Notes = append(out.Notes, mistakes(after)...)
	out.Notes = append(out.Notes, missing(sides[1].world.Problems)...)
	return out, nil
}

// admit refuses drafts that are not to be asked about.
func admit(draft *manifest.Mesh, within func(string) bool) error {
	own := 0
	for _, s := range draft.Report.Subjects {
		if err := mine(s.Ref.String(), s.Ref.Namespace, within); err != nil {
			return err
		}
		own++
	}
	for _, o := range draft.Objects {
		kind := o.GetObjectKind().GroupVersionKind()
		ref := model.Reference{Cluster: draft.Mesh.Cluster, Group: kind.Group, Kind: kind.Kind, Namespace: o.GetNamespace(), Name: o.GetName()}
		if draft.Position(ref, "").File == "" {
			continue
		}
		if err := mine(ref.String(), ref.Namespace, within); err != nil {
			return err
		}
		own++
	}
	switch {
	case own == 0:
		text := "the draft has no object that matters to a mesh"
		if errs := mistakes(draft); len(errs) > 0 {
			text += ": " + strings.Join(errs[:min(3, len(errs))], "; ")
		}
		return api.Invalid(errors.New(text), "send YAML documents as kubectl apply takes them")
	case own > maxObjects:
		return api.Invalid(fmt.Errorf("the draft has %d objects, and at most %d are compared", own, maxObjects), "send fewer, or use trellis diff")
	}
	return nil
}

// mine refuses an object in a namespace that is not the viewer's: what its change makes
// there is for others.
func mine(object, namespace string, within func(string) bool) error {
	if namespace == "" || within(namespace) {
		return nil
	}
	return api.Refused(http.StatusForbidden, "the draft has "+object+", and you may not read the Applications of that namespace", "send what is in your own namespaces, or ask whoever keeps that one")
}

// mistakes are what of the documents is left out. What has an error is not there in the
// answer; a cluster may refuse it and keep what it had.
func mistakes(draft *manifest.Mesh) []string {
	var out []string
	for _, f := range draft.Report.Findings {
		if f.Severity == model.SeverityError && f.Position.File != "" {
			out = append(out, fmt.Sprintf("%s:%d: %s has an error, and what it is about is left out: %s", f.Position.File, f.Position.Line, f.Object, f.Message))
		}
	}
	return out
}

// open opens both sides at the same time: most of the work is Istio's.
func open(state *observe.State, sides *[2]*side) error {
	common := &generator.Common{}
	var errs [2]error
	var wait sync.WaitGroup
	for i, s := range sides {
		wait.Go(func() {
			errs[i] = safely(func() (err error) {
				s.world, err = world.Open(context.Background(), world.Input{
					Objects: s.Objects, MeshConfig: state.MeshConfig, Mesh: s.Mesh.Mesh, Applications: s.Applications, At: state.Input.At, Common: common, Position: position(s.Mesh),
				})
				return err
			})
		})
	}
	wait.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		for _, s := range sides {
			if s.world != nil {
				err = errors.Join(err, s.world.Close())
			}
		}
		return fmt.Errorf("running Istio's generator: %w", err)
	}
	return nil
}

// position finds statements of the draft by the text that provenance names them by.
func position(m *manifest.Mesh) func(object, field string) model.Position {
	subjects := map[string]model.Reference{}
	for _, s := range m.Report.Subjects {
		subjects[s.Ref.String()] = s.Ref
	}
	return func(object, field string) model.Position {
		ref, ok := subjects[object]
		if !ok {
			return model.Position{}
		}
		return m.Position(ref, strings.TrimSpace(field))
	}
}

// objectsOf are the objects of a cluster, as manifest.Options.Over takes them.
func objectsOf(state *observe.State) []client.Object {
	out := slices.Clone(state.Objects)
	in := &state.Input
	out = add(out, in.Applications, "Application")
	out = add(out, in.SecureIngresses, "SecureIngress")
	out = add(out, in.HostClaims, "HostClaim")
	out = add(out, in.ManagedCertificates, "ManagedCertificate")
	out = add(out, in.Policies.Goals, "Goal")
	out = add(out, in.Policies.Templates, "PolicyTemplate")
	out = add(out, in.Policies.ClusterBindings, "ClusterPolicyBinding")
	out = add(out, in.Policies.Bindings, "PolicyBinding")
	out = add(out, in.Policies.Exceptions, "PolicyException")
	if state.MeshConfig != "" {
		config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: in.Mesh.RootNamespace, Name: "istio"}, Data: map[string]string{"mesh": state.MeshConfig}}
		config.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMap"))
		out = append(out, config)
	}
	return out
}

// add adds objects, each of which says its kind. Those of a watch may not.
func add[T client.Object](to []client.Object, all []T, kind string) []client.Object {
	for _, o := range all {
		if o.GetObjectKind().GroupVersionKind().Empty() {
			copied, ok := o.DeepCopyObject().(client.Object)
			if !ok {
				continue
			}
			copied.GetObjectKind().SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
			to = append(to, copied)
			continue
		}
		to = append(to, o)
	}
	return to
}

func podsOf(state *observe.State) []*corev1.Pod {
	var out []*corev1.Pod
	for _, o := range state.Objects {
		if pod, ok := o.(*corev1.Pod); ok {
			out = append(out, pod)
		}
	}
	return out
}

// outside keeps what was read a moment ago.
type outside struct {
	mu   sync.Mutex
	read *api.Outside
	at   time.Time
}

// Doors implements api.Cluster.
func (k *Keeper) Doors(ctx context.Context) (*api.Outside, error) {
	k.outside.mu.Lock()
	defer k.outside.mu.Unlock()
	now := k.config.Clock.Now()
	if k.outside.read != nil && now.Sub(k.outside.at) < stale {
		return k.outside.read, nil
	}
	out := &api.Outside{}
	records, providers := &v1alpha1.ManagedRecordList{}, &v1alpha1.DNSProviderList{}
	for _, list := range []client.ObjectList{records, providers} {
		if err := k.config.Client.List(ctx, list); err != nil {
			k.config.Log.Warn("records and DNS providers cannot be read", "error", err)
			return nil, api.Busy("the API server does not give records and DNS providers", 2*time.Second)
		}
	}
	for i := range records.Items {
		out.Records = append(out.Records, &records.Items[i])
	}
	for i := range providers.Items {
		out.Providers = append(out.Providers, &providers.Items[i])
	}
	k.outside.read, k.outside.at = out, now
	return out, nil
}
