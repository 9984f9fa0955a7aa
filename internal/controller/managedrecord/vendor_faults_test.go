// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedrecord_test

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/controller/managedrecord"
	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/test/fake/azuredns"
	"github.com/trellis-mesh/trellis/test/fake/clouddns"
	"github.com/trellis-mesh/trellis/test/fake/cloudflare"
	"github.com/trellis-mesh/trellis/test/fake/route53"
	"github.com/trellis-mesh/trellis/test/nameserver"
)

// line is the way to a vendor's stand-in. It can be cut.
type line struct {
	to *url.URL

	mu sync.Mutex
	// writes counts what is not only read; after so many, where it is not zero, the
	// line is dead, the last one being carried out without an answer where late.
	writes, cutAfter int
	late             bool
	// wrote is called when a write was answered.
	wrote func()
}

var errCut = errors.New("the line was cut")

func (l *line) RoundTrip(q *http.Request) (*http.Response, error) {
	write := q.Method != http.MethodGet && !strings.Contains(q.URL.Path, "token")
	l.mu.Lock()
	if write {
		l.writes++
	}
	dead := l.cutAfter > 0 && l.writes >= l.cutAfter
	deliver := !dead || write && l.late && l.writes == l.cutAfter
	wrote := l.wrote
	l.mu.Unlock()
	if !deliver {
		return nil, errCut
	}
	host := q.URL.Host
	q = q.Clone(q.Context())
	if q.Host == "" {
		// What is signed is the vendor's name.
		q.Host = host
	}
	q.URL.Scheme, q.URL.Host = l.to.Scheme, l.to.Host
	answer, err := http.DefaultTransport.RoundTrip(q)
	if dead && err == nil {
		_ = answer.Body.Close()
		return nil, errCut
	}
	if write && wrote != nil {
		wrote()
	}
	return answer, err
}

// cut kills the line at the n-th write from now; zero mends it.
func (l *line) cut(n int, late bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writes, l.cutAfter, l.late = 0, n, late
}

// dead reports whether it was used after it was cut.
func (l *line) dead() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cutAfter > 0 && l.writes >= l.cutAfter
}

// stand is a vendor's stand-in with a zone.
type stand struct {
	handler http.Handler
	spec    v1alpha1.DNSProviderSpec
	secret  map[string]string
	// mail puts an MX and a TXT at the apex.
	mail func(t *testing.T)
	// busy lets all writes be refused, until it is called with false.
	busy func(refuse bool)
}

const goodToken = "good-token-good-token-good-token-good-token"

