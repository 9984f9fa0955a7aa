// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package trials

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	securityapi "istio.io/api/security/v1beta1"
	typeapi "istio.io/api/type/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/verdict"
)

// opened has the API without a login, which a test of the document forbids.
var opened = []string{"paths: [{prefix: /api/v1}]}", "paths: [{prefix: /api/v1}], authentication: {mode: None}}"}

// extended has one more path, which no test forbids.
var extended = []string{"paths: [{prefix: /productpage}]", "paths: [{prefix: /productpage}, {prefix: /static}]"}

func TestAChangeComesIntoForceOnlyWithItsTests(t *testing.T) {
	m := start(t)
	m.serve()
	m.state()

	t.Run("one that breaks a test is refused, and the refusal says all there is to say", m.refused)
	t.Run("a dry run is refused in the same way", func(t *testing.T) {
		m.t = t
		a := m.stated(opened...)
		a.ResourceVersion = m.app.ResourceVersion
		if err := m.client.Update(t.Context(), a, client.DryRunAll); !apierrors.IsInvalid(err) {
			t.Errorf("got %v, want a refusal", err)
		}
	})
	t.Run("while the server is away, one that breaks a test is admitted and not in force", m.admittedUnseen)
	t.Run("when it is back the test fails, and what was in force stays so", m.found)
	t.Run("a good one waits, too, and comes into force when the server is back", m.waits)
	t.Run("a policy that somebody writes by hand makes a test fail and takes nothing out of force", m.interfered)
	t.Run("what a policy asserts holds a change back, and takes nothing out of force", m.asserted)
	t.Run("nobody but the operator is told what came of tests", m.told)
	t.Run("nobody but the operator is told what was seen of traffic", m.seen)
	t.Run("the platform is warned of what it breaks and not held up", m.platform)
	t.Run("the server has asked for nothing that it may not have and has written nothing", m.audited)
}

// state applies the two documents and waits until both are in force.
func (m *mesh) state() {
	m.t.Helper()
	issuer, err := m.Issuer("https://login.example.com")
	must(m.t, err)
	m.ingress, m.app = &v1alpha1.SecureIngress{}, m.stated()
	must(m.t, yaml.UnmarshalStrict(fmt.Appendf(nil, secureIngress, issuer.JWKS()), m.ingress))
	must(m.t, m.client.Create(m.t.Context(), m.app))
	if got := m.warned(); !strings.Contains(got, "cannot pass yet") {
		m.t.Errorf("an Application before its ingress got the warnings %q", got)
	}
	must(m.t, m.client.Create(m.t.Context(), m.ingress))
	m.await(v1alpha1.ConditionTestsPassed, metav1.ConditionTrue, "Passed")
	m.await(v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	m.answers("/productpage", 200)
	m.answers("/api/v1/reviews", 403)
	if got := m.records(); !slices.Equal(got, []int64{1}) {
		m.t.Errorf("the records are of generations %v, want 1", got)
	}
}

func (m *mesh) refused(t *testing.T) {
	m.t = t
	err := m.change(opened...)
	if !apierrors.IsInvalid(err) {
		t.Fatalf("got %v, want a refusal", err)
	}
	for _, want := range []string{
		`Application bookinfo/productpage cannot be accepted, since 1 of its 2 tests would fail`,
		`spec.tests[0]: test "anonymous cannot read the API": it is Allow`, "Deny was expected", "(TestFailed)",
		"rule: ", "do: ", "see: trellis can -v -f FILES https://shop.example.com/api/v1/reviews",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the refusal does not say %q:\n%v", want, err)
		}
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) || len(status.Status().Details.Causes) != 1 || status.Status().Details.Causes[0].Field != "spec.tests[0]" {
		t.Errorf("machines cannot read the cause: %+v", status)
	}
	t.Log(err)
}

