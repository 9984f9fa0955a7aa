// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mutualtlsrollout_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	rollout "github.com/trellis-mesh/trellis/internal/controller/mutualtlsrollout"
	"github.com/trellis-mesh/trellis/internal/mtls/sighting"
	"github.com/trellis-mesh/trellis/internal/traffic"
	"github.com/trellis-mesh/trellis/internal/verdict"
)

// The window and the soak of scenes.
const (
	window = time.Minute
	soak   = 40 * time.Second
)

// start is when scenes begin.
var start = time.Date(2026, 3, 4, 5, 0, 0, 0, time.UTC)

// scene is a mesh with a few services, whoever calls them, and a rollout, of which Next
// decides. Nothing of it is real but the decisions.
type scene struct {
	*testing.T
	rollout  *v1alpha1.MutualTLSRollout
	forecast *verdict.Forecast
	// seen is what was seen, of all time; nil: nobody looks.
	seen *traffic.Seen
	// tally is a server that sees instead, where there is one.
	tally *sighting.Tally
	// foreign are names of PeerAuthentications that somebody else has.
	foreign map[string]string
	objects map[string]rollout.Object
	// already are stages that are STRICT without us.
	already map[string]bool
	now     time.Time
	last    rollout.Decision
	events  []rollout.Event
	// versions counts writes of objects.
	versions int
}

// newScene has stages shop/a, shop/b and so on, which traffic was seen of for long.
func newScene(t *testing.T, stages ...string) *scene {
	s := &scene{
		T: t, now: start, objects: map[string]rollout.Object{}, foreign: map[string]string{}, already: map[string]bool{},
		rollout: &v1alpha1.MutualTLSRollout{
			ObjectMeta: metav1.ObjectMeta{Name: "all", Generation: 1, Annotations: map[string]string{}},
			Spec: v1alpha1.MutualTLSRolloutSpec{Observation: v1alpha1.RolloutObservation{
				Source: v1alpha1.ObservationSource{AccessLogs: &v1alpha1.AccessLogSource{}},
				Window: metav1.Duration{Duration: window}, Soak: metav1.Duration{Duration: soak}, Silence: v1alpha1.SilenceProceed,
			}},
		},
		forecast: &verdict.Forecast{Rollout: "all", Generation: 1},
		seen:     &traffic.Seen{From: start.Add(-time.Hour)},
	}
	for _, name := range stages {
		s.forecast.Stages = append(s.forecast.Stages, verdict.Stage{
			Name: "shop/" + name, Namespace: "shop", Object: "trellis-rollout-" + name, Selector: map[string]string{"app": name},
			Services: []string{"shop/" + name}, Mode: "PERMISSIVE",
		})
	}
	return s
}

// stage finds one of the forecast's.
func (s *scene) stage(name string) *verdict.Stage {
	for i := range s.forecast.Stages {
		if f := &s.forecast.Stages[i]; f.Name == "shop/"+name {
			return f
		}
	}
	s.Fatalf("there is no stage %s", name)
	return nil
}

// edge is what was seen of a client and a service.
func (s *scene) edge(client, service string) *traffic.Edge {
	for i := range s.seen.Edges {
		if e := &s.seen.Edges[i]; e.Client == client && e.Services[0] == "shop/"+service {
			return e
		}
	}
	s.seen.Edges = append(s.seen.Edges, traffic.Edge{Client: client, Services: []string{"shop/" + service}, Port: 8080})
	return &s.seen.Edges[len(s.seen.Edges)-1]
}

// plaintext and fails are requests at this moment.
func (s *scene) plaintext(client, service string) {
	e, now := s.edge(client, service), s.now
	e.Plaintext, e.LastPlaintext = e.Plaintext+1, &now
}

func (s *scene) fails(client, service string) {
	e, now := s.edge(client, service), s.now
	e.Failed, e.LastFailed, e.Why = e.Failed+1, &now, "its connection is no mutual TLS"
}

// answer is what somebody says who was asked from a time.
func (s *scene) answer(from time.Time) *traffic.Seen {
	if from.IsZero() || s.seen == nil {
		return nil
	}
	if s.tally != nil {
		out := s.tally.Seen(from, s.now)
		return &out
	}
	out := &traffic.Seen{From: s.seen.From, To: s.now, Lost: s.seen.Lost}
	if !s.seen.To.IsZero() {
		out.To = s.seen.To
	}
	if from.After(out.From) {
		out.From = from
	}
	for _, e := range s.seen.Edges {
		// A source forgets what was before.
		before := func(last *time.Time) bool { return last == nil || last.Before(from) }
		if before(e.LastPlaintext) {
			e.Plaintext, e.LastPlaintext = 0, nil
		}
		if before(e.LastFailed) {
			e.Failed, e.LastFailed = 0, nil
		}
		out.Edges = append(out.Edges, e)
	}
	return out
}

// decide asks Next.
func (s *scene) decide() rollout.Decision {
	f := rollout.Facts{
		Rollout: s.rollout, Forecast: s.forecast, Objects: s.objects, Foreign: s.foreign, Now: s.now,
	}
	if s.forecast == nil {
		f.Unforeseen = "the server is away"
	} else if s.forecast.Generation != s.rollout.Generation {
		f.Forecast, f.Unforeseen = rollout.Foresee(&verdict.Forecasts{Rollouts: []verdict.Forecast{*s.forecast}}, s.rollout)
	}
	windowFrom, since := rollout.Questions(s.rollout, s.now, time.Time{})
	f.Window, f.Since = s.answer(windowFrom), s.answer(since)
	if s.seen == nil {
		f.Unseen = "nobody looks"
	}
	return rollout.Next(f)
}