// stands are the vendors. Base is where the stand-in will be.
func stands() map[string]func(base string) *stand {
	ref := &v1alpha1.SecretReference{Name: "credentials"}
	return map[string]func(base string) *stand{
		"Route 53": func(string) *stand {
			s := route53.New()
			s.AddZone(zone, false)
			s.AddKey("AKIAOURS", route53.Key{Secret: "good-secret"})
			return &stand{
				handler: s, spec: v1alpha1.DNSProviderSpec{Route53: &v1alpha1.Route53Provider{CredentialsSecretRef: ref}},
				secret: map[string]string{"accessKeyID": "AKIAOURS", "secretAccessKey": "good-secret"},
				busy: func(refuse bool) {
					s.Inject(func(c route53.Call) *route53.Fault {
						if refuse && c.Operation == "ChangeResourceRecordSets" {
							return route53.PriorRequestNotComplete()
						}
						return nil
					})
				},
			}
		},
		"Azure": func(string) *stand {
			const subscription, tenant = "11111111-2222-3333-4444-555555555555", "99999999-8888-7777-6666-555555555555"
			s := azuredns.New(subscription)
			s.AddClient("ours", azuredns.Client{Secret: "password"})
			s.AddZone("group", zone)
			return &stand{
				handler: s, secret: map[string]string{"clientSecret": "password"},
				spec: v1alpha1.DNSProviderSpec{Azure: &v1alpha1.AzureProvider{
					SubscriptionID: subscription, ResourceGroup: "group", TenantID: tenant, ClientID: "ours", CredentialsSecretRef: ref,
				}},
				busy: func(refuse bool) {
					s.Inject(func(c azuredns.Call) *azuredns.Fault {
						if refuse && c.Operation == "PUT record" {
							return azuredns.Pending()
						}
						return nil
					})
				},
			}
		},
		"Google": func(base string) *stand {
			s := clouddns.New()
			s.AddZone("zone", zone+".", clouddns.ZoneOptions{})
			return &stand{
				handler: s, secret: map[string]string{"key.json": string(s.AccountKey(base, "dns", false))},
				spec: v1alpha1.DNSProviderSpec{Google: &v1alpha1.GoogleProvider{CredentialsSecretRef: ref}},
				busy: func(refuse bool) {
					s.Fail(func(_ int, r *http.Request) clouddns.Fault {
						if refuse && r.Method == http.MethodPost {
							return clouddns.Throttled
						}
						return clouddns.Serve
					})
				},
			}
		},
		"Cloudflare": func(string) *stand {
			s := cloudflare.New()
			s.Token(goodToken, cloudflare.Edit)
			id := s.AddZone(zone, "active", "full")
			return &stand{
				handler: s, secret: map[string]string{"token": goodToken},
				spec: v1alpha1.DNSProviderSpec{Cloudflare: &v1alpha1.CloudflareProvider{TokenSecretRef: *ref}},
				mail: func(t *testing.T) {
					for _, r := range []cloudflare.Record{
						{Type: "MX", Name: zone, Content: "mail.example.net", TTL: 300}, {Type: "TXT", Name: zone, Content: `"v=spf1 -all"`, TTL: 300},
					} {
						if _, wrong := s.Put(id, r); wrong != "" {
							t.Fatal(wrong)
						}
					}
				},
				busy: func(refuse bool) {
					s.Fail(func(_ int, r *http.Request) cloudflare.Fault {
						if refuse && r.Method == http.MethodPost {
							return cloudflare.Throttled
						}
						return cloudflare.Serve
					})
				},
			}
		},
	}
}

// atVendors runs a test at each vendor's stand-in.
func atVendors(t *testing.T, test func(w *world, s *stand, l *line)) {
	for name, start := range stands() {
		t.Run(name, func(t *testing.T) {
			w, l := newWorld(t), &line{}
			var s *stand
			h := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(rw, r) }))
			t.Cleanup(h.Close)
			s = start(h.URL)
			var err error
			if l.to, err = url.Parse(h.URL); err != nil {
				t.Fatal(err)
			}
			w.vendors = managedrecord.Vendors{Transport: l}
			w.restart()
			w.create(&v1alpha1.DNSProvider{ObjectMeta: w.meta("dns"), Spec: s.spec})
			w.secret("credentials", s.secret)
			test(w, s, l)
		})
	}
}

// settles reconciles as time goes by until a record is in a phase.
func (w *world) settles(name string, phase dns.Phase) {
	w.Helper()
	for range 8 {
		w.reconcile()
		if w.record(name).Status.Phase == string(phase) {
			return
		}
		w.clock.Step(20 * time.Minute)
	}
	w.Fatalf("%s is %+v and does not become %s", name, w.record(name).Status, phase)
}

