// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/trellis-mesh/trellis/internal/compile"
)

// Header carries the probe key.
const Header = "trellis-probe"

// The reasons of a probe's result.
const (
	// ReasonAsExpected: certificate and answer are right.
	ReasonAsExpected = "AsExpected"
	// ReasonRouteOpen: a request without a token was let through.
	ReasonRouteOpen = "RouteOpen"
	// ReasonRouteClosed: a route that needs no token refuses.
	ReasonRouteClosed = "RouteClosed"
	// ReasonWrongCertificate: another certificate is served, or none.
	ReasonWrongCertificate = "WrongCertificate"
	// ReasonNotServed: the gateway knows no such host or route.
	ReasonNotServed = "NotServed"
	// ReasonReachedApplication: something other than the gateway answered.
	ReasonReachedApplication = "ReachedApplication"
	// ReasonUnreachable: the pod could not be asked.
	ReasonUnreachable = "Unreachable"
	// ReasonNoGateway: the gateway has no ready pod.
	ReasonNoGateway = "NoGateway"
)

// seen is what one pod showed.
type seen struct {
	status          metav1.ConditionStatus
	reason, message string
}

// worse orders results: what is wrong, then what is not known.
func (s seen) worse(o seen) bool {
	rank := map[metav1.ConditionStatus]int{metav1.ConditionFalse: 2, metav1.ConditionUnknown: 1}
	return rank[s.status] > rank[o.status]
}

// pods sends requests to gateway pods and keeps their connections. It is safe
// for concurrent use.
type pods struct {
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	timeout time.Duration
	clock   clock.PassiveClock

	mu      sync.Mutex
	clients map[string]*podClient
}

// podClient is the way to one pod. It is replaced now and then: a certificate
// is seen only when a connection is made.
type podClient struct {
	transport *http.Transport
	until     time.Time
}

// connectionLife bounds how long a wrong certificate, or a rule that is gone, can
// go unnoticed: Envoy serves connections that are open already by the old
// configuration until it has drained them (Istio: up to 45 s).
const connectionLife = 5 * time.Second

func (p *pods) client(address string) *http.Transport {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock.Now()
	c := p.clients[address]
	if c != nil && now.Before(c.until) {
		return c.transport
	}
	if c != nil {
		c.transport.CloseIdleConnections()
	}
	c = &podClient{transport: p.transport(address), until: now.Add(connectionLife)}
	p.clients[address] = c
	return c.transport
}

func (p *pods) transport(address string) *http.Transport {
	return &http.Transport{
		// Every host name leads to the one pod that is asked.
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return p.dial(ctx, network, address)
		},
		TLSClientConfig: &tls.Config{
			// Which authority signed is of no interest here: the certificate must be
			// the very one that is in the Secret, also when it is self-signed, and
			// its fingerprint is compared in judge. Nothing secret is sent but the
			// probe key, which opens nothing.
			InsecureSkipVerify: true, //nolint:gosec // see above
			NextProtos:         []string{"http/1.1"},
			MinVersion:         tls.VersionTLS12,
		},
		DisableCompression:  true,
		MaxIdleConnsPerHost: 2,
		MaxIdleConns:        256,
		IdleConnTimeout:     connectionLife,
	}
}

// forget drops the connections to pods that are gone.
func (p *pods) forget(alive map[string]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for address, c := range p.clients {
		if !alive[address] {
			c.transport.CloseIdleConnections()
			delete(p.clients, address)
		}
	}
}

// ask sends one probe to one pod and judges the answer.
func (p *pods) ask(ctx context.Context, probe compile.Probe, key, pod string) seen {
	address := podAddress(pod, probe.Port)
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	// No parsing: paths are written as the application reads them.
	target := &url.URL{Scheme: "https", Host: probe.Host, Path: probe.Path}
	request := (&http.Request{
		Method: probe.Method, URL: target, Host: probe.Host,
		Header: http.Header{Header: {key}, "User-Agent": {"trellis-probe"}},
	}).WithContext(ctx)
	// RoundTrip, so that no redirect is ever followed.
	response, err := p.client(address).RoundTrip(request)
	if err != nil {
		return failure(ctx, probe, address, err)
	}
	defer func() { _ = response.Body.Close() }()
	// Read what little there is, so that the connection can be used again.
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 16<<10))
	return judge(probe, address, response)
}

