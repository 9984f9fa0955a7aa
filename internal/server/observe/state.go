// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/expiry"
	"github.com/trellis-mesh/trellis/internal/inforce"
	"github.com/trellis-mesh/trellis/internal/load"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy/rollout"
)

// State is a cluster at one moment. Read only.
type State struct {
	// Input is what the compiler reads, with all Applications as they are stated
	// now. Its At is when the cluster was like this.
	Input model.Input
	// Rollouts are the MutualTLSRollouts, in order.
	Rollouts []*v1alpha1.MutualTLSRollout
	// Objects are what Istio reads and Trellis did not make, the PeerAuthentications of
	// MutualTLSRollouts among them.
	Objects []client.Object
	// MeshConfig is Istio's mesh configuration as YAML.
	MeshConfig string
	// Records are the statements that were put in force.
	Records []inforce.Record
	// Generated are what Istio reads and Trellis made, in order. What is stated decides about
	// them, so that they are no part of Digest.
	Generated []client.Object
	// Created is when generated objects were made: Istio goes by age where objects
	// contradict each other.
	Created map[model.Reference]metav1.Time
	// Digest is the same for two states in which every test ends alike, and in which the
	// stages of every MutualTLSRollout are the same.
	Digest string
}

// NewState is what a cluster with these objects is like, which are as watches keep
// them: each kind as its Go type, where the compiler or the generator has one. At is
// the moment at which policies are judged.
func NewState(o Options, all []client.Object, at time.Time) (*State, error) {
	s := &State{Created: map[model.Reference]metav1.Time{}}
	builder := load.NewBuilder(o.Mesh)
	pods := map[string]*corev1.Pod{}
	for _, object := range all {
		switch object := object.(type) {
		case *corev1.ConfigMap:
			s.MeshConfig = object.Data["mesh"]
			builder.Add(meshConfigOf(o.Mesh, object))
		case *appsv1.ControllerRevision:
			if r, ok := inforce.Read(object); ok {
				s.Records = append(s.Records, r)
			}
		case *corev1.Pod:
			key := alike(object)
			if known := pods[key]; object.DeletionTimestamp == nil && (known == nil || object.Name < known.Name) {
				pods[key] = object
			}
		default:
			s.add(builder, object)
		}
	}
	for _, pod := range pods {
		builder.Add(pod)
		s.Objects = append(s.Objects, pod)
	}
	for _, list := range [][]client.Object{s.Objects, s.Generated} {
		slices.SortFunc(list, func(a, b client.Object) int { return strings.Compare(identity(a), identity(b)) })
	}
	slices.SortFunc(s.Records, func(a, b inforce.Record) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	s.Input, s.Rollouts = builder.Input(), builder.MutualTLSRollouts()
	s.Input.Certificates, s.Input.At = Assumed(&s.Input), at
	return s, s.sum()
}

// meshConfigOf is a mesh configuration where package load looks for it; an installation with
// revisions has another one.
func meshConfigOf(mesh model.Mesh, object *corev1.ConfigMap) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: mesh.RootNamespace, Name: "istio"}, Data: object.Data}
}

func (s *State) add(builder *load.Builder, object client.Object) {
	if object.GetLabels()[load.ManagedByLabel] == load.ManagedBy {
		if kind := object.GetObjectKind().GroupVersionKind(); strings.HasSuffix(kind.Group, "istio.io") {
			s.Created[model.Reference{Group: kind.Group, Kind: kind.Kind, Namespace: object.GetNamespace(), Name: object.GetName()}] = object.GetCreationTimestamp()
			s.Generated = append(s.Generated, object)
			return
		}
	}
	switch object := object.(type) {
	case *v1alpha1.Application, *v1alpha1.SecureIngress, *v1alpha1.MutualTLSRollout, *v1alpha1.PolicyException:
		// One that is being deleted states nothing any more.
		if object.GetDeletionTimestamp() == nil {
			builder.Add(object)
		}
	case *v1alpha1.HostClaim, *v1alpha1.ManagedCertificate,
		*v1alpha1.Goal, *v1alpha1.PolicyTemplate, *v1alpha1.ClusterPolicyBinding, *v1alpha1.PolicyBinding:
		builder.Add(object)
	default:
		builder.Add(object)
		s.Objects = append(s.Objects, object)
	}
}

// churning are labels that differ between pods of one workload, or between those of
// one version and the next.
var churning = []string{
	"pod-template-hash", "controller-revision-hash", "pod-template-generation", "statefulset.kubernetes.io/pod-name",
	"apps.kubernetes.io/pod-index", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name", "controller-uid", "job-name",
}

