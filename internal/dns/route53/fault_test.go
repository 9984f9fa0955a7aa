// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package route53_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/internal/dns/route53"
	fake "github.com/trellis-mesh/trellis/test/fake/route53"
)

// calls are all methods that make requests, each on a zone with one record set.
func (w *world) calls(t *testing.T, p *route53.Provider) map[string]func() error {
	t.Helper()
	s := set(t, "new.example.test", dns.TypeA, "192.0.2.1")
	return map[string]func() error{
		"Zones": func() error { _, err := p.Zones(t.Context()); return err },
		"Read":  func() error { _, err := p.Read(t.Context(), w.zone, []dns.Name{s.Name}); return err },
		"Apply": func() error {
			_, err := p.Apply(t.Context(), w.zone, []dns.Change{{Name: s.Name, Create: []dns.RecordSet{s}}})
			return err
		},
		"Spread": func() error { _, err := p.Spread(t.Context(), w.zone, "C1"); return err },
	}
}

func TestWrongAndExpiredCredentialsAreToldApartAndNotShown(t *testing.T) {
	for name, c := range map[string]struct {
		config route53.Config
		says   string
	}{
		"a wrong secret":     {route53.Config{AccessKeyID: "AKIAOURS", SecretAccessKey: "not-" + secret}, "SignatureDoesNotMatch"},
		"an unknown key":     {route53.Config{AccessKeyID: "AKIANOBODY", SecretAccessKey: secret}, "InvalidClientTokenId"},
		"an expired session": {route53.Config{AccessKeyID: "ASIAEXPIRED", SecretAccessKey: secret, SessionToken: "session-token-of-old"}, "ExpiredToken"},
		"no rights":          {route53.Config{AccessKeyID: "AKIADENIED", SecretAccessKey: secret}, "is not authorized to perform"},
		"no credentials":     {route53.Config{}, "getting credentials"},
		"a foreign role":     {route53.Config{AccessKeyID: "AKIAOURS", SecretAccessKey: secret, RoleARN: "arn:aws:iam::123456789012:role/none"}, "AccessDenied"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.put(t, set(t, "www.example.test", dns.TypeA, "192.0.2.9"))
			before := texts(w.dump(t))
			for method, call := range w.calls(t, w.as(t, c.config)) {
				first, second := call(), call()
				if !errors.Is(first, dns.ErrCredentials) || !strings.Contains(first.Error(), c.says) {
					t.Errorf("%s gave %v, want ErrCredentials with %q", method, first, c.says)
				}
				if second == nil || first.Error() != second.Error() {
					t.Errorf("%s reads differently each time:\n%v\n%v", method, first, second)
				}
				for _, never := range []string{secret, "session-token-of-old", "RequestID"} {
					if strings.Contains(fmt.Sprintf("%+v", first), never) {
						t.Errorf("%s tells %q", method, never)
					}
				}
			}
			if after := texts(w.dump(t)); !slices.Equal(before, after) {
				t.Errorf("the zone has changed from %q to %q", before, after)
			}
		})
	}
}

func TestAClockThatIsWrongIsSaid(t *testing.T) {
	w := newWorld(t)
	w.server.Now = func() time.Time { return time.Now().Add(time.Hour) }
	if _, err := w.provider.Zones(t.Context()); !errors.Is(err, dns.ErrCredentials) || !strings.Contains(err.Error(), "clock") {
		t.Errorf("the error is %v, want ErrCredentials that speaks of the clock", err)
	}
}

