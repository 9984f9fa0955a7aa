// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/istiod"
	"github.com/trellis-mesh/trellis/internal/xds"
	"github.com/trellis-mesh/trellis/internal/xds/ads"
	"github.com/trellis-mesh/trellis/test/stack"
	"github.com/trellis-mesh/trellis/test/stack/pki"
)

// rootNamespace is where objects hold for the whole mesh.
const rootNamespace = "istio-system"

// place is a workload of the stage.
type place struct {
	namespace, name, service, account string
	labels                            map[string]string
	ports                             []stack.Port
	plain                             bool
	// redirected: its connections come to its proxy as they do in a cluster.
	redirected bool
}

func (p place) selector() map[string]string { return map[string]string{"app": p.labels["app"]} }

// namespaces of the stage with their labels.
var namespaces = map[string]map[string]string{
	"edge": nil, "shop": {"exposure": "public"}, "bank": {"exposure": "public", "tier": "gold"}, "people": nil, "legacy": nil,
}

// places are the workloads: one Service over two versions, one of another
// namespace, two that mostly call, and two without a proxy. Headless Services stand
// before them at ports that are those of the workloads: nothing translates there.
func places() []place {
	web := stack.Port{Name: "web", Port: 8080, Protocol: "http"}
	spare := stack.Port{Name: "spare", Port: sparePort, Protocol: "tcp"}
	return []place{
		{namespace: "shop", name: "cart-1", service: "cart", account: "cart", labels: map[string]string{"app": "cart", "version": "v1"}, ports: []stack.Port{
			web, {Name: "api", Port: 8081, Protocol: "http2"}, {Name: "raw", Port: 9001, Protocol: "tcp"}, spare,
		}},
		{namespace: "shop", name: "cart-2", service: "cart", account: "cart-canary", labels: map[string]string{"app": "cart", "version": "v2", "shelf": "mixed"}, ports: []stack.Port{
			web, {Name: "api", Port: 8081, Protocol: "http2"}, {Name: "raw", Port: 9001, Protocol: "tcp"}, spare,
		}},
		{namespace: "bank", name: "ledger", service: "ledger", account: "ledger", labels: map[string]string{"app": "ledger", "version": "v1"}, ports: []stack.Port{
			web, {Name: "raw", Port: 9002, Protocol: "tcp"},
		}},
		{namespace: "people", name: "visitor", service: "visitor", account: "visitor", labels: map[string]string{"app": "visitor"}, ports: []stack.Port{web}},
		{namespace: "legacy", name: "mainframe", service: "mainframe", account: "mainframe", labels: map[string]string{"app": "mainframe"}, ports: []stack.Port{
			web, {Name: "raw", Port: 9003, Protocol: "tcp"}, spare,
		}, plain: true},
		{namespace: "people", name: "courier", service: "courier", account: "courier", labels: map[string]string{"app": "courier"}, ports: []stack.Port{web}, redirected: true},
		{namespace: "shop", name: "stall", service: "stall", account: "stall", labels: map[string]string{"app": "stall", "shelf": "mixed"}, ports: []stack.Port{
			web, spare,
		}, plain: true},
	}
}

// stage is the mesh in which all configurations are played.
type stage struct {
	*stack.Stack
	gateway *stack.Gateway
	// passthrough is where the gateway may be told to listen, too.
	passthrough int
	apps        map[string]*stack.Application
	proxies     map[string]*stack.Proxy
	// ends are the applications by address and target port.
	ends      map[netip.AddrPort]string
	authority tls.Certificate // istiod's
	mutual    tls.Certificate // of a client of the gateway
	keys      *keyring
	// marked counts configurations, applied are the objects that are there.
	marked  int
	applied map[string]object
	logs    map[string]*accessLog
	// source asks istiod for what it sends to nodes, the proxies by name.
	source *ads.Source
	nodes  map[string]xds.Node
	// surroundings are what the compiler needs of the cluster, sidecars the objects
	// of that kind that the stack made, by workload.
	surroundings []runtime.Object
	sidecars     map[string]object
}

