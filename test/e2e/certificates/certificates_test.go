// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/test/acme"
	"github.com/trellis-mesh/trellis/test/stack"
)

// unavailable is an authority that does not do something for now.
func unavailable(path string) acme.Fault {
	return acme.Fault{Path: path, Times: -1, Status: http.StatusServiceUnavailable, Type: "serverInternal", Detail: "busy", RetryAfter: "1"}
}

// provenAtTheGateway is an authority that looks at the gateway of a site, and what
// a SecureIngress says of it.
func provenAtTheGateway(s *site) (*acme.Server, string) {
	ca := s.authority(acme.Options{Address: s.address, HTTPPort: s.port()})
	return ca, fmt.Sprintf("  tls: {builtIn: {directory: %q}}\n", ca.Directory)
}

func TestACertificateIsProvenAtTheGatewayAndServed(t *testing.T) {
	s := newSite(t, "proven")
	ca, tls := provenAtTheGateway(s)
	ca.Inject(unavailable(acme.PathNewOrder))
	s.publish(tls)

	s.await("the placeholder", func(ctx context.Context) error {
		leaf, err := s.leaf(ctx)
		if err == nil && leaf.Subject.CommonName != "Trellis placeholder" {
			err = fmt.Errorf("%s is served", leaf.Subject)
		}
		return err
	})
	if err := s.get(t.Context(), ca.Roots(0)); err == nil {
		t.Error("the placeholder is trusted by who trusts the authority")
	}
	ca.Heal()
	c := s.issued()
	if c.Spec.Challenge != string(v1alpha1.ChallengeHTTP01) || c.Spec.ProviderRef != nil {
		t.Errorf("the challenge is %s with %v", c.Spec.Challenge, c.Spec.ProviderRef)
	}
	s.served(ca.Roots(0))
	s.checkPlain(t)
	if n := ca.Orders(); n != 1 {
		t.Errorf("there were %d orders", n)
	}
	if secret := s.secret(c); secret.Type != corev1.SecretTypeTLS || len(secret.Labels) == 0 {
		t.Errorf("the Secret is of type %s with the labels %v", secret.Type, secret.Labels)
	}
	s.ready()
}

// token is how the authority's request looks in the gateway's access log.
var token = regexp.MustCompile(`/\.well-known/acme-challenge/[-_A-Za-z0-9]+`)

// checkPlain looks at plain HTTP after a certificate was issued.
func (s *site) checkPlain(t *testing.T) {
	t.Helper()
	var seen string
	s.await("the authority's request in the access log", func(context.Context) error {
		text, err := os.ReadFile(s.gateway.AccessLog)
		if err != nil {
			return err
		}
		// The authority names the port that it was told, and our own look none.
		from := fmt.Sprintf(`"authority":"%s:%d"`, s.host, s.port())
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, from) && strings.Contains(line, `"response_code":200`) {
				seen = token.FindString(line)
			}
		}
		if seen == "" {
			return fmt.Errorf("the log is %s", text)
		}
		return nil
	})
	plain := func(path string) *stack.Response {
		r, err := s.gateway.HTTP(t.Context(), stack.Request{Host: s.host, Path: path})
		must(t, err)
		return r
	}
	if r := plain("/index"); r.Status != http.StatusPermanentRedirect || r.Header.Get("Location") != "https://"+s.host+"/index" {
		t.Errorf("plain HTTP is answered %d, to %q", r.Status, r.Header.Get("Location"))
	}
	if r := plain("/.well-known/acme-challenge/" + strings.Repeat("x", 43)); r.Status != http.StatusNotFound {
		t.Errorf("a token that nobody awaits is answered %d", r.Status)
	}
	s.await("the token that was used to be gone", func(ctx context.Context) error {
		r, err := s.gateway.HTTP(ctx, stack.Request{Host: s.host, Path: seen})
		if err == nil && r.Status != http.StatusNotFound {
			err = fmt.Errorf("it is answered %d", r.Status)
		}
		return err
	})
}

