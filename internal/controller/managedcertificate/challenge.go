// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedcertificate

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/acme"
	"github.com/trellis-mesh/trellis/internal/controller/managedcertificate/selfcheck"
	"github.com/trellis-mesh/trellis/internal/load"
)

const (
	// certificateLabel on ManagedRecords has the UID of the ManagedCertificate.
	certificateLabel = "trellis.dev/certificate-uid"
	// challengeTTL is short, because the next order has other values.
	challengeTTL = 60
)

const (
	// checkPatience is how long our own look at a challenge may fail before the
	// authority is asked all the same: it may see what we do not.
	checkPatience = 2 * time.Minute
	// blindWait is how long gateways get to learn an answer where nobody looks.
	blindWait = 10 * time.Second
	minCheck  = 500 * time.Millisecond
	maxCheck  = 10 * time.Second
)

// Check looks at an HTTP challenge before the authority does.
type Check = selfcheck.Check

// NewCheck makes the real one; dial may be nil.
func NewCheck(dial func(ctx context.Context, network, address string) (net.Conn, error)) Check {
	return selfcheck.New(dial)
}

// present publishes what the order needs, and says whether the world sees it. The
// answers to HTTP challenges are in the status, which has been written.
func (w *work) present(ctx context.Context) (ready bool, wait time.Duration, err error) {
	challenges := w.state.Challenges()
	records := w.records(challenges)
	if len(records) > 0 {
		return w.presentRecords(ctx, records)
	}
	since := w.now.Sub(w.state.Current().Order.Since)
	if w.cert.Annotations[v1alpha1.SkipSelfCheckAnnotation] == "true" {
		w.awaited = &obstacle{reasonPending, "the gateways get a moment to learn the answers to the challenges"}
		return since >= blindWait, blindWait - since, nil
	}
	problem := w.checkAll(ctx, challenges)
	switch {
	case ctx.Err() != nil:
		return false, 0, context.Cause(ctx)
	case problem == nil:
		return true, 0, nil
	case since >= checkPatience:
		w.say(corev1.EventTypeWarning, eventSelfCheckFailed, "Check",
			fmt.Sprintf("asking the certificate authority to look although we do not see the answer: %v", problem))
		return true, 0, nil
	}
	w.awaited = &obstacle{reasonPending, fmt.Sprintf("waiting for the answer to a challenge to be seen: %v", problem)}
	return false, min(max(since/4, minCheck), maxCheck), nil
}

// presentRecords waits until all entries are done and have spread.
func (w *work) presentRecords(ctx context.Context, wanted []*v1alpha1.ManagedRecord) (bool, time.Duration, error) {
	w.memory.tidy = false
	ready := true
	keep := w.standing()
	for _, record := range wanted {
		keep[record.Name] = true
		there, err := w.keepRecord(ctx, record)
		if err != nil {
			return false, 0, err
		}
		if !spread(there) && ready {
			ready = false
			w.awaited = &obstacle{reasonPending, fmt.Sprintf("waiting for the DNS entry %s (ManagedRecord %s)%s", there.Spec.Name, there.Name, trouble(there))}
		}
	}
	// What is left of an earlier order would stay as long as this one lasts.
	if err := w.withdraw(ctx, w.cert, keep); err != nil {
		return false, 0, err
	}
	return ready, maxLook, nil
}

func spread(r *v1alpha1.ManagedRecord) bool {
	return r.DeletionTimestamp.IsZero() && r.Status.ObservedGeneration == r.Generation && r.Status.Phase == "Done" && r.Status.Spread
}

// trouble is what an entry says of itself.
func trouble(r *v1alpha1.ManagedRecord) string {
	c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionReady)
	if c == nil || c.Status == metav1.ConditionTrue || c.ObservedGeneration != r.Generation {
		return ""
	}
	return ": " + c.Message
}

// records are the DNS entries for challenges: one for each name, with all values.
func (w *work) records(challenges []acme.Challenge) []*v1alpha1.ManagedRecord {
	var out []*v1alpha1.ManagedRecord
	at := map[string]*v1alpha1.ManagedRecord{}
	for _, c := range challenges {
		if c.RecordName == "" {
			continue
		}
		record := at[c.RecordName]
		if record == nil {
			record = w.newRecord(c)
			at[c.RecordName] = record
			out = append(out, record)
		}
		if !slices.Contains(record.Spec.Texts, c.Value) {
			record.Spec.Texts = append(record.Spec.Texts, c.Value)
		}
	}
	for _, record := range out {
		slices.Sort(record.Spec.Texts)
	}
	return out
}

