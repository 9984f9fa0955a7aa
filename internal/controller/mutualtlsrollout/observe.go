// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mutualtlsrollout

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/traffic"
)

const (
	// interruption is the longest one that does not begin an observation anew, and
	// lag how far metrics may be behind.
	interruption = time.Minute
	lag          = time.Minute
	// aftermath is for how long failures are counted after a step back: proxies have
	// it before that.
	aftermath = 30 * time.Second
	// ahead is asked for in addition, so that rounding makes nobody wait.
	ahead = 2 * time.Second
	// grain is by how much times of what was seen are rounded.
	grain = time.Second
)

// How often is looked.
const (
	lookAtLogs    = 2 * time.Second
	lookAtMetrics = 5 * time.Second
	lookSeldom    = 10 * time.Second
	lookOften     = time.Second
)

// pace is how often one looks where no stage is watched.
func pace(window time.Duration) time.Duration {
	return max(min(window/4, lookSeldom), lookOften)
}

// watchPace is how often one looks at a stage that is watched.
func watchPace(spec *v1alpha1.MutualTLSRolloutSpec) time.Duration {
	if spec.Observation.Source.Prometheus != nil {
		return lookAtMetrics
	}
	return lookAtLogs
}

// lagOf is how far what is seen may be behind: metrics as long as until the next scrape.
func lagOf(spec *v1alpha1.MutualTLSRolloutSpec) time.Duration {
	if spec.Observation.Source.Prometheus != nil {
		return lag
	}
	return bearable(spec.Observation.Window.Duration)
}

// bearable is how long an interruption of an observation may be.
func bearable(of time.Duration) time.Duration {
	return max(min(of/4, interruption), grain)
}

// Questions are since when is to be asked what was seen: in the window, and at the
// stages that are watched or were just taken back; zero: nothing is to be asked. The
// window is asked for seldom while a stage is watched, and was last at lastWindow, which
// is zero where this process never did: then one looks as far back as stages were made.
func Questions(rollout *v1alpha1.MutualTLSRollout, now, lastWindow time.Time) (window, since time.Time) {
	o := rollout.Spec.Observation
	for i := range rollout.Status.Stages {
		s := &rollout.Status.Stages[i]
		var from time.Time
		switch {
		case s.MadeAt == nil:
			continue
		case s.Phase == v1alpha1.StageWatching:
			from = s.MadeAt.Time
			if !lastWindow.IsZero() {
				// What was lost before the last soak does not hold up the stage forever.
				from = later(from, now.Add(-o.Soak.Duration))
			}
		case inAftermath(s, now):
			from = s.MadeAt.Time
		default:
			continue
		}
		if since.IsZero() || from.Before(since) {
			since = from
		}
	}
	if since.IsZero() || now.Sub(lastWindow) >= pace(o.Window.Duration) {
		window = now.Add(-o.Window.Duration - lagOf(&rollout.Spec) - ahead)
	}
	return window, since
}

func inAftermath(s *v1alpha1.RolloutStage, now time.Time) bool {
	return s.Phase == v1alpha1.StageSteppedBack && s.SteppedBackAt != nil && now.Sub(s.SteppedBackAt.Time) <= aftermath
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// observe is since when, and until when, traffic was seen. It begins anew with another
// statement, whose window may be longer than what is remembered.
func (n *round) observe() {
	o := n.status.Observation
	if n.was.ObservedGeneration != n.Rollout.Generation {
		o = nil
	}
	gap := bearable(n.window())
	if n.Window != nil {
		o = extended(o, n.Window.Watched(), gap)
	}
	if n.Since != nil {
		// What was asked of a shorter time says nothing of an interruption before it.
		if watched := n.Since.Watched(); o == nil || !watched[0].From.After(o.To.Time) {
			o = extended(o, watched, gap)
		}
	}
	if o != nil {
		o.Problem = n.Unseen
	}
	n.status.Observation = o
}

// extended is an observation with one more answer, whose times are in order. Of what the
// observation knows already the answer may know more, as it may have begun earlier, and
// the interruptions in it are not forgotten when the same is answered again.
func extended(was *v1alpha1.ObservationStatus, watched []traffic.Interval, gap time.Duration) *v1alpha1.ObservationStatus {
	var alone *v1alpha1.ObservationStatus
	on := was
	for _, w := range watched {
		alone = joined(alone, w, gap)
		if was != nil && w.To.After(was.To.Time) {
			on = joined(on, w, gap)
		}
	}
	if on == nil {
		return alone
	}
	out := &v1alpha1.ObservationStatus{From: alone.From, To: alone.To}
	if on.From.Before(&out.From) {
		out.From = on.From
	}
	if out.To.Before(&on.To) {
		out.To = on.To
	}
	return out
}

// joined is an observation that goes on with a time that was watched.
func joined(was *v1alpha1.ObservationStatus, w traffic.Interval, gap time.Duration) *v1alpha1.ObservationStatus {
	is := &v1alpha1.ObservationStatus{From: roundedUp(w.From), To: stamp(w.To)}
	if was == nil || w.From.Sub(was.To.Time) > gap {
		return is
	}
	// An interruption does not count as looked at: many short ones are a long one.
	from := was.From
	if missed := w.From.Sub(was.To.Time); missed > 0 {
		from = roundedUp(from.Add(missed))
	}
	if from.Before(&is.From) {
		is.From = from
	}
	if is.To.Before(&was.To) {
		is.To = was.To
	}
	return is
}

func stamp(t time.Time) metav1.Time { return metav1.NewTime(t.UTC().Truncate(time.Second)) }

func roundedUp(t time.Time) metav1.Time { return stamp(t.Add(time.Second - time.Nanosecond)) }

func at(t time.Time) *metav1.Time {
	out := stamp(t)
	return &out
}

func clockTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }
