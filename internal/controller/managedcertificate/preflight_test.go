// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedcertificate_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/acme/caa"
	"github.com/trellis-mesh/trellis/internal/controller/managedcertificate"
	pebble "github.com/trellis-mesh/trellis/test/acme"
)

// either reaches the CA that a request is for.
type either struct{ a, b *pebble.Server }

func (e either) RoundTrip(req *http.Request) (*http.Response, error) {
	if strings.Contains(e.a.Directory, "//"+req.URL.Host+"/") {
		return e.a.Transport.RoundTrip(req)
	}
	return e.b.Transport.RoundTrip(req)
}

// withStaging is a world with a certificate that is to be tried at another CA first.
func withStaging(t *testing.T, challenge string) *world {
	t.Helper()
	w := newWorld(t, pebble.New(t, pebble.Options{}), challenge)
	w.staging = pebble.New(t, pebble.Options{})
	w.options.Transport = either{w.ca, w.staging}
	w.restart()
	cert := w.wanted(challenge, "a.example.com")
	cert.Spec.Preflight, cert.Spec.PreflightDirectory = true, w.staging.Directory
	w.create(cert)
	return w
}

// real requires that what is served is of the CA that counts, or a placeholder.
func (w *world) real() {
	w.t.Helper()
	if w.secret(w.shop, "web-tls") == nil {
		return
	}
	pair, info := w.served()
	if info.Placeholder {
		return
	}
	w.trusted(pair)
}

func TestAPreflightComesBeforeTheOrderAndIsNeverServed(t *testing.T) {
	t.Parallel()
	for _, challenge := range []string{"HTTP01", "DNS01"} {
		w := withStaging(t, challenge)
		seen := map[string]bool{}
		w.until("the certificate", func(c *v1alpha1.ManagedCertificate) bool {
			w.real()
			seen[c.Status.Phase] = true
			if w.ca.Orders() > 0 && w.staging.Count(pebble.PathCertificate, 200) == 0 {
				t.Errorf("%s: ordered before the preflight was over", challenge)
			}
			return isIssued(c)
		})
		if w.staging.Orders() != 1 || w.ca.Orders() != 1 || !seen["Rehearsing"] {
			t.Errorf("%s: %d orders, %d for the preflight; phases %v", challenge, w.ca.Orders(), w.staging.Orders(), seen)
		}
		if n := w.events.count("Issued"); n != 1 {
			t.Errorf("%s: %d events", challenge, n)
		}
		if n := len(w.accounts().Data); n != 2 {
			t.Errorf("%s: %d accounts, want one at each CA", challenge, n)
		}
		// A renewal of the same does not depend on a CA that is for tests.
		w.annotate(v1alpha1.RenewAnnotation, "1")
		w.until("the renewal", func(c *v1alpha1.ManagedCertificate) bool { return isIssued(c) && w.ca.Orders() == 2 })
		w.change(func(c *v1alpha1.ManagedCertificate) { c.Spec.DNSNames = []string{"b.example.com"} })
		w.until("other names", func(c *v1alpha1.ManagedCertificate) bool { return isIssued(c) && w.ca.Orders() == 3 })
		if n := w.staging.Orders(); n != 2 {
			t.Errorf("%s: %d preflights, want one more for other names", challenge, n)
		}
		w.real()
	}
}

func TestAPreflightThatFailsCostsNothingThatCounts(t *testing.T) {
	t.Parallel()
	w := withStaging(t, "HTTP01")
	w.blind = true
	w.until("the failure", func(c *v1alpha1.ManagedCertificate) bool {
		return w.state().LastError != nil && c.Status.NextTry != nil
	})
	w.ready(metav1.ConditionFalse, "Failed", "in the preflight at 127.0.0.1", "unauthorized", "next try at")
	if n := len(w.ca.Requests("/")); n != 0 {
		t.Errorf("%d requests to the CA that counts", n)
	}
	w.blind = false
	w.annotate(v1alpha1.RetryAnnotation, "1")
	w.until("the certificate", isIssued)
	w.real()
	if w.staging.Orders() != 2 || w.ca.Orders() != 1 {
		t.Errorf("%d orders, %d for the preflight", w.ca.Orders(), w.staging.Orders())
	}
}

func TestAPreflightThatIsRefusedForGoodWaitsForAPerson(t *testing.T) {
	t.Parallel()
	w := withStaging(t, "HTTP01")
	w.staging.Inject(pebble.Fault{Path: pebble.PathNewOrder, Status: 400, Type: "rejectedIdentifier", Detail: "not this one", Times: 1})
	w.until("the refusal", func(c *v1alpha1.ManagedCertificate) bool { return c.Status.Phase == "Failed" })
	w.ready(metav1.ConditionFalse, "Failed", "in the preflight", "not this one", v1alpha1.RetryAnnotation)
	// Who does without it gets the certificate.
	w.change(func(c *v1alpha1.ManagedCertificate) { c.Spec.Preflight, c.Spec.PreflightDirectory = false, "" })
	w.until("the certificate", isIssued)
	if w.staging.Orders() != 0 || w.ca.Orders() != 1 {
		t.Errorf("%d orders, %d for the preflight", w.ca.Orders(), w.staging.Orders())
	}
}

