// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/test/stack/loopback"
)

// GatewayOptions describe an ingress gateway. Its namespace must exist.
type GatewayOptions struct {
	Namespace      string
	Name           string
	Labels         map[string]string // of the pod; the Service selects them. Default: istio=Name
	ServiceAccount string            // default: Name
}

// Gateway is a running ingress gateway with a Service of ports 443 and 80.
type Gateway struct {
	*Proxy
	// HTTPSAddress and HTTPAddress are host:port of the pod behind ports 443 and
	// 80 of the Service. Nothing listens there before an Istio Gateway asks.
	HTTPSAddress, HTTPAddress string
	// HTTPSPort and HTTPPort are the Service's target ports.
	HTTPSPort, HTTPPort int
}

// Gateway makes the objects of an ingress gateway and runs it; it returns when
// the proxy has its first configuration.
func (s *Stack) Gateway(ctx context.Context, options GatewayOptions) (*Gateway, error) {
	if len(options.Labels) == 0 {
		options.Labels = map[string]string{"istio": options.Name}
	}
	options.ServiceAccount = cmp.Or(options.ServiceAccount, options.Name)
	var g *Gateway
	err := s.step("gateway "+options.Name, func() error {
		var err error
		g, err = s.startGateway(ctx, options)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("starting the gateway %s/%s: %w", options.Namespace, options.Name, err)
	}
	return g, nil
}

func (s *Stack) startGateway(ctx context.Context, options GatewayOptions) (*Gateway, error) {
	address, err := s.network.NextAddress()
	if err != nil {
		return nil, err
	}
	g := &Gateway{}
	if g.HTTPSPort, err = s.network.FreePort(); err != nil {
		return nil, err
	}
	if g.HTTPPort, err = s.network.FreePort(); err != nil {
		return nil, err
	}
	g.HTTPSAddress, g.HTTPAddress = loopback.Endpoint(address, g.HTTPSPort), loopback.Endpoint(address, g.HTTPPort)
	if err := s.allowSecrets(ctx, options.Namespace, options.ServiceAccount); err != nil {
		return nil, err
	}
	if err := s.gatewayService(ctx, options, g, address); err != nil {
		return nil, err
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: options.Namespace, Name: options.Name, Labels: options.Labels},
		Spec: corev1.PodSpec{ServiceAccountName: options.ServiceAccount, Containers: []corev1.Container{{
			Name: "istio-proxy", Image: "local",
			Ports: []corev1.ContainerPort{{ContainerPort: int32(g.HTTPSPort)}, {ContainerPort: int32(g.HTTPPort)}},
		}}},
	}
	if err := s.runningPod(ctx, pod, address, false); err != nil {
		return nil, err
	}
	g.Proxy, err = s.runProxy(ctx, proxySpec{
		kind: "router", namespace: options.Namespace, name: options.Name,
		serviceAccount: options.ServiceAccount, address: address, labels: pod.Labels,
	})
	if err != nil {
		return nil, err
	}
	return g, s.setPodReady(ctx, pod, true)
}

// allowSecrets lets a service account read the Secrets of its namespace. That
// must be so before its proxy connects: istiod asks the API server once and
// remembers a refusal for a minute, in which certificates never arrive.
func (s *Stack) allowSecrets(ctx context.Context, namespace, account string) error {
	if err := s.serviceAccount(ctx, namespace, account); err != nil {
		return err
	}
	meta := metav1.ObjectMeta{Namespace: namespace, Name: account + "-secrets"}
	for _, object := range []client.Object{
		&rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get", "list", "watch"}},
		}},
		&rbacv1.RoleBinding{
			ObjectMeta: meta,
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: meta.Name},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: account}},
		},
	} {
		if err := s.client.Create(ctx, object); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("letting %s/%s read secrets: %w", namespace, account, err)
		}
	}
	return nil
}

func (s *Stack) gatewayService(ctx context.Context, options GatewayOptions, g *Gateway, address string) error {
	https, plain := "https", "http"
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: options.Namespace, Name: options.Name, Labels: options.Labels},
		Spec: corev1.ServiceSpec{
			Type:     corev1.ServiceTypeLoadBalancer,
			Selector: options.Labels,
			Ports: []corev1.ServicePort{
				{Name: "https", Port: 443, TargetPort: intstr.FromInt(g.HTTPSPort), AppProtocol: &https},
				{Name: "http", Port: 80, TargetPort: intstr.FromInt(g.HTTPPort), AppProtocol: &plain},
			},
		},
	}
	if err := s.client.Create(ctx, service); err != nil {
		return fmt.Errorf("making the service %s: %w", options.Name, err)
	}
	service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: address}}
	if err := s.client.Status().Update(ctx, service); err != nil {
		return fmt.Errorf("setting the status of the service %s: %w", options.Name, err)
	}
	return nil
}

// HTTPS sends a request to port 443; pool verifies the certificate of r.Host.
func (g *Gateway) HTTPS(ctx context.Context, pool *x509.CertPool, r Request) (*Response, error) {
	return Send(ctx, g.HTTPSAddress, &tls.Config{RootCAs: pool, ServerName: hostname(r.Host)}, r)
}

// HTTP sends a request to port 80.
func (g *Gateway) HTTP(ctx context.Context, r Request) (*Response, error) {
	return Send(ctx, g.HTTPAddress, nil, r)
}

// Client returns an HTTP client for which every name resolves to the gateway:
// port 443 to HTTPSAddress, any other to HTTPAddress. It follows no redirects.
func (g *Gateway) Client(pool *x509.CertPool) *http.Client {
	return dialTo(pool, func(ctx context.Context, port string) (net.Conn, error) {
		address := g.HTTPAddress
		if port == "443" {
			address = g.HTTPSAddress
		}
		return (&net.Dialer{}).DialContext(ctx, "tcp", address)
	})
}
