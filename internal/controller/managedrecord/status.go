// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedrecord

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/dns"
)

const (
	// maxPlan bounds the lines of a plan in a status, and maxMessage the octets of a
	// condition's message.
	maxPlan    = 64
	maxMessage = 2048
	// retell is how often it is told that something is still waited for.
	retell = time.Minute
)

// worst is the outcome that says most about what is in the way.
func (e *entry) worst() dns.Outcome {
	order := []dns.Phase{dns.PhaseBlocked, dns.PhaseWaiting, dns.PhasePlanned, dns.PhaseHeld, dns.PhaseDone}
	return slices.MinFunc(e.outcomes, func(a, b dns.Outcome) int {
		return slices.Index(order, a.Phase) - slices.Index(order, b.Phase)
	})
}

// phase is how far the record has come.
func (e *entry) phase() dns.Phase {
	switch {
	case e.awaitsHeir():
		return dns.PhaseWaiting
	case e.trouble != nil:
		return dns.PhaseBlocked
	case len(e.outcomes) == 0:
		return dns.PhaseDone
	}
	return e.worst().Phase
}

// status is what is to be said of a record.
func (at *round) status(e *entry) v1alpha1.ManagedRecordStatus {
	was := e.record.Status
	out := *was.DeepCopy()
	out.ObservedGeneration, out.Phase, out.Plan, out.NextTry, out.Confirm = e.generation, string(e.phase()), nil, nil, ""
	ready := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: out.Phase}
	if e.trouble != nil {
		ready.Reason, ready.Message = e.trouble.reason, e.trouble.message
	} else {
		o := e.worst()
		out.Owned, out.Plan, out.Confirm = e.owned(), planOf(o), o.Confirm
		if o.Zone.ID != "" {
			out.Zone = &v1alpha1.DNSZone{Name: string(o.Zone.Name), ID: o.Zone.ID}
		}
		at.change(e, &out, was)
		if o.Err != nil {
			ready.Reason = string(o.Class)
			out.NextTry = &metav1.Time{Time: o.NextTry.Truncate(time.Second)}
		} else if o.Phase == dns.PhaseDone {
			ready.Status = metav1.ConditionTrue
		}
		ready.Message = at.message(e, o)
	}
	if e.deleting() {
		ready.Status, ready.Message = metav1.ConditionFalse, at.detained(e, ready.Message)
	}
	ready.Message = clip(ready.Message, maxMessage)
	ready.ObservedGeneration, ready.LastTransitionTime = e.generation, metav1.NewTime(at.now)
	if told := at.waitsStill(was, out, ready); told != nil {
		ready.Message, out.NextTry = told.Message, was.NextTry
	}
	meta.SetStatusCondition(&out.Conditions, ready)
	stall(&out.Conditions, ready)
	return out
}

// stall says, as kstatus reads it, whether only a person can help.
func stall(conditions *[]metav1.Condition, ready metav1.Condition) {
	if ready.Status == metav1.ConditionTrue || ready.Reason != reasonSecretInvalid && !dns.Class(ready.Reason).Stalls() {
		meta.RemoveStatusCondition(conditions, v1alpha1.ConditionStalled)
		return
	}
	ready.Type, ready.Status = v1alpha1.ConditionStalled, metav1.ConditionTrue
	meta.SetStatusCondition(conditions, ready)
}

// owned is what is the record's now.
func (e *entry) owned() []v1alpha1.OwnedRecordSet {
	var sets []dns.RecordSet
	for _, o := range e.outcomes {
		sets = append(sets, o.Owned...)
	}
	return ownedOf(sets)
}

// change keeps the receipt of what was written, and whether all servers have it.
func (at *round) change(e *entry, out *v1alpha1.ManagedRecordStatus, was v1alpha1.ManagedRecordStatus) {
	receipt, changed := e.receipt(at.now)
	if changed {
		out.Receipt = receipt
	}
	out.Spread = e.spread
	if out.Phase != string(dns.PhaseDone) || len(out.Owned) == 0 {
		// Nobody waits for it.
		out.Spread = was.Spread && !changed
	}
}

// lost is the receipt of a change that may have been made and that a crash kept
// from being written down; the time follows.
const lost = "lost@"

// lostFor is how long such a change counts as on its way: longer than any of the
// vendors takes by its own account.
const lostFor = 2 * time.Minute

// receipt is the provider's id of the last change, and whether it is news.
func (e *entry) receipt(now time.Time) (id string, changed bool) {
	for _, o := range e.outcomes {
		if o.Written {
			id, changed = string(o.Receipt), true
		}
	}
	was := e.record.Status
	told := was.ObservedGeneration == e.generation
	switch phase := e.phase(); {
	case changed:
		return id, true
	case phase == dns.PhaseHeld || phase == dns.PhasePlanned:
		return was.Receipt, false
	case phase != dns.PhaseDone || len(e.owned()) == 0:
		// Whether a write that failed has come through is found out by the next one.
		return "", !told
	case told && (was.Spread || was.Receipt != ""), was.Spread && equality.Semantic.DeepEqual(was.Owned, e.owned()):
		return was.Receipt, false
	}
	return lost + now.UTC().Format(time.RFC3339), true
}