func TestCredentialsComeFromWhereverTheProcessHasThem(t *testing.T) {
	const role = "arn:aws:iam::123456789012:role/dns"
	pod := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "pod-token" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		fmt.Fprintf(w, `{"AccessKeyId": "AKIAOURS", "SecretAccessKey": %q, "Token": "", "Expiration": %q}`, secret, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	}))
	t.Cleanup(pod.Close)
	token := filepath.Join(t.TempDir(), "token")
	profile := filepath.Join(t.TempDir(), "credentials")
	for path, text := range map[string]string{token: "a-pod's-token", profile: "[dns]\naws_access_key_id = AKIAOURS\naws_secret_access_key = " + secret + "\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		environment map[string]string
		config      route53.Config
	}{
		"keys in the environment": {environment: map[string]string{"AWS_ACCESS_KEY_ID": "AKIAOURS", "AWS_SECRET_ACCESS_KEY": secret}},
		"a web identity (IRSA)":   {environment: map[string]string{"AWS_ROLE_ARN": role, "AWS_WEB_IDENTITY_TOKEN_FILE": token}},
		"a pod identity":          {environment: map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": pod.URL, "AWS_CONTAINER_AUTHORIZATION_TOKEN": "pod-token"}},
		"a profile":               {environment: map[string]string{"AWS_SHARED_CREDENTIALS_FILE": profile, "AWS_PROFILE": "dns"}},
		"a role to assume":        {config: route53.Config{AccessKeyID: "AKIAOURS", SecretAccessKey: secret, RoleARN: role, ExternalID: "ours"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			r := fake.Role{WebToken: "a-pod's-token"}
			if c.config.ExternalID != "" {
				r.ExternalID = c.config.ExternalID
			}
			w.server.AddRole(role, r)
			for k, v := range c.environment {
				t.Setenv(k, v)
			}
			zones, err := w.as(t, c.config).Zones(t.Context())
			if err != nil || len(zones) != 1 {
				t.Errorf("the zones are %v, %v", zones, err)
			}
		})
	}
}

func TestAnEndpointIsNotShownWhatSTSIs(t *testing.T) {
	const role, other = "arn:aws:iam::123456789012:role/operator", "arn:aws:iam::123456789012:role/dns"
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("the-pods-token"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		environment map[string]string
		config      route53.Config
		sts         string
	}{
		"a web identity": {
			environment: map[string]string{"AWS_ROLE_ARN": role, "AWS_WEB_IDENTITY_TOKEN_FILE": token},
			sts:         "AssumeRoleWithWebIdentity",
		},
		"a role": {config: route53.Config{AccessKeyID: "AKIAOURS", SecretAccessKey: secret, RoleARN: other}, sts: "AssumeRole"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.server.AddRole(role, fake.Role{WebToken: "the-pods-token"})
			w.server.AddRole(other, fake.Role{})
			for k, v := range c.environment {
				t.Setenv(k, v)
			}
			var asked []string
			elsewhere := httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				asked = append(asked, r.Method+" "+r.URL.Path+" "+string(body))
				if err != nil {
					t.Error(err)
				}
				answer.WriteHeader(http.StatusForbidden)
			}))
			t.Cleanup(elsewhere.Close)
			c.config.Endpoint, c.config.Limiter = elsewhere.URL, w.waits
			p, err := route53.New(t.Context(), c.config)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.Zones(t.Context()); err == nil {
				t.Error("a refusal is no error")
			}
			if n := w.server.Calls(c.sts); n != 1 {
				t.Errorf("%s was asked of STS %d times, want once", c.sts, n)
			}
			if len(asked) != 1 || !strings.HasPrefix(asked[0], "GET /2013-04-01/hostedzone") || strings.Contains(asked[0], "token") {
				t.Errorf("the endpoint was asked %q", asked)
			}
		})
	}
}

func TestWhoGivesOutCredentialsMayBeAwayForAWhile(t *testing.T) {
	const role = "arn:aws:iam::123456789012:role/dns"
	for name, fault := range map[string]*fake.Fault{
		"a broken connection": {},
		"an outage":           {Status: http.StatusServiceUnavailable, Code: "ServiceUnavailable", Message: "later"},
		"throttling":          fake.Throttled(),
	} {
		w := newWorld(t)
		w.server.AddRole(role, fake.Role{})
		w.server.Inject(func(c fake.Call) *fake.Fault {
			if c.Operation == "AssumeRole" {
				return fault
			}
			return nil
		})
		p := w.as(t, route53.Config{AccessKeyID: "AKIAOURS", SecretAccessKey: secret, RoleARN: role})
		_, err := p.Zones(t.Context())
		var throttled *dns.ThrottledError
		if err == nil || errors.Is(err, dns.ErrCredentials) || errors.As(err, &throttled) != (name == "throttling") {
			t.Errorf("%s: the error is %v", name, err)
		}
		w.server.Inject(nil)
		if _, err := p.Zones(t.Context()); err != nil {
			t.Errorf("after %s: %v", name, err)
		}
	}
}

