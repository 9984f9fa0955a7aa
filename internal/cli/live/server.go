// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/cli/streams"
)

// ServerNamespace has trellis-server where nobody says otherwise.
const ServerNamespace = "trellis-system"

const (
	// serverAccount names trellis-server's Service and registration.
	serverAccount = "trellis-server"
	// apiPort is the name of the port of its pods where questions are answered.
	apiPort = "https-api"
	// maxAnswer is how many bytes an answer may have.
	maxAnswer = 64 << 20
)

// ServerOptions say where trellis-server is.
type ServerOptions struct {
	// Namespace has it.
	Namespace string
	// Address is HOST:PORT where its questions are answered; empty: a port is forwarded to a
	// pod of it.
	Address string
}

// AddFlags registers the flags.
func (o *ServerOptions) AddFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.Namespace, "trellis-namespace", ServerNamespace, "namespace of trellis-server")
	cmd.Flags().StringVar(&o.Address, "server-address", "", "HOST:PORT that leads to trellis-server, whose certificate is checked (default: a port that is forwarded to a pod of it)")
}

// Server is a trellis-server that is asked with the rights of whoever runs the command.
// It is safe for concurrent use.
type Server struct {
	// Notes say what could not be looked at on the way.
	Notes []string

	api       *api
	namespace string
	// address is where it answers; empty: a port is forwarded.
	address string
	client  *http.Client
	bearer  http.RoundTripper

	mu  sync.Mutex
	way *forwarded
}

// Server finds trellis-server. Where no address is given, a port is forwarded to one of its
// pods when something is asked, and anew where that pod has gone. The caller closes it.
func (o *Options) Server(ctx context.Context, s *streams.Streams, at ServerOptions) (*Server, error) {
	a, err := o.connect(s)
	if err != nil {
		return nil, err
	}
	defer a.waiting.stop()
	out := &Server{api: a, namespace: at.Namespace, address: at.Address}
	roots, err := out.roots(ctx)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: serverAccount + "." + at.Namespace + ".svc", RootCAs: roots}
	if roots == nil {
		// The way is one through the API server, which knows the pod; its certificate would
		// show the same once more.
		config.InsecureSkipVerify = true //nolint:gosec // said in Notes
	}
	to := &http.Transport{TLSClientConfig: config, DialContext: out.dial, ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute}
	if out.bearer, err = authorised(a.config, to); err != nil {
		return nil, err
	}
	out.client = &http.Client{Transport: out.bearer}
	return out, nil
}

// roots are what shows that it is trellis-server; nil where they may not be read.
func (s *Server) roots(ctx context.Context) (*x509.CertPool, error) {
	registration := &admissionv1.ValidatingWebhookConfiguration{}
	err := s.api.Get(ctx, client.ObjectKey{Name: serverAccount}, registration)
	switch {
	case apierrors.IsForbidden(err) && s.address != "":
		return nil, fmt.Errorf("finding trellis-server: you may not get validatingwebhookconfigurations, where its authority is, so nothing shows that %s is it: ask for that right, or leave --server-address out: %w", s.address, err)
	case apierrors.IsForbidden(err):
		s.Notes = append(s.Notes, "you may not get validatingwebhookconfigurations, where trellis-server's authority is: the certificate is not checked, and the API server alone says that the pod is trellis-server")
		return nil, nil
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("finding trellis-server: it is not installed: set server.enabled of the chart (%w)", err)
	case err != nil:
		return nil, fmt.Errorf("finding trellis-server: %w", err)
	}
	pool := x509.NewCertPool()
	for i := range registration.Webhooks {
		if pool.AppendCertsFromPEM(registration.Webhooks[i].ClientConfig.CABundle) {
			return pool, nil
		}
	}
	return nil, errors.New("finding trellis-server: the operator has not registered its certificate yet")
}