func TestAVendorCutOffAtAnyWriteConvergesInAnotherProcess(t *testing.T) {
	atVendors(t, func(w *world, _ *stand, l *line) {
		for _, late := range []bool{false, true} {
			for k, more := 1, true; more; k++ {
				if k > 20 {
					w.Fatal("a reconcile has no end")
				}
				more = false
				name := fmt.Sprintf("shop-%d-%v", k, late)
				crash := func() {
					w.Helper()
					l.cut(k, late)
					if _, err := w.once(); err != nil {
						w.Fatal(err)
					}
					more = more || l.dead()
					l.cut(0, false)
					w.restart()
				}
				w.want(name, name+"."+zone, addresses("192.0.2.1", "2001:db8::1"))
				crash()
				w.settles(name, dns.PhaseDone)
				w.change(name, addresses("192.0.2.2"))
				crash()
				w.settles(name, dns.PhaseDone)
				r := w.is(name, dns.PhaseDone, "Done", "192.0.2.2")
				if len(r.Status.Owned) != 1 {
					w.Errorf("cut at write %d, late %v: it owns %+v", k, late, r.Status.Owned)
				}
				w.remove(r)
				crash()
				w.clock.Step(20 * time.Minute)
				w.reconcile()
				if w.there(r) {
					w.Fatalf("cut at write %d, late %v: it is still there: %+v", k, late, r.Status)
				}
				// Another owner finds the name free: neither data nor marks are left.
				w.cluster = "another-cluster"
				w.restart()
				w.want("next-"+name, name+"."+zone, addresses("192.0.2.9"))
				w.settles("next-"+name, dns.PhaseDone)
				w.remove(w.record("next-" + name))
				w.reconcile()
				w.cluster = ""
				w.restart()
			}
		}
	})
}

func TestAChangeWhoseReceiptACrashLostIsNotTakenForSpread(t *testing.T) {
	atVendors(t, func(w *world, s *stand, l *line) {
		// At Azure a change has several writes, and the crash comes after the first.
		atomic := s.spec.Azure == nil
		for i, spec := range []func(*v1alpha1.ManagedRecordSpec){values("a"), values("b"), addresses("192.0.2.1"), addresses("192.0.2.2")} {
			name := "text"
			if i >= 2 {
				name = "shop"
			}
			if i%2 == 0 {
				w.want(name, name+"."+zone, spec)
			} else {
				w.change(name, spec)
			}
			l.wrote = func() { w.kill.CompareAndSwap(0, w.calls.Load()+1) }
			if _, err := w.once(); err == nil || !strings.Contains(err.Error(), errKilled.Error()) {
				w.Fatalf("it was not killed: %v", err)
			}
			l.wrote = nil
			w.kill.Store(0)
			w.restart()
			w.settles(name, dns.PhaseDone)
			// What was left half done is written by the new process, with a receipt.
			lost := strings.HasPrefix(w.record(name).Status.Receipt, "lost@")
			if r := w.record(name); r.Status.Receipt == "" || lost && r.Status.Spread || !lost && atomic {
				w.Fatalf("case %d: after a crash it is %+v", i, r.Status)
			}
			w.clock.Step(time.Minute)
			w.reconcile()
			if r := w.record(name); lost && r.Status.Spread {
				w.Errorf("case %d: a minute after the crash it is %+v", i, r.Status)
			}
			w.clock.Step(2 * time.Minute)
			w.reconcile()
			if r := w.is(name, dns.PhaseDone, "Done"); lost && !r.Status.Spread {
				w.Errorf("case %d: it is never spread: %+v", i, r.Status)
			}
		}
	})
}

func TestAVendorThatIsBusyIsWaitedFor(t *testing.T) {
	atVendors(t, func(w *world, s *stand, _ *line) {
		s.busy(true)
		w.want("shop", "shop."+zone, addresses("192.0.2.1"))
		w.reconcile()
		r := w.record("shop")
		reason := r.Status.Conditions[0].Reason
		if r.Status.Phase != string(dns.PhaseWaiting) || !slices.Contains([]string{"Throttled", "ZoneBusy"}, reason) || r.Status.NextTry == nil {
			w.Fatalf("it is %+v", r.Status)
		}
		s.busy(false)
		// Not before it is time.
		w.reconcile()
		if r := w.record("shop"); r.Status.Phase != string(dns.PhaseWaiting) {
			w.Errorf("it did not wait: %+v", r.Status)
		}
		w.clock.SetTime(r.Status.NextTry.Add(2 * time.Second))
		w.reconcile()
		w.is("shop", dns.PhaseDone, "Done", "192.0.2.1")
	})
}

