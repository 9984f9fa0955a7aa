// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/test/stack/redirect"

	"github.com/trellis-mesh/trellis/test/stack/loopback"
)

// ApplicationOptions describe a workload of one pod. Its namespace must exist.
type ApplicationOptions struct {
	Namespace      string
	Name           string            // of the pod
	Service        string            // default: Name; several applications may share one
	Labels         map[string]string // of the pod; default: app=Name
	Selector       map[string]string // of the Service; default: Labels
	ServiceAccount string            // default: Name
	Ports          []Port            // default: one port 9080, HTTP, with Echo
	// NoSidecar leaves the workload outside the mesh: no proxy, no identity; the
	// handlers listen on the pod's address themselves.
	NoSidecar bool
	// Redirected gives the sidecar what it has where connections are redirected to it:
	// virtual listeners, one for each pod of a headless Service, and ORIGINAL_DST. A
	// connection comes to RedirectAddress with a redirect.Header. Those of Do and Client mean
	// to go to anywhere: HTTP is routed by its Host, and nothing else finds its way.
	Redirected bool
}

// Port is one port of a Service with what answers on it in this process.
type Port struct {
	Name     string // default: the protocol
	Port     int
	Protocol string // appProtocol: http (default), http2, grpc or tcp
	// Handler answers HTTP/1.1 and cleartext HTTP/2; default Echo. It may be
	// called concurrently.
	Handler http.Handler
	// Conn, if set, gets the raw connections instead; it must close them.
	Conn func(net.Conn)
}

// Application is a running workload.
type Application struct {
	Namespace, Name, Service, ServiceAccount string
	// Address is the loopback address that stands for the pod's.
	Address string
	// Proxy is its sidecar; nil without one.
	Proxy *Proxy

	ports      map[string]int // target port by name
	egress     string         // address of the sidecar for outgoing connections
	proxy      int            // and its port as an HTTP proxy
	redirected bool
}

// Application makes the objects of a workload, answers for it in this process
// and runs its sidecar; it returns when the sidecar has its first
// configuration. Other proxies may learn of it a moment later.
func (s *Stack) Application(ctx context.Context, options ApplicationOptions) (*Application, error) {
	options = options.withDefaults()
	var a *Application
	err := s.step("application "+options.Name, func() error {
		var err error
		a, err = s.startApplication(ctx, options)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("starting the application %s/%s: %w", options.Namespace, options.Name, err)
	}
	return a, nil
}

func (o ApplicationOptions) withDefaults() ApplicationOptions {
	o.Service = cmp.Or(o.Service, o.Name)
	o.ServiceAccount = cmp.Or(o.ServiceAccount, o.Name)
	if len(o.Labels) == 0 {
		o.Labels = map[string]string{"app": o.Name}
	}
	if len(o.Selector) == 0 {
		o.Selector = o.Labels
	}
	ports := o.Ports
	if len(ports) == 0 {
		ports = []Port{{Port: 9080}}
	}
	o.Ports = make([]Port, len(ports))
	for i, port := range ports {
		port.Protocol = cmp.Or(port.Protocol, "http")
		port.Name = cmp.Or(port.Name, port.Protocol)
		if port.Handler == nil {
			port.Handler = Echo(o.Name)
		}
		o.Ports[i] = port
	}
	return o
}

// interception is INTERCEPTION_MODE of a sidecar.
func (o ApplicationOptions) interception() string {
	if o.Redirected {
		return "REDIRECT"
	}
	return "NONE"
}

func (s *Stack) startApplication(ctx context.Context, options ApplicationOptions) (*Application, error) {
	address, err := s.network.NextAddress()
	if err != nil {
		return nil, err
	}
	a := &Application{
		Namespace: options.Namespace, Name: options.Name, Service: options.Service,
		ServiceAccount: options.ServiceAccount, Address: address, ports: map[string]int{}, redirected: options.Redirected,
	}
	ingress, err := s.serve(a, options)
	if err != nil {
		return nil, err
	}
	a.egress = loopback.Outgoing(address)
	if a.proxy, err = s.network.PortOn(a.egress, 15080); err != nil {
		return nil, err
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: a.Namespace, Name: a.Name, Labels: options.Labels},
		Spec:       corev1.PodSpec{ServiceAccountName: a.ServiceAccount},
	}
	if !options.NoSidecar {
		pod.Labels = meshLabels(options.Labels)
		pod.Annotations = map[string]string{"sidecar.istio.io/interceptionMode": options.interception()}
	}
	if err := s.serviceAccount(ctx, a.Namespace, a.ServiceAccount); err != nil {
		return nil, err
	}
	for _, object := range applicationObjects(a, options, pod.Labels, ingress) {
		if err := s.client.Create(ctx, object); err != nil && !(apierrors.IsAlreadyExists(err) && object.GetName() == a.Service) {
			return nil, fmt.Errorf("making %T %s: %w", object, object.GetName(), err)
		}
	}
	if options.NoSidecar {
		return a, s.runningPod(ctx, pod, address, true)
	}
	if options.Redirected {
		if err := s.Apply(ctx, redirect.Filters(a.Namespace, a.Name, a.Address, options.Labels)); err != nil {
			return nil, err
		}
	}
	if err := s.runningPod(ctx, pod, address, false); err != nil {
		return nil, err
	}
	a.Proxy, err = s.runProxy(ctx, proxySpec{
		kind: "sidecar", namespace: a.Namespace, name: a.Name, serviceAccount: a.ServiceAccount,
		address: address, labels: pod.Labels,
		// Unprivileged: no listeners for ports under 1024, which would be refused.
		metadata: map[string]string{"INTERCEPTION_MODE": options.interception(), "UNPRIVILEGED_POD": "true"},
	})
	if err != nil {
		return nil, err
	}
	return a, s.setPodReady(ctx, pod, true)
}