// dial connects by the port that is forwarded, or by a new one.
func (s *Server) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	dialer := &net.Dialer{}
	if s.address != "" {
		return dialer.DialContext(ctx, network, s.address)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.way != nil {
		if connection, err := dialer.DialContext(ctx, network, s.way.address); err == nil {
			return connection, nil
		}
		_ = s.way.stop() // it has ended: that is why it is not there
		s.way = nil
	}
	pod, port, err := s.pod(ctx)
	if err != nil {
		return nil, err
	}
	if s.way, err = s.api.forward(ctx, pod, port); err != nil {
		return nil, err
	}
	return dialer.DialContext(ctx, network, s.way.address)
}

// pod is one that answers questions: the first that is ready.
func (s *Server) pod(ctx context.Context) (*corev1.Pod, int, error) {
	pods := &corev1.PodList{}
	if err := s.api.List(ctx, pods, client.InNamespace(s.namespace), client.MatchingLabels{"app.kubernetes.io/name": "trellis", "app.kubernetes.io/component": "server"}); err != nil {
		return nil, 0, fmt.Errorf("finding pods of trellis-server in namespace %s: %w; ask for the right to list pods and to create pods/portforward there", s.namespace, err)
	}
	slices.SortFunc(pods.Items, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	for i := range pods.Items {
		pod := &pods.Items[i]
		ready := slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue })
		for j := range pod.Spec.Containers {
			for _, port := range pod.Spec.Containers[j].Ports {
				if ready && pod.DeletionTimestamp == nil && port.Name == apiPort {
					return pod, int(port.ContainerPort), nil
				}
			}
		}
	}
	return nil, 0, fmt.Errorf("finding trellis-server: no pod of it is ready and answers questions in namespace %s: name its namespace with --trellis-namespace, and see that server.enabled and server.api.enabled of the chart are set", s.namespace)
}

// Transport asks trellis-server whatever a request asks, with the token of the kubeconfig.
func (s *Server) Transport() http.RoundTripper { return s.bearer }

// Address is the URL that requests by Transport are for.
func (s *Server) Address() *url.URL {
	return &url.URL{Scheme: "https", Host: serverAccount + "." + s.namespace + ".svc"}
}

// Get asks a question and reads the answer into a value.
func (s *Server) Get(ctx context.Context, path string, query url.Values, into any) (err error) {
	u := s.Address().JoinPath("api", "v1", path)
	u.RawQuery = query.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return fmt.Errorf("asking trellis-server: %w", err)
	}
	response, err := s.client.Do(r)
	if err != nil {
		return fmt.Errorf("asking trellis-server: %w", err)
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	body := json.NewDecoder(io.LimitReader(response.Body, maxAnswer))
	if response.StatusCode != http.StatusOK {
		var problem struct{ Detail, Do string }
		if body.Decode(&problem) != nil || problem.Detail == "" {
			return fmt.Errorf("asking trellis-server: it answers %s", response.Status)
		}
		return fmt.Errorf("asking trellis-server: %s: %s", problem.Detail, problem.Do)
	}
	if err := body.Decode(into); err != nil {
		return fmt.Errorf("reading the answer of trellis-server, which may be of another version: %w", err)
	}
	return nil
}

// Close lets the port go.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.way == nil {
		return nil
	}
	return s.way.stop()
}

// ErrNoToken is for a kubeconfig that shows who somebody is by other means than a token.
var ErrNoToken = errors.New("your kubeconfig has no token: trellis-server knows people by tokens, and a client certificate is for the API server alone; use a context with a token, such as one of kubectl create token")

// authorised adds the token of a kubeconfig, however it has it: as it stands, from a file,
// or from a program.
func authorised(config *rest.Config, to http.RoundTripper) (http.RoundTripper, error) {
	by, err := config.TransportConfig()
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	// Requests of other people and of other programs are what these two are for.
	by.Impersonate, by.UserAgent = transport.ImpersonationConfig{}, rest.DefaultKubernetesUserAgent()
	if by.Username != "" {
		return nil, ErrNoToken
	}
	out, err := transport.HTTPWrappersForConfig(by, bearing{to})
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	return out, nil
}

// bearing refuses what has no token before it is sent.
type bearing struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bearing) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header.Get("Authorization") == "" {
		return nil, ErrNoToken
	}
	return b.RoundTripper.RoundTrip(r)
}
