// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

// forwarding bounds how long a forwarded port may take to be there.
const forwarding = 20 * time.Second

// forwarded is a port of this machine that leads to a pod.
type forwarded struct {
	address string
	// stop ends it and waits until it has.
	stop func() error
}

// forward makes a port of this machine lead to one of a pod, by way of the API
// server: by WebSocket where the cluster knows that, else by SPDY, as kubectl does.
// The port is open to this machine's other users while the command runs; who is at
// its end is shown by the certificate, not by the port.
func (a *api) forward(ctx context.Context, pod *corev1.Pod, port int) (*forwarded, error) {
	dialer, err := a.dialer(pod)
	if err != nil {
		return nil, fmt.Errorf("forwarding a port to pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	stop, ready, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	var said bytes.Buffer
	forwarder, err := portforward.NewOnAddressesForStreaming(dialer, []string{"127.0.0.1"}, []string{"0:" + strconv.Itoa(port)}, stop, ready, io.Discard, &said)
	if err != nil {
		return nil, fmt.Errorf("forwarding a port to pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	go func() { ended <- forwarder.ForwardPorts() }()
	timer := time.NewTimer(forwarding)
	defer timer.Stop()
	select {
	case <-ready:
	case err = <-ended:
		if err == nil {
			err = errors.New("it ended at once")
		}
		return nil, denied(pod, port, err)
	case <-timer.C:
		close(stop)
		return nil, denied(pod, port, fmt.Errorf("the API server did not answer within %s", forwarding))
	case <-ctx.Done():
		close(stop)
		return nil, ctx.Err()
	}
	ports, err := forwarder.GetPorts()
	if err != nil || len(ports) == 0 {
		close(stop)
		return nil, denied(pod, port, err)
	}
	return &forwarded{
		address: net.JoinHostPort("127.0.0.1", strconv.Itoa(int(ports[0].Local))),
		stop: func() error {
			close(stop)
			if err := <-ended; !errors.Is(err, portforward.ErrLostConnectionToPod) {
				return err
			}
			// That the connection was lost has been an error of who used it.
			return nil
		},
	}, nil
}

// denied says what is missing for a port to be forwarded.
func denied(pod *corev1.Pod, port int, err error) error {
	what := "see whether the API server reaches the pod's machine"
	if text := err.Error(); strings.Contains(text, "forbidden") || strings.Contains(text, "Forbidden") {
		err, what = errors.Join(errMayNot, err), "you may not create pods/portforward in namespace "+pod.Namespace+": ask for that right"
	}
	return fmt.Errorf("forwarding a port to port %d of pod %s/%s: %w; %s, name an address that is open from here with --istiod, %s", port, pod.Namespace, pod.Name, err, what, instead)
}

func (a *api) dialer(pod *corev1.Pod) (httpstream.Dialer, error) {
	// A connection that stays open takes longer than a request may.
	config := rest.CopyConfig(a.config)
	config.Timeout = 0
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, err
	}
	at := base.JoinPath("api", "v1", "namespaces", pod.Namespace, "pods", pod.Name, "portforward")
	roundTripper, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return nil, err
	}
	old := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: roundTripper}, http.MethodPost, at)
	socket, err := portforward.NewSPDYOverWebsocketDialerForStreaming(at, config)
	if err != nil {
		return nil, err
	}
	return portforward.NewFallbackDialerForStreaming(socket, old, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	}), nil
}
