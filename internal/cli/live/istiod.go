// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/directory"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/istiod"
	"github.com/trellis-mesh/trellis/internal/load"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/world"
	"github.com/trellis-mesh/trellis/internal/xds"
	"github.com/trellis-mesh/trellis/internal/xds/ads"
)

// instead is what else can be done where istiod cannot be asked.
const instead = "or use --source generator, which asks no istiod and says what the Istio in this program would send"

// openIstiod asks the running istiod in the name of each proxy.
func (o *Options) openIstiod(ctx context.Context, a *api, at time.Time) (*mesh.Mesh, error) {
	read, err := a.read(ctx, forADS())
	if err != nil {
		return nil, err
	}
	about, err := o.about(ctx, a, read)
	if err != nil {
		return nil, err
	}
	nodes := nodesOf(read, about)
	source, err := o.reach(ctx, a, read, nodes)
	if err != nil {
		return nil, err
	}
	view, err := xds.NewMesh(ctx, source)
	if err == nil && len(nodes) == 0 {
		err = errors.New("no pod and no WorkloadEntry has a proxy of Istio's")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listing the proxies: %w", err), source.Close())
	}
	all := read.asRuntime()
	world := world.Of(ctx, view, directory.New(append(endpointsOf(read), all...), about.ClusterDomain), ask.NewOrigins(all, nil), of[*v1alpha1.Application](read), at)
	m := mesh.Running(world, about, "istiod at "+source.where, append(read.lacks, source.lacks...), source.Close)
	m.Rights, m.Objects = a.rights, read.all
	m.Warm = func(ctx context.Context) { source.warm(ctx, view) }
	return m, nil
}

// about is what is known of the mesh: Istio's defaults, what its configuration
// says, and the flags, in this order.
func (o *Options) about(ctx context.Context, a *api, read *objects) (model.Mesh, error) {
	known := model.DefaultMesh()
	known.RootNamespace = o.IstioNamespace
	builder := load.NewBuilder(known)
	config := &corev1.ConfigMap{}
	switch err := a.Get(ctx, client.ObjectKey{Namespace: o.IstioNamespace, Name: "istio"}, config); {
	case err == nil:
		builder.Add(config)
		config.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMap"))
		read.all = append(read.all, config)
	case apierrors.IsNotFound(err):
	case apierrors.IsForbidden(err):
		read.lacks = append(read.lacks, fmt.Sprintf("you may not get configmaps in namespace %s: the trust domain of the mesh is taken to be %s", o.IstioNamespace, known.TrustDomain))
	default:
		return known, fmt.Errorf("reading the configuration of the mesh: %w", err)
	}
	known = builder.Input().Mesh
	if o.Options.Cluster == "" {
		known.Cluster = cmp.Or(clusterOf(o.pods(read)), known.Cluster)
	}
	return o.Override(known), nil
}

// pods are those of istiod that run, in order of their names.
func (o *Options) pods(read *objects) []*corev1.Pod {
	return slices.DeleteFunc(of[*corev1.Pod](read), func(p *corev1.Pod) bool {
		return p.Namespace != o.IstioNamespace || p.Labels["app"] != "istiod" || p.DeletionTimestamp != nil ||
			p.Status.Phase != corev1.PodRunning || o.Revision != "" && p.Labels[revisionLabel] != o.Revision
	})
}

const revisionLabel = "istio.io/rev"

// clusterOf is Istio's id of the cluster as istiod was told it.
func clusterOf(pods []*corev1.Pod) string {
	for _, pod := range pods {
		for i := range pod.Spec.Containers {
			for _, variable := range pod.Spec.Containers[i].Env {
				if variable.Name == "CLUSTER_ID" && variable.Value != "" {
					return variable.Value
				}
			}
		}
	}
	return ""
}

