// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/test/stack/loopback"
)

const (
	istioNamespace = "istio-system"
	clusterID      = "Kubernetes"
	validatorName  = "istiod-default-validator"
)

// Istiod is one replica of the control plane on its own loopback address. The
// ports are those of the chart unless something else on the machine has them.
type Istiod struct {
	// Name is the name of its Pod in istio-system.
	Name string
	// Address is the loopback address that stands for the pod's.
	Address string
	// XDSPort is plaintext gRPC (15010), SecurePort authenticated gRPC (15012),
	// WebhookPort the validating webhook (15017), MonitoringPort metrics, version
	// and debug (15014), HTTPPort readiness and debug (8080).
	XDSPort, SecurePort, WebhookPort, MonitoringPort, HTTPPort int

	proc *process
}

// InstallIstio installs what an Istio installation leaves in a cluster (CRDs,
// mesh configuration, Service and Pods of istiod, validating webhook), starts
// istiod and waits until it serves and validates. Start calls it unless told
// otherwise; it may be called once.
func (s *Stack) InstallIstio(ctx context.Context) error {
	s.mu.Lock()
	s.installs++
	again := s.installs > 1
	s.mu.Unlock()
	if again {
		return errors.New("installing Istio: it is already installed")
	}
	if err := s.step("Istio CRDs", func() error { return s.prepareIstio(ctx) }); err != nil {
		return fmt.Errorf("installing Istio: %w", err)
	}
	err := s.step("istiod", func() error {
		for i := range s.options.IstiodReplicas {
			if err := s.addIstiod(ctx, i); err != nil {
				return err
			}
		}
		return s.awaitValidation(ctx)
	})
	if err != nil {
		return fmt.Errorf("installing Istio: %w", err)
	}
	return nil
}

// InstallIstioCRDs makes the definitions of Istio's kinds, for a stack WithoutIstio.
func (s *Stack) InstallIstioCRDs(ctx context.Context) error {
	crds, err := os.ReadFile(s.cache.istio("crd-all.gen.yaml"))
	if err != nil {
		return fmt.Errorf("reading the Istio CRDs: %w", err)
	}
	return s.InstallCRDs(ctx, crds)
}

// prepareIstio makes everything that must be there before istiod starts.
func (s *Stack) prepareIstio(ctx context.Context) error {
	if err := s.InstallIstioCRDs(ctx); err != nil {
		return err
	}
	if err := s.Namespace(ctx, istioNamespace, nil); err != nil {
		return err
	}
	first, err := s.newIstiod(0)
	if err != nil {
		return err
	}
	mesh, err := s.meshConfig(first)
	if err != nil {
		return err
	}
	for _, object := range []client.Object{
		&corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: istioNamespace, Name: "istio", Labels: map[string]string{"istio.io/rev": "default"}},
			Data:       map[string]string{"mesh": string(mesh), "meshNetworks": "networks: {}"},
		},
		istiodService(first),
		validator(first),
	} {
		if err := s.client.Create(ctx, object); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("making %T %s: %w", object, object.GetName(), err)
		}
	}
	s.addReplica(first)
	return s.serviceAccount(ctx, istioNamespace, "istiod")
}

func (s *Stack) addReplica(d *Istiod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.istiods = append(s.istiods, d)
}