func podAddress(pod string, port int32) string {
	return net.JoinHostPort(pod, strconv.Itoa(int(port)))
}

func failure(ctx context.Context, probe compile.Probe, address string, err error) seen {
	var dialing *net.OpError
	if (errors.As(err, &dialing) && dialing.Op == "dial") || ctx.Err() != nil {
		return seen{metav1.ConditionUnknown, ReasonUnreachable,
			fmt.Sprintf("The gateway at %s could not be asked for %s: %s.", address, describe(probe), err)}
	}
	return seen{metav1.ConditionFalse, ReasonNotServed,
		fmt.Sprintf("The gateway at %s ended the connection for %s before an answer: %s. It has no certificate for the host, or does not know it.",
			address, describe(probe), err)}
}

// judge compares certificate and answer with what the probe is to show.
func judge(probe compile.Probe, address string, response *http.Response) seen {
	if wrong := judgeCertificate(probe, address, response.TLS); wrong != nil {
		return *wrong
	}
	refused := response.StatusCode == http.StatusUnauthorized || response.StatusCode == http.StatusForbidden
	open := response.StatusCode == http.StatusTeapot
	sent := fmt.Sprintf("%s without a token, sent to %s,", describe(probe), address)
	switch {
	case open && probe.Expect == compile.ExpectOpen, refused && probe.Expect == compile.ExpectRefused:
		return seen{metav1.ConditionTrue, ReasonAsExpected, ""}
	case open:
		return seen{metav1.ConditionFalse, ReasonRouteOpen,
			fmt.Sprintf("%s was let through; it must be refused with 401 or 403.", sent)}
	case refused:
		return seen{metav1.ConditionFalse, ReasonRouteClosed,
			fmt.Sprintf("%s was refused with %d; the route needs no token.", sent, response.StatusCode)}
	case response.StatusCode == http.StatusNotFound:
		return seen{metav1.ConditionFalse, ReasonNotServed,
			fmt.Sprintf("%s was answered 404; %s was expected.", sent, expected(probe))}
	case response.StatusCode < http.StatusBadRequest:
		return seen{metav1.ConditionFalse, ReasonReachedApplication,
			fmt.Sprintf("%s was answered %d by something behind the gateway; %s was expected.", sent, response.StatusCode, expected(probe))}
	}
	return seen{metav1.ConditionFalse, ReasonNotServed,
		fmt.Sprintf("%s was answered %d; %s was expected.", sent, response.StatusCode, expected(probe))}
}

func judgeCertificate(probe compile.Probe, address string, state *tls.ConnectionState) *seen {
	if probe.Fingerprint == "" {
		return nil
	}
	if state == nil || len(state.PeerCertificates) == 0 {
		return &seen{metav1.ConditionFalse, ReasonWrongCertificate,
			fmt.Sprintf("The gateway at %s serves no certificate for %s.", address, probe.Host)}
	}
	sum := sha256.Sum256(state.PeerCertificates[0].Raw)
	if served := hex.EncodeToString(sum[:]); served != probe.Fingerprint {
		return &seen{metav1.ConditionFalse, ReasonWrongCertificate,
			fmt.Sprintf("The gateway at %s serves the certificate %.16s… for %s; that of the Secret is %.16s….", address, served, probe.Host, probe.Fingerprint)}
	}
	return nil
}

func describe(probe compile.Probe) string {
	return fmt.Sprintf("%s https://%s%s", probe.Method, probe.Host, probe.Path)
}

func expected(probe compile.Probe) string {
	if probe.Expect == compile.ExpectRefused {
		return "401 or 403"
	}
	return "418 from the gateway's own probe entry"
}