// nodesOf are the proxies that the objects show.
func nodesOf(read *objects, about model.Mesh) []xds.Node {
	var entries []xds.Entry
	for _, e := range of[*networkingv1.WorkloadEntry](read) {
		entries = append(entries, xds.Entry{Namespace: e.Namespace, Name: e.Name, Labels: e.Labels, Spec: &e.Spec})
	}
	return xds.NodesOf(of[*corev1.Pod](read), entries, xds.Common{
		TrustDomain: about.TrustDomain, ClusterDomain: about.ClusterDomain, Cluster: about.Cluster, Interception: xds.InterceptionRedirect,
	})
}

// reach finds istiod and makes the source that asks it. That it answers, and is
// istiod, is looked at once, so that not every proxy has to say that it is not.
func (o *Options) reach(ctx context.Context, a *api, read *objects, nodes []xds.Node) (*proxies, error) {
	out := &proxies{waiting: a.waiting, known: map[xds.Key]*answered{}}
	options := ads.Options{
		Nodes:      func(context.Context) ([]xds.Node, error) { return nodes, nil },
		ServerName: "istiod." + o.IstioNamespace + ".svc",
	}
	if !o.Plaintext {
		tokens := newTokens(a)
		lacks, err := tokens.check(ctx, nodes)
		if err != nil {
			return nil, err
		}
		out.lacks = append(out.lacks, lacks...)
		options.Roots, options.Token, out.tokens = istiod.RootsFromConfigMap(a, o.IstioNamespace), tokens.of, tokens
	}
	address := o.Istiod
	out.where = address
	if address == "" {
		pod, err := o.choose(read)
		if err != nil {
			return nil, err
		}
		if note := o.otherRevisions(read, pod); note != "" {
			out.lacks = append(out.lacks, note)
		}
		out.where = "pod " + pod.Namespace + "/" + pod.Name
		a.waiting.say("forwarding a port to %s", out.where)
		forwarded, err := a.forward(ctx, pod, portOf(pod, o.Plaintext))
		if err != nil {
			return nil, err
		}
		address, out.release = forwarded.address, forwarded.stop
	}
	options.Replica = istiod.Replica{Name: out.where, Address: address}
	a.waiting.say("connecting to istiod at %s", out.where)
	if err := greet(ctx, options, out.where); err != nil {
		return nil, errors.Join(err, out.Close())
	}
	var err error
	if out.source, err = ads.New(options); err != nil {
		return nil, errors.Join(err, out.Close())
	}
	return out, nil
}

// choose takes the first pod of istiod that is ready, or else the first.
func (o *Options) choose(read *objects) (*corev1.Pod, error) {
	pods := o.pods(read)
	if len(pods) == 0 {
		of := ""
		if o.Revision != "" {
			of = " of revision " + o.Revision
		}
		return nil, fmt.Errorf("finding istiod: no pod with the label app=istiod%s runs in namespace %s: name the namespace with --istio-namespace or the address with --istiod, %s", of, o.IstioNamespace, instead)
	}
	for _, pod := range pods {
		for _, c := range pod.Status.Conditions {
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
				return pod, nil
			}
		}
	}
	return pods[0], nil
}

// otherRevisions says that proxies of other revisions are sent something else.
func (o *Options) otherRevisions(read *objects, chosen *corev1.Pod) string {
	var others []string
	for _, pod := range o.pods(read) {
		if r := pod.Labels[revisionLabel]; r != chosen.Labels[revisionLabel] && !slices.Contains(others, r) {
			others = append(others, r)
		}
	}
	if len(others) == 0 {
		return ""
	}
	return fmt.Sprintf("istiod of revision %s is asked, and %s run too, which may send other things to their proxies: name one with --revision",
		cmp.Or(chosen.Labels[revisionLabel], "default"), strings.Join(others, ", "))
}

const (
	securePort    = 15012
	plaintextPort = 15010
)

// portOf is the port of istiod's pod for questions.
func portOf(pod *corev1.Pod, plaintext bool) int {
	name, number := "tls-xds", securePort
	if plaintext {
		name, number = "grpc-xds", plaintextPort
	}
	for i := range pod.Spec.Containers {
		for _, port := range pod.Spec.Containers[i].Ports {
			if port.Name == name {
				return int(port.ContainerPort)
			}
		}
	}
	return number
}
