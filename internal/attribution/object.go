// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package attribution

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	securityapi "istio.io/api/security/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	networkingv1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/trellis-mesh/trellis/internal/ask/origin"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/model"
)

// action is what an object does to requests.
type action int

const (
	allows action = iota
	denies
	asks   // an external service
	tokens // are verified
	mutual // TLS is demanded, or not
	calls  // of the workload are let out
)

// object is one that selects workloads and decides about their requests.
type object struct {
	kind, namespace, name string
	action                action
	// tried: it decides nothing, and proxies say what it would have.
	tried bool
	// selector are labels of pods; none: all of the namespace.
	selector map[string]string
	// gateways are those of the Gateway API that it names in place of a selector.
	gateways []string
	targeted bool
	// owner is the Application that it was made for.
	owner model.Name
	// made: Trellis made it, so that what its provenance does not tell is nobody's own rule.
	made bool
	// rules are what is known of each, in order.
	rules []hits.Key
	// since is when it came to be as it is; zero where that is not known.
	since time.Time
	// places are those of the proxies that it selects.
	places []hits.Place
}

func (o *object) String() string { return fmt.Sprintf("%s %s/%s", o.kind, o.namespace, o.name) }

// gatewayLabel is on pods of a Gateway of the Gateway API.
const gatewayLabel = "gateway.networking.k8s.io/gateway-name"

// selects reports whether it is for a workload. The caller has looked at the namespace.
func (o *object) selects(labels map[string]string) bool {
	if o.targeted {
		return slices.Contains(o.gateways, labels[gatewayLabel])
	}
	return len(o.selector) == 0 || model.Selects(o.selector, labels)
}

// objectOf reads an object; nil for one that decides about no requests of workloads.
func objectOf(in runtime.Object) *object {
	switch o := in.(type) {
	case *securityv1.AuthorizationPolicy:
		return ofPolicy(o)
	case *networkingv1alpha3.EnvoyFilter:
		// Trellis refuses odd paths by rules in them.
		if o.Annotations[compile.AnnotationOrigin] == "" {
			return nil
		}
		return described(&object{kind: "EnvoyFilter", action: denies, selector: o.Spec.GetWorkloadSelector().GetLabels()}, &o.ObjectMeta)
	case *securityv1.RequestAuthentication:
		out := &object{kind: "RequestAuthentication", action: tokens, selector: o.Spec.GetSelector().GetMatchLabels()}
		out.rules = make([]hits.Key, len(o.Spec.GetJwtRules()))
		out.target(o.Spec.GetTargetRef() != nil || len(o.Spec.GetTargetRefs()) > 0)
		for _, ref := range append(o.Spec.GetTargetRefs(), o.Spec.GetTargetRef()) {
			out.gateways = append(out.gateways, gatewayNamed(ref.GetKind(), ref.GetName())...)
		}
		return described(out, &o.ObjectMeta)
	case *securityv1.PeerAuthentication:
		out := &object{kind: "PeerAuthentication", action: mutual, selector: o.Spec.GetSelector().GetMatchLabels(), rules: make([]hits.Key, 1)}
		return described(out, &o.ObjectMeta)
	case *networkingv1.Sidecar:
		out := &object{kind: "Sidecar", action: calls, selector: o.Spec.GetWorkloadSelector().GetLabels(), rules: make([]hits.Key, 1)}
		return described(out, &o.ObjectMeta)
	}
	return nil
}

func ofPolicy(o *securityv1.AuthorizationPolicy) *object {
	out := &object{kind: "AuthorizationPolicy", selector: o.Spec.GetSelector().GetMatchLabels(), rules: make([]hits.Key, len(o.Spec.GetRules()))}
	switch o.Spec.GetAction() {
	case securityapi.AuthorizationPolicy_ALLOW:
		out.action = allows
	case securityapi.AuthorizationPolicy_DENY:
		out.action = denies
	case securityapi.AuthorizationPolicy_CUSTOM:
		out.action = asks
	default:
		return nil // AUDIT refuses nothing
	}
	out.tried = o.Annotations[compile.AnnotationDryRun] == "true"
	out.target(o.Spec.GetTargetRef() != nil || len(o.Spec.GetTargetRefs()) > 0)
	for _, ref := range append(o.Spec.GetTargetRefs(), o.Spec.GetTargetRef()) {
		out.gateways = append(out.gateways, gatewayNamed(ref.GetKind(), ref.GetName())...)
	}
	return described(out, &o.ObjectMeta)
}

func (o *object) target(is bool) { o.targeted = is }

func gatewayNamed(kind, name string) []string {
	if kind != "Gateway" || name == "" {
		return nil
	}
	return []string{name}
}

func described(o *object, meta *metav1.ObjectMeta) *object {
	o.namespace, o.name, o.since = meta.Namespace, meta.Name, Changed(meta)
	o.made = meta.Annotations[compile.AnnotationOrigin] != ""
	if meta.Labels[compile.LabelManagedBy] == compile.ManagedBy && meta.Labels[compile.LabelOwnerKind] == "Application" {
		o.owner = model.Name{Namespace: meta.Labels[compile.LabelOwnerNamespace], Name: meta.Labels[compile.LabelOwnerName]}
	}
	return o
}

// describe fills in where each rule came from.
func (o *object) describe(origins *origin.Origins, applications applications) {
	if count, ok := origins.Count(o.kind, o.namespace, o.name); ok && count > len(o.rules) {
		o.rules = make([]hits.Key, count)
	}
	for i := range o.rules {
		at := origins.Of(decide.Step{Object: &decide.Object{Kind: o.kind, Namespace: o.namespace, Name: o.name, Rule: i}})
		key := hits.Key{Namespace: o.owner.Namespace, Application: o.owner.Name, Object: o.String(), Rule: i}
		switch {
		case at == nil && o.made:
			// Its provenance is in a ConfigMap that was not read, or is damaged.
		case at == nil:
			key.Statement, key.Field, key.Reason = o.String(), o.fieldOf(i), ReasonByHand
		default:
			key.Statement, key.Field, key.Reason = at.Object, at.Field, string(at.Reason)
			applications.complete(&key)
		}
		o.rules[i] = key
	}
}

// fieldOf is where a rule is in an object that somebody wrote by hand.
func (o *object) fieldOf(rule int) string {
	switch o.action {
	case tokens:
		return fmt.Sprintf("spec.jwtRules[%d]", rule)
	case mutual:
		return "spec.mtls"
	case calls:
		return "spec.egress"
	}
	return fmt.Sprintf("spec.rules[%d]", rule)
}

// number reads NAME[N] at the beginning of a field, and what is behind it.
func number(field, name string) (n int, rest string, ok bool) {
	field, ok = strings.CutPrefix(field, name+"[")
	if !ok {
		return 0, "", false
	}
	digits, rest, ok := strings.Cut(field, "]")
	n, err := strconv.Atoi(digits)
	return n, strings.TrimPrefix(rest, "."), ok && err == nil && n >= 0
}
