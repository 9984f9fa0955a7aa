// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"cmp"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	acmez "github.com/mholt/acmez/v3/acme"
)

// Options are how the CA behaves. The zero value is one that does what it should.
type Options struct {
	// NonceReject is the percentage of good nonces that are refused.
	NonceReject int
	// AuthzReuse is the percentage of valid authorizations that serve for another
	// order. Pebble reuses one in a hundred at 0.
	AuthzReuse int
	// Profiles are lifetimes by name of profile; "default" of 90 days where nil.
	Profiles map[string]time.Duration
	// ExternalAccounts are MAC keys (base64url) by identifier; where there are any,
	// accounts must be bound to one.
	ExternalAccounts map[string]string
	// Blocked are domains that the CA issues nothing for.
	Blocked []string
	// AlternateRoots is how many chains are offered besides the first.
	AlternateRoots int
	// RetryAfter is what the CA asks for while it validates or signs, in seconds.
	RetryAfter int
	// Address is what all names lead to; 127.0.0.1 where it is zero. HTTPPort is
	// where HTTP challenges are looked at there, and Resolver the name server that
	// is asked, by TCP; the CA's own Answers where they are zero.
	Address  netip.Addr
	HTTPPort int
	Resolver string
	// RenewFirst, where it is not 0: the CA would like the first certificate to be
	// renewed so long after its issue, and says so when asked (RFC 9773).
	RenewFirst time.Duration
	// AlwaysValid: every challenge counts as answered, and none is looked at.
	AlwaysValid bool
}

// Paths of Pebble, for faults and counts; each is a beginning.
const (
	PathDirectory   = "/dir"
	PathNewAccount  = "/sign-me-up"
	PathNewOrder    = "/order-plz"
	PathOrder       = "/my-order/"
	PathAuthz       = "/authZ/"
	PathChallenge   = "/chalZ/"
	PathFinalize    = "/finalize-order/"
	PathCertificate = "/certZ/"
	PathOrders      = "/list-orderz/"
	PathKeyChange   = "/rollover-account-key"
	PathRenewalInfo = "/draft-ietf-acme-ari-03/renewalInfo/"
)

// started counts servers.
var started atomic.Int64

// Server is a running CA. Safe for concurrent use.
type Server struct {
	*Answers
	// Directory is the URL that a client begins with.
	Directory string
	// Transport reaches the CA, and trusts it.
	Transport http.RoundTripper
	// Front is the certificate of its own HTTPS, which signs itself; nil where it is
	// reached by function calls.
	Front *x509.Certificate

	faults
	stop       func()
	ca         *ca.CAImpl
	management http.Handler
}

// Identity is what the CA calls itself in records of type CAA and persistent TXT
// records.
const Identity = "pebble.letsencrypt.org"

// environment guards Pebble's settings that are read from the environment once.
var environment sync.Mutex

func withEnvironment(values map[string]string, do func()) {
	environment.Lock()
	defer environment.Unlock()
	for k, v := range values {
		old, had := os.LookupEnv(k)
		_ = os.Setenv(k, v)
		defer func() {
			if had {
				_ = os.Setenv(k, old)
			} else {
				_ = os.Unsetenv(k)
			}
		}()
	}
	do()
}

