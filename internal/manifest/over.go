// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"context"
	"io"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/document"
	"github.com/trellis-mesh/trellis/internal/load"
	"github.com/trellis-mesh/trellis/internal/model"
	trellisschema "github.com/trellis-mesh/trellis/internal/schema"
)

// Over reads the files as a draft over what a cluster has: an object of the files
// takes the place of the cluster's. What Trellis has made in the cluster is left
// out and made anew, so that with and without a draft the same is done. Objects of
// the cluster say their kinds and are read only. No files are no draft.
func (o *Options) Over(ctx context.Context, stdin io.Reader, cluster []client.Object) (*Mesh, error) {
	checker, err := trellisschema.Embedded()
	if err != nil {
		return nil, err
	}
	set := &document.Set{}
	if len(o.Files) > 0 {
		if set, err = o.readAll(checker, stdin); err != nil {
			return nil, err
		}
	}
	replaced := map[objectKey]bool{}
	for i := range set.Objects {
		ref := set.Objects[i].Ref
		replaced[objectKey{ref.Group, ref.Kind, ref.Namespace, ref.Name}] = true
	}
	beneath := slices.DeleteFunc(slices.Clone(cluster), func(object client.Object) bool {
		kind := object.GetObjectKind().GroupVersionKind()
		return replaced[objectKey{kind.Group, kind.Kind, object.GetNamespace(), object.GetName()}] || generated(object)
	})
	out, err := o.meshOf(ctx, checker, set, draft{beneath, rolloutsOf(cluster)})
	if err != nil {
		return nil, err
	}
	for _, object := range beneath {
		if object.GetObjectKind().GroupVersionKind().Group != v1alpha1.GroupName {
			out.Objects = append(out.Objects, object)
		}
	}
	return out, nil
}

// draft is what of a cluster is there where files are a draft.
type draft struct {
	beneath []client.Object
	// rollouts are how far versions of policies have come, by their bindings: a file does
	// not say it, and applying one does not change it.
	rollouts map[string]*v1alpha1.PolicyRolloutStatus
}

func rolloutsOf(cluster []client.Object) map[string]*v1alpha1.PolicyRolloutStatus {
	out := map[string]*v1alpha1.PolicyRolloutStatus{}
	for _, object := range cluster {
		if b, ok := object.(*v1alpha1.ClusterPolicyBinding); ok && b.Status.Rollout != nil {
			out[b.Name] = b.Status.Rollout
		}
	}
	return out
}

// goOn lets the rollouts of bindings in files stand where they do.
func (d draft) goOn(read any) {
	if b, ok := read.(*v1alpha1.ClusterPolicyBinding); ok && d.rollouts[b.Name] != nil {
		b.Status.Rollout = d.rollouts[b.Name]
	}
}

type objectKey struct{ group, kind, namespace, name string }

// generated reports whether Trellis made an object for istiod to read. Its own
// records of hosts, certificates and entries are what it goes by.
func generated(object client.Object) bool {
	return object.GetObjectKind().GroupVersionKind().Group != v1alpha1.GroupName && object.GetLabels()[load.ManagedByLabel] == load.ManagedBy
}

// assume takes the certificates of a cluster to be there and to cover the hosts of
// their ingresses: Secrets are not read for a question.
func assume(in *model.Input) {
	known := map[model.Reference]bool{}
	for i := range in.Certificates {
		known[in.Certificates[i].Ref] = true
	}
	for _, ingress := range in.SecureIngresses {
		ref := model.Reference{Cluster: in.Mesh.Cluster, Kind: "Secret", Namespace: ingress.Namespace, Name: ingress.Spec.TLS.SecretName}
		if ref.Name == "" || known[ref] {
			continue
		}
		known[ref] = true
		certificate := model.Certificate{Ref: ref}
		for i := range ingress.Spec.Domains {
			domain := ingress.Spec.Domains[i].Domain
			certificate.Names = append(certificate.Names, domain, "*."+domain)
			for _, a := range in.Applications {
				for _, e := range a.Spec.Exposures {
					for _, host := range e.Hostnames {
						certificate.Names = append(certificate.Names, string(host)+"."+domain)
					}
				}
			}
		}
		in.Certificates = append(in.Certificates, certificate)
	}
}