func (s *Stack) newIstiod(replica int) (*Istiod, error) {
	d := &Istiod{Name: fmt.Sprintf("istiod-%d", replica), Address: s.network.Address(istiodHost + replica)}
	for _, port := range []struct {
		preferred int
		chosen    *int
	}{
		{15010, &d.XDSPort}, {15012, &d.SecurePort}, {15017, &d.WebhookPort},
		{15014, &d.MonitoringPort}, {8080, &d.HTTPPort},
	} {
		var err error
		if *port.chosen, err = s.network.PortOn(d.Address, port.preferred); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (s *Stack) meshConfig(first *Istiod) ([]byte, error) {
	mesh := map[string]any{
		"rootNamespace":     istioNamespace,
		"trustDomain":       "cluster.local",
		"enableAutoMtls":    true,
		"accessLogFile":     accessLogName,
		"accessLogEncoding": "JSON",
		"accessLogFormat":   accessLogFormat,
		"defaultConfig":     map[string]any{"discoveryAddress": loopback.Endpoint(first.Address, first.SecurePort)},
	}
	maps.Copy(mesh, s.options.MeshConfig)
	text, err := yaml.Marshal(mesh)
	if err != nil {
		return nil, fmt.Errorf("writing the mesh configuration: %w", err)
	}
	return text, nil
}

// istiodService has the port numbers of the chart; the target ports are the
// real ones of the first replica.
func istiodService(first *Istiod) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: istioNamespace, Name: "istiod",
			Labels: map[string]string{"app": "istiod", "istio": "pilot", "istio.io/rev": "default"},
		},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "istiod", "istio": "pilot"},
			Ports: []corev1.ServicePort{
				{Name: "grpc-xds", Port: 15010, TargetPort: intstr.FromInt(first.XDSPort)},
				{Name: "https-dns", Port: 15012, TargetPort: intstr.FromInt(first.SecurePort)},
				{Name: "https-webhook", Port: 443, TargetPort: intstr.FromInt(first.WebhookPort)},
				{Name: "http-monitoring", Port: 15014, TargetPort: intstr.FromInt(first.MonitoringPort)},
			},
		},
	}
}

// validator makes the API server ask istiod about every Istio object, as an
// installation does. istiod adds its CA and turns Ignore into Fail when it is
// ready to answer.
func validator(first *Istiod) *admissionv1.ValidatingWebhookConfiguration {
	url := "https://" + loopback.Endpoint(first.Address, first.WebhookPort) + "/validate"
	ignore, none := admissionv1.Ignore, admissionv1.SideEffectClassNone
	return &admissionv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{
			Name:   validatorName,
			Labels: map[string]string{"app": "istiod", "istio": "istiod", "istio.io/rev": "default"},
		},
		Webhooks: []admissionv1.ValidatingWebhook{{
			Name:         "validation.istio.io",
			ClientConfig: admissionv1.WebhookClientConfig{URL: &url},
			Rules: []admissionv1.RuleWithOperations{{
				Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
				Rule: admissionv1.Rule{
					APIGroups:   []string{"security.istio.io", "networking.istio.io", "telemetry.istio.io", "extensions.istio.io"},
					APIVersions: []string{"*"}, Resources: []string{"*"},
				},
			}},
			FailurePolicy: &ignore, SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
		}},
	}
}

// addIstiod starts a replica, waits for it and shows it as a Pod.
func (s *Stack) addIstiod(ctx context.Context, replica int) error {
	if replica >= len(s.istiods) {
		d, err := s.newIstiod(replica)
		if err != nil {
			return err
		}
		s.addReplica(d)
	}
	d := s.istiods[replica]
	if err := s.runIstiod(ctx, d); err != nil {
		return err
	}
	return s.runningPod(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: istioNamespace, Name: d.Name,
			Labels: map[string]string{"app": "istiod", "istio": "pilot", "istio.io/rev": "default"},
		},
		Spec: corev1.PodSpec{ServiceAccountName: "istiod", Containers: []corev1.Container{{
			Name: "discovery", Image: "local",
			Ports: []corev1.ContainerPort{
				{Name: "grpc-xds", ContainerPort: int32(d.XDSPort)},
				{Name: "tls-xds", ContainerPort: int32(d.SecurePort)},
				{Name: "http-monitoring", ContainerPort: int32(d.MonitoringPort)},
			},
		}}},
	}, d.Address, true)
}

// Istiods returns the replicas of istiod, none before Istio is installed.
func (s *Stack) Istiods() []*Istiod {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.istiods)
}