func TestAHostIsPointedToAtEachVendorAsItCan(t *testing.T) {
	const balancer, other = "shop-1234567890.eu-west-1.elb.amazonaws.com", "lb.example.net"
	at := func(host string) func(*v1alpha1.ManagedRecordSpec) {
		return func(s *v1alpha1.ManagedRecordSpec) { s.Host = host }
	}
	atVendors(t, func(w *world, s *stand, _ *line) {
		if s.mail != nil {
			s.mail(w.T)
		}
		w.want("www", "www."+zone, at(other))
		w.want("aws", "aws."+zone, at(balancer))
		w.want("apex", zone, at(balancer))
		w.want("six", "six."+zone, addresses("2001:db8::1"))
		w.reconcile()
		w.is("www", dns.PhaseDone, "Done", "www.example.test CNAME → "+other)
		w.is("six", dns.PhaseDone, "Done", "six.example.test AAAA → 2001:db8::1")
		switch {
		case s.spec.Route53 != nil:
			w.is("aws", dns.PhaseDone, "Done", "aws.example.test A → alias of "+balancer, "aws.example.test AAAA → alias of")
			w.is("apex", dns.PhaseDone, "Done", "example.test A → alias of "+balancer)
			w.remove(w.record("apex"))
			w.reconcile()
			w.want("apex-b", zone, at(other))
			w.reconcile()
			w.is("apex-b", dns.PhaseBlocked, "Invalid", "the apex", "no alias for that host", "give the load balancer an address")
		case s.spec.Cloudflare != nil:
			w.is("aws", dns.PhaseDone, "Done", "aws.example.test CNAME → "+balancer)
			// It is flattened, so that it stands beside mail.
			w.is("apex", dns.PhaseDone, "Done", "example.test CNAME → "+balancer)
			w.change("apex", at(other))
			w.reconcile()
			w.is("apex", dns.PhaseDone, "Done", "example.test CNAME → "+other)
			// It turns into an address and back.
			w.change("apex", func(s *v1alpha1.ManagedRecordSpec) { s.Host, s.Addresses = "", []string{"192.0.2.1"} })
			w.reconcile()
			w.is("apex", dns.PhaseDone, "Done", "example.test A → 192.0.2.1")
		default:
			w.is("apex", dns.PhaseBlocked, "Invalid", "apex", "CNAME", "give the load balancer an address")
		}
	})
}

func TestWhatIsWrongWithASignatureIsSaidWithWhatToDo(t *testing.T) {
	w := withZone(t, nameserver.Process)
	good := map[string]string{"name": string(w.zone.KeyName), "algorithm": w.zone.Algorithm, "secret": w.zone.Secret}
	w.want("shop", "shop."+zone, addresses("192.0.2.1"))
	with := func(key, value string) map[string]string {
		out := maps.Clone(good)
		out[key] = value
		return out
	}
	w.secret("tsig", with("name", "other-key"))
	w.reconcile()
	w.providerIs("CredentialsInvalid", "BADKEY", "no TSIG key other-key", "into the Secret "+w.namespace+"/tsig")
	w.secret("tsig", with("secret", "d3Jvbmcgc2VjcmV0IHdyb25nIHNlY3JldCB3cm9uZw=="))
	w.reconcile()
	w.providerIs("CredentialsInvalid", "BADSIG", "with another secret", "into the Secret "+w.namespace+"/tsig")
	w.secret("tsig", good)
	w.zone.Ahead.Store(int64(time.Hour))
	w.reconcile()
	p := w.providerIs("CredentialsInvalid", "BADTIME", "set the clocks", "NTP")
	if strings.Contains(p.Status.Conditions[0].Message, "into the Secret") {
		t.Errorf("the clock is wrong, and the Secret is blamed: %+v", p.Status.Conditions)
	}
	w.is("shop", dns.PhaseBlocked, "CredentialsInvalid", "BADTIME")
	w.zone.Ahead.Store(0)
	w.settles("shop", dns.PhaseDone)
	w.has("shop.example.test A → 192.0.2.1")
}
