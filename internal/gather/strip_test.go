// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package gather

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/load"
	"github.com/trellis-mesh/trellis/internal/model"
)

func TestAChallengeOfACertificateIsNotTakenForAGeneratedEntry(t *testing.T) {
	yes := true
	for name, test := range map[string]struct {
		owners []metav1.OwnerReference
		ours   bool
	}{
		"made from an ingress":       {nil, true},
		"made for a certificate":     {[]metav1.OwnerReference{{Kind: "ManagedCertificate", Name: "c", Controller: &yes}}, false},
		"beside an object of others": {[]metav1.OwnerReference{{Kind: "Backup", Name: "b"}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"name": "a.example.com"}}}
			u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("ManagedRecord"))
			u.SetName("a")
			u.SetNamespace("n")
			u.SetOwnerReferences(test.owners)
			u.SetLabels(map[string]string{
				"app.kubernetes.io/managed-by": "trellis", "trellis.dev/owner-kind": "SecureIngress", "trellis.dev/owner-name": "i",
			})
			e, err := stripManaged("c")(u)
			if err != nil {
				t.Fatal(err)
			}
			if e.live.Ours != test.ours {
				t.Errorf("it is ours: %t, want %t", e.live.Ours, test.ours)
			}
		})
	}
}

func TestWhatAControllerSaysOfACertificateIsNews(t *testing.T) {
	certificate := func(generation int64, status map[string]any) *entry {
		u := &unstructured.Unstructured{Object: map[string]any{"status": status}}
		u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("ManagedCertificate"))
		u.SetName("a")
		u.SetGeneration(generation)
		e, err := stripManaged("c")(u)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	was := certificate(1, map[string]any{"fingerprint": "00", "state": "{}"})
	for name, test := range map[string]struct {
		status map[string]any
		news   bool
	}{
		"another certificate":     {map[string]any{"fingerprint": "01", "state": "{}"}, true},
		"a challenge":             {map[string]any{"fingerprint": "00", "state": "{}", "challenges": []any{map[string]any{"host": "h", "path": "/p", "body": "b"}}}, true},
		"a condition":             {map[string]any{"fingerprint": "00", "conditions": []any{map[string]any{"type": "Ready", "status": "True"}}}, true},
		"the engine's own record": {map[string]any{"fingerprint": "00", "state": "{1}"}, false},
	} {
		if got := was.differs(certificate(1, test.status)); got != test.news {
			t.Errorf("%s is news: %t, want %t", name, got, test.news)
		}
		if got := reports(was, certificate(1, test.status)); got != test.news {
			t.Errorf("%s is something that a controller says: %t, want %t", name, got, test.news)
		}
	}
}

// TestWhatIsStrippedMeansTheSame compares what package load makes of an object as
// it is in the cluster and of what the caches keep of it.
func TestWhatIsStrippedMeansTheSame(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	long := strings.Repeat("x", 1000)
	for name, test := range map[string]struct {
		object runtime.Object
		strip  strip
	}{
		"a pod": {&corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "p", Labels: map[string]string{"app": "a"}, Annotations: map[string]string{"a": long}},
			Spec: corev1.PodSpec{
				ServiceAccountName: "account",
				Containers: []corev1.Container{
					{Name: "main", Image: long, Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: 80}, {ContainerPort: 81}}},
					{Name: "other", Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: 82}, {Name: "more", ContainerPort: 83}}},
				},
				InitContainers: []corev1.Container{
					{Name: "once", Ports: []corev1.ContainerPort{{Name: "once", ContainerPort: 84}}},
					{Name: "sidecar", RestartPolicy: &always, Ports: []corev1.ContainerPort{{Name: "side", ContainerPort: 85}}},
				},
			},
			Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.1", Conditions: []corev1.PodCondition{
				{Type: corev1.PodReady, Status: corev1.ConditionTrue, Message: long}, {Type: corev1.PodScheduled},
			}},
		}, stripPod},
		"a pod that is not ready": {&corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "p"},
			Status:     corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}}},
		}, stripPod},
		"a pod on its way out": {&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "p", DeletionTimestamp: &metav1.Time{}}}, stripPod},
		"a Service": {&corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "s", Annotations: map[string]string{"a": long}},
			Spec: corev1.ServiceSpec{
				Type: corev1.ServiceTypeLoadBalancer, Selector: map[string]string{"app": "a"},
				Ports: []corev1.ServicePort{{Name: "http", Port: 80, NodePort: 30000}},
			},
			Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}}},
		}, stripService},
		"a namespace": {&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{"team": "a"}}}, stripNamespace},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := test.strip(test.object.DeepCopyObject())
			if err != nil {
				t.Fatal(err)
			}
			if kept, whole := read(e.object), read(test.object); !reflect.DeepEqual(kept, whole) {
				t.Errorf("stripped, it is read as\n%+v\nand whole as\n%+v", kept, whole)
			}
			if strings.Contains(fmt.Sprintf("%+v", e.object), long) {
				t.Error("something large was kept")
			}
		})
	}
}

func read(objects ...runtime.Object) model.Input {
	b := load.NewBuilder(model.DefaultMesh())
	for _, o := range objects {
		b.Add(o)
	}
	return b.Input()
}

