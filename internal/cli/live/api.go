// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"context"
	"errors"
	"fmt"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
)

// atOnce bounds how many requests are made at the same time: of the API server,
// and of istiod, which takes 20 to 100 new connections in a second.
const atOnce = 8

// api is the API server of a cluster, with the rights of whoever runs the command.
type api struct {
	client.Client
	config  *rest.Config
	waiting *waiting
}

func (o *Options) connect(s *streams.Streams) (*api, error) {
	config, err := o.Cluster.Config()
	if err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	err = errors.Join(corev1.AddToScheme(scheme), discoveryv1.AddToScheme(scheme), networkingv1.AddToScheme(scheme), securityv1.AddToScheme(scheme),
		v1alpha1.AddToScheme(scheme), authenticationv1.AddToScheme(scheme), authorizationv1.AddToScheme(scheme), admissionv1.AddToScheme(scheme))
	if err != nil {
		return nil, fmt.Errorf("knowing the kinds of a mesh: %w", err)
	}
	// What the API server warns of, such as an old version, is not about the question.
	config.WarningHandler = rest.NoWarnings{}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("finding the cluster: %w", err)
	}
	a := &api{Client: c, config: config, waiting: &waiting{}}
	if s.ErrTerminal {
		a.waiting.out = s.Err
	}
	return a, nil
}

// may asks whether whoever runs the command may do something.
func (a *api) may(ctx context.Context, what authorizationv1.ResourceAttributes) (bool, error) {
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &what}}
	if err := a.Create(ctx, review); err != nil {
		return false, fmt.Errorf("asking what you may do: %w", err)
	}
	return review.Status.Allowed, nil
}