// round decides, and does it.
func (s *scene) round() rollout.Decision {
	s.last = s.decide()
	for _, o := range s.last.Delete {
		s.delete(o.Namespace + "/" + o.Name)
	}
	s.rollout.Status = s.last.Status
	s.events = append(s.events, s.last.Events...)
	if m := s.last.Make; m != nil {
		s.create(m)
	}
	return s.last
}

func (s *scene) create(m *rollout.Making) {
	spec, _, err := unstructured.NestedMap(m.Body.Object, "spec")
	if err != nil {
		s.Fatal(err)
	}
	s.put(m.Body.GetNamespace()+"/"+m.Body.GetName(), spec)
}

func (s *scene) put(object string, spec map[string]any) {
	s.versions++
	created := s.now
	if was, ok := s.objects[object]; ok {
		created = was.Created
	}
	namespace, name, _ := strings.Cut(object, "/")
	s.objects[object] = rollout.Object{Namespace: namespace, Name: name, UID: types.UID(object), Created: created, Spec: spec}
	s.foresee()
}

func (s *scene) delete(object string) {
	delete(s.objects, object)
	s.foresee()
}

// foresee gives stages the mode that follows from objects.
func (s *scene) foresee() {
	if s.forecast == nil {
		return
	}
	for i := range s.forecast.Stages {
		f := &s.forecast.Stages[i]
		f.Mode = "PERMISSIVE"
		if o, ok := s.objects[f.Namespace+"/"+f.Object]; s.already[strings.TrimPrefix(f.Name, "shop/")] || ok && strict(o) {
			f.Mode = "STRICT"
		}
	}
}

func strict(o rollout.Object) bool {
	mtls, _ := o.Spec["mtls"].(map[string]any)
	return mtls["mode"] == "STRICT"
}

// pass lets time pass, as much as is decided at once, until that much has.
func (s *scene) pass(d time.Duration) {
	s.Helper()
	for end := s.now.Add(d); s.now.Before(end); {
		s.now = s.now.Add(min(s.last.After, end.Sub(s.now)))
		s.round()
	}
}

// edit changes the statement.
func (s *scene) edit(change func(*v1alpha1.MutualTLSRolloutSpec)) {
	change(&s.rollout.Spec)
	s.rollout.Generation++
	if s.forecast != nil {
		s.forecast.Generation = s.rollout.Generation
	}
}

// phases are those of all stages, in order: a Done, b Watching.
func (s *scene) phases() string {
	var out []string
	for _, stage := range s.rollout.Status.Stages {
		out = append(out, strings.TrimPrefix(stage.Name, "shop/")+" "+string(stage.Phase))
	}
	return strings.Join(out, ", ")
}

// is checks phase, stages and parts of the message.
func (s *scene) is(phase v1alpha1.RolloutPhase, phases string, parts ...string) {
	s.Helper()
	ready := meta.FindStatusCondition(s.rollout.Status.Conditions, v1alpha1.ConditionReady)
	if s.rollout.Status.Phase != phase || s.phases() != phases {
		s.Fatalf("it is %s with %q, want %s with %q: %s", s.rollout.Status.Phase, s.phases(), phase, phases, ready.Message)
	}
	for _, part := range parts {
		if !strings.Contains(ready.Message, part) {
			s.Errorf("it says %q, want %q in it", ready.Message, part)
		}
	}
	stalled := phase == v1alpha1.RolloutSteppedBack || phase == v1alpha1.RolloutBlocked
	if got := meta.IsStatusConditionTrue(s.rollout.Status.Conditions, v1alpha1.ConditionStalled); got != stalled {
		s.Errorf("in phase %s, Stalled is %t", phase, got)
	}
	if (ready.Status == metav1.ConditionTrue) != (phase == v1alpha1.RolloutComplete) {
		s.Errorf("in phase %s, Ready is %s", phase, ready.Status)
	}
}

// has checks which objects there are.
func (s *scene) has(want ...string) {
	s.Helper()
	var got []string
	for name := range s.objects {
		got = append(got, strings.TrimPrefix(name, "shop/trellis-rollout-"))
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		s.Fatalf("the objects are %q, want %q", got, want)
	}
}

// told checks that there is an event of a reason with these parts, and forgets all.
func (s *scene) told(reason string, parts ...string) {
	s.Helper()
	defer func() { s.events = nil }()
	for _, e := range s.events {
		if e.Reason == reason && !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(e.Note, part) }) {
			return
		}
	}
	s.Errorf("the events are %+v, want %s with %q", s.events, reason, parts)
}

func (s *scene) status(name string) *v1alpha1.RolloutStage {
	s.Helper()
	for i := range s.rollout.Status.Stages {
		if stage := &s.rollout.Status.Stages[i]; stage.Name == "shop/"+name {
			return stage
		}
	}
	s.Fatalf("the status has no stage %s", name)
	return nil
}

// blocks are those of a stage, as REASON CLIENT.
func (s *scene) blocks(name string, want ...string) {
	s.Helper()
	var got []string
	for _, b := range s.status(name).Blocks {
		got = append(got, strings.TrimSpace(b.Reason+" "+b.Client))
		if b.Message == "" || b.Fix == "" {
			s.Errorf("a block says too little: %+v", b)
		}
	}
	if !slices.Equal(got, want) {
		s.Fatalf("what blocks %s is %q, want %q", name, got, want)
	}
}