// accessLog of the stage says which request a line is of.
const accessLogFormat = "%REQ(X-CASE)% %RESPONSE_CODE% %RESPONSE_FLAGS% %DOWNSTREAM_PEER_URI_SAN% %RESPONSE_CODE_DETAILS%\n"

var debounce = "60ms"

func openStage(ctx context.Context) (*stage, error) {
	running, err := stack.Start(ctx, stack.Options{
		MeshConfig: map[string]any{
			"accessLogEncoding": "TEXT", "accessLogFormat": accessLogFormat,
			// An Envoy serves one more request by its old rules on each connection
			// that was open when they changed.
			"defaultTrafficPolicy": map[string]any{"connectionPool": map[string]any{"http": map[string]any{"maxRequestsPerConnection": 1}}},
		},
		// One push for a whole configuration, and soon after its last object.
		IstiodEnvironment: []string{"PILOT_DEBOUNCE_AFTER=" + debounce, "PILOT_MAX_REQUESTS_PER_SECOND=1000"},
	})
	if err != nil {
		return nil, err
	}
	s := &stage{
		Stack: running, apps: map[string]*stack.Application{}, proxies: map[string]*stack.Proxy{},
		ends: map[netip.AddrPort]string{}, applied: map[string]object{}, logs: map[string]*accessLog{}, sidecars: map[string]object{},
	}
	for name, labels := range namespaces {
		if err := s.Namespace(ctx, name, labels); err != nil {
			return s, err
		}
	}
	if s.keys, err = newKeyring(); err != nil {
		return s, err
	}
	if err := errors.Join(s.openGateway(ctx), s.openPlaces(ctx)); err != nil {
		return s, err
	}
	if err := errors.Join(s.openHeadless(ctx), s.readAuthority(ctx)); err != nil {
		return s, err
	}
	for name, p := range s.proxies {
		if s.logs[name], err = openAccessLog(p.AccessLog); err != nil {
			return s, err
		}
	}
	return s, errors.Join(s.Apply(ctx, []byte(s.scenery())), s.remember(ctx), s.listen(ctx))
}

// listen makes the source, for what the proxies say that they are.
func (s *stage) listen(ctx context.Context) error {
	s.nodes = map[string]xds.Node{}
	d, err := s.dump(ctx)
	if err != nil {
		return err
	}
	for name, proxy := range s.proxies {
		for _, n := range d.At(netip.MustParseAddr(proxy.Address)) {
			s.nodes[name] = n
		}
	}
	replica := s.Istiods()[0]
	s.source, err = ads.New(ads.Options{
		Replica: istiod.Replica{Name: replica.Name, Address: fmt.Sprintf("%s:%d", replica.Address, replica.XDSPort)},
		Nodes:   func(context.Context) ([]xds.Node, error) { return slices.Collect(maps.Values(s.nodes)), nil },
	})
	return err
}

func (s *stage) openGateway(ctx context.Context) error {
	for secret, name := range map[string]string{"wildcard": "*.example.com", "bank": "bank.test"} {
		if _, err := s.Certificate(ctx, "edge", secret, name); err != nil {
			return err
		}
	}
	var err error
	s.gateway, err = s.Gateway(ctx, stack.GatewayOptions{Namespace: "edge", Name: "door", Labels: map[string]string{"istio": "door"}})
	if err != nil {
		return err
	}
	s.proxies["door"] = s.gateway.Proxy
	s.passthrough = 15443
	return s.mutualSecret(ctx)
}

// openPlaces starts the workloads side by side: most of the time goes into
// waiting for certificates and configuration.
func (s *stage) openPlaces(ctx context.Context) error {
	authority, err := pki.NewAuthority("nobody's")
	if err != nil {
		return err
	}
	certificate, key, err := authority.Issue("localhost")
	if err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return fmt.Errorf("reading the applications' certificate: %w", err)
	}
	var wait sync.WaitGroup
	var mu sync.Mutex
	var failures []error
	for _, p := range places() {
		for i := range p.ports {
			p.ports[i].Conn = answer(p.name, p.ports[i].Name, p.ports[i].Protocol == "tcp", pair)
		}
		wait.Go(func() {
			a, err := s.Application(ctx, stack.ApplicationOptions{
				Namespace: p.namespace, Name: p.name, Service: p.service, ServiceAccount: p.account, Labels: p.labels,
				Selector: p.selector(), Ports: p.ports, NoSidecar: p.plain, Redirected: p.redirected,
			})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failures = append(failures, err)
				return
			}
			s.apps[p.name] = a
			if a.Proxy != nil {
				s.proxies[p.name] = a.Proxy
			}
			for _, port := range p.ports {
				s.ends[netip.MustParseAddrPort(a.PortAddress(port.Name))] = p.name + " " + port.Name
			}
		})
	}
	wait.Wait()
	return errors.Join(failures...)
}

