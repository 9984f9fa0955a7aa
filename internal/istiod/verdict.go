// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package istiod

import (
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/internal/controller"
)

// The reasons of the condition Programmed that come from here.
const (
	// ReasonAcknowledged: every proxy has acknowledged everything.
	ReasonAcknowledged = "Acknowledged"
	// ReasonPending: a proxy has not got, or not acknowledged, the last write.
	ReasonPending = "Pending"
	// ReasonStale: the same, for longer than it should take.
	ReasonStale = "Stale"
	// ReasonRejected: a proxy has refused what istiod sent it.
	ReasonRejected = "Rejected"
	// ReasonNotConnected: a ready workload has no proxy that istiod serves.
	ReasonNotConnected = "NotConnected"
	// ReasonNoProxies: no workload is selected and ready, so nobody can say.
	ReasonNoProxies = "NoProxies"
	// ReasonIstiodRefuses: istiod does not tell the operator.
	ReasonIstiodRefuses = "IstiodRefuses"
	// ReasonIstiodUnreachable: istiod cannot be asked.
	ReasonIstiodUnreachable = "IstiodUnreachable"
)

func isRefusal(err error) bool { return errors.Is(err, errRefused) }

// judge makes the verdict on every owner, and tells whether one of them waits
// for something that a new round can show.
func judge(p *plan, v *view, identity Identity, now time.Time) ([]controller.Verdict, bool) {
	out := make([]controller.Verdict, 0, len(p.owners))
	waiting := false
	for i := range p.owners {
		verdict := judgeOwner(&p.owners[i], v, identity, now)
		verdict.Owner, verdict.LastWrite = p.owners[i].target.Owner, p.owners[i].target.LastWrite()
		waiting = waiting || verdict.Reason == ReasonPending || verdict.Reason == ReasonStale
		out = append(out, verdict)
	}
	return out, waiting
}

// judgeOwner reports the first proxy with the worst news: a refusal by a proxy,
// then what cannot be known, then what is awaited.
func judgeOwner(o *ownerPlan, v *view, identity Identity, now time.Time) controller.Verdict {
	if len(o.needs) == 0 {
		return unknown(ReasonNoProxies, noProxies(o))
	}
	var missing *need
	var late *controller.Verdict
	for i := range o.needs {
		n := &o.needs[i]
		connections := v.found[n.proxy.key]
		if len(connections) == 0 {
			if missing == nil {
				missing = n
			}
			continue
		}
		for _, c := range connections {
			verdict, ok := judgeProxy(n, c, v.records[n.proxy.key], o.target.LastWrite(), now)
			if ok {
				continue
			}
			if verdict.Reason == ReasonRejected {
				return verdict
			}
			if late == nil {
				late = &verdict
			}
		}
	}
	switch {
	case missing != nil:
		return absence(missing, v, identity)
	case late != nil:
		return *late
	}
	return controller.Verdict{
		Status: metav1.ConditionTrue, Reason: ReasonAcknowledged,
		Message: fmt.Sprintf("Every selected proxy (%d) has acknowledged what was written.", len(o.needs)),
	}
}

func noProxies(o *ownerPlan) string {
	if o.idle > 0 {
		return "None of the selected pods is ready, so no proxy can acknowledge anything."
	}
	return "No pod is selected, so no proxy can acknowledge anything."
}

// absence says why a workload's proxy was not seen.
func absence(n *need, v *view, identity Identity) controller.Verdict {
	switch {
	case v.refused != nil:
		return unknown(ReasonIstiodRefuses, fmt.Sprintf("%s. Check that istiod accepts tokens of ServiceAccount %s/%s for the audience %s (docs/concepts/programmed.md).",
			v.refused, identity.Namespace, identity.ServiceAccount, Audience))
	case v.unreachable != nil:
		return unknown(ReasonIstiodUnreachable, fmt.Sprintf("istiod cannot be asked about the proxy of %s: %s.", n.proxy.workload.Ref, v.unreachable))
	case v.hidden:
		return unknown(ReasonIstiodRefuses, fmt.Sprintf("istiod shows ServiceAccount %s/%s no proxies of other namespaces. "+
			"Add %s to DEBUG_ENDPOINT_AUTH_ALLOWED_NAMESPACES in istiod's environment (docs/concepts/programmed.md).",
			identity.Namespace, identity.ServiceAccount, identity.Namespace))
	}
	if n.proxy.workload.Ref.Kind != "Pod" {
		return unknown(ReasonNoProxies, fmt.Sprintf("istiod names proxies by their pods, so the proxy of %s cannot be found.", n.proxy.workload.Ref))
	}
	return failed(ReasonNotConnected, fmt.Sprintf("%s is ready, but no replica of istiod serves its proxy. "+
		"Check that it has one, and that it reaches istiod.", n.proxy.workload.Ref))
}

// judgeProxy reports what one connection of one proxy lacks; ok when nothing.
func judgeProxy(n *need, c found, record *proxyRecord, wrote, now time.Time) (controller.Verdict, bool) {
	reason := ReasonPending
	if now.Sub(wrote) > patience {
		reason = ReasonStale
	}
	for _, object := range n.objects {
		if record.has(object) {
			continue
		}
		for _, t := range object.types {
			if problem := c.state.types[t].problem; problem != "" {
				return failed(ReasonRejected, fmt.Sprintf("The proxy of %s refuses the %s that %s sent: %s",
					n.proxy.workload.Ref, t, c.replica.Name, problem)), false
			}
		}
		return failed(reason, awaited(n, c, record, object)), false
	}
	if !record.lagging.IsZero() && now.Sub(record.lagging) > patience {
		return failed(ReasonStale, fmt.Sprintf("The proxy of %s has not acknowledged what %s sent it last, for more than %s.",
			n.proxy.workload.Ref, c.replica.Name, patience)), false
	}
	return controller.Verdict{}, true
}

// awaited says what of an object is not there yet.
func awaited(n *need, c found, record *proxyRecord, object *recogniser) string {
	saw := record.seen[object.ref]
	where := fmt.Sprintf("the proxy of %s by %s", n.proxy.workload.Ref, c.replica.Name)
	switch {
	case c.ambiguous:
		return fmt.Sprintf("istiod cannot tell %s from another one whose name ends in the same way, so %s cannot be looked for.", where, object.ref)
	case saw.key != object.key:
		return fmt.Sprintf("Waiting to see %s in what is sent to %s.", object.ref, where)
	case saw.like == absent:
		return fmt.Sprintf("%s is not in what is sent to %s.", object.ref, where)
	case saw.like == different:
		return fmt.Sprintf("%s is not as written in what is sent to %s: %s.", object.ref, where, saw.what)
	}
	return fmt.Sprintf("%s was sent to %s and is not acknowledged.", object.ref, where)
}

func unknown(reason, message string) controller.Verdict {
	return controller.Verdict{Status: metav1.ConditionUnknown, Reason: reason, Message: message}
}

func failed(reason, message string) controller.Verdict {
	return controller.Verdict{Status: metav1.ConditionFalse, Reason: reason, Message: message}
}
