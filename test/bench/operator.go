// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/test/bench/program"
	"github.com/trellis-mesh/trellis/test/fleet"
	"github.com/trellis-mesh/trellis/test/stack"
)

const (
	changes        = 60
	patience       = 4 * time.Minute
	creators       = 8
	settleInterval = 200 * time.Millisecond
	calm           = 10 * time.Second
)

// operatorFigures run the operator on two platforms: a wide one for changes and
// memory, and one large ingress for statuses.
func operatorFigures(ctx context.Context) ([]figure, error) {
	wide, err := wideFigures(ctx)
	if err != nil {
		return nil, fmt.Errorf("1000 Applications, %w", err)
	}
	large, err := largeIngressFigures(ctx)
	if err != nil {
		return nil, fmt.Errorf("one large SecureIngress, %w", err)
	}
	return append(wide, large...), nil
}

// platform is a cluster with an operator and a fleet in it.
type platform struct {
	stack    *stack.Stack
	client   client.WithWatch
	operator *program.Process
}

func newPlatform(ctx context.Context, gateways []string) (*platform, error) {
	s, err := stack.Start(ctx, stack.Options{Out: os.Stderr, IstiodEnvironment: []string{"DEBUG_ENDPOINT_AUTH_ALLOWED_NAMESPACES=" + program.Namespace}})
	if err != nil {
		return nil, err
	}
	p := &platform{stack: s}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, networkingv1.AddToScheme, securityv1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return p, err
		}
	}
	config := s.Config()
	config.QPS = -1
	if p.operator, err = program.Operator(ctx, s, gateways); err != nil {
		return p, err
	}
	p.client, err = client.NewWithWatch(config, client.Options{Scheme: scheme})
	return p, err
}

// stop ends everything; a failed run leaves its logs.
func (p *platform) stop(failed bool) {
	if p == nil {
		return
	}
	if failed {
		p.stack.KeepFiles()
		fmt.Fprintln(os.Stderr, "bench: what was logged is in", p.stack.Logs())
	}
	if p.operator != nil {
		p.operator.Stop()
	}
	p.stack.Stop()
}

// create makes objects, namespaces first, several at once.
func (p *platform) create(ctx context.Context, objects []client.Object) error {
	var first, rest []client.Object
	for _, o := range objects {
		if o.GetObjectKind().GroupVersionKind().Kind == "Namespace" {
			first = append(first, o)
		} else {
			rest = append(rest, o)
		}
	}
	for _, batch := range [][]client.Object{first, rest} {
		errs := make([]error, creators)
		var group sync.WaitGroup
		for worker := range creators {
			group.Go(func() {
				for i := worker; i < len(batch) && errs[worker] == nil; i += creators {
					errs[worker] = p.createOne(ctx, batch[i])
				}
			})
		}
		group.Wait()
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	return nil
}

func (p *platform) createOne(ctx context.Context, o client.Object) error {
	pod, isPod := o.(*corev1.Pod)
	var status corev1.PodStatus
	if isPod {
		status = pod.Status
	}
	if err := p.client.Create(ctx, o); err != nil {
		return fmt.Errorf("creating %T %s/%s, %w", o, o.GetNamespace(), o.GetName(), err)
	}
	if isPod {
		pod.Status = status
		return p.client.Status().Update(ctx, pod)
	}
	return nil
}

// until polls, since what it waits for is spread over a thousand objects.
func until(ctx context.Context, what string, check func(context.Context) error) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, settleInterval, patience, true, func(ctx context.Context) (bool, error) {
		err := check(ctx)
		if err != nil && ctx.Err() == nil {
			last = err
		}
		return err == nil, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for %s, %w; last answer: %w", what, err, last)
	}
	return nil
}

func (p *platform) applications(ctx context.Context) ([]v1alpha1.Application, error) {
	var list v1alpha1.ApplicationList
	err := p.client.List(ctx, &list)
	return list.Items, err
}

// observed returns an error until every Application has the condition for its
// generation.
func (p *platform) observed(ctx context.Context, condition string, status metav1.ConditionStatus) error {
	list, err := p.applications(ctx)
	if err != nil {
		return err
	}
	missing := 0
	var example string
	for _, a := range list {
		c := meta.FindStatusCondition(a.Status.Conditions, condition)
		if c == nil || c.ObservedGeneration != a.Generation || (status != "" && c.Status != status) {
			missing++
			example = fmt.Sprintf("%s/%s: %+v", a.Namespace, a.Name, c)
		}
	}
	if missing > 0 || len(list) == 0 {
		return fmt.Errorf("%d of %d Applications lack %s %s, such as %s", missing, len(list), condition, status, example)
	}
	return nil
}

