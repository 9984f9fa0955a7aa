// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/test/stack/loopback"
)

// accessLogName is relative: each Envoy opens it in its own directory.
const accessLogName = "access.log"

// bootstrapName is a file that is merged over an Envoy's bootstrap.
const bootstrapName = "bootstrap-override.json"

// accessLogFormat has what tells which rule decided a request and who asked.
const accessLogFormat = `{
  "start_time": "%START_TIME%", "method": "%REQ(:METHOD)%", "authority": "%REQ(:AUTHORITY)%",
  "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "protocol": "%PROTOCOL%", "request_id": "%REQ(X-REQUEST-ID)%",
  "response_code": "%RESPONSE_CODE%", "response_code_details": "%RESPONSE_CODE_DETAILS%",
  "response_flags": "%RESPONSE_FLAGS%", "duration": "%DURATION%", "route_name": "%ROUTE_NAME%",
  "rbac": "%DYNAMIC_METADATA(envoy.filters.http.rbac)%",
  "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
  "downstream_peer_uri_san": "%DOWNSTREAM_PEER_URI_SAN%", "requested_server_name": "%REQUESTED_SERVER_NAME%",
  "downstream_transport_failure_reason": "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%",
  "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%", "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
  "upstream_cluster": "%UPSTREAM_CLUSTER%", "upstream_host": "%UPSTREAM_HOST%",
  "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%"
}`

// Proxy is one running Envoy with the Istio agent that configures it.
type Proxy struct {
	// Address is the loopback address that stands for the pod's.
	Address string
	// AdminAddress is host:port of Envoy's admin interface.
	AdminAddress string
	// AccessLog is the path of its access log: a JSON object per line, at most
	// 100 ms after the request.
	AccessLog string

	proc *process
}

// proxySpec says which proxy to run.
type proxySpec struct {
	kind           string // router or sidecar
	namespace      string
	name           string // of the pod
	serviceAccount string
	address        string
	labels         map[string]string
	metadata       map[string]string // NAME=VALUE, becomes ISTIO_META_NAME
}

// runProxy starts pilot-agent with an Envoy and waits until istiod has
// configured it.
func (s *Stack) runProxy(ctx context.Context, spec proxySpec) (*Proxy, error) {
	discovery, err := s.nextIstiod()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(s.dir, "proxies", spec.namespace, spec.name)
	if err := s.writeProxyFiles(ctx, dir, spec); err != nil {
		return nil, err
	}
	var ports [4]int
	for i := range ports {
		if ports[i], err = s.network.FreePort(); err != nil {
			return nil, err
		}
	}
	admin, status, envoyStatus, prometheus := ports[0], ports[1], ports[2], ports[3]
	xds := loopback.Endpoint(discovery.Address, discovery.SecurePort)
	environment, err := s.proxyEnvironment(spec, xds, admin, status)
	if err != nil {
		return nil, err
	}
	if s.options.OwnAddresses {
		environment = append(environment, "ISTIO_BOOTSTRAP_OVERRIDE="+filepath.Join(dir, bootstrapName))
	}
	proc, err := s.processes.run(command{
		name: "proxy-" + spec.namespace + "-" + spec.name, path: s.cache.binary("pilot-agent"), dir: dir,
		env: append(environment, fmt.Sprintf("ENVOY_STATUS_PORT=%d", envoyStatus), fmt.Sprintf("ENVOY_PROMETHEUS_PORT=%d", prometheus)),
		args: []string{
			"proxy", spec.kind, "--domain", spec.namespace + ".svc.cluster.local",
			"--templateFile", s.cache.istio("envoy_bootstrap.json"), "--proxyLogLevel", "warning",
		},
	})
	if err != nil {
		return nil, err
	}
	if err := proc.ready(ctx, httpCheck("http://"+loopback.Endpoint("127.0.0.1", status)+"/healthz/ready")); err != nil {
		return nil, err
	}
	return &Proxy{
		Address: spec.address, AdminAddress: loopback.Endpoint("127.0.0.1", admin),
		AccessLog: filepath.Join(dir, accessLogName), proc: proc,
	}, nil
}