func TestWhereNothingGivesCredentialsThereAreNone(t *testing.T) {
	w := newWorld(t)
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	t.Setenv("AWS_EC2_METADATA_DISABLED", "false")
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", gone.URL)
	if _, err := w.as(t, route53.Config{}).Zones(t.Context()); !errors.Is(err, dns.ErrCredentials) {
		t.Errorf("the error is %v, want ErrCredentials", err)
	}
}

func TestASessionThatWasRefusedIsReplacedByTheNextCall(t *testing.T) {
	const role = "arn:aws:iam::123456789012:role/dns"
	w := newWorld(t)
	w.server.AddRole(role, fake.Role{})
	p := w.as(t, route53.Config{AccessKeyID: "AKIAOURS", SecretAccessKey: secret, RoleARN: role})
	if _, err := p.Zones(t.Context()); err != nil {
		t.Fatal(err)
	}
	// By the server's clock the session is over; the client's cache still trusts it.
	w.server.ExpireSessions()
	if _, err := p.Zones(t.Context()); !errors.Is(err, dns.ErrCredentials) {
		t.Fatalf("the error is %v, want ErrCredentials", err)
	}
	if _, err := p.Zones(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestThrottlingAndAZoneThatIsBusyAreToldAndNotTriedAgain(t *testing.T) {
	for name, fault := range map[string]*fake.Fault{
		"too many requests": fake.Throttled(), "a prior request": fake.PriorRequestNotComplete(),
	} {
		for _, method := range []string{"Zones", "Read", "Apply", "Spread"} {
			t.Run(name+" at "+method, func(t *testing.T) {
				w := newWorld(t)
				before := texts(w.dump(t))
				start := w.server.Calls("")
				w.server.Inject(func(fake.Call) *fake.Fault { return fault })
				var throttled *dns.ThrottledError
				if err := w.calls(t, w.provider)[method](); !errors.As(err, &throttled) || !strings.Contains(err.Error(), fault.Code) {
					t.Errorf("the error is %v, want a ThrottledError with %s", err, fault.Code)
				}
				if n := w.server.Calls("") - start; n != 1 {
					t.Errorf("%d requests, want 1", n)
				}
				w.server.Inject(nil)
				if after := texts(w.dump(t)); !slices.Equal(before, after) {
					t.Errorf("the zone has changed from %q to %q", before, after)
				}
			})
		}
	}
}

func TestABrokenConnectionIsAnErrorThatMayGoAway(t *testing.T) {
	w := newWorld(t)
	for _, fault := range []fake.Fault{{}, {Status: http.StatusServiceUnavailable, Code: "ServiceUnavailable", Message: "later"}, {Status: http.StatusInternalServerError, Code: "InternalFailure", Message: "sorry"}} {
		w.server.Inject(func(fake.Call) *fake.Fault { return &fault })
		for method, call := range w.calls(t, w.provider) {
			err := call()
			var throttled *dns.ThrottledError
			if err == nil || errors.As(err, &throttled) {
				t.Errorf("%s gave %v", method, err)
			}
			for _, never := range []error{dns.ErrCredentials, dns.ErrInvalid, dns.ErrNoZone, dns.ErrStale, dns.ErrTooLarge} {
				if errors.Is(err, never) {
					t.Errorf("%s gave %v", method, err)
				}
			}
		}
	}
}

func TestWhatIsNoAnswerOfTheServiceIsAnError(t *testing.T) {
	for _, body := range []string{"", "<html>", "{}", `<?xml version="1.0"?><ListHostedZonesResponse/>`, strings.Repeat("<a>", 10000),
		`<ListResourceRecordSetsResponse><ResourceRecordSets><ResourceRecordSet/></ResourceRecordSets><IsTruncated>false</IsTruncated></ListResourceRecordSetsResponse>`} {
		for _, status := range []int{http.StatusOK, http.StatusBadRequest, http.StatusBadGateway} {
			w := newWorld(t)
			odd := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(status)
				fmt.Fprint(w, body)
			}))
			t.Cleanup(odd.Close)
			w.address = odd.URL
			for method, call := range w.calls(t, w.as(t, route53.Config{AccessKeyID: "AKIAOURS", SecretAccessKey: secret})) {
				if err := call(); status != http.StatusOK && err == nil {
					t.Errorf("%s took %d %.40q for an answer", method, status, body)
				}
			}
		}
	}
}

