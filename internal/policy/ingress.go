// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy/expression"
)

func ingressSubject(in *v1alpha1.SecureIngress, origin model.Origin) Subject {
	return Subject{Sort: v1alpha1.SubjectSecureIngress, Origin: origin, Namespace: in.Namespace, SecureIngress: in.Name}
}

// JudgeIngress asks of a SecureIngress. Bindings about it that cannot be applied are among
// what it returns.
func (s *Set) JudgeIngress(in *v1alpha1.SecureIngress, origin model.Origin) []Judgement {
	var broken []Judgement
	bound := false
	for _, b := range s.bindingsOf(in.Namespace) {
		if !b.aboutIngresses() {
			continue
		}
		bound = true
		if b.Broken == "" {
			b.record(origin.Object, Pass)
			continue
		}
		j := Judgement{Binding: b, Subject: ingressSubject(in, origin), Outcome: Unknown}
		j.Message = "what this policy asks for cannot be told: " + b.Broken
		j = s.exempt(j)
		b.record(origin.Object, j.Outcome)
		broken = append(broken, j)
	}
	if !bound {
		return nil
	}
	spec, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&in.Spec)
	if err != nil {
		spec = map[string]any{}
	}
	return append(broken, s.judge(ingressSubject(in, origin), expression.NewFacts(map[string]expression.Value{
		"namespaceObject": s.namespaceValue(in.Namespace),
		"ingress":         expression.Object(expression.SortSecureIngress, in.Name, in.Labels, in.Annotations, spec),
	}))...)
}

// foreignKinds are those of Istio's objects that policies may be about.
var foreignKinds = []string{"AuthorizationPolicy", "DestinationRule", "Gateway", "PeerAuthentication", "RequestAuthentication", "VirtualService"}

// JudgeIstioObjects asks of everything of Istio's that Trellis did not make. What fails
// stays as it is: it is somebody else's.
func (s *Set) JudgeIstioObjects() []Judgement {
	var out []Judgement
	for _, kind := range foreignKinds {
		for _, f := range s.snapshot.Foreign(kind) {
			if len(s.bindingsOf(f.Ref.Namespace)) == 0 {
				continue
			}
			for _, b := range s.bindingsOf(f.Ref.Namespace) {
				if b.Broken == "" && len(b.compiled.constraints[v1alpha1.SubjectIstioObject]) > 0 {
					b.record(f.Ref, Pass)
				}
			}
			of := Subject{Sort: v1alpha1.SubjectIstioObject, Origin: model.Origin{Object: f.Ref}, Namespace: f.Ref.Namespace}
			out = append(out, s.judge(of, expression.NewFacts(map[string]expression.Value{
				"namespaceObject": s.namespaceValue(f.Ref.Namespace),
				"object":          expression.IstioObject(f.Ref.Kind, f.Ref.Name, f.Action, f.Mode, f.Hosts, f.Gateways),
			}))...)
		}
	}
	return out
}
