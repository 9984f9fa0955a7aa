// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedrecord

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/dns"
)

// failAll says of all records what is in their provider's way.
func (at *round) failAll(t *trouble) {
	for _, e := range at.records {
		e.trouble = t
	}
}

// missing is that there is no provider.
func (at *round) missing() *trouble {
	return &trouble{reasonProviderNotFound, fmt.Sprintf("the DNSProvider %s does not exist; make it, or correct the name where it is stated, as in spec.dns.providerRef of a SecureIngress; nothing is lost until then", at.key)}
}

// refuse says why a record is not written.
func (at *round) refuse(e *entry, owner string, others texts) *trouble {
	if !at.provider.DeletionTimestamp.IsZero() && !e.held() {
		return &trouble{reasonProviderNotFound, fmt.Sprintf("the DNSProvider %s is being deleted, so nothing new is written there", at.key)}
	}
	if e.deleting() && e.heir != "" {
		e.wishes = nil
		return &trouble{reasonAwaitingSuccessor, fmt.Sprintf("the ManagedRecord %s takes the name over, and the entry stays until that one is there", e.heir)}
	}
	if at.withdrawing != nil && !e.deleting() {
		return at.withdrawing
	}
	if err := e.wish(owner, others); err != nil {
		e.wishes = nil
		return &trouble{string(dns.ClassInvalid), err.Error()}
	}
	return nil
}

// lives tells the engine which ManagedRecords of all namespaces go on having a
// name. One that cannot be read counts as such: to wait harms nobody.
func (at *round) lives(ctx context.Context) func(string, dns.Name) bool {
	return func(resource string, name dns.Name) bool {
		namespace, of, _ := strings.Cut(resource, "/")
		other := &v1alpha1.ManagedRecord{}
		err := at.cache.Get(ctx, types.NamespacedName{Namespace: namespace, Name: of}, other)
		if err != nil {
			return !apierrors.IsNotFound(err)
		}
		has, err := dns.ParseName(other.Spec.Name)
		return other.DeletionTimestamp.IsZero() && err == nil && has == name
	}
}

// heirOf finds the ManagedRecord of another DNSProvider that has come in place of
// one that is deleted, as when providerRef of a SecureIngress changes. A name that
// leads nowhere for a moment is remembered by resolvers for much longer, so the
// new one comes first, unless it cannot.
func heirOf(r *v1alpha1.ManagedRecord, all []v1alpha1.ManagedRecord) string {
	if r.DeletionTimestamp.IsZero() || len(r.Spec.Texts) > 0 {
		return ""
	}
	for i := range all {
		next := &all[i]
		seen := next.Status.ObservedGeneration == next.Generation && next.Status.Phase != string(dns.PhaseWaiting)
		if next.DeletionTimestamp.IsZero() && next.Spec.ProviderRef != r.Spec.ProviderRef && sameName(next.Spec.Name, r.Spec.Name) && len(next.Spec.Texts) == 0 && !seen {
			return next.Namespace + "/" + next.Name
		}
	}
	return ""
}

// sameName compares two spellings.
func sameName(a, b string) bool {
	x, err := dns.ParseName(a)
	y, other := dns.ParseName(b)
	return err == nil && other == nil && x == y
}

// awaitsHeir reports whether it is kept until another one is there.
func (e *entry) awaitsHeir() bool {
	return e.trouble != nil && e.trouble.reason == reasonAwaitingSuccessor
}

// problem is an error about the account as a whole, for its DNSProvider.
func (at *round) problem(err error) *trouble {
	o := dns.Outcome{Err: err, Class: dns.ClassOf(err)}
	message := err.Error()
	if remedy := at.remedy(o); remedy != "" {
		message += "; " + remedy
	}
	return &trouble{string(o.Class), message}
}

// refused finds credentials that were refused to some records only.
func (at *round) refused() *trouble {
	for _, e := range at.records {
		for _, o := range e.outcomes {
			if o.Class == dns.ClassCredentials {
				return at.problem(o.Err)
			}
		}
	}
	return nil
}

// maxSpread is how many changes a provider is asked about in one round.
const maxSpread = 16

// askSpread asks whether all servers have what was written last.
func (at *round) askSpread(ctx context.Context) {
	type change struct {
		zone    dns.Zone
		receipt string
	}
	answers := map[change]bool{}
	for _, e := range at.records {
		receipt, changed := e.receipt(at.now)
		if e.spread = e.record.Status.Spread && !changed; !e.awaitsSpread() {
			continue
		}
		c := change{e.worst().Zone, receipt}
		answer, asked := answers[c]
		if !asked && len(answers) < maxSpread {
			// Without an answer it is asked again.
			answer = at.hasSpread(ctx, c.zone, receipt)
			answers[c] = answer
		}
		e.spread = answer
	}
}

// hasSpread asks about one change, and waits where nobody knows which one it was.
func (at *round) hasSpread(ctx context.Context, zone dns.Zone, receipt string) bool {
	if since, unknown := strings.CutPrefix(receipt, lost); unknown {
		receipt = ""
		if t, err := time.Parse(time.RFC3339, since); err == nil && at.now.Sub(t) < lostFor {
			return false
		}
	}
	spread, _ := at.account.provider.Spread(ctx, zone, dns.Receipt(receipt))
	return spread
}

// awaitsSpread reports whether somebody may wait for all servers to have it.
func (e *entry) awaitsSpread() bool {
	return !e.spread && !e.deleting() && e.phase() == dns.PhaseDone && len(e.owned()) > 0
}

// news says in the past tense what each verb of a plan did, for events. The first
// one that applies is an event's reason.
var news = []struct{ verb, reason string }{
	{"adopt", "EntryAdopted"}, {"create", "EntryCreated"}, {"update", "EntryUpdated"}, {"delete", "EntryDeleted"}, {"unmark", "EntryReleased"}, {"mark", "EntryMarked"},
}

// maxNote is what the API server takes as the note of an event.
const maxNote = 1024

// tellWritten announces what was written.
func (at *round) tellWritten(e *entry) {
	for _, o := range e.outcomes {
		if !o.Written {
			continue
		}
		verbs := map[string]bool{}
		var lines []string
		for _, s := range o.Steps {
			verbs[s.Verb] = true
			lines = append(lines, line(s))
		}
		for _, n := range news {
			if verbs[n.verb] {
				at.recorder.Eventf(e.record, nil, corev1.EventTypeNormal, n.reason, "Write", "%s", clip(strings.Join(lines, "; "), maxNote))
				break
			}
		}
	}
}

// tellTrouble announces what has come into the way, and counts it.
func (at *round) tellTrouble(e *entry, was, is v1alpha1.ManagedRecordStatus) {
	before, after := meta.FindStatusCondition(was.Conditions, v1alpha1.ConditionReady), meta.FindStatusCondition(is.Conditions, v1alpha1.ConditionReady)
	if e.trouble == nil && e.worst().Err == nil {
		return
	}
	at.metrics.failed(after.Reason)
	if before != nil && before.Reason == after.Reason {
		return
	}
	switch dns.Class(after.Reason) {
	case dns.ClassConflict, dns.ClassCredentials, dns.ClassMassChange:
		at.recorder.Eventf(e.record, nil, corev1.EventTypeWarning, after.Reason, "Write", "%s", clip(after.Message, maxNote))
	}
}

// count is a number with a noun or a verb in the right form.
func count(n int, word string) string {
	switch {
	case word == "does" && n > 1:
		word = "do"
	case n != 1 && word != "does":
		word += "s"
	}
	return fmt.Sprintf("%d %s", n, word)
}

// some are the first names of many.
func some(names []string) string {
	const most = 10
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}