func TestAZoneThatIsTakenAwayIsSaid(t *testing.T) {
	w := newWorld(t)
	w.server.RemoveZone(w.zone.ID)
	calls := w.calls(t, w.provider)
	for _, method := range []string{"Read", "Apply"} {
		if err := calls[method](); !errors.Is(err, dns.ErrNoZone) {
			t.Errorf("%s gave %v, want ErrNoZone", method, err)
		}
	}
}

// kill lets n more requests pass; of the next one the answer is lost, and where
// late is false the request too. Nothing gets through after that.
func (w *world) kill(n int, late bool) {
	start := w.server.Calls("")
	w.server.Inject(func(c fake.Call) *fake.Fault {
		switch i := c.Index - start; {
		case i < n:
			return nil
		case i == n:
			return &fake.Fault{Late: late}
		}
		return &fake.Fault{}
	})
}

// states are what one resource wants one after the other.
func states(t *testing.T, p dns.Provider, zone dns.Zone, name dns.Name) []dns.Wanted {
	t.Helper()
	alias, err := p.Point(zone, name, "", 60, dns.Target{Host: "shop-1.us-east-1.elb.amazonaws.com"})
	if err != nil {
		t.Fatal(err)
	}
	a, aa := set(t, name, dns.TypeA, "192.0.2.1"), set(t, name, dns.TypeA, "192.0.2.1", "192.0.2.2")
	sets := [][]dns.RecordSet{{a}, {aa, set(t, name, dns.TypeAAAA, "2001:db8::1")}, alias, {a}}
	if name != zone.Name {
		sets = append(sets, []dns.RecordSet{set(t, name, dns.TypeCNAME, "lb.example.net")}, alias, []dns.RecordSet{set(t, name, dns.TypeCNAME, "lb.example.net")})
	}
	var out []dns.Wanted
	for _, s := range append(sets, nil) {
		out = append(out, dns.Wanted{Resource: "shop/web", Name: name, Sets: s})
	}
	return out
}

// TestKilledAtAnyCallASecondRunConverges ends the service at each request of each
// step, before and after the request is carried out. A second run leaves exactly
// what there would be without that, and a third one has nothing to do.
func TestKilledAtAnyCallASecondRunConverges(t *testing.T) {
	for _, name := range []dns.Name{"example.test", "www.example.test", "*.shop.example.test"} {
		for _, late := range []bool{false, true} {
			clean := newWorld(t)
			steps := states(t, clean.provider, clean.zone, name)
			for i, next := range steps {
				clean.mustRun(t, next)
				for n := 0; ; n++ {
					w := newWorld(t)
					for _, before := range steps[:i] {
						w.mustRun(t, before)
					}
					w.kill(n, late)
					_, err := w.run(t, w.provider, next)
					w.server.Inject(nil)
					at := fmt.Sprintf("step %d at %s, killed at request %d, late %v", i, name, n, late)
					w.mustRun(t, next)
					if is, want := texts(w.dump(t)), texts(clean.dump(t)); !slices.Equal(is, want) {
						t.Fatalf("%s: there is %q, want %q", at, is, want)
					}
					if again := w.mustRun(t, next); again.Change != nil {
						t.Fatalf("%s: there is still to do %+v", at, again.Steps)
					}
					if err == nil {
						break
					}
				}
			}
			if left := clean.dump(t); len(left) != 0 {
				t.Errorf("%s: left behind is %q", name, texts(left))
			}
		}
	}
}

func TestAnEndedWaitForAPlaceSendsNothing(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	before := w.server.Calls("")
	if _, err := w.provider.Zones(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v, want context.Canceled", err)
	}
	if n := w.server.Calls("") - before; n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}