func (w *work) newRecord(c acme.Challenge) *v1alpha1.ManagedRecord {
	controls := true
	var provider v1alpha1.DNSProviderReference
	if w.cert.Spec.ProviderRef != nil {
		provider = *w.cert.Spec.ProviderRef
	}
	return &v1alpha1.ManagedRecord{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: w.cert.Namespace, Name: recordName(w.cert, c.RecordName),
			Labels: map[string]string{load.ManagedByLabel: load.ManagedBy, certificateLabel: string(w.cert.UID)},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: v1alpha1.GroupVersion.String(), Kind: "ManagedCertificate",
				Name: w.cert.Name, UID: w.cert.UID, Controller: &controls,
			}},
		},
		Spec: v1alpha1.ManagedRecordSpec{ProviderRef: provider, Name: c.RecordName, TTL: challengeTTL},
	}
}

// standing are the names of the objects for entries that renewals use again.
func (w *work) standing() map[string]bool {
	out := map[string]bool{}
	if w.spec.Challenge == acme.DNSPersist01 {
		for _, name := range w.names {
			out[recordName(w.cert, "_validation-persist."+strings.TrimPrefix(name, "*."))] = true
		}
	}
	return out
}

// keepRecord makes an entry what it should be and returns what is known of it.
func (w *work) keepRecord(ctx context.Context, wanted *v1alpha1.ManagedRecord) (*v1alpha1.ManagedRecord, error) {
	there := &v1alpha1.ManagedRecord{}
	err := w.reader.Get(ctx, client.ObjectKeyFromObject(wanted), there)
	if apierrors.IsNotFound(err) {
		if err := w.client.Create(ctx, wanted, fieldOwner); err != nil {
			return nil, writingRecord(wanted, err)
		}
		return wanted, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading ManagedRecord %s/%s: %w", wanted.Namespace, wanted.Name, err)
	}
	if !metav1.IsControlledBy(there, w.cert) {
		return nil, fmt.Errorf("publishing a challenge: ManagedRecord %s/%s was not made for it", wanted.Namespace, wanted.Name)
	}
	if !there.DeletionTimestamp.IsZero() {
		// Another one of this name can be made when it is gone.
		return there, nil
	}
	if slices.Equal(sorted(there.Spec.Texts), wanted.Spec.Texts) && there.Spec.ProviderRef == wanted.Spec.ProviderRef {
		return there, nil
	}
	there.Spec.Texts, there.Spec.ProviderRef = wanted.Spec.Texts, wanted.Spec.ProviderRef
	if err := w.client.Update(ctx, there, fieldOwner); err != nil {
		return nil, writingRecord(wanted, err)
	}
	return there, nil
}

func sorted(texts []string) []string {
	out := slices.Clone(texts)
	slices.Sort(out)
	return out
}

func writingRecord(r *v1alpha1.ManagedRecord, err error) error {
	if lost(err) || apierrors.IsNotFound(err) {
		return fmt.Errorf("%w: %w", errStale, err)
	}
	return fmt.Errorf("writing ManagedRecord %s/%s: %w", r.Namespace, r.Name, err)
}

// withdraw deletes the entries of a certificate but those of the objects to keep.
func (r *Reconciler) withdraw(ctx context.Context, cert *v1alpha1.ManagedCertificate, keep map[string]bool) error {
	list := &v1alpha1.ManagedRecordList{}
	err := r.reader.List(ctx, list, client.InNamespace(cert.Namespace), client.MatchingLabels{certificateLabel: string(cert.UID)})
	if err != nil {
		return fmt.Errorf("listing the DNS entries of challenges: %w", err)
	}
	for i := range list.Items {
		record := &list.Items[i]
		if keep[record.Name] || !record.DeletionTimestamp.IsZero() || !metav1.IsControlledBy(record, cert) {
			continue
		}
		err := r.client.Delete(ctx, record, client.Preconditions{UID: &record.UID})
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("deleting ManagedRecord %s/%s: %w", record.Namespace, record.Name, err)
		}
	}
	return nil
}

// checkAll looks at all answers, some at a time, and returns the first problem in
// their order.
func (w *work) checkAll(ctx context.Context, challenges []acme.Challenge) error {
	problems := make([]error, len(challenges))
	slots := make(chan struct{}, parallel)
	done := make(chan struct{})
	for i, c := range challenges {
		go func() {
			defer func() { done <- struct{}{} }()
			slots <- struct{}{}
			defer func() { <-slots }()
			problems[i] = w.options.Check(ctx, strings.TrimSuffix(c.Name, "."), c.Path, c.Body)
		}()
	}
	for range challenges {
		<-done
	}
	for _, p := range problems {
		if p != nil {
			return p
		}
	}
	return nil
}