// scenery is there in all configurations: proxies send from their own addresses,
// as they would in pods, and not from the loopback address that the kernel takes.
func (s *stage) scenery() string {
	// The mark (see settle) needs a place among the gateway's listeners.
	text := `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: marker, namespace: istio-system}
spec:
  selector: {istio: door}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [marker.invalid]}]
`
	for _, p := range append(places(), place{namespace: "edge", name: "door", labels: map[string]string{"istio": "door"}}) {
		proxy, ok := s.proxies[p.name]
		if !ok {
			continue
		}
		labels := ""
		for k, v := range p.labels {
			labels += fmt.Sprintf("%s: %q, ", k, v)
		}
		side := "SIDECAR_OUTBOUND"
		if p.namespace == "edge" {
			side = "GATEWAY"
		}
		text += fmt.Sprintf(`---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: own-address-%[1]s, namespace: %[2]s}
spec:
  workloadSelector: {labels: {%[3]s}}
  configPatches:
  - applyTo: CLUSTER
    match: {context: %[5]s}
    patch: {operation: MERGE, value: {upstream_bind_config: {source_address: {address: %[4]s, port_value: 0}}}}
`, p.name, p.namespace, labels, proxy.Address, side)
	}
	return text
}

// readAuthority takes istiod's key: clients of the mesh with any name come of it.
func (s *stage) readAuthority(ctx context.Context) error {
	secret := &corev1.Secret{}
	if err := s.Client().Get(ctx, client.ObjectKey{Namespace: rootNamespace, Name: "istio-ca-secret"}, secret); err != nil {
		return fmt.Errorf("reading istiod's key: %w", err)
	}
	var err error
	if s.authority, err = tls.X509KeyPair(secret.Data["ca-cert.pem"], secret.Data["ca-key.pem"]); err != nil {
		return fmt.Errorf("reading istiod's key: %w", err)
	}
	return nil
}

// issue makes a client certificate of an authority.
func issue(authority tls.Certificate, uri string) (tls.Certificate, error) {
	parent, err := x509.ParseCertificate(authority.Certificate[0])
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("reading an authority: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("making a client's key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	if uri != "" {
		name, err := url.Parse(uri)
		if err != nil {
			return tls.Certificate{}, fmt.Errorf("naming a client: %w", err)
		}
		template.URIs = []*url.URL{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), authority.PrivateKey)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("signing a client's certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der, authority.Certificate[0]}, PrivateKey: key}, nil
}

// mutualSecret is for servers of the gateway that ask their clients for
// certificates of an authority of their own.
func (s *stage) mutualSecret(ctx context.Context) error {
	have := &corev1.Secret{}
	if err := s.Client().Get(ctx, client.ObjectKey{Namespace: "edge", Name: "wildcard"}, have); err != nil {
		return fmt.Errorf("reading the gateway's certificate: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("making an authority: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return fmt.Errorf("making an authority: %w", err)
	}
	if s.mutual, err = issue(tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, "spiffe://partner.test/client"); err != nil {
		return err
	}
	data := map[string][]byte{"ca.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
	for name, text := range have.Data {
		data[name] = text
	}
	secret := &corev1.Secret{Data: data, Type: corev1.SecretTypeTLS}
	secret.Namespace, secret.Name = "edge", "mutual"
	if err := s.Client().Create(ctx, secret); err != nil {
		return fmt.Errorf("writing the gateway's mutual certificate: %w", err)
	}
	return nil
}