func (m *mesh) admittedUnseen(t *testing.T) {
	m.t = t
	m.stopServer()
	must(t, m.change(opened...))
	c := m.await(v1alpha1.ConditionTestsPassed, metav1.ConditionUnknown, "ServerUnavailable")
	t.Log(c.Message)
	c = m.await(v1alpha1.ConditionAccepted, metav1.ConditionUnknown, "AwaitingTests")
	if !strings.Contains(c.Message, "generation 2 is not in force, generation 1 is") {
		t.Errorf("Accepted says %q", c.Message)
	}
	m.await(v1alpha1.ConditionReady, metav1.ConditionUnknown, "AwaitingTests")
	m.still("/api/v1/reviews", 403)
	m.still("/productpage", 200)
}

func (m *mesh) found(t *testing.T) {
	m.t = t
	m.serve()
	c := m.await(v1alpha1.ConditionTestsPassed, metav1.ConditionFalse, "TestsFailed")
	if !strings.Contains(c.Message, "anonymous cannot read the API") {
		t.Errorf("TestsPassed says %q", c.Message)
	}
	c = m.await(v1alpha1.ConditionAccepted, metav1.ConditionFalse, "TestsFailed")
	if !strings.Contains(c.Message, "generation 2 is not in force, generation 1 is") {
		t.Errorf("Accepted says %q", c.Message)
	}
	m.await(v1alpha1.ConditionReady, metav1.ConditionFalse, "TestsFailed")
	at := slices.IndexFunc(m.app.Status.Problems, func(p v1alpha1.Problem) bool { return p.Field == "spec.tests[0]" && p.Reason == "TestFailed" })
	if at < 0 || !strings.Contains(m.app.Status.Problems[at].Fix, "trellis can") {
		t.Errorf("the problems are %+v", m.app.Status.Problems)
	}
	m.still("/api/v1/reviews", 403)
	if got := m.records(); !slices.Equal(got, []int64{1}) {
		t.Errorf("the records are of generations %v, want 1", got)
	}
}

func (m *mesh) waits(t *testing.T) {
	m.t = t
	m.stopServer()
	must(t, m.change(extended...))
	m.await(v1alpha1.ConditionTestsPassed, metav1.ConditionUnknown, "ServerUnavailable")
	m.await(v1alpha1.ConditionAccepted, metav1.ConditionUnknown, "AwaitingTests")
	m.still("/static", 403)
	m.serve()
	m.await(v1alpha1.ConditionTestsPassed, metav1.ConditionTrue, "Passed")
	m.await(v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	m.answers("/static", 200)
	m.answers("/api/v1/reviews", 403)
	m.until("the older record to go", 10*time.Second, func(context.Context) error {
		if got := m.records(); !slices.Equal(got, []int64{3}) {
			return fmt.Errorf("the records are of generations %v", got)
		}
		return nil
	})
}

func (m *mesh) interfered(t *testing.T) {
	m.t = t
	policy := &securityv1.AuthorizationPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: ingressNamespace, Name: "by-hand"},
		Spec: securityapi.AuthorizationPolicy{
			Selector: &typeapi.WorkloadSelector{MatchLabels: map[string]string{"istio": "ingressgateway"}},
			Action:   securityapi.AuthorizationPolicy_DENY,
			Rules:    []*securityapi.Rule{{To: []*securityapi.Rule_To{{Operation: &securityapi.Operation{Paths: []string{"/productpage"}}}}}},
		},
	}
	must(t, m.client.Create(t.Context(), policy))
	c := m.await(v1alpha1.ConditionTestsPassed, metav1.ConditionFalse, "TestsFailed")
	if !strings.Contains(c.Message, "everybody sees the pages") || !strings.Contains(c.Message, "by-hand") {
		t.Errorf("TestsPassed says %q", c.Message)
	}
	m.await(v1alpha1.ConditionReady, metav1.ConditionFalse, "TestsFailed")
	m.await(v1alpha1.ConditionAccepted, metav1.ConditionTrue, "")
	m.still("/static", 200)
	must(t, m.client.Delete(t.Context(), policy))
	m.await(v1alpha1.ConditionTestsPassed, metav1.ConditionTrue, "Passed")
	m.await(v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
}

const serverName = "trellis-server.trellis-system.svc"

