// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mutualtlsrollout

import (
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/traffic"
	"github.com/trellis-mesh/trellis/internal/verdict"
)

// FieldManager writes PeerAuthentications and statuses. It is also the text of the label
// ManagedByLabel, which is another one than that of what Applications become: the
// compiler of those leaves objects with this one alone.
const FieldManager = v1alpha1.RolloutManager

// ManagedByLabel says who made an object.
const ManagedByLabel = "app.kubernetes.io/managed-by"

var peerAuthentications = schema.GroupVersionKind{Group: "security.istio.io", Version: "v1", Kind: "PeerAuthentication"}

// Facts are everything that a decision follows from.
type Facts struct {
	// Rollout is the statement, with the status that was written last.
	Rollout *v1alpha1.MutualTLSRollout
	// Forecast is about the statement as it is; nil where there is none, and Unforeseen
	// says why.
	Forecast   *verdict.Forecast
	Unforeseen string
	// Window is what was seen in the window, and Since what was seen since the stages
	// that are watched were made (Questions); nil where that was not asked, or where
	// there was no answer, and Unseen says why.
	Window, Since *traffic.Seen
	Unseen        string
	// Objects are the PeerAuthentications with the labels of this rollout, by
	// NAMESPACE/NAME. Unreadable is why they are not known.
	Objects    map[string]Object
	Unreadable string
	// Foreign are those of others, as far as somebody looked: whose they are. Refused
	// are those that could not be written a moment ago, and why.
	Foreign, Refused map[string]string
	Now              time.Time
}

// Object is a PeerAuthentication that a rollout made.
type Object struct {
	Namespace, Name string
	UID             types.UID
	ResourceVersion string
	Created         time.Time
	Spec            map[string]any
}

// ref is NAMESPACE/NAME.
func ref(namespace, name string) string { return namespace + "/" + name }

// Ours reports whether labels are those of what a rollout made.
func Ours(labels map[string]string, rollout string) bool {
	return labels[ManagedByLabel] == FieldManager && labels[v1alpha1.RolloutLabel] == rollout
}

// Decision is what is to be done, in this order: delete, write the status, make, tell.
type Decision struct {
	Status v1alpha1.MutualTLSRolloutStatus
	// Delete are PeerAuthentications of this rollout that are taken back.
	Delete []Object
	// Make is the one to be written; nil: none.
	Make   *Making
	Events []Event
	// After is when to decide anew, unless something is heard before.
	After time.Duration
}

// Making is a PeerAuthentication to be written.
type Making struct {
	Stage string
	// Body is all of it.
	Body *unstructured.Unstructured
	// There is the one of this rollout which it replaces; nil: it is created.
	There *Object
}

// Event is to be told of the rollout.
type Event struct {
	Warning              bool
	Reason, Action, Note string
}

// The reasons of events.
const (
	EventStageMade     = "StageMade"
	EventStageDone     = "StageDone"
	EventSteppedBack   = "SteppedBack"
	EventStageBlocked  = "StageBlocked"
	EventStageChanged  = "StageChanged"
	EventRequestsFail  = "RequestsFail"
	EventRetried       = "Retried"
	EventRolloutIsDone = "Complete"
)

// bodyOf is the PeerAuthentication that makes a stage.
func bodyOf(rollout, object string, selector map[string]string) *unstructured.Unstructured {
	namespace, name, _ := strings.Cut(object, "/")
	spec := map[string]any{"mtls": map[string]any{"mode": "STRICT"}}
	if len(selector) > 0 {
		labels := make(map[string]any, len(selector))
		for k, v := range selector {
			labels[k] = v
		}
		spec["selector"] = map[string]any{"matchLabels": labels}
	}
	u := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	u.SetGroupVersionKind(peerAuthentications)
	u.SetNamespace(namespace)
	u.SetName(name)
	u.SetLabels(map[string]string{ManagedByLabel: FieldManager, v1alpha1.RolloutLabel: rollout})
	return u
}

// intact is the object of a stage where it is there as it is to be, nil otherwise.
func (f *Facts) intact(object string, selector map[string]string) *Object {
	there, ok := f.Objects[object]
	if !ok || !equality.Semantic.DeepEqual(there.Spec, bodyOf(f.Rollout.Name, object, selector).Object["spec"]) {
		return nil
	}
	return &there
}

// Foresee picks what was foreseen of a rollout as it is now. The second result is why
// there is nothing.
func Foresee(all *verdict.Forecasts, rollout *v1alpha1.MutualTLSRollout) (*verdict.Forecast, string) {
	if all.Problem != "" {
		return nil, "trellis-server cannot foresee anything: " + all.Problem
	}
	for i := range all.Rollouts {
		f := &all.Rollouts[i]
		switch {
		case f.Rollout != rollout.Name:
		case f.Generation != rollout.Generation:
			return nil, "trellis-server has not looked at the statement as it is now"
		case f.Problem != "":
			return nil, "trellis-server cannot foresee the stages: " + f.Problem
		default:
			return f, ""
		}
	}
	return nil, "trellis-server has not looked at it yet"
}
