// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"

	"github.com/trellis-mesh/trellis/test/stack/pki"

	"github.com/trellis-mesh/trellis/test/stack/loopback"
)

const (
	etcdHost      = 2
	apiServerHost = 3
	istiodHost    = 4 // and the next ones for more replicas
)

// istioAudience is the audience of the tokens with which proxies log in to
// istiod; the API server must know it or it refuses to review them.
const istioAudience = "istio-ca"

// startKubernetes starts etcd and the API server at once: the latter retries
// until the former is there.
func (s *Stack) startKubernetes(ctx context.Context) error {
	etcd, etcdURL, err := s.startEtcd()
	if err != nil {
		return err
	}
	s.etcd = etcdURL
	if err := s.writeAPIServerFiles(); err != nil {
		return err
	}
	server, err := s.startAPIServer(etcdURL)
	if err != nil {
		return err
	}
	if err := s.connect(); err != nil {
		return err
	}
	err = server.ready(ctx, func(ctx context.Context) error {
		select {
		case <-etcd.done:
			return fmt.Errorf("etcd has ended: %w\n%s", etcd.err, tail(etcd.log))
		default:
		}
		return s.clientset.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
	return err
}

// collectLess is for servers with a small heap, which Go would collect all the
// time: in a cluster of some size theirs is large, and collections are rare.
const collectLess = "GOGC=400"

func (s *Stack) startEtcd() (*process, string, error) {
	address := s.network.Address(etcdHost)
	clientPort, err := s.network.PortOn(address, 2379)
	if err != nil {
		return nil, "", err
	}
	peerPort, err := s.network.PortOn(address, 2380)
	if err != nil {
		return nil, "", err
	}
	clients, peers := "http://"+loopback.Endpoint(address, clientPort), "http://"+loopback.Endpoint(address, peerPort)
	proc, err := s.processes.run(command{
		name: "etcd", path: s.cache.binary("etcd"), dir: s.dir, env: []string{collectLess},
		args: []string{
			"--data-dir", filepath.Join(s.dir, "etcd"), "--unsafe-no-fsync", "--log-level", "warn",
			"--listen-client-urls", clients, "--advertise-client-urls", clients,
			"--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers,
			"--initial-cluster", "default=" + peers,
		},
	})
	return proc, clients, err
}

// writeAPIServerFiles writes the serving certificate, the service account key,
// the token file and the kubeconfig.
func (s *Stack) writeAPIServerFiles() error {
	address := s.network.Address(apiServerHost)
	port, err := s.network.PortOn(address, 6443)
	if err != nil {
		return err
	}
	s.apiServer = loopback.Endpoint(address, port)
	if s.authority, err = pki.NewAuthority("trellis local stack"); err != nil {
		return err
	}
	cert, key, err := s.authority.Issue(address, "kubernetes.default.svc", "localhost")
	if err != nil {
		return err
	}
	accounts, accountsPublic, err := newServiceAccountKey()
	if err != nil {
		return err
	}
	secret := make([]byte, 24)
	if _, err := rand.Read(secret); err != nil {
		return fmt.Errorf("choosing the administrator's token: %w", err)
	}
	s.adminToken = hex.EncodeToString(secret)
	if err := os.MkdirAll(filepath.Join(s.dir, "pki"), 0o700); err != nil {
		return fmt.Errorf("writing the API server's files: %w", err)
	}
	for name, text := range map[string][]byte{
		"tls.crt": cert, "tls.key": key, "sa.key": accounts, "sa.pub": accountsPublic,
		"tokens.csv": []byte(s.adminToken + `,admin,admin,"system:masters"` + "\n"),
	} {
		if err := os.WriteFile(filepath.Join(s.dir, "pki", name), text, 0o600); err != nil {
			return fmt.Errorf("writing the API server's files: %w", err)
		}
	}
	return s.writeKubeconfig()
}

// newServiceAccountKey makes the key pair of service account tokens, RSA as in
// most clusters.
func newServiceAccountKey() (private, public []byte, err error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, nil, fmt.Errorf("generating the service account key: %w", err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, nil, fmt.Errorf("encoding the service account key: %w", err)
	}
	private, err = pki.EncodeKey(key)
	return private, pki.EncodePEM("PUBLIC KEY", der), err
}

func (s *Stack) startAPIServer(etcdURL string) (*process, error) {
	host, port, _ := strings.Cut(s.apiServer, ":")
	pki := func(name string) string { return filepath.Join(s.dir, "pki", name) }
	audit, err := s.auditArguments()
	if err != nil {
		return nil, err
	}
	return s.processes.run(command{
		name: "kube-apiserver", path: s.cache.binary("kube-apiserver"), dir: s.dir, env: []string{collectLess},
		args: append(audit,
			"--etcd-servers", etcdURL, "--bind-address", host, "--advertise-address", host, "--secure-port", port,
			"--tls-cert-file", pki("tls.crt"), "--tls-private-key-file", pki("tls.key"),
			"--token-auth-file", pki("tokens.csv"), "--authorization-mode", "RBAC",
			"--service-account-issuer", "https://kubernetes.default.svc",
			"--service-account-key-file", pki("sa.pub"), "--service-account-signing-key-file", pki("sa.key"),
			"--api-audiences", "https://kubernetes.default.svc,kubernetes.default.svc,"+istioAudience,
			"--service-cluster-ip-range", "10.96.0.0/16",
			// No controller makes default accounts, so pods without one must pass.
			"--disable-admission-plugins", "ServiceAccount",
			// The endpoints of the Service "kubernetes" may not be loopback addresses.
			"--endpoint-reconciler-type", "none",
			"--profiling=false",
		),
	})
}

func (s *Stack) writeKubeconfig() error {
	config := clientcmdapi.NewConfig()
	config.Clusters["stack"] = &clientcmdapi.Cluster{Server: "https://" + s.apiServer, CertificateAuthorityData: s.authority.PEM}
	config.AuthInfos["admin"] = &clientcmdapi.AuthInfo{Token: s.adminToken}
	config.Contexts["stack"] = &clientcmdapi.Context{Cluster: "stack", AuthInfo: "admin"}
	config.CurrentContext = "stack"
	if err := clientcmd.WriteToFile(*config, s.Kubeconfig()); err != nil {
		return fmt.Errorf("writing the kubeconfig: %w", err)
	}
	return nil
}

func (s *Stack) connect() error {
	s.config = &rest.Config{
		Host:            "https://" + s.apiServer,
		BearerToken:     s.adminToken,
		TLSClientConfig: rest.TLSClientConfig{CAData: s.authority.PEM},
		QPS:             -1,
	}
	var err error
	if s.clientset, err = kubernetes.NewForConfig(s.config); err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	if s.client, err = client.New(s.config, client.Options{Scheme: newScheme()}); err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	return nil
}

func newScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(apiextensionsv1.AddToScheme(scheme))
	utilruntime.Must(networkingv1.AddToScheme(scheme))
	utilruntime.Must(securityv1.AddToScheme(scheme))
	utilruntime.Must(telemetryv1.AddToScheme(scheme))
	return scheme
}
