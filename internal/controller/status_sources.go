// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/model"
)

// ProgrammedSource knows whether the proxies of an owner have acknowledged
// configuration that is newer than our last write. It works in goroutines of its
// own; the rebuild loop never waits for it.
type ProgrammedSource interface {
	// Follow replaces everything that is followed. Objects are all that was
	// generated for the snapshot; what is of use of them is read before it returns,
	// and none is kept. It waits for nobody and may be called at any time, also before Run and from another goroutine. Verdicts
	// about owners that are no longer followed are of no use and are dropped.
	Follow(snapshot *model.Snapshot, targets []ProgrammedTarget, objects []compile.Packed)
	// Run works until the context ends. It calls report whenever what it knows of
	// some owners has changed (only those owners need be in the call), from one
	// goroutine at a time; report does not block. An error ends the operator, so
	// that what can be retried is retried, and reported as Unknown with a reason.
	Run(ctx context.Context, report func([]Verdict)) error
}

// ProgrammedTarget is one owner: what was written for it, and the proxies that
// must have received it.
type ProgrammedTarget struct {
	Owner model.Reference
	// Proxies are all that must have acknowledged; Snapshot.Selected finds them.
	Proxies []compile.WorkloadSelector
	// Objects are in the order of their references. They are shared between the
	// targets, and read only.
	Objects []*Written
}

// Written is one generated object as it is in the API server.
type Written struct {
	Ref model.Reference
	UID string
	// ResourceVersion is the newest that we know of, whoever wrote it.
	ResourceVersion string
	// At is when this process wrote it, by the operator's clock; when it did not,
	// the moment at which this process began to look. A push that istiod began
	// later than this contains the object.
	At time.Time
}

// LastWrite is the latest At of a target's objects, or the zero time.
func (t ProgrammedTarget) LastWrite() time.Time {
	var last time.Time
	for _, o := range t.Objects {
		if o.At.After(last) {
			last = o.At
		}
	}
	return last
}

// Verdict is what a source knows of one owner: it becomes a condition.
type Verdict struct {
	Owner  model.Reference
	Status metav1.ConditionStatus
	// Reason is a word in CamelCase; Message says what is missing, where, and
	// what to do about it. With status True the message is plain.
	Reason, Message string
	// LastWrite echoes ProgrammedTarget.LastWrite of the target that the verdict
	// is about: a verdict about an older write is ignored.
	LastWrite time.Time
}

// Prober sends probes to the data plane, at least every ten seconds. It works in
// goroutines of its own; the rebuild loop never waits for it.
type Prober interface {
	// Follow replaces everything that is probed. Snapshot.ProbeKey is the value
	// of the probe header and Snapshot.Selected finds the pods of a probe's
	// gateway. It returns at once and may be called at any time.
	Follow(snapshot *model.Snapshot, targets []ProbeTarget)
	// Run works until the context ends and calls report with the result of every
	// probe that was sent, in batches of any size, from one goroutine at a time;
	// report does not block. An error ends the operator.
	Run(ctx context.Context, report func([]ProbeResult)) error
}

// ProbeTarget is one owner and the probes that show whether what it states is
// enforced.
type ProbeTarget struct {
	Owner  model.Reference
	Probes []compile.Probe
}

// ProbeResult is what one probe showed, taken over all pods of its gateway: the
// worst of them.
type ProbeResult struct {
	Owner model.Reference
	Probe compile.Probe
	// Status is True when every pod answered as expected, False when one did not,
	// Unknown when one could not be asked.
	Status metav1.ConditionStatus
	// Reason is a word in CamelCase, for example RouteOpen, RouteClosed,
	// WrongCertificate, Unreachable. Message names the pod, what was sent, what
	// came back and what was expected.
	Reason, Message string
	// At is when the probe was answered. Results that are older than the last
	// change of the target are ignored.
	At time.Time
}
