// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package azure_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/internal/dns/azure"
	fake "github.com/trellis-mesh/trellis/test/fake/azuredns"
)

// calls are all methods that make requests.
func (w *world) calls(t *testing.T, p *azure.Provider) map[string]func() error {
	t.Helper()
	s := set(t, "new.example.test", dns.TypeA, "192.0.2.1")
	return map[string]func() error{
		"Zones": func() error { _, err := p.Zones(t.Context()); return err },
		"Read":  func() error { _, err := p.Read(t.Context(), w.zone, []dns.Name{s.Name}); return err },
		"Apply": func() error {
			_, err := p.Apply(t.Context(), w.zone, []dns.Change{{Name: s.Name, Create: []dns.RecordSet{s}}})
			return err
		},
	}
}

// tokenFile is a workload identity's.
func tokenFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWrongAndExpiredCredentialsAreToldApartAndNotShown(t *testing.T) {
	for name, c := range map[string]struct {
		config azure.Config
		says   string
	}{
		"a wrong secret":                 {azure.Config{ClientID: "ours", ClientSecret: "not-" + secret}, "AADSTS7000215"},
		"an expired secret":              {azure.Config{ClientID: "expired", ClientSecret: secret}, "AADSTS7000222"},
		"an unknown application":         {azure.Config{ClientID: "nobody", ClientSecret: secret}, "AADSTS700016"},
		"a token that nobody trusts":     {azure.Config{ClientID: "ours", TokenFile: tokenFile(t, "another-"+secret)}, "AADSTS700213"},
		"a token file that is not there": {azure.Config{ClientID: "ours", TokenFile: "/nonexistent/token"}, "getting a token"},
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
				if text := fmt.Sprintf("%+v", first); strings.Contains(text, secret) || strings.Contains(text, "Trace ID") {
					t.Errorf("%s tells too much: %s", method, text)
				}
			}
			if after := texts(w.dump(t)); !slices.Equal(before, after) {
				t.Errorf("the zone has changed from %q to %q", before, after)
			}
		})
	}
}

func TestATokenThatIsRefusedIsSaidWithItsReason(t *testing.T) {
	for says, token := range map[string]fake.Token{
		"ExpiredAuthenticationToken": {Expires: time.Now().Add(-time.Minute)},
		"AuthorizationFailed":        {Denied: true},
	} {
		w := newWorld(t)
		if _, err := w.provider.Zones(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.server.ChangeTokens(token)
		for method, call := range w.calls(t, w.provider) {
			first, second := call(), call()
			if !errors.Is(first, dns.ErrCredentials) || !strings.Contains(first.Error(), says) {
				t.Errorf("%s gave %v, want ErrCredentials with %s", method, first, says)
			}
			if second == nil || first.Error() != second.Error() {
				t.Errorf("%s reads differently each time:\n%v\n%v", method, first, second)
			}
		}
	}
}

func TestAWorkloadIdentityIsTakenFromThePod(t *testing.T) {
	w := newWorld(t)
	t.Setenv("AZURE_FEDERATED_TOKEN_FILE", tokenFile(t, "a-pod's-token"))
	t.Setenv("AZURE_CLIENT_ID", "ours")
	if zones, err := w.as(t, azure.Config{}).Zones(t.Context()); err != nil || len(zones) != 1 {
		t.Errorf("the zones are %v, %v", zones, err)
	}
}

func TestAManagedIdentityAsksTheMachine(t *testing.T) {
	w := newWorld(t)
	w.server.AddToken("of-the-machine", fake.Token{})
	asked := ""
	machine := roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.URL.Host != "169.254.169.254" {
			return w.web.Client().Transport.RoundTrip(r)
		}
		asked = r.URL.Query().Get("client_id") + r.Header.Get("Metadata")
		out := httptest.NewRecorder()
		fmt.Fprint(out, `{"access_token": "of-the-machine", "expires_in": "3600", "resource": "https://management.azure.com", "token_type": "Bearer"}`)
		return out.Result(), nil
	})
	p := w.as(t, azure.Config{ClientID: "a-user-assigned-identity", HTTPClient: &http.Client{Transport: machine}})
	if zones, err := p.Zones(t.Context()); err != nil || len(zones) != 1 {
		t.Errorf("the zones are %v, %v", zones, err)
	}
	if asked != "a-user-assigned-identitytrue" {
		t.Errorf("the machine was asked %q", asked)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestThrottlingAndAPendingOperationAreToldAndNotTriedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		fault *fake.Fault
		after time.Duration
	}{
		"too many requests":   {fake.Throttled(17), 17 * time.Second},
		"without a time":      {fake.Throttled(0), 0},
		"an endless time":     {fake.Throttled(1 << 30), time.Hour},
		"a pending operation": {fake.Pending(), 0},
		"an outage":           {&fake.Fault{Status: http.StatusServiceUnavailable, Code: "ServerBusy", RetryAfter: 3}, 3 * time.Second},
	} {
		for _, method := range []string{"Zones", "Read", "Apply"} {
			t.Run(name+" at "+method, func(t *testing.T) {
				w := newWorld(t)
				if _, err := w.provider.Zones(t.Context()); err != nil {
					t.Fatal(err)
				}
				start := w.server.Calls("")
				w.server.Inject(func(fake.Call) *fake.Fault { return c.fault })
				err := w.calls(t, w.provider)[method]()
				var throttled *dns.ThrottledError
				if !errors.As(err, &throttled) || throttled.After != c.after || !strings.Contains(err.Error(), c.fault.Code) {
					t.Errorf("the error is %v, want a ThrottledError after %s", err, c.after)
				}
				if n := w.server.Calls("") - start; n != 1 {
					t.Errorf("%d requests, want 1", n)
				}
				w.server.Inject(nil)
				if left := w.dump(t); len(left) != 0 {
					t.Errorf("there is %q", texts(left))
				}
			})
		}
	}
}