func TestAProcessKilledAtAnyCallOfAPreflightGoesOnWithIt(t *testing.T) {
	t.Parallel()
	reference := withStaging(t, "HTTP01")
	reference.issue()
	// Each third call, before and after it: the way is twice as long.
	for at := int64(1); at <= reference.calls.Load(); at += 3 {
		w := withStaging(t, "HTTP01")
		w.dead(at, at%2 == 0)
		for range 30 {
			result, err := w.look()
			w.real()
			if err != nil {
				break
			}
			w.clock.ahead.Add(int64(result.RequeueAfter))
		}
		w.converge()
		w.real()
		if w.staging.Orders() != 1 || w.ca.Orders() != 1 {
			t.Errorf("call %d: %d orders, %d for the preflight", at, w.ca.Orders(), w.staging.Orders())
		}
	}
}

func TestWhatTheAPIServerRefusesOfACertificate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), "HTTP01")
	w.keyless = true
	for name, test := range map[string]struct {
		edit func(*v1alpha1.ManagedCertificateSpec)
		want string
	}{
		"no directory for tests is known": {func(s *v1alpha1.ManagedCertificateSpec) { s.Preflight = true }, "preflight needs preflightDirectory"},
		"no preflight": {func(s *v1alpha1.ManagedCertificateSpec) {
			s.PreflightDirectory = "https://staging.example/dir"
		}, "has no effect"},
		"the same directory": {func(s *v1alpha1.ManagedCertificateSpec) {
			s.Preflight, s.PreflightDirectory = true, s.Directory
		}, "another directory"},
		"an external account": {func(s *v1alpha1.ManagedCertificateSpec) {
			s.Preflight, s.PreflightDirectory = true, "https://staging.example/dir"
			s.ExternalAccount = &v1alpha1.ExternalAccount{KeyID: "k", KeySecretRef: v1alpha1.SecretReference{Name: "s"}}
		}, "externalAccount"},
		"Let's Encrypt has one": {func(s *v1alpha1.ManagedCertificateSpec) { s.Preflight, s.Directory = true, "" }, ""},
	} {
		cert := w.wanted("HTTP01", "a.example.com")
		test.edit(&cert.Spec)
		err := w.client.Create(t.Context(), cert)
		if test.want == "" && err != nil || test.want != "" && (!apierrors.IsInvalid(err) || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	cert := w.cert()
	cert.Spec.SecretName = "other-tls"
	if err := w.client.Update(t.Context(), cert); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "make another ManagedCertificate") {
		t.Errorf("another Secret: %v", err)
	}
}

// zone has CAA records at names.
type zone map[string]string

func (z zone) LookupCAA(_ context.Context, name string) ([]caa.Record, error) {
	switch issuer := z[name]; issuer {
	case "":
		return nil, nil
	case "broken":
		return nil, errors.New("SERVFAIL")
	default:
		return []caa.Record{{Tag: "issue", Value: issuer}}, nil
	}
}

func TestCAAThatForbidsIsWarnedOfBeforeTheOrderAndEndsItWhenTheCASaysSo(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		at, issuer string
		warned     bool
	}{
		"the CA at the parent":    {"example.com", pebble.Identity, false},
		"another at the parent":   {"example.com", "other.example", true},
		"nobody at the name":      {"a.example.com", ";", true},
		"a resolver that fails":   {"example.com", "broken", true},
		"another CA at a sibling": {"b.example.com", "other.example", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, pebble.New(t, pebble.Options{}), "HTTP01")
			w.options.CAA = zone{test.at: test.issuer}
			w.restart()
			w.create(w.wanted("HTTP01", "a.example.com"))
			// Pebble does not look at CAA itself.
			w.ca.Inject(pebble.Fault{Path: pebble.PathFinalize, Status: 403, Type: "caa", Detail: "CAA record for a.example.com prevents issuance", Times: 1})
			warned := false
			w.until("the refusal", func(c *v1alpha1.ManagedCertificate) bool {
				warned = warned || meta.IsStatusConditionTrue(c.Status.Conditions, managedcertificate.ConditionWarned)
				return c.Status.Phase == "Failed"
			})
			if warned != test.warned || w.events.count("Warned") != map[bool]int{true: 1}[test.warned] {
				t.Errorf("warned is %t; events %q", warned, w.events.notes)
			}
			w.ready(metav1.ConditionFalse, "Failed", "prevents issuance", "caa", "nothing is tried again until")
			w.clock.ahead.Add(int64(30 * 24 * time.Hour))
			if _, err := w.look(); err != nil || w.ca.Orders() != 1 {
				t.Errorf("%d orders: %v", w.ca.Orders(), err)
			}
			w.clock.ahead.Store(0)
			w.annotate(v1alpha1.RetryAnnotation, fmt.Sprint(name))
			w.issue()
			if c := meta.FindStatusCondition(w.cert().Status.Conditions, managedcertificate.ConditionWarned); c != nil {
				t.Errorf("still %+v", c)
			}
		})
	}
}