// serve starts answering in this process and returns the sidecar's listeners
// that lead to it.
func (s *Stack) serve(a *Application, options ApplicationOptions) ([]*networkingapi.IstioIngressListener, error) {
	var ingress []*networkingapi.IstioIngressListener
	for _, port := range options.Ports {
		target, err := s.network.PortOn(a.Address, port.Port)
		if err != nil {
			return nil, err
		}
		a.ports[port.Name] = target
		listen := "127.0.0.1:0"
		if options.NoSidecar {
			listen = loopback.Endpoint(a.Address, target)
		}
		listener, err := net.Listen("tcp4", listen)
		if err != nil {
			return nil, fmt.Errorf("listening for port %s: %w", port.Name, err)
		}
		s.own(listener)
		go port.answer(listener)
		ingress = append(ingress, &networkingapi.IstioIngressListener{
			Port: &networkingapi.SidecarPort{Number: uint32(target), Protocol: istioProtocol(port.Protocol), Name: port.Name},
			Bind: a.Address, DefaultEndpoint: listener.Addr().String(), CaptureMode: networkingapi.CaptureMode_NONE,
		})
	}
	return ingress, nil
}

// answer serves until the listener is closed.
func (p Port) answer(listener net.Listener) {
	if p.Conn != nil {
		for {
			conn, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				go p.Conn(conn)
			}
		}
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: p.Handler, Protocols: &protocols, ReadHeaderTimeout: 30 * time.Second}
	_ = server.Serve(listener) // always an error; the stack closes the listener
}

// istioProtocol is the name of an appProtocol in Istio's own port fields.
func istioProtocol(appProtocol string) string {
	names := map[string]string{"http": "HTTP", "http2": "HTTP2", "grpc": "GRPC", "tcp": "TCP"}
	return cmp.Or(names[appProtocol], appProtocol)
}

func applicationObjects(a *Application, options ApplicationOptions, labels map[string]string,
	ingress []*networkingapi.IstioIngressListener,
) []client.Object {
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: a.Namespace, Name: a.Service},
		Spec:       corev1.ServiceSpec{Selector: options.Selector},
	}
	meta := metav1.ObjectMeta{Namespace: a.Namespace, Name: a.Name + "-pod"}
	entry := &networkingv1.WorkloadEntry{ObjectMeta: meta, Spec: networkingapi.WorkloadEntry{
		Address: a.Address, Labels: labels, Ports: map[string]uint32{},
	}}
	for _, port := range options.Ports {
		service.Spec.Ports = append(service.Spec.Ports, corev1.ServicePort{
			Name: port.Name, Port: int32(port.Port), TargetPort: intstr.FromInt(a.ports[port.Name]), AppProtocol: &port.Protocol,
		})
		entry.Spec.Ports[port.Name] = uint32(a.ports[port.Name])
	}
	if options.NoSidecar {
		return []client.Object{service, entry}
	}
	// An entry with an account is one with a sidecar: others call it with mTLS.
	entry.Spec.ServiceAccount = a.ServiceAccount
	sidecar := &networkingv1.Sidecar{ObjectMeta: meta, Spec: networkingapi.Sidecar{
		WorkloadSelector: &networkingapi.WorkloadSelector{Labels: options.Labels},
		Ingress:          ingress,
	}}
	if options.Redirected {
		sidecar.Spec.Egress = []*networkingapi.IstioEgressListener{{Hosts: []string{"*/*"}}}
	} else {
		sidecar.Spec.Egress = []*networkingapi.IstioEgressListener{
			// Routes of an HTTP_PROXY listener name host and port, but Istio lets Envoy
			// match the host alone: in effect only services on port 80 are found.
			{
				Port: &networkingapi.SidecarPort{Number: uint32(a.proxy), Protocol: "HTTP_PROXY", Name: "proxy"},
				Bind: a.egress, Hosts: []string{"*/*"},
			},
			// One listener for every other port number that any service has.
			{Bind: a.egress, Hosts: []string{"*/*"}},
		}
	}
	return []client.Object{service, entry, sidecar}
}