// KillIstiod ends a replica at once, as a crash would, and marks its Pod as not
// ready, as a kubelet would.
func (s *Stack) KillIstiod(ctx context.Context, d *Istiod) error {
	d.proc.kill()
	return s.markIstiod(ctx, d, false)
}

// StartIstiod starts a killed replica again and returns when it serves.
func (s *Stack) StartIstiod(ctx context.Context, d *Istiod) error {
	if err := s.runIstiod(ctx, d); err != nil {
		return fmt.Errorf("starting %s again: %w", d.Name, err)
	}
	return s.markIstiod(ctx, d, true)
}

func (s *Stack) markIstiod(ctx context.Context, d *Istiod, ready bool) error {
	pod := &corev1.Pod{}
	if err := s.client.Get(ctx, client.ObjectKey{Namespace: istioNamespace, Name: d.Name}, pod); err != nil {
		return fmt.Errorf("reading the pod of %s: %w", d.Name, err)
	}
	return s.setPodReady(ctx, pod, ready)
}

// runIstiod starts a replica and waits until it is ready.
func (s *Stack) runIstiod(ctx context.Context, d *Istiod) error {
	dir := filepath.Join(s.dir, d.Name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making a directory for istiod: %w", err)
	}
	environment := []string{
		collectLess,
		"POD_NAMESPACE=" + istioNamespace, "POD_NAME=" + d.Name, "SERVICE_ACCOUNT=istiod",
		"REVISION=default", "CLUSTER_ID=" + clusterID,
		// Its certificate must name the address that proxies dial.
		"ISTIOD_CUSTOM_HOST=" + d.Address, "PILOT_CERT_PROVIDER=istiod", "JWT_POLICY=third-party-jwt",
		// Upstream Envoy has no metadata exchange and no Istio ALPN filter.
		"PILOT_ENABLE_METADATA_EXCHANGE=false", "PILOT_ENABLE_ALPN_FILTER=false",
		"INJECT_ENABLED=false", "VALIDATION_WEBHOOK_CONFIG_NAME=" + validatorName,
		fmt.Sprintf("ENABLE_LEADER_ELECTION=%t", s.options.IstiodReplicas > 1),
	}
	var err error
	d.proc, err = s.processes.run(command{
		name: d.Name, path: s.cache.binary("pilot-discovery"), dir: dir,
		env: append(environment, s.options.IstiodEnvironment...),
		args: []string{
			"discovery", "--kubeconfig", s.Kubeconfig(), "--clusterID", clusterID,
			"--httpAddr", loopback.Endpoint(d.Address, d.HTTPPort), "--httpsAddr", loopback.Endpoint(d.Address, d.WebhookPort),
			"--grpcAddr", loopback.Endpoint(d.Address, d.XDSPort), "--secureGRPCAddr", loopback.Endpoint(d.Address, d.SecurePort),
			"--monitoringAddr", loopback.Endpoint(d.Address, d.MonitoringPort),
			"--ctrlz_port", "0", // any; the default is the same for every istiod on the machine
		},
	})
	if err != nil {
		return err
	}
	return d.proc.ready(ctx, httpCheck("http://"+loopback.Endpoint(d.Address, d.HTTPPort)+"/ready"))
}

// awaitValidation waits until istiod has made its webhook mandatory; before
// that the API server takes invalid Istio objects.
func (s *Stack) awaitValidation(ctx context.Context) error {
	return s.istiods[0].proc.ready(ctx, func(ctx context.Context) error {
		config := &admissionv1.ValidatingWebhookConfiguration{}
		if err := s.client.Get(ctx, client.ObjectKey{Name: validatorName}, config); err != nil {
			return err
		}
		if policy := config.Webhooks[0].FailurePolicy; policy == nil || *policy != admissionv1.Fail {
			return errors.New("its validating webhook is not mandatory yet")
		}
		return nil
	})
}

// httpCheck returns a check that a GET of url is answered with 200.
func httpCheck(url string) func(context.Context) error {
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s answered %s", url, response.Status)
		}
		return nil
	}
}