// lasting is what is the same for all pods that are configured alike.
func lasting(pod *corev1.Pod) *corev1.Pod {
	labels := map[string]string{}
	for name, value := range pod.Labels {
		if !slices.Contains(churning, name) {
			labels[name] = value
		}
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Labels: labels, Annotations: pod.Annotations},
		Spec: corev1.PodSpec{
			ServiceAccountName: pod.Spec.ServiceAccountName, HostNetwork: pod.Spec.HostNetwork,
			InitContainers: pod.Spec.InitContainers, Containers: pod.Spec.Containers,
		},
	}
}

// alike is the same text for pods of which one stands for all.
func alike(pod *corev1.Pod) string {
	raw, err := json.Marshal(lasting(pod))
	if err != nil {
		return pod.Namespace + "/" + pod.Name // never: each pod would stand for itself
	}
	return string(raw)
}

func identity(o client.Object) string {
	return fmt.Sprintf("%T %s %s/%s", o, o.GetObjectKind().GroupVersionKind(), o.GetNamespace(), o.GetName())
}

// Assumed are the certificates that SecureIngresses name, good for everything: no
// Secret is read here, and a certificate that is missing is a matter of the
// ingress's own conditions.
func Assumed(in *model.Input) []model.Certificate {
	var out []model.Certificate
	for _, ingress := range in.SecureIngresses {
		if ingress.Spec.TLS.SecretName == "" {
			continue
		}
		c := model.Certificate{
			Ref:         model.Reference{Cluster: in.Mesh.Cluster, Kind: "Secret", Namespace: ingress.Namespace, Name: ingress.Spec.TLS.SecretName},
			Fingerprint: "assumed",
		}
		for _, d := range ingress.Spec.Domains {
			c.Names = append(c.Names, d.Domain, "*."+d.Domain)
			for _, a := range in.Applications {
				for _, e := range a.Spec.Exposures {
					for _, name := range e.Hostnames {
						c.Names = append(c.Names, string(name)+"."+d.Domain)
					}
				}
			}
		}
		out = append(out, c)
	}
	return out
}

// statement is what of an object of Trellis's own can change what follows from it.
type statement struct {
	Kind, Namespace, Name string
	UID                   string
	Labels, Annotations   map[string]string
	Spec                  any
}

// writePolicies gives what of policies can change what follows from them. Goals change
// nothing. Of time it matters which exception expires next, or stage of a rollout ends.
func writePolicies(in *model.Input, write func(any)) {
	for _, t := range in.Policies.Templates {
		write(statement{"PolicyTemplate", "", t.Name, "", t.Labels, t.Annotations, t.Spec})
	}
	for _, b := range in.Policies.ClusterBindings {
		stated := []any{b.Spec}
		if b.Spec.Rollout != nil {
			stated = append(stated, rollout.Of(b).Holding)
		}
		write(statement{"ClusterPolicyBinding", "", b.Name, "", b.Labels, b.Annotations, stated})
	}
	for _, b := range in.Policies.Bindings {
		write(statement{"PolicyBinding", b.Namespace, b.Name, "", b.Labels, b.Annotations, b.Spec})
	}
	for _, e := range in.Policies.Exceptions {
		write(statement{"PolicyException", e.Namespace, e.Name, "", e.Labels, e.Annotations, e.Spec})
	}
	next, _ := expiry.Next(in.Policies, in.At)
	write(next.UTC())
}

// sum computes the digest.
func (s *State) sum() error {
	hash := sha256.New()
	encoder := json.NewEncoder(hash)
	var problem error
	write := func(value any) {
		if err := encoder.Encode(value); err != nil && problem == nil {
			problem = fmt.Errorf("comparing what was read: %w", err)
		}
	}
	write(s.MeshConfig)
	for _, a := range s.Input.Applications {
		write(statement{"Application", a.Namespace, a.Name, string(a.UID), a.Labels, a.Annotations, a.Spec})
	}
	for _, i := range s.Input.SecureIngresses {
		write(statement{"SecureIngress", i.Namespace, i.Name, string(i.UID), i.Labels, i.Annotations, i.Spec})
	}
	for _, c := range s.Input.HostClaims {
		write(statement{"HostClaim", "", c.Name, "", nil, nil, c.Spec})
	}
	for _, c := range s.Input.ManagedCertificates {
		write(statement{"ManagedCertificate", c.Namespace, c.Name, "", nil, nil, []any{c.Spec.DNSNames, c.Status.NotAfter != nil, c.Status.Challenges}})
	}
	writePolicies(&s.Input, write)
	for _, r := range s.Rollouts {
		write([]any{"MutualTLSRollout", r.Name, r.UID, r.Generation, r.Spec})
	}
	for _, r := range s.Records {
		write([]any{r.Owner, r.Generation, r.Digest})
	}
	var pods []string
	for _, object := range s.Objects {
		if pod, ok := object.(*corev1.Pod); ok {
			pods = append(pods, alike(pod))
			continue
		}
		write(identity(object))
		write(content(object))
	}
	slices.Sort(pods)
	write(pods)
	s.Digest = hex.EncodeToString(hash.Sum(nil))
	return problem
}