// nextIstiod gives each new proxy the next replica in turn.
func (s *Stack) nextIstiod() (*Istiod, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.istiods) == 0 {
		return nil, errors.New("starting a proxy: Istio is not installed")
	}
	s.proxies++
	return s.istiods[(s.proxies-1)%len(s.istiods)], nil
}

// writeProxyFiles writes what the kubelet mounts into a pod: the token for
// istiod and the root certificate that istiod puts into each namespace.
func (s *Stack) writeProxyFiles(ctx context.Context, dir string, spec proxySpec) error {
	token, err := s.token(ctx, spec.namespace, spec.serviceAccount, istioAudience)
	if err != nil {
		return err
	}
	root := &corev1.ConfigMap{}
	key := client.ObjectKey{Namespace: spec.namespace, Name: "istio-ca-root-cert"}
	err = Until(ctx, "istiod to write its root certificate into "+spec.namespace, func(ctx context.Context) error {
		return s.client.Get(ctx, key, root)
	})
	if err != nil {
		return err
	}
	for name, text := range map[string]string{
		// Only where it is asked for; clusters with an address of their own keep it.
		bootstrapName:                         fmt.Sprintf(`{"cluster_manager": {"upstream_bind_config": {"source_address": {"address": %q, "port_value": 0}}}}`, spec.address),
		"var/run/secrets/tokens/istio-token":  token,
		"var/run/secrets/istio/root-cert.pem": root.Data["root-cert.pem"],
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("writing the files of the proxy %s: %w", spec.name, err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return fmt.Errorf("writing the files of the proxy %s: %w", spec.name, err)
		}
	}
	return nil
}

func (s *Stack) proxyEnvironment(spec proxySpec, xds string, admin, status int) ([]string, error) {
	config, err := json.Marshal(map[string]any{
		"binaryPath": s.cache.binary("leash"), "discoveryAddress": xds,
		"proxyAdminPort": admin, "statusPort": status, "concurrency": 1,
		"terminationDrainDuration": "1s", "fileFlushInterval": "0.1s",
	})
	if err != nil {
		return nil, fmt.Errorf("writing the configuration of the proxy %s: %w", spec.name, err)
	}
	labels, err := json.Marshal(spec.labels)
	if err != nil {
		return nil, fmt.Errorf("writing the configuration of the proxy %s: %w", spec.name, err)
	}
	environment := []string{
		"LEASH_PROGRAM=" + s.cache.binary("envoy"),
		"PROXY_CONFIG=" + string(config),
		"POD_NAME=" + spec.name, "POD_NAMESPACE=" + spec.namespace, "INSTANCE_IP=" + spec.address,
		"SERVICE_ACCOUNT=" + spec.serviceAccount, "CA_ADDR=" + xds,
		"JWT_POLICY=third-party-jwt", "PILOT_CERT_PROVIDER=istiod", "TRUST_DOMAIN=cluster.local",
		"ISTIO_META_CLUSTER_ID=" + clusterID, "ISTIO_META_MESH_ID=cluster.local", "ISTIO_META_DNS_CAPTURE=false",
		"ISTIO_META_WORKLOAD_NAME=" + spec.name, "ISTIO_METAJSON_LABELS=" + string(labels),
	}
	for name, value := range spec.metadata {
		environment = append(environment, "ISTIO_META_"+name+"="+value)
	}
	return environment, nil
}

// Admin returns the answer of Envoy's admin interface to GET path, such as
// /config_dump or /stats.
func (p *Proxy) Admin(ctx context.Context, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.AdminAddress+path, nil)
	if err != nil {
		return nil, fmt.Errorf("asking Envoy for %s: %w", path, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking Envoy for %s: %w", path, err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("asking Envoy for %s: %w", path, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("asking Envoy for %s: %s: %s", path, response.Status, text)
	}
	return text, nil
}

// Kill ends the proxy at once, as a crash would; its objects stay.
func (p *Proxy) Kill() { p.proc.kill() }