const foreignObjects = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: a, namespace: ns, labels: {app.kubernetes.io/managed-by: Helm}}
spec: {selector: {matchLabels: {app: a}}, action: DENY, rules: [{to: [{operation: {paths: [/x]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: b, namespace: ns}
spec: {targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: g}]}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: a, namespace: ns}
spec: {jwtRules: [{issuer: i}]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: a, namespace: ns}
spec: {mtls: {mode: STRICT}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: a, namespace: ns}
spec: {selector: {app: g}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [ns/a.example.com]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a, namespace: ns}
spec: {hosts: [a.example.com], gateways: [a], http: [{route: [{destination: {host: b}}]}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a, namespace: ns}
spec: {host: b, trafficPolicy: {tls: {mode: DISABLE}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: a, namespace: ns, labels: {app: a}}
spec: {address: 192.0.2.1, serviceAccount: b, ports: {web: 80}}
`

func TestForeignObjectsAreReadAsFilesAre(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := load.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	for document := range strings.SplitSeq(foreignObjects, "---") {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(document), &u.Object); err != nil {
			t.Fatal(err)
		}
		t.Run(u.GetKind()+" "+u.GetName(), func(t *testing.T) {
			whole, err := scheme.New(u.GroupVersionKind())
			if err != nil {
				t.Fatal(err)
			}
			if err := yaml.Unmarshal([]byte(document), whole); err != nil {
				t.Fatal(err)
			}
			strip := stripGenerated("Kubernetes")
			if u.GetKind() == "WorkloadEntry" {
				strip = stripWorkloadEntry
			}
			e, err := strip(u)
			if err != nil {
				t.Fatal(err)
			}
			if kept, want := read(e.object), read(whole); !reflect.DeepEqual(kept, want) {
				t.Errorf("read as\n%+v\nwant\n%+v", kept, want)
			}
			if e.live != nil && e.live.Ours {
				t.Error("it passes for ours")
			}
		})
	}
}

func TestAnObjectThatIstiosTypesCannotReadDoesNotStopTheWatch(t *testing.T) {
	u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"action": "NONE_OF_OURS"}}}
	u.SetAPIVersion("security.istio.io/v1")
	u.SetKind("AuthorizationPolicy")
	e, err := stripGenerated("Kubernetes")(u)
	if err != nil || e.live == nil || e.object != nil {
		t.Errorf("entry %+v, error %v", e, err)
	}
}

func TestOfASecretTheCertificateAloneIsKept(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"a.example.com"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "s"}, Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{
			corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
			corev1.TLSPrivateKeyKey: private,
		},
	}
	e, err := stripSecret("Kubernetes")(secret)
	if err != nil {
		t.Fatal(err)
	}
	if e.certificate == nil || e.certificate.Problem != "" || len(e.certificate.Names) != 1 || e.certificate.Names[0] != "a.example.com" {
		t.Errorf("certificate %+v", e.certificate)
	}
	if e.object != nil {
		t.Error("the Secret itself was kept")
	}
	if !bytes.Equal(private, make([]byte, len(private))) {
		t.Error("the key is still in memory")
	}
}

func TestAStatusIsNoNews(t *testing.T) {
	application := func(version string, generation int64, change func(*v1alpha1.Application)) *entry {
		a := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "a", UID: "u", ResourceVersion: version, Generation: generation}}
		change(a)
		e, err := stripOwn(a)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	same := func(*v1alpha1.Application) {}
	was := application("1", 1, same)
	for name, test := range map[string]struct {
		is   *entry
		news bool
	}{
		"a status": {application("2", 1, func(a *v1alpha1.Application) { a.Status.ObservedGeneration = 1 }), false},
		"a change": {application("2", 2, same), true},
		"paused":   {application("2", 1, func(a *v1alpha1.Application) { a.Annotations = map[string]string{v1alpha1.PausedAnnotation: "true"} }), true},
		"deletion": {application("2", 2, func(a *v1alpha1.Application) { a.DeletionTimestamp = &metav1.Time{} }), true},
		"kubectl's mark": {application("2", 1, func(a *v1alpha1.Application) {
			a.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: "{}"}
		}), false},
	} {
		if got := was.differs(test.is); got != test.news {
			t.Errorf("%s: news %v, want %v", name, got, test.news)
		}
	}
}

func TestHowFarARolloutOfAPolicyHasComeIsNews(t *testing.T) {
	binding := func(status v1alpha1.PolicyBindingStatus) *entry {
		e, err := stripOwn(&v1alpha1.ClusterPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "b", UID: "u", Generation: 1}, Status: status})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	stage := func(name string) *v1alpha1.PolicyRolloutStatus {
		since := metav1.Unix(0, 0)
		return &v1alpha1.PolicyRolloutStatus{Version: "2.0.0", Stage: name, Since: &since}
	}
	was := binding(v1alpha1.PolicyBindingStatus{Rollout: stage("dev")})
	for name, test := range map[string]struct {
		status v1alpha1.PolicyBindingStatus
		news   bool
	}{
		"another stage": {v1alpha1.PolicyBindingStatus{Rollout: stage("test")}, true},
		"no rollout":    {v1alpha1.PolicyBindingStatus{}, true},
		"another count": {v1alpha1.PolicyBindingStatus{Rollout: stage("dev"), Rollup: v1alpha1.PolicyRollup{Failing: 1}}, false},
	} {
		if got := was.differs(binding(test.status)); got != test.news {
			t.Errorf("%s: news %v, want %v", name, got, test.news)
		}
	}
}