// ready waits until the operator itself has seen the certificate in use.
func (s *site) ready() {
	s.t.Helper()
	s.await("the Application to be ready", func(ctx context.Context) error {
		app := &v1alpha1.Application{}
		if err := world.client.Get(ctx, client.ObjectKeyFromObject(s.app), app); err != nil {
			return err
		}
		if c := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionReady); c == nil || c.Status != metav1.ConditionTrue {
			return fmt.Errorf("it is %+v", app.Status.Conditions)
		}
		return nil
	})
}

func TestARenewalThatTheAuthorityAsksForFailsNoRequest(t *testing.T) {
	s := newSite(t, "renewed")
	ca, tls := provenAtTheGateway(s)
	s.publish(tls)
	c := s.issued()
	t.Logf("%.1f s from apply to issued, proven at the gateway", time.Since(s.started).Seconds())
	s.served(ca.Roots(0))
	t.Logf("%.1f s from apply to HTTPS with it", time.Since(s.started).Seconds())
	s.ready()
	before := s.secret(c)

	stop := s.load(ca)
	// The authority says how often it wants to be asked: four times a day.
	now := world.clock.Now()
	must(t, ca.SetRenewalInfo(before.Data[corev1.TLSCertKey], acme.Window(now, now.Add(time.Hour))))
	world.clock.jump(7 * time.Hour)
	look := fmt.Appendf(nil, `{"metadata":{"annotations":{"example.com/looked-at":%q}}}`, now.Format(time.RFC3339))
	must(t, world.client.Patch(t.Context(), c, client.RawPatch(types.MergePatchType, look)))
	started := time.Now()
	s.await("another certificate at the gateway", func(ctx context.Context) error {
		leaf, err := s.leaf(ctx)
		if err == nil && leaf.SerialNumber.String() == serial(t, before) {
			err = errors.New("it is the first one")
		}
		return err
	})
	t.Logf("%.1f s from the authority's wish to another certificate at the gateway", time.Since(started).Seconds())
	s.issued()
	sent, failed := stop()
	t.Logf("%d requests during the rotation, %d failed", sent, len(failed))
	if len(failed) > 0 {
		t.Errorf("%d of %d requests failed, the first so: %v", len(failed), sent, failed[0])
	}
	if sent < 20 {
		t.Errorf("only %d requests were sent", sent)
	}
	after := s.secret(c)
	if bytes.Equal(before.Data[corev1.TLSPrivateKeyKey], after.Data[corev1.TLSPrivateKeyKey]) {
		t.Error("the key is the same")
	}
	if n := ca.Orders(); n != 2 {
		t.Errorf("there were %d orders", n)
	}
	s.ready()
}

// load sends requests over fresh connections, one after the other without a pause,
// until it is stopped.
func (s *site) load(ca *acme.Server) (stop func() (sent int, failed []error)) {
	done, ended := make(chan struct{}), make(chan struct{})
	var sent int
	var failed []error
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			default:
			}
			sent++
			if err := s.get(context.Background(), ca.Roots(0)); err != nil {
				failed = append(failed, err)
			}
		}
	}()
	return func() (int, []error) {
		close(done)
		<-ended
		return sent, failed
	}
}

func TestAnOperatorThatIsRestartedInTheMiddleOfAnOrderGoesOnWithIt(t *testing.T) {
	s := newSite(t, "restarted")
	ca, tls := provenAtTheGateway(s)
	published := false
	for _, path := range []string{acme.PathAuthz, acme.PathChallenge, acme.PathFinalize, acme.PathCertificate} {
		before := len(ca.Requests(path))
		ca.Inject(unavailable(path))
		if published {
			must(t, world.operate(t.Context()))
		} else {
			s.publish(tls)
			published = true
		}
		s.await("a request that begins with "+path, func(context.Context) error {
			if len(ca.Requests(path)) == before {
				return errors.New("there was none")
			}
			return nil
		})
		must(t, world.stop())
		ca.Heal()
	}
	must(t, world.operate(t.Context()))
	s.issued()
	s.served(ca.Roots(0))
	if n := len(ca.Requests(acme.PathNewOrder)); n != 1 {
		t.Errorf("%d orders were sent", n)
	}
	if n := ca.Orders(); n != 1 {
		t.Errorf("there were %d orders", n)
	}
}
