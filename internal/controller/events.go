// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/apply"
	"github.com/trellis-mesh/trellis/internal/model"
)

// maxNote is what the API server takes as the note of an event.
const maxNote = 1024

// announcer says on the objects concerned what was done and why. It is for one
// goroutine.
type announcer struct {
	recorder events.EventRecorder
	// conflicts that were announced already: they last, events are about news.
	conflicts map[model.Reference]bool
}

// report announces what was put back and what is in the way.
func (a *announcer) report(done *round, desired []apply.Desired) {
	byRef := map[model.Reference]apply.Desired{}
	for _, c := range done.result.Changes {
		if c.Edit != nil {
			byRef[c.Ref] = apply.Desired{}
		}
	}
	for _, d := range desired {
		if _, ok := byRef[d.Ref]; ok {
			byRef[d.Ref] = d
		}
	}
	uids := map[model.Reference]types.UID{}
	for _, l := range done.state.Live {
		if _, ok := byRef[l.Ref]; ok {
			uids[l.Ref] = l.UID
		}
	}
	for _, c := range done.result.Changes {
		if c.Edit != nil {
			a.reverted(done, *c.Edit, byRef[c.Ref], uids[c.Ref])
		}
	}
	now := map[model.Reference]bool{}
	for _, c := range done.conflicts {
		now[c.Object.Ref] = true
		if a.conflicts[c.Object.Ref] {
			continue
		}
		f := conflictFinding(c)
		for _, owner := range c.Object.Owners {
			a.say(done.object(owner), nil, corev1.EventTypeWarning, f.Reason, "Apply", f.Message+"; "+f.Fix)
		}
	}
	a.conflicts = now
}

// reverted says on the object and on its first owner what was changed by whom,
// and where the change belongs.
func (a *announcer) reverted(done *round, edit apply.Edit, d apply.Desired, uid types.UID) {
	by := "somebody"
	if len(edit.Managers) > 0 {
		by = edit.Managers[0].Name
	}
	what := "was deleted"
	if !edit.Deleted {
		what = "was changed by " + by
		if len(edit.Fields) > 0 {
			what += " (" + strings.Join(edit.Fields, ", ") + ")"
		}
	}
	note := fmt.Sprintf("%s %s and has been put back, because it is generated. Change %s instead, or annotate that with %s=true to stop the repair",
		edit.Ref, what, where(edit, d), v1alpha1.PausedAnnotation)
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(d.GroupVersionKind())
	object.SetNamespace(edit.Ref.Namespace)
	object.SetName(edit.Ref.Name)
	object.SetUID(uid)
	a.say(object, nil, corev1.EventTypeWarning, "HandEditReverted", "Repair", note)
	if len(edit.Owners) > 0 {
		a.say(done.object(edit.Owners[0]), object, corev1.EventTypeWarning, "HandEditReverted", "Repair", note)
	}
}

var ruleIndex = regexp.MustCompile(`^spec\.(?:rules|http|jwtRules|servers)\[(\d+)\]`)

// where names the statements that the changed rules came from, as the object's
// provenance has them, or else its owner. What was deleted came from more fields
// than a note can name.
func where(edit apply.Edit, d apply.Desired) string {
	owner := "what it was generated from"
	if len(edit.Owners) > 0 {
		owner = edit.Owners[0].String()
	}
	origin, ok := d.Origin()
	if !ok {
		return owner
	}
	var places []string
	add := func(i int) {
		if object, field, _, ok := origin.Rule(i); ok {
			place := object
			if field != "" && !edit.Deleted {
				place += " (" + field + ")"
			}
			if !slices.Contains(places, place) {
				places = append(places, place)
			}
		}
	}
	for _, f := range edit.Fields {
		if m := ruleIndex.FindStringSubmatch(f); m != nil {
			if i, err := strconv.Atoi(m[1]); err == nil {
				add(i)
			}
		}
	}
	if len(places) == 0 {
		for i := range origin.Rules {
			add(i)
		}
	}
	const most = 3
	if len(places) > most {
		places = append(places[:most], "others")
	}
	if len(places) == 0 {
		return owner
	}
	return strings.Join(places, ", ")
}

// accepted announces statements that were accepted or refused.
func (a *announcer) accepted(done *round, written []statusWrite) {
	for _, w := range written {
		was := meta.FindStatusCondition(w.before, v1alpha1.ConditionAccepted)
		is := meta.FindStatusCondition(w.after, v1alpha1.ConditionAccepted)
		if is == nil || was != nil && was.Status == is.Status && was.Reason == is.Reason {
			continue
		}
		kind := corev1.EventTypeNormal
		if is.Status != metav1.ConditionTrue {
			kind = corev1.EventTypeWarning
		}
		a.say(done.object(w.ref), nil, kind, is.Reason, "Accept", is.Message)
	}
}

func (a *announcer) say(regarding, related runtime.Object, kind, reason, action, note string) {
	if regarding == nil {
		return
	}
	if len(note) > maxNote {
		note = strings.ToValidUTF8(note[:maxNote-len("…")], "") + "…"
	}
	a.recorder.Eventf(regarding, related, kind, reason, action, "%s", note)
}

// object finds an owner as an object to speak about, or returns nil.
func (r *round) object(ref model.Reference) runtime.Object {
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(ref.Kind))
	var found metav1.Object
	for _, o := range r.state.Input.Applications {
		if ref.Kind == string(kindApplication) && o.Namespace == ref.Namespace && o.Name == ref.Name {
			found = o
		}
	}
	for _, o := range r.state.Input.SecureIngresses {
		if ref.Kind == string(kindSecureIngress) && o.Namespace == ref.Namespace && o.Name == ref.Name {
			found = o
		}
	}
	if found == nil {
		return nil
	}
	object.SetNamespace(ref.Namespace)
	object.SetName(ref.Name)
	object.SetUID(found.GetUID())
	object.SetResourceVersion(found.GetResourceVersion())
	return object
}