// Host returns the Host header for the port of that number of the application's
// Service: service.namespace.svc.cluster.local:port.
func (a *Application) Host(port int) string {
	return fmt.Sprintf("%s.%s.svc.cluster.local:%d", a.Service, a.Namespace, port)
}

// PortAddress returns host:port of the pod behind a port of the Service, where
// the sidecar listens, or the handler itself without one. A plain connection to
// it is a call from outside the mesh.
func (a *Application) PortAddress(name string) string {
	return loopback.Endpoint(a.Address, a.ports[name])
}

// Identity returns the SPIFFE identity of the workload without its scheme, as
// policies write it.
func (a *Application) Identity() string {
	return fmt.Sprintf("cluster.local/ns/%s/sa/%s", a.Namespace, a.ServiceAccount)
}

// EgressAddress returns host:port where the sidecar takes outgoing connections
// for services on a port: HTTP is routed by the Host header, and a TCP service
// is the only one on its port. Programs outside this process may use it too.
func (a *Application) EgressAddress(port int) string {
	if port < 1024 {
		return loopback.Endpoint(a.egress, a.proxy)
	}
	return loopback.Endpoint(a.egress, port)
}

// RedirectAddress returns host:port where the sidecar of an application that is
// Redirected takes connections.
func (a *Application) RedirectAddress() string {
	return loopback.Endpoint(a.Address, redirect.OutboundPort)
}

// Do sends a request as the application does, through its sidecar and so with
// its identity. r.Host is the Host of another application.
func (a *Application) Do(ctx context.Context, r Request) (*Response, error) {
	if a.Proxy == nil {
		return nil, fmt.Errorf("calling %s as %s/%s: it has no sidecar; use Send", r.Host, a.Namespace, a.Name)
	}
	_, text, err := net.SplitHostPort(r.Host)
	if err != nil {
		return nil, fmt.Errorf("calling as %s/%s: %w", a.Namespace, a.Name, err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return nil, fmt.Errorf("calling as %s/%s: %w", a.Namespace, a.Name, err)
	}
	return send(ctx, outgoing{a, port}, r.Host, nil, r)
}

// anywhere is no address of the mesh's (RFC 5737).
var anywhere = netip.MustParseAddr("192.0.2.1")

// outgoing opens connections to a port as the workload does. Who is called says the
// request.
type outgoing struct {
	*Application
	port int
}

// DialContext implements dialer; the address is that of the sidecar.
func (o outgoing) DialContext(ctx context.Context, network, _ string) (net.Conn, error) {
	if !o.redirected {
		return (&net.Dialer{}).DialContext(ctx, network, o.EgressAddress(o.port))
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, o.RedirectAddress())
	if err != nil {
		return nil, err
	}
	meant := redirect.Header(o.Address, netip.AddrPortFrom(anywhere, uint16(o.port)))
	if _, err := io.WriteString(conn, meant); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// DoPast sends a request to host:port past the workload's own sidecar, if it has one,
// from the address that stands for its pod's: as it is written, in plaintext.
func (a *Application) DoPast(ctx context.Context, address string, r Request) (*Response, error) {
	return send(ctx, &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(a.Address)}}, address, nil, r)
}

// Client returns an HTTP client that sends everything through the sidecar. The
// URLs are http://HOST/..., with the Host of another application.
func (a *Application) Client() *http.Client {
	return dialTo(nil, func(ctx context.Context, text string) (net.Conn, error) {
		port, err := strconv.Atoi(text)
		if err != nil {
			port = 80
		}
		return outgoing{a, port}.DialContext(ctx, "tcp", "")
	})
}

// Echoed is what Echo answers, as JSON: the request as it arrived.
type Echoed struct {
	Application string      `json:"application"`
	Method      string      `json:"method"`
	Host        string      `json:"host"`
	RequestURI  string      `json:"requestURI"` // as on the wire
	Path        string      `json:"path"`       // decoded
	Proto       string      `json:"proto"`
	Header      http.Header `json:"header"`
}

// Echo answers every request with 200 and an Echoed in the name of an
// application.
func Echo(application string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(Echoed{
			Application: application, Method: r.Method, Host: r.Host, RequestURI: r.RequestURI,
			Path: r.URL.Path, Proto: r.Proto, Header: r.Header,
		})
	})
}

// meshLabels adds the label by which istiod knows that a workload speaks mTLS.
func meshLabels(labels map[string]string) map[string]string {
	all := map[string]string{"security.istio.io/tlsMode": "istio"}
	for name, value := range labels {
		all[name] = value
	}
	return all
}