// New starts a CA on a loopback address, over TLS. It ends with the test.
func New(t testing.TB, o Options) *Server {
	t.Helper()
	s, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// Start starts one outside of a test, until Stop.
func Start(o Options) (*Server, error) {
	v, err := newValidator(o)
	if err != nil {
		return nil, fmt.Errorf("starting a certificate authority: %w", err)
	}
	s := v.server()
	front := httptest.NewTLSServer(s.front())
	// A client's library may remember directories by their URL, and ports come back.
	s.Directory = fmt.Sprintf("%s%s?%d", front.URL, wfe.DirectoryPath, started.Add(1))
	s.Transport, s.Front = front.Client().Transport, front.Certificate()
	s.stop = sync.OnceFunc(func() {
		front.Close()
		v.stop()
	})
	return s, nil
}

// Stop ends a CA that Start began. It may be called twice.
func (s *Server) Stop() { s.stop() }

// Validator is the part of a CA that looks at challenges. It has a goroutine that
// never ends, so that it must be made outside of a synctest bubble.
type Validator struct {
	options Options
	answers *Answers
	store   *db.MemoryStore
	va      *va.VAImpl
	stop    func()
	hurried sync.Once
}

// quiet drops what Pebble says of every request; a failing test says its own.
func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

// NewValidator makes one with the given behaviour.
func NewValidator(t testing.TB, o Options) *Validator {
	t.Helper()
	v, err := newValidator(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.stop)
	return v
}

func newValidator(o Options) (*Validator, error) {
	v := &Validator{options: o, store: db.NewMemoryStore()}
	for _, d := range o.Blocked {
		if err := v.store.AddBlockedDomain(d); err != nil {
			return nil, fmt.Errorf("blocking %s at the CA: %w", d, err)
		}
	}
	for id, key := range o.ExternalAccounts {
		if err := v.store.AddExternalAccountKeyByID(id, key); err != nil {
			return nil, fmt.Errorf("adding an external account to the CA: %w", err)
		}
	}
	var err error
	if v.answers, v.stop, err = newAnswers(o); err != nil {
		return nil, err
	}
	port, resolver := cmp.Or(o.HTTPPort, v.answers.httpPort), cmp.Or(o.Resolver, v.answers.dnsAddress)
	withEnvironment(map[string]string{
		"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_VA_ALWAYS_VALID": strconv.FormatBool(o.AlwaysValid),
	}, func() {
		v.va = va.New(quiet(), port, 0, true, resolver, v.store)
	})
	return v, nil
}

var hosts atomic.Int64

// InBubble makes a CA that is reached by function calls and reads the clock of
// the synctest bubble that it is made in: years pass in milliseconds.
func (v *Validator) InBubble() *Server {
	s := v.server()
	host := fmt.Sprintf("ca-%d.test", hosts.Add(1))
	s.Directory = "https://" + host + wfe.DirectoryPath
	s.settle = v.settle
	s.Transport = direct{s.front()}
	return s
}

// patience bounds waiting for Pebble's goroutines, in turns of the scheduler: a
// bubble's clock stands still meanwhile.
const patience = 10_000_000

// issued returns when an order has its certificate, and what it replaces knows.
func (v *Validator) issued(id string) {
	for range patience {
		order := v.store.GetOrderByID(id)
		order.RLock()
		certificate, replaces := order.CertificateObject, order.Replaces
		order.RUnlock()
		if certificate != nil {
			if _, err := v.store.GetOrderByIssuedSerial(certificate.ID); err == nil && v.replaced(replaces) {
				return
			}
		}
		runtime.Gosched()
	}
}

// hurry makes the first certificate one to be renewed soon.
func (v *Validator) hurry(s *Server, id string) {
	if v.options.RenewFirst == 0 {
		return
	}
	v.hurried.Do(func() {
		order := v.store.GetOrderByID(id)
		order.RLock()
		chain := order.CertificateObject.PEM()
		order.RUnlock()
		at := time.Now().Add(v.options.RenewFirst)
		// Without it the certificate is renewed as late as any other, which shows.
		_ = s.SetRenewalInfo(chain, Window(at, at.Add(time.Second)))
	})
}

// replaced reads what Pebble notes last of an order that replaces a certificate,
// by its ARI id (RFC 9773 §4.1).
func (v *Validator) replaced(id string) bool {
	_, text, found := strings.Cut(id, ".")
	serial, err := base64.RawURLEncoding.DecodeString(text)
	if !found || err != nil {
		return true
	}
	order, err := v.store.GetOrderByIssuedSerial(hex.EncodeToString(serial))
	if err != nil {
		return true
	}
	order.RLock()
	defer order.RUnlock()
	return order.IsReplaced
}

// settle returns when a challenge has been looked at. Without it the time of a
// bubble would run on while the validator, outside, has not had its turn.
func (v *Validator) settle(id string) {
	for range patience {
		c := v.store.GetChallengeByID(id)
		if c == nil {
			return
		}
		c.RLock()
		status := c.Status
		c.RUnlock()
		if status != "processing" {
			return
		}
		runtime.Gosched()
	}
}

func (v *Validator) server() *Server {
	s := &Server{Answers: v.answers}
	s.issued = func(id string) {
		v.issued(id)
		v.hurry(s, id)
	}
	profiles := map[string]ca.Profile{}
	for name, lifetime := range v.options.Profiles {
		profiles[name] = ca.Profile{Description: name, ValidityPeriod: uint64(lifetime / time.Second)}
	}
	if len(profiles) == 0 {
		profiles["default"] = ca.Profile{Description: "default"}
	}
	withEnvironment(map[string]string{
		"PEBBLE_WFE_NONCEREJECT": strconv.Itoa(v.options.NonceReject),
		"PEBBLE_AUTHZREUSE":      strconv.Itoa(v.options.AuthzReuse),
	}, func() {
		s.ca = ca.New(quiet(), v.store, "", "ecdsa", v.options.AlternateRoots, 1, profiles)
		w := wfe.New(quiet(), v.store, v.va, s.ca, []string{Identity}, true, len(v.options.ExternalAccounts) > 0,
			v.options.RetryAfter, v.options.RetryAfter)
		s.pebble, s.management = w.Handler(), w.ManagementHandler()
	})
	return s
}

// Roots are what a client must trust, with the root of the chain of that number
// (0 is the first).
func (s *Server) Roots(number int) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.ca.GetRootCert(number).Cert)
	return pool
}

