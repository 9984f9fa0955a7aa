// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedcertificate

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/acme"
	"github.com/trellis-mesh/trellis/internal/certificate"
)

// ConditionExpiring is true where a certificate was not renewed in time, and
// absent otherwise.
const ConditionExpiring = "Expiring"

// ConditionWarned is true where an order may fail for what was seen before it, and
// absent otherwise. It stops nothing.
const ConditionWarned = "Warned"

// The reasons of Ready.
const (
	reasonIssued         = "Issued"
	reasonIssuing        = "Issuing"
	reasonPending        = "Pending"
	reasonRateLimited    = "RateLimited"
	reasonFailed         = "Failed"
	reasonSecretConflict = "SecretConflict"
)

// The reasons of events.
const (
	eventIssued          = "Issued"
	eventRenewed         = "Renewed"
	eventIssueFailed     = "IssueFailed"
	eventSelfCheckFailed = "SelfCheckFailed"
	eventExpiring        = "Expiring"
	eventWarned          = "Warned"
	eventSecretReplaced  = "SecretReplaced"

	eventAccountKeyRotated    = "AccountKeyRotated"
	eventAccountKeyNotRotated = "AccountKeyNotRotated"
)

// compose says what is known, as a status.
func (w *work) compose() (v1alpha1.ManagedCertificateStatus, error) {
	s := *w.cert.Status.DeepCopy()
	var err error
	if s.State, err = encode(w.state); err != nil {
		return s, err
	}
	s.ObservedGeneration = w.cert.Generation
	s.Phase = string(w.state.Phase)
	if s.Phase == "" {
		s.Phase = string(acme.Waiting)
	}
	s.NextTry = stamp(w.state.NextTry)
	s.Fingerprint = fingerprint(w.pair)
	s.Serial, s.NotBefore, s.NotAfter, s.RenewAt = "", nil, nil, nil
	if i := w.state.Issued; i != nil {
		at := renewAt(w.state)
		s.Serial, s.NotBefore, s.NotAfter, s.RenewAt = i.Serial, stamp(&i.NotBefore), stamp(&i.NotAfter), stamp(&at)
	}
	// While the authority looks, what it may still look at stays: each change is one
	// for all gateways.
	if w.state.Current().Phase != acme.Validating {
		s.Challenges = httpChallenges(w.state)
	}
	w.judge(&s.Conditions)
	return s, nil
}

func encode(s acme.State) (string, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return "", fmt.Errorf("writing the state of a certificate: %w", err)
	}
	return string(text), nil
}

func stamp(t *time.Time) *metav1.Time {
	if t == nil {
		return nil
	}
	out := metav1.NewTime(t.UTC().Truncate(time.Second))
	return &out
}

func httpChallenges(s acme.State) []v1alpha1.HTTPChallenge {
	var out []v1alpha1.HTTPChallenge
	for _, c := range s.Challenges() {
		if c.Type == acme.HTTP01 {
			out = append(out, v1alpha1.HTTPChallenge{Host: c.Name, Path: c.Path, Body: c.Body})
		}
	}
	return out
}

// judge sets the conditions.
func (w *work) judge(conditions *[]metav1.Condition) {
	ready := w.ready()
	ready.Type, ready.ObservedGeneration = v1alpha1.ConditionReady, w.cert.Generation
	set(conditions, ready, w.now)
	if w.stalls(ready.Reason) {
		// As kstatus reads it: only a person can help.
		ready.Type, ready.Status = v1alpha1.ConditionStalled, metav1.ConditionTrue
		set(conditions, ready, w.now)
	} else {
		meta.RemoveStatusCondition(conditions, v1alpha1.ConditionStalled)
	}
	if len(w.state.Warnings) == 0 {
		meta.RemoveStatusCondition(conditions, ConditionWarned)
	} else {
		set(conditions, metav1.Condition{
			Type: ConditionWarned, Status: metav1.ConditionTrue, ObservedGeneration: w.cert.Generation, Reason: "Foreseen",
			Message: strings.Join(w.state.Warnings, "; "),
		}, w.now)
	}
	if !w.state.Alert(w.now) {
		meta.RemoveStatusCondition(conditions, ConditionExpiring)
		return
	}
	set(conditions, metav1.Condition{
		Type: ConditionExpiring, Status: metav1.ConditionTrue, ObservedGeneration: w.cert.Generation, Reason: "NotRenewed",
		Message: fmt.Sprintf("the certificate expires at %s and was not renewed in time%s", clockTime(w.state.Issued.NotAfter), w.because()),
	}, w.now)
}

