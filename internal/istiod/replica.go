// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package istiod

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/replica"
)

// Replica is one running istiod.
type Replica struct {
	// Name is the pod's, for messages.
	Name string
	// Address is host:port of its authenticated xDS port.
	Address string
}

// Replicas finds every istiod that may serve a proxy. It is safe for concurrent
// use.
type Replicas interface {
	Replicas(ctx context.Context) ([]Replica, error)
}

// Pods finds the replicas by their pods, so that a request reaches each of them
// and not whichever one a Service picks.
type Pods struct {
	// Reader needs get on Services and list on Pods in Namespace.
	Reader client.Reader
	// Namespace is istiod's.
	Namespace string
	// Selector selects its pods, of all revisions: app=istiod as Istio installs it.
	Selector map[string]string
	// Port is the authenticated xDS port where neither the pod (tls-xds) nor
	// Service istiod (15012) says which one it is.
	Port int32
}

const (
	xdsPort     = 15012
	xdsPortName = "tls-xds"
)

// Replicas are the running pods in order of their names. None is an error.
func (p Pods) Replicas(ctx context.Context) ([]Replica, error) {
	pods, err := replica.Running(ctx, p.Reader, p.Namespace, p.Selector)
	if err != nil {
		return nil, fmt.Errorf("listing the pods of istiod in namespace %s: %w", p.Namespace, err)
	}
	target, err := p.targetPort(ctx)
	if err != nil {
		return nil, err
	}
	var out []Replica
	for i := range pods {
		pod := &pods[i]
		// What the pod itself declares comes first, since replicas on one machine cannot
		// share a port.
		number, ok := replica.Port(pod, xdsPortName)
		if !ok {
			number = target
		}
		port := strconv.Itoa(int(number))
		out = append(out, Replica{Name: pod.Name, Address: net.JoinHostPort(pod.Status.PodIP, port)})
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no pod with the labels %s runs in namespace %s", labels.FormatLabels(p.Selector), p.Namespace)
	}
	return out, nil
}

// targetPort is where Service istiod sends port 15012. Revisioned installations
// may have no Service of that name; the chart's own port holds then.
func (p Pods) targetPort(ctx context.Context) (int32, error) {
	var service corev1.Service
	err := p.Reader.Get(ctx, client.ObjectKey{Namespace: p.Namespace, Name: "istiod"}, &service)
	if apierrors.IsNotFound(err) {
		return p.Port, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading Service %s/istiod: %w", p.Namespace, err)
	}
	for _, port := range service.Spec.Ports {
		if port.Port == xdsPort && port.TargetPort.IntVal > 0 {
			return port.TargetPort.IntVal, nil
		}
	}
	return p.Port, nil
}

// Roots are the certificate authorities that may have signed istiod's
// certificate. It is called for each new connection, so that a rotated root is
// picked up, and it is safe for concurrent use.
type Roots func(ctx context.Context) (*x509.CertPool, error)

// RootsFromConfigMap reads the ConfigMap istio-ca-root-cert, which istiod keeps
// in every namespace.
func RootsFromConfigMap(reader client.Reader, namespace string) Roots {
	return func(ctx context.Context) (*x509.CertPool, error) {
		const name, key = "istio-ca-root-cert", "root-cert.pem"
		var config corev1.ConfigMap
		if err := reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &config); err != nil {
			return nil, fmt.Errorf("reading istiod's root certificate: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM([]byte(config.Data[key])) {
			return nil, fmt.Errorf("ConfigMap %s/%s has no certificate in %s", namespace, name, key)
		}
		return pool, nil
	}
}

// RootsFromFile reads a mounted istio-ca-root-cert at each call: the kubelet
// keeps it up to date.
func RootsFromFile(path string) Roots {
	return func(context.Context) (*x509.CertPool, error) {
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("reading istiod's root certificate: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(raw) {
			return nil, fmt.Errorf("reading istiod's root certificate: %s holds no certificate", path)
		}
		return pool, nil
	}
}

// Token is a ServiceAccount token for the audience istio-ca. It is called for
// each new stream and is safe for concurrent use.
type Token func(ctx context.Context) (string, error)

// TokenFromFile reads a projected token at each call: the kubelet rotates it.
func TokenFromFile(path string) Token {
	return func(context.Context) (string, error) {
		raw, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("reading the token for istiod: %w", err)
		}
		token := strings.TrimSpace(string(raw))
		if token == "" {
			return "", errors.New("reading the token for istiod: the file is empty")
		}
		return token, nil
	}
}
