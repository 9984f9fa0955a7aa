// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/cli/source"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/xds/generator"
)

// untyped is a kind that is read as it is, in the version that the cluster prefers.
func untyped(group, name, resource string) kind {
	return kind{GroupVersionKind: schema.GroupVersionKind{Group: group, Kind: name}, resource: resource}
}

// forGenerator are all kinds that change what Istio's generator makes, and those
// in which people state things. Secrets are not among them.
func forGenerator() []kind {
	const networking, gateway = "networking.istio.io", "gateway.networking.k8s.io"
	out := append(addressed(), configured()...)
	return append(append(out, stated()...),
		typedKind("", "v1", "Namespace", "namespaces", func() client.ObjectList { return &corev1.NamespaceList{} }),
		typedKind("", "v1", "Node", "nodes", func() client.ObjectList { return &corev1.NodeList{} }).without("in which zones proxies run is not known"),
		typedKind(v1alpha1.GroupName, "v1alpha1", "SecureIngress", "secureingresses", func() client.ObjectList { return &v1alpha1.SecureIngressList{} }),
		typedKind(v1alpha1.GroupName, "v1alpha1", "HostClaim", "hostclaims", func() client.ObjectList { return &v1alpha1.HostClaimList{} }),
		typedKind(v1alpha1.GroupName, "v1alpha1", "ManagedCertificate", "managedcertificates", func() client.ObjectList { return &v1alpha1.ManagedCertificateList{} }),
		typedKind(v1alpha1.GroupName, "v1alpha1", "ManagedRecord", "managedrecords", func() client.ObjectList { return &v1alpha1.ManagedRecordList{} }),
		typedKind(v1alpha1.GroupName, "v1alpha1", "Goal", "goals", func() client.ObjectList { return &v1alpha1.GoalList{} }),
		typedKind(v1alpha1.GroupName, "v1alpha1", "PolicyTemplate", "policytemplates", func() client.ObjectList { return &v1alpha1.PolicyTemplateList{} }),
		typedKind(v1alpha1.GroupName, "v1alpha1", "ClusterPolicyBinding", "clusterpolicybindings", func() client.ObjectList { return &v1alpha1.ClusterPolicyBindingList{} }),
		typedKind(v1alpha1.GroupName, "v1alpha1", "PolicyBinding", "policybindings", func() client.ObjectList { return &v1alpha1.PolicyBindingList{} }),
		typedKind(v1alpha1.GroupName, "v1alpha1", "PolicyException", "policyexceptions", func() client.ObjectList { return &v1alpha1.PolicyExceptionList{} }),
		untyped(networking, "ProxyConfig", "proxyconfigs"),
		untyped("telemetry.istio.io", "Telemetry", "telemetries"), untyped("extensions.istio.io", "WasmPlugin", "wasmplugins"),
		untyped(gateway, "GatewayClass", "gatewayclasses"), untyped(gateway, "Gateway", "gateways"), untyped(gateway, "HTTPRoute", "httproutes"),
		untyped(gateway, "GRPCRoute", "grpcroutes"), untyped(gateway, "TLSRoute", "tlsroutes"), untyped(gateway, "TCPRoute", "tcproutes"),
		untyped(gateway, "ReferenceGrant", "referencegrants"),
		untyped("networking.k8s.io", "Ingress", "ingresses"), untyped("networking.k8s.io", "IngressClass", "ingressclasses"),
		origins())
}

// openGenerated runs Istio's generator on the cluster's objects, with the draft of
// the files over them.
func (o *Options) openGenerated(ctx context.Context, a *api, s *streams.Streams, at time.Time) (*mesh.Mesh, error) {
	read, err := o.readForGenerator(ctx, a)
	if err != nil {
		return nil, err
	}
	return read.open(ctx, o, a, s.In, at)
}

// snapshot is a cluster that was read for the generator.
type snapshot struct {
	*objects
	about      model.Mesh
	meshConfig string
}