// stalls reports whether nothing is tried again until somebody changes something. What is
// served may be good all the same, and then nothing stalls.
func (w *work) stalls(reason string) bool {
	return reason == reasonSecretConflict || reason == reasonFailed && w.state.Phase == acme.Failed
}

// set changes a condition; the times are of our own clock.
func set(conditions *[]metav1.Condition, c metav1.Condition, now time.Time) {
	if was := meta.FindStatusCondition(*conditions, c.Type); was == nil || was.Status != c.Status {
		c.LastTransitionTime = *stamp(&now)
	}
	c.Message = bounded(c.Message)
	meta.SetStatusCondition(conditions, c)
}

// maxMessage bounds what is shown of a CA's words, in octets.
const maxMessage = 4096

func bounded(s string) string {
	if len(s) > maxMessage {
		return strings.ToValidUTF8(s[:maxMessage-len("…")], "") + "…"
	}
	return s
}

// ready is about what is served. Trouble with the next certificate does not make
// the present one bad; it is in the message.
func (w *work) ready() metav1.Condition {
	no := func(reason, message string) metav1.Condition {
		return metav1.Condition{Status: metav1.ConditionFalse, Reason: reason, Message: message}
	}
	info, err := certificate.Check(w.pair, w.names, w.now)
	byHand := info.SelfSigned && !borrowed(w.secret)
	if err == nil && !info.Placeholder && !byHand && len(w.names) > 0 {
		return metav1.Condition{Status: metav1.ConditionTrue, Reason: reasonIssued,
			Message: fmt.Sprintf("the certificate for %s is good until %s%s", few(info.Names), clockTime(info.NotAfter), w.next())}
	}
	if obstacle := w.obstacle(); obstacle != nil {
		return no(obstacle.reason, obstacle.message)
	}
	f := w.state.LastError
	if f == nil || w.state.Phase != acme.Failed && w.state.NextTry == nil {
		return no(reasonIssuing, "a certificate is on its way: "+string(w.state.Phase)+w.because())
	}
	if f.Type == "rateLimited" || f.Type == acme.TypeBudget {
		return no(reasonRateLimited, f.Error()+w.nextTry())
	}
	return no(reasonFailed, f.Error()+w.nextTry())
}

// obstacle is what stops the engine, or what it waits for.
func (w *work) obstacle() *obstacle {
	if w.held != nil {
		return w.held
	}
	return w.awaited
}

// next is what becomes of the next certificate, where something does.
func (w *work) next() string {
	if o := w.obstacle(); o != nil {
		return "; for the next one: " + o.message
	}
	switch {
	case w.settled():
		return ""
	case w.state.LastError != nil:
		return "; the next one could not be had: " + w.state.LastError.Error() + w.nextTry()
	}
	return fmt.Sprintf("; the next one is on its way (%s)", w.state.Cause)
}

func (w *work) because() string {
	if w.state.LastError == nil {
		return ""
	}
	return "; the last problem was: " + w.state.LastError.Error() + w.nextTry()
}

func (w *work) nextTry() string {
	switch {
	case w.state.Phase == acme.Failed:
		return "; nothing is tried again until spec or the annotation " + v1alpha1.RetryAnnotation + " changes"
	case w.state.NextTry != nil:
		return "; next try at " + clockTime(*w.state.NextTry)
	}
	return ""
}

func clockTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// few names some of many.
func few(names []string) string {
	const most = 3
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// writeStatus writes the status where it differs, over the one that was read and
// no later one: a state must follow from the one before it. An order is in it, so
// that an API server that fails for a moment is asked again at once.
func (w *work) writeStatus(ctx context.Context) error {
	status, err := w.compose()
	if err != nil || equality.Semantic.DeepEqual(w.cert.Status, status) {
		return err
	}
	before := w.cert.Status.Conditions
	again := func(err error) bool {
		return ctx.Err() == nil && !apierrors.IsNotFound(err) && !apierrors.IsInvalid(err) && !apierrors.IsForbidden(err)
	}
	var stale bool
	err = retry.OnError(retry.DefaultBackoff, again, func() error {
		err := w.applyStatus(ctx, status)
		if apierrors.IsConflict(err) {
			stale, err = w.refresh(ctx, status.State)
			if err == nil && !stale {
				err = w.applyStatus(ctx, status)
			}
		}
		return err
	})
	switch {
	case stale || apierrors.IsNotFound(err):
		w.memory.unsaved = nil
		return fmt.Errorf("writing the status: %w", errStale)
	case err != nil:
		return fmt.Errorf("writing the status: %w", err)
	}
	w.cert.Status = status
	w.alarm(before, status.Conditions)
	return nil
}

// alarm says what is new and wrong.
func (w *work) alarm(before, now []metav1.Condition) {
	if c := meta.FindStatusCondition(now, ConditionExpiring); c != nil && !meta.IsStatusConditionTrue(before, ConditionExpiring) {
		w.say(corev1.EventTypeWarning, eventExpiring, "Renew", c.Message)
	}
	warned := meta.FindStatusCondition(before, ConditionWarned)
	if c := meta.FindStatusCondition(now, ConditionWarned); c != nil && (warned == nil || warned.Message != c.Message) {
		w.say(corev1.EventTypeWarning, eventWarned, "Order", c.Message)
	}
}

func (w *work) applyStatus(ctx context.Context, status v1alpha1.ManagedCertificateStatus) error {
	body, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&status)
	if err != nil {
		return err
	}
	u := &unstructured.Unstructured{Object: map[string]any{"status": body}}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("ManagedCertificate"))
	u.SetNamespace(w.cert.Namespace)
	u.SetName(w.cert.Name)
	u.SetUID(w.cert.UID)
	u.SetResourceVersion(w.cert.ResourceVersion)
	if err := w.client.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(u), statusOwner, client.ForceOwnership); err != nil {
		return err
	}
	w.cert.ResourceVersion = u.GetResourceVersion()
	return nil
}

// refresh reads which version is there after a conflict. Spec and annotations may
// have changed, which the next look sees. The state may not, unless it is the one
// to be written: then only the answer to our own write was lost.
func (w *work) refresh(ctx context.Context, wanted string) (stale bool, err error) {
	there := &v1alpha1.ManagedCertificate{}
	if err := w.reader.Get(ctx, w.key(), there); err != nil {
		return false, err
	}
	if there.UID != w.cert.UID || there.Status.State != w.cert.Status.State && there.Status.State != wanted {
		return true, nil
	}
	w.cert.ResourceVersion = there.ResourceVersion
	return false, nil
}

// announce counts what became of an attempt, and says what is new.
func (w *work) announce(o *outcome) {
	w.metrics.attempt(o)
	if o.actions.Issued {
		reason := eventRenewed
		if o.placeholder {
			reason = eventIssued
		}
		w.say(corev1.EventTypeNormal, reason, "Issue", fmt.Sprintf("the certificate for %s with the serial number %s is good until %s",
			few(w.state.Issued.Names), w.state.Issued.Serial, clockTime(w.state.Issued.NotAfter)))
	}
	f, before := o.actions.Failure, o.before.LastError
	if f != nil && (before == nil || before.Type != f.Type || before.Detail != f.Detail || before.Name != f.Name) {
		w.say(corev1.EventTypeWarning, eventIssueFailed, "Issue", f.Error()+w.nextTry())
	}
}

// maxNote is what the API server takes as the note of an event.
const maxNote = 1024

func (w *work) say(kind, reason, action, note string) {
	if len(note) > maxNote {
		note = strings.ToValidUTF8(note[:maxNote-len("…")], "") + "…"
	}
	w.options.Recorder.Eventf(w.cert, nil, kind, reason, action, "%s", note)
}