// waitsStill is the condition that told a moment ago what would be told again.
func (at *round) waitsStill(was, is v1alpha1.ManagedRecordStatus, ready metav1.Condition) *metav1.Condition {
	told := meta.FindStatusCondition(was.Conditions, ready.Type)
	waits := string(dns.PhaseWaiting)
	if told == nil || was.Phase != waits || is.Phase != waits || told.Reason != ready.Reason || told.ObservedGeneration != ready.ObservedGeneration ||
		was.NextTry == nil || at.now.Sub(was.NextTry.Time) > retell {
		return nil
	}
	return told
}

// message says for people what there is, or what is in the way and what to do.
func (at *round) message(e *entry, o dns.Outcome) string {
	switch {
	case o.Err != nil:
		if remedy := at.remedy(o); remedy != "" {
			return o.Err.Error() + "; " + remedy
		}
		return o.Err.Error()
	case o.Phase == dns.PhasePlanned:
		return "nothing is written, since spec.dryRun is set; it would be: " + strings.Join(planOf(o), "; ")
	case o.Phase == dns.PhaseHeld && len(e.owned()) == 0:
		return "there is nowhere to lead to yet, and nothing of ours at the name"
	}
	var there []string
	for _, outcome := range e.outcomes {
		for _, set := range outcome.Owned {
			there = append(there, set.Text())
		}
	}
	if o.Phase == dns.PhaseHeld {
		return "there is nowhere to lead to at the moment, so what is there stays: " + strings.Join(there, "; ")
	}
	return strings.Join(there, "; ")
}

// remedy is what somebody can do.
func (at *round) remedy(o dns.Outcome) string {
	switch o.Class {
	case dns.ClassConflict:
		if rival := slices.IndexFunc(o.Conflicts, func(c dns.Conflict) bool { return c.Rival != "" }); rival >= 0 {
			return fmt.Sprintf("take the host away from whoever made the ManagedRecord %s, or set spec.adopt here to take it over", o.Conflicts[rival].Rival)
		}
		return "set spec.adopt to take it over, or delete it at the DNS provider"
	case dns.ClassMassChange:
		return "to let it happen: " + at.confirmation(o.Confirm)
	case dns.ClassCredentials:
		if errors.Is(o.Err, dns.ErrClock) {
			return "set the clocks of the cluster's nodes and of the server by NTP; the credentials may be right"
		}
		if ref := secretOf(at.provider.Spec); ref != nil {
			return fmt.Sprintf("put credentials that are valid and allow it into the Secret %s/%s", at.key.Namespace, ref.Name)
		}
		return "give the operator's own identity the right to it"
	case dns.ClassNoZone:
		return fmt.Sprintf("make the zone, or let the DNSProvider %s see it", at.key)
	case dns.ClassAmbiguousZone:
		return fmt.Sprintf("list one of the ids in spec.zones of the DNSProvider %s", at.key)
	case dns.ClassUnavailable:
		if at.provider.Spec.RFC2136 != nil {
			return fmt.Sprintf("it is tried again by itself; see that spec.rfc2136.server of the DNSProvider %s is right, and can be reached from the operator's pod", at.key)
		}
	case dns.ClassDuplicate:
		return "delete one of them"
	case dns.ClassUnsupported:
		return fmt.Sprintf("%s answers all clients alike; take spec.routing out (spec.dns.routing of the SecureIngress), or use a DNSProvider of Route 53", vendorOf(at.provider.Spec))
	}
	return ""
}

// maxConfirmed is what spec.confirmed of a DNSProvider holds.
const maxConfirmed = 16

// confirmation is the command that lets a mass change happen. A merge patch
// replaces the list, so earlier tokens are in it as far as there is room.
func (at *round) confirmation(token string) string {
	all := append(slices.Clone(at.provider.Spec.Confirmed), token)
	all = all[max(0, len(all)-maxConfirmed):]
	return fmt.Sprintf(`kubectl -n %s patch dnsprovider %s --type=merge -p '{"spec":{"confirmed":["%s"]}}'`, at.key.Namespace, at.key.Name, strings.Join(all, `","`))
}

// detained says why a record that is deleted is still there.
func (at *round) detained(e *entry, why string) string {
	out := "it is deleted once its entries are taken back, and they are not: " + why
	switch {
	case e.awaitsHeir():
	case e.trouble != nil && (e.trouble.reason == reasonSecretNotFound || e.trouble.reason == reasonSecretForbidden):
		out += "; or set spec.deletionPolicy to Retain to leave them where they are, which is the only way where the namespace is being deleted: delete its SecureIngresses first, and it after them"
	case e.trouble != nil, e.worst().Phase == dns.PhaseBlocked:
		out += "; or set spec.deletionPolicy to Retain to leave them where they are"
	case e.worst().Phase == dns.PhasePlanned:
		out += "; unset spec.dryRun to let it happen"
	}
	return out
}

// planOf is what would be done, where it is not.
func planOf(o dns.Outcome) []string {
	if o.Phase == dns.PhaseDone || o.Phase == dns.PhaseHeld {
		return nil
	}
	var out []string
	for i, s := range o.Steps {
		if i == maxPlan-1 && len(o.Steps) > maxPlan {
			return append(out, fmt.Sprintf("and %d more", len(o.Steps)-i))
		}
		out = append(out, clip(line(s), maxMessage))
	}
	return out
}

// line is one step of a plan.
func line(s dns.Step) string {
	if strings.HasPrefix(s.Text, s.At.String()) {
		return s.Verb + " " + s.Text
	}
	return s.Verb + " " + s.At.String() + " " + s.Text
}

func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most-len("…")], "") + "…"
}