func (o *Options) readForGenerator(ctx context.Context, a *api) (*snapshot, error) {
	read, err := a.read(ctx, forGenerator())
	if err != nil {
		return nil, err
	}
	about, err := o.about(ctx, a, read)
	if err != nil {
		return nil, err
	}
	out := &snapshot{objects: read, about: about}
	for _, config := range of[*corev1.ConfigMap](read) {
		if config.Namespace == o.IstioNamespace && config.Name == "istio" {
			out.meshConfig = config.Data["mesh"]
		}
	}
	return out, nil
}

// open opens the cluster with the files of the options over it.
func (c *snapshot) open(ctx context.Context, o *Options, a *api, stdin io.Reader, at time.Time) (*mesh.Mesh, error) {
	a.waiting.say("running Istio's generator on %d objects", len(c.all))
	in := mesh.Cluster{Objects: c.all, MeshConfig: c.meshConfig, About: c.about, Applications: of[*v1alpha1.Application](c.objects), Endpoints: endpointsOf(c.objects), Together: o.Together}
	lacks := slices.Clone(c.lacks)
	if len(o.Files) > 0 {
		over, err := o.overlay(ctx, stdin, c, at)
		if err != nil {
			return nil, err
		}
		in.Objects, in.Applications, in.Draft = over.Objects, over.Applications, over
	}
	m, err := mesh.Generated(ctx, in, at)
	if err != nil {
		return nil, err
	}
	m.Lacks, m.Rights = lacks, a.rights
	m.From = fmt.Sprintf("Istio's generator %s in this program, on the objects of the cluster%s: what that version would send, not what the installed one sends", generator.Version(), drafted(o.Files))
	return m, nil
}

func drafted(files []string) string {
	if len(files) == 0 {
		return ""
	}
	return " and the draft " + strings.Join(files, ", ")
}

// overlay compiles the cluster's statements with the draft. Workloads of the draft
// that run already are those that run. At is the moment at which policies are judged.
func (o *Options) overlay(ctx context.Context, stdin io.Reader, c *snapshot, at time.Time) (*source.Mesh, error) {
	own := o.Options
	own.At = at
	// What the flags leave open is what the cluster says.
	own.Cluster, own.TrustDomain = c.about.Cluster, c.about.TrustDomain
	own.ClusterDomain, own.RootNamespace = c.about.ClusterDomain, c.about.RootNamespace
	over, err := own.Over(ctx, stdin, c.all)
	if err != nil {
		return nil, err
	}
	over.LeaveOutRunning(of[*corev1.Pod](c.objects))
	return over, nil
}

// Both opens a running cluster twice, as it is and with the draft of the files over
// it; in both the cluster's statements are compiled here, so that only the draft
// makes a difference. The cluster is read once.
func (o *Options) Both(ctx context.Context, s *streams.Streams, at time.Time) (before, after *mesh.Mesh, err error) {
	if err := o.Check(); err != nil {
		return nil, nil, err
	}
	if len(o.Files) == 0 {
		return nil, nil, fmt.Errorf("%w: the draft that is compared with the cluster", source.ErrNoFiles)
	}
	at = o.Moment(at)
	a, err := o.connect(s)
	if err != nil {
		return nil, nil, err
	}
	defer a.waiting.stop()
	read, err := o.readForGenerator(ctx, a)
	if err != nil {
		return nil, nil, err
	}
	own := *o
	own.Together = &mesh.Together{}
	if after, err = read.open(ctx, &own, a, s.In, at); err != nil {
		return nil, nil, err
	}
	without := own
	without.Files = nil
	over, err := without.overlay(ctx, s.In, read, at)
	if err == nil {
		before, err = mesh.Generated(ctx, mesh.Cluster{
			Objects: over.Objects, MeshConfig: read.meshConfig, About: read.about, Applications: over.Applications, Endpoints: endpointsOf(read.objects), Draft: over, Together: own.Together,
		}, at)
	}
	if err != nil {
		return nil, nil, errors.Join(err, after.Close())
	}
	before.From = cmp.Or(before.From, "the cluster")
	return before, after, nil
}