// roots are the authorities of the server's certificate.
func (m *mesh) roots() *x509.CertPool {
	m.t.Helper()
	var secret corev1.Secret
	must(m.t, m.client.Get(m.t.Context(), client.ObjectKey{Namespace: operatorNamespace, Name: "trellis-server"}, &secret))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(secret.Data["ca.crt"])
	return roots
}

func (m *mesh) seen(t *testing.T) {
	m.t = t
	roots, from := m.roots(), time.Now()
	for account, refusal := range map[string]string{"trellis-operator": "", "trellis-server": "may not ask"} {
		token := m.token(t.Context(), account, verdict.Audience)
		asking := &verdict.TrafficClient{
			Config: verdict.ClientConfig{
				ServerName: serverName, Roots: func() (*x509.CertPool, error) { return roots, nil },
				Token: func(context.Context) (string, error) { return token, nil },
			},
			Replicas: func(context.Context) ([]verdict.Replica, error) {
				return []verdict.Replica{{Name: "trellis-server-1", Address: m.address}}, nil
			},
		}
		got, err := asking.Seen(t.Context(), from)
		switch {
		case refusal == "" && (err != nil || got.Lost != 0 || !got.From.Equal(from)):
			t.Errorf("%s is told %+v, %v", account, got, err)
		case refusal != "" && (err == nil || !strings.Contains(err.Error(), refusal)):
			t.Errorf("%s is told %+v, %v", account, got, err)
		}
	}
}

func (m *mesh) told(t *testing.T) {
	m.t = t
	roots := m.roots()
	caller := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: serverName}}}
	for _, c := range []struct {
		account  string
		audience []string
		want     int
	}{
		{"", nil, http.StatusUnauthorized},
		{"trellis-operator", []string{verdict.Audience}, http.StatusOK},
		{"trellis-operator", nil, http.StatusUnauthorized}, // a token for the API server
		{"trellis-server", []string{verdict.Audience}, http.StatusForbidden},
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+m.address+verdict.Path, nil)
		must(t, err)
		if c.account != "" {
			request.Header.Set("Authorization", "Bearer "+m.token(t.Context(), c.account, c.audience...))
		}
		response, err := caller.Do(request)
		must(t, err)
		text, err := io.ReadAll(response.Body)
		must(t, errors.Join(err, response.Body.Close()))
		if response.StatusCode != c.want || (c.want == http.StatusOK) != strings.Contains(string(text), "productpage") {
			t.Errorf("a token of %q for %v is answered %d, want %d: %s", c.account, c.audience, response.StatusCode, c.want, text)
		}
	}
}

func (m *mesh) platform(t *testing.T) {
	m.t = t
	must(t, m.client.Get(t.Context(), client.ObjectKeyFromObject(m.ingress), m.ingress))
	m.ingress.Spec.Applications[0].Hostnames = []string{"other"}
	m.warned()
	must(t, m.client.Update(t.Context(), m.ingress, client.DryRunAll))
	if got := m.warned(); !strings.Contains(got, "breaks a test of Application bookinfo/productpage") || !strings.Contains(got, "everybody sees the pages") {
		t.Errorf("the warnings are %q", got)
	}
}

func (m *mesh) audited(t *testing.T) {
	m.t = t
	asked, err := m.Audited()
	must(t, err)
	reviewed, read := false, map[string]bool{}
	for _, r := range asked {
		if !r.Allowed {
			t.Errorf("the server may not %s %s in %q: %s", r.Verb, r.Resource, r.Namespace, r.Reason)
		}
		switch {
		case slices.Contains([]string{"get", "list", "watch"}, r.Verb):
			read[r.Resource] = true
		case r.Verb == "create" && r.Resource == "tokenreviews":
			reviewed = true
		default:
			t.Errorf("the server asked to %s %s %s/%s", r.Verb, r.Resource, r.Namespace, r.Name)
		}
	}
	if !reviewed || len(read) < 15 {
		t.Errorf("the audit log has too little: %v, tokens reviewed: %t", read, reviewed)
	}
}