// RootName is the common name at the top of a chain.
func (s *Server) RootName(number int) string { return s.ca.GetRootCert(number).Cert.Subject.CommonName }

// SetRenewalInfo makes the CA say so about a certificate when asked for its time
// of renewal, as it is, however malformed.
func (s *Server) SetRenewalInfo(chain []byte, answer string) error {
	block, _ := pem.Decode(chain)
	body, err := json.Marshal(map[string]string{"Certificate": string(pem.EncodeToMemory(block)), "ARIResponse": answer})
	if err != nil {
		return err
	}
	answered := httptest.NewRecorder()
	req := httptest.NewRequest(http.MethodPost, "/set-renewal-info/", strings.NewReader(string(body)))
	// Pebble refuses what does not say who it is, also from a test.
	req.Header.Set("User-Agent", "test")
	req.Header.Set("Content-Type", "application/jose+json")
	s.management.ServeHTTP(answered, req)
	if answered.Code != http.StatusOK {
		return fmt.Errorf("setting renewal information: HTTP %d: %s", answered.Code, answered.Body)
	}
	return nil
}

// Revoke revokes the first certificate of a chain, by the key of the account that
// ordered it, as PEM, and the account's URL (RFC 8555 §7.6).
func (s *Server) Revoke(ctx context.Context, accountKey []byte, account string, chain []byte) error {
	block, _ := pem.Decode(accountKey)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return fmt.Errorf("revoking a certificate: reading the account's key: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return fmt.Errorf("revoking a certificate: the account's key signs nothing")
	}
	block, _ = pem.Decode(chain)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return fmt.Errorf("revoking a certificate: %w", err)
	}
	client := &acmez.Client{Directory: s.Directory, UserAgent: "test", HTTPClient: &http.Client{Transport: s.Transport}}
	return client.RevokeCertificate(ctx, acmez.Account{Location: account, PrivateKey: signer}, leaf, nil, acmez.ReasonSuperseded)
}

// Window is renewal information of RFC 9773.
func Window(start, end time.Time) string {
	return fmt.Sprintf(`{"suggestedWindow":{"start":%q,"end":%q}}`, start.UTC().Format(time.RFC3339), end.UTC().Format(time.RFC3339))
}

// direct calls a handler instead of speaking over a network.
type direct struct{ handler http.Handler }

func (d direct) RoundTrip(req *http.Request) (resp *http.Response, err error) {
	// The handler cuts a connection by this panic, as it would in a server.
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler:
			resp, err = nil, io.ErrUnexpectedEOF
		default:
			panic(p)
		}
	}()
	in := req.Clone(req.Context())
	in.TLS, in.RequestURI = &tls.ConnectionState{}, req.URL.RequestURI()
	in.Host = req.URL.Host
	if in.Body == nil {
		in.Body = http.NoBody
	}
	answered := httptest.NewRecorder()
	d.handler.ServeHTTP(answered, in)
	return answered.Result(), nil
}