func TestABrokenConnectionIsAnErrorThatMayGoAway(t *testing.T) {
	for _, tokens := range []bool{true, false} {
		for _, fault := range []fake.Fault{{}, {Status: http.StatusInternalServerError, Code: "InternalServerError"}, {Status: http.StatusServiceUnavailable, Code: "ServerBusy"}} {
			w := newWorld(t)
			if !tokens {
				if _, err := w.provider.Zones(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			w.server.Inject(func(fake.Call) *fake.Fault { return &fault })
			for method, call := range w.calls(t, w.provider) {
				err, again := call(), call()
				var throttled *dns.ThrottledError
				if err == nil || errors.As(err, &throttled) {
					t.Errorf("%s gave %v", method, err)
					continue
				}
				if err.Error() != again.Error() {
					t.Errorf("%s reads differently each time:\n%v\n%v", method, err, again)
				}
				for _, never := range []error{dns.ErrCredentials, dns.ErrInvalid, dns.ErrNoZone, dns.ErrStale, dns.ErrTooLarge} {
					if errors.Is(err, never) {
						t.Errorf("%s gave %v", method, err)
					}
				}
			}
		}
	}
}

func TestWhatIsNoAnswerOfTheServiceIsAnErrorAndNoPanic(t *testing.T) {
	w := newWorld(t)
	if _, err := w.provider.Zones(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{"", "null", "[]", "<html>", `{"value": null}`, `{"value": [null, {}]}`, `{"error": "text"}`, `{"code": 7}`,
		`{"value": [{"name": "www", "type": "A", "properties": {"ARecords": [null, {}], "TXTRecords": [{"value": [null]}], "CNAMERecord": {}, "TTL": -1}}]}`} {
		for _, status := range []int{http.StatusOK, http.StatusNotFound, http.StatusConflict, http.StatusBadGateway} {
			odd := roundTripper(func(r *http.Request) (*http.Response, error) {
				if strings.Contains(r.URL.Path, "/oauth2/") || strings.Contains(r.URL.Path, "/.well-known/") {
					return w.web.Client().Transport.RoundTrip(r)
				}
				out := httptest.NewRecorder()
				out.WriteHeader(status)
				fmt.Fprint(out, body)
				response := out.Result()
				response.Request = r
				return response, nil
			})
			p := w.as(t, azure.Config{ClientID: "ours", ClientSecret: secret, HTTPClient: &http.Client{Transport: odd}})
			for method, call := range w.calls(t, p) {
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
	for _, id := range []string{"", "Z1", "/subscriptions"} {
		if _, err := w.provider.Read(t.Context(), dns.Zone{ID: id, Name: "example.test"}, []dns.Name{"example.test"}); !errors.Is(err, dns.ErrNoZone) {
			t.Errorf("the id %q gave %v, want ErrNoZone", id, err)
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
func states(t *testing.T, zone dns.Zone, name dns.Name) []dns.Wanted {
	t.Helper()
	a, aa := set(t, name, dns.TypeA, "192.0.2.1"), set(t, name, dns.TypeA, "192.0.2.1", "192.0.2.2")
	host := set(t, name, dns.TypeCNAME, "lb.example.net")
	sets := [][]dns.RecordSet{{a}, {aa, set(t, name, dns.TypeAAAA, "2001:db8::1")}, {aa}}
	if name != zone.Name {
		sets = append(sets, []dns.RecordSet{host}, []dns.RecordSet{aa, set(t, name, dns.TypeAAAA, "2001:db8::1")}, []dns.RecordSet{host})
	}
	var out []dns.Wanted
	for _, s := range append(sets, nil) {
		out = append(out, dns.Wanted{Resource: "shop/web", Name: name, Sets: s})
	}
	return out
}

// marked checks that whatever data there is has a mark of ours, at any moment.
func (w *world) marked(t *testing.T, at string) {
	t.Helper()
	there := map[dns.Key]bool{}
	all := w.dump(t)
	for _, s := range all {
		there[s.Key] = true
	}
	for _, s := range all {
		if dns.IsMark(s.Key) {
			continue
		}
		mark, err := dns.MarkName(s.Key)
		if err != nil {
			t.Fatal(err)
		}
		if !there[dns.Key{Name: mark, Type: dns.TypeTXT}] {
			t.Errorf("%s: %s has no mark", at, s.Key)
		}
	}
}

// TestKilledAtAnyCallASecondRunConverges ends the service at each request of each
// step, before and after the request is carried out. No data is without its mark
// then. A second run leaves exactly what there would be without that, and a third
// one has nothing to do.
func TestKilledAtAnyCallASecondRunConverges(t *testing.T) {
	for _, name := range []dns.Name{"example.test", "www.example.test", "*.shop.example.test"} {
		for _, late := range []bool{false, true} {
			clean := newWorld(t)
			for i, steps := 0, states(t, clean.zone, name); i < len(steps); i++ {
				clean.mustRun(t, steps[i])
				for n := 0; ; n++ {
					w := newWorld(t)
					for _, before := range steps[:i] {
						w.mustRun(t, before)
					}
					w.kill(n, late)
					_, err := w.run(t, w.provider, steps[i])
					w.server.Inject(nil)
					at := fmt.Sprintf("step %d at %s, killed at request %d, late %v", i, name, n, late)
					w.marked(t, at)
					w.mustRun(t, steps[i])
					if is, want := texts(w.dump(t)), texts(clean.dump(t)); !slices.Equal(is, want) {
						t.Fatalf("%s: there is %q, want %q", at, is, want)
					}
					if again := w.mustRun(t, steps[i]); again.Change != nil {
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

func TestAPartialFailureSaysWhereAndLeavesTheMark(t *testing.T) {
	for want, fault := range map[error]*fake.Fault{
		dns.ErrInvalid:     {Status: http.StatusBadRequest, Code: "BadRequest", Message: "no"},
		dns.ErrCredentials: {Status: http.StatusForbidden, Code: "AuthorizationFailed", Message: "not any more"},
		dns.ErrStale:       {Status: http.StatusPreconditionFailed, Code: "PreconditionFailed", Message: "somebody was faster"},
	} {
		w := newWorld(t)
		puts := 0
		w.server.Inject(func(c fake.Call) *fake.Fault {
			if c.Operation != "PUT record" {
				return nil
			}
			if puts++; puts < 2 {
				return nil
			}
			return fault
		})
		wanted := dns.Wanted{Resource: "shop/web", Name: "www.example.test", Sets: []dns.RecordSet{set(t, "www.example.test", dns.TypeA, "192.0.2.1")}}
		_, err := w.run(t, w.provider, wanted)
		if !errors.Is(err, want) || !strings.Contains(err.Error(), "www.example.test A") {
			t.Errorf("the error is %v, want %v that names the record set", err, want)
		}
		w.server.Inject(nil)
		if there := w.dump(t); len(there) != 1 || !dns.IsMark(there[0].Key) {
			t.Errorf("there is %q, want the mark alone", texts(there))
		}
	}
}