func wideFigures(ctx context.Context) (figures []figure, err error) {
	const applications, ingresses = 1000, 10
	options := fleet.Options{Applications: applications, Routes: 5, Ingresses: ingresses, Unready: true}
	objects, err := fleet.Objects(options)
	if err != nil {
		return nil, err
	}
	var gateways []string
	for i := range ingresses {
		gateways = append(gateways, fmt.Sprintf("ingress-%02d", i))
	}
	p, err := newPlatform(ctx, gateways)
	defer func() { p.stop(err != nil) }()
	if err != nil {
		return nil, err
	}
	if err := p.create(ctx, objects); err != nil {
		return nil, err
	}
	created := time.Now()
	if err := until(ctx, "all Applications to be accepted", func(ctx context.Context) error {
		return p.observed(ctx, v1alpha1.ConditionAccepted, metav1.ConditionTrue)
	}); err != nil {
		return nil, err
	}
	settled := time.Since(created)
	ours, peer, err := p.changes(ctx, options)
	if err != nil {
		return nil, err
	}
	// Memory is given back once nothing was rebuilt for some seconds.
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(calm):
	}
	now, peak, err := p.operator.Resident()
	if err != nil {
		return nil, err
	}
	const change = "one Application of 1000 changed, its rules in the API server, "
	const direct = "writing the same rules directly"
	return []figure{
		{Name: "1000 Applications created at once, all accepted after the last", Ours: settled.Seconds(), Unit: "s"},
		{Name: change + "p50", Ours: milliseconds(quantile(ours, 0.5)), Peer: milliseconds(quantile(peer, 0.5)), PeerName: direct, Unit: "ms"},
		{Name: change + "p99", Ours: milliseconds(quantile(ours, 0.99)), Peer: milliseconds(quantile(peer, 0.99)), PeerName: direct, Bar: 2000, Unit: "ms"},
		{Name: "operator's resident memory at 1000 Applications, at rest", Ours: now, Bar: 200, Unit: "MB"},
		{Name: "operator's resident memory at 1000 Applications, highest while they were made", Ours: peak, Unit: "MB"},
	}, nil
}

// changes changes one Application after another and waits each time for its
// policy; the peer is the same wait after a direct write. The peer comes last,
// since the operator looks at foreign policies too.
func (p *platform) changes(ctx context.Context, o fleet.Options) (ours, peer []time.Duration, err error) {
	var policies []*securityv1.AuthorizationPolicy
	for i := range changes {
		policy, took, err := p.change(ctx, fleet.Application(o, i*7%o.Applications))
		if err != nil {
			return nil, nil, err
		}
		ours, policies = append(ours, took), append(policies, policy)
	}
	for i, policy := range policies {
		copied := policy.DeepCopy()
		copied.ObjectMeta = metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("peer-%d", i)}
		copied.Spec.Selector.MatchLabels = map[string]string{"app": "nobody"}
		if err := p.client.Create(ctx, copied); err != nil {
			return nil, nil, err
		}
		took, err := p.wait(ctx, copied, func() error {
			changed := copied.DeepCopy()
			changed.Spec.Rules = changed.Spec.Rules[:1]
			return p.client.Update(ctx, changed)
		})
		if err != nil {
			return nil, nil, err
		}
		peer = append(peer, took)
	}
	return ours, peer, nil
}

// change lets the first route of an Application take one more method.
func (p *platform) change(ctx context.Context, app *v1alpha1.Application) (*securityv1.AuthorizationPolicy, time.Duration, error) {
	policy := &securityv1.AuthorizationPolicy{}
	key := client.ObjectKey{Namespace: app.Namespace, Name: "trellis-application-" + app.Name + "-deny"}
	if err := p.client.Get(ctx, key, policy); err != nil {
		return nil, 0, err
	}
	took, err := p.wait(ctx, policy, func() error {
		if err := p.client.Get(ctx, client.ObjectKeyFromObject(app), app); err != nil {
			return err
		}
		app.Spec.Routes[0].Methods = []v1alpha1.Method{"GET", "HEAD"}
		return p.client.Update(ctx, app)
	})
	if err != nil {
		return nil, 0, fmt.Errorf("changing %s, %w", app.Name, err)
	}
	return policy, took, nil
}

