// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"k8s.io/client-go/rest"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/cli/logfile"
	"github.com/trellis-mesh/trellis/internal/mtls/diagnosis"
)

// podBytes bounds what is read of a pod's log.
const podBytes = 32 << 20

// proxyContainer is that of Istio's proxy, in workloads and gateways.
const proxyContainer = "istio-proxy"

// readPod reads the last lines that a pod's proxy wrote.
func (o *Options) readPod(ctx context.Context, log *diagnosis.Log) (err error) {
	ref, err := refOf("--pod", o.Pod)
	if err != nil {
		return err
	}
	config, err := o.Cluster.Config()
	if err != nil {
		return err
	}
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return fmt.Errorf("finding the cluster: %w", err)
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return fmt.Errorf("finding the cluster: %w", err)
	}
	at := base.JoinPath("api", "v1", "namespaces", ref.Namespace, "pods", ref.Name, "log")
	at.RawQuery = url.Values{"container": {proxyContainer}, "tailLines": {strconv.Itoa(o.Tail)}, "limitBytes": {strconv.Itoa(podBytes)}}.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return fmt.Errorf("reading the log of pod %s: %w", ref, err)
	}
	answer, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("reading the log of pod %s: %w", ref, err)
	}
	defer func() { err = errors.Join(err, answer.Body.Close()) }()
	if err := refusal(answer.StatusCode, ref.Namespace); err != nil {
		return fmt.Errorf("reading the log of pod %s: %w", ref, err)
	}
	writer := accesslog.Writer{Namespace: ref.Namespace, Pod: ref.Name}
	if err := logfile.Lines(log, "pod "+ref.String(), io.LimitReader(answer.Body, podBytes), writer); err != nil {
		return fmt.Errorf("reading the log of pod %s: %w", ref, err)
	}
	return nil
}

// refusal says what the API server's answer means.
func refusal(code int, namespace string) error {
	switch code {
	case http.StatusOK:
		return nil
	case http.StatusForbidden:
		return fmt.Errorf("you may not get pods/log in namespace %s: ask for that right, or give the lines as a file", namespace)
	case http.StatusUnauthorized:
		return errors.New("the cluster does not know who you are: log in again")
	case http.StatusNotFound:
		return errors.New("there is no such pod")
	case http.StatusBadRequest:
		return fmt.Errorf("it has no container %s: no proxy of Istio's runs there, or not yet", proxyContainer)
	}
	return fmt.Errorf("the API server answers %d", code)
}