// wait measures from the return of a write to the event of an object's change.
func (p *platform) wait(ctx context.Context, o *securityv1.AuthorizationPolicy, write func() error) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	// No resource version: an old object's has left the server's watch cache.
	w, err := p.client.Watch(ctx, &securityv1.AuthorizationPolicyList{}, client.InNamespace(o.Namespace), client.MatchingFields{"metadata.name": o.Name})
	if err != nil {
		return 0, err
	}
	defer w.Stop()
	started := time.Now()
	if err := write(); err != nil {
		return 0, err
	}
	for event := range w.ResultChan() {
		switch got := event.Object.(type) {
		case *securityv1.AuthorizationPolicy:
			if got.Generation > o.Generation {
				return time.Since(started), nil
			}
		case *metav1.Status:
			return 0, fmt.Errorf("waiting for %s/%s, %w", o.Namespace, o.Name, apierrors.FromObject(got))
		}
	}
	return 0, fmt.Errorf("waiting for %s/%s: %w", o.Namespace, o.Name, cmp.Or(context.Cause(ctx), errors.New("the watch ended")))
}

// largeIngressFigures publishes 64 hosts with 1,024 routes at a real gateway and
// waits until everything about it is known, the data plane's answers included.
func largeIngressFigures(ctx context.Context) (figures []figure, err error) {
	objects, err := fleet.Objects(fleet.Options{Applications: 64, Routes: 16, Ingresses: 1})
	if err != nil {
		return nil, err
	}
	const ns = "ingress-00"
	p, err := newPlatform(ctx, []string{ns})
	defer func() { p.stop(err != nil) }()
	if err != nil {
		return nil, err
	}
	if err := p.stack.Namespace(ctx, ns, nil); err != nil {
		return nil, err
	}
	if _, err := p.stack.Gateway(ctx, stack.GatewayOptions{Namespace: ns, Name: "gateway", Labels: map[string]string{"istio": ns}}); err != nil {
		return nil, err
	}
	ingress, rest := withoutGateway(objects, ns)
	if err := p.create(ctx, rest); err != nil {
		return nil, err
	}
	if err := until(ctx, "all Applications to be seen", func(ctx context.Context) error {
		return p.observed(ctx, v1alpha1.ConditionAccepted, "")
	}); err != nil {
		return nil, err
	}
	started := time.Now()
	if err := p.createOne(ctx, ingress); err != nil {
		return nil, err
	}
	if err := until(ctx, "the SecureIngress to be ready and all routes to be enforced", func(ctx context.Context) error {
		return p.allReady(ctx, ns)
	}); err != nil {
		return nil, err
	}
	return []figure{{
		Name: "SecureIngress with 64 hosts and 1,024 routes: all statuses known, data plane included",
		Ours: time.Since(started).Seconds(), Bar: 10, Peer: 1800, PeerName: "published figure of a peer for 63 listeners", Unit: "s",
	}}, nil
}

// withoutGateway leaves out the gateway of a namespace, since there is a real
// one, and keeps its SecureIngress apart, since that comes last.
func withoutGateway(objects []client.Object, namespace string) (ingress client.Object, rest []client.Object) {
	for _, o := range objects {
		kind := o.GetObjectKind().GroupVersionKind().Kind
		switch {
		case kind == "SecureIngress":
			ingress = o
		case o.GetName() == namespace, o.GetNamespace() == namespace && (kind == "Pod" || kind == "Service"):
		default:
			rest = append(rest, o)
		}
	}
	return ingress, rest
}

// allReady returns an error until the SecureIngress is ready and every
// Application was seen working.
func (p *platform) allReady(ctx context.Context, namespace string) error {
	in := &v1alpha1.SecureIngress{}
	if err := p.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "public"}, in); err != nil {
		return err
	}
	if !meta.IsStatusConditionTrue(in.Status.Conditions, v1alpha1.ConditionReady) {
		return fmt.Errorf("conditions %+v", in.Status.Conditions)
	}
	return p.observed(ctx, v1alpha1.ConditionEnforced, metav1.ConditionTrue)
}
