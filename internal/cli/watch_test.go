// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/cli"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	"github.com/trellis-mesh/trellis/test/stack"
)

// screen is written by a command while a test reads it.
type screen struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// await waits until something is there, and returns all that is.
func (s *screen) await(t *testing.T, what string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err := stack.Until(ctx, fmt.Sprintf("%q to be shown", what), func(context.Context) error {
		if text := s.String(); !strings.Contains(text, what) {
			return fmt.Errorf("there is %q", text)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return s.String()
}

// staying is a command that runs until Ctrl-C.
type staying struct {
	out, err screen
	stop     context.CancelFunc
	code     chan int
}

func stay(t *testing.T, terminal bool, args ...string) *staying {
	t.Helper()
	s := &staying{code: make(chan int, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	s.stop = cancel
	all := &streams.Streams{In: strings.NewReader(""), Out: &s.out, Err: &s.err, OutTerminal: terminal, ErrTerminal: terminal}
	go func() { s.code <- cli.Main(ctx, append([]string{"trellis"}, args...), all) }()
	t.Cleanup(cancel)
	return s
}

// interrupt presses Ctrl-C and returns the exit code.
func (s *staying) interrupt() int {
	s.stop()
	return <-s.code
}

// become gives a record another phase, as the operator would.
func become(t *testing.T, c client.Client, r *v1alpha1.ManagedRecord, phase, message string) {
	t.Helper()
	r.Status.Phase = phase
	r.Status.NextTry = in(time.Minute)
	r.Status.Conditions = []metav1.Condition{condition("Ready", "False", phase, message, time.Minute)}
	if err := c.Status().Update(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

func TestWatchingInAPipeAppendsWhatIsNew(t *testing.T) {
	c := cluster(t)
	ours := record(t, c, "watched", "a.example.com", "Waiting", nil)
	record(t, c, "watched", "b.example.com", "Done", nil)
	s := stay(t, false, "dns", "status", "-n", "watched", "--watch")
	first := s.out.await(t, "b.example.com")
	become(t, c, ours, "Blocked", "it is somebody else's")
	s.out.await(t, "it is somebody else's")
	// Another try is no news.
	become(t, c, ours, "Blocked", "it is somebody else's")
	late := record(t, c, "watched", "c.example.com", "Done", nil)
	s.out.await(t, "c.example.com")
	become(t, c, late, "Waiting", "the zone is busy")
	got := strings.TrimPrefix(s.out.await(t, "the zone is busy"), first)
	if n := strings.Count(got, "it is somebody else's"); n != 1 || strings.Contains(got, "b.example.com") || strings.Contains(got, "NAMESPACE") || strings.Contains(got, "\x1b") {
		t.Errorf("it was told %d times:\n%s", n, got)
	}
	if code := s.interrupt(); code != 2 || s.err.String() != "" {
		t.Errorf("exit code %d although an entry is Blocked, %s", code, s.err.String())
	}
}

func TestWatchingTellsWhatIsGoneAndEndsWithWhatIsThere(t *testing.T) {
	c := cluster(t)
	object := &v1alpha1.ManagedCertificate{
		ObjectMeta: metav1.ObjectMeta{Namespace: "leaving", Name: "a"},
		Spec:       v1alpha1.ManagedCertificateSpec{DNSNames: []string{"a.example.com"}, SecretName: "a", Challenge: "HTTP01"},
	}
	if err := errors.Join(apiServer.Namespace(t.Context(), "leaving", nil), c.Create(t.Context(), object)); err != nil {
		t.Fatal(err)
	}
	object.Status.ObservedGeneration, object.Status.Phase = object.Generation, "Failed"
	if err := c.Status().Update(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	s := stay(t, false, "cert", "status", "a.example.com", "-n", "leaving", "-w", "-o", "json")
	s.out.await(t, `"phase":"Failed"`)
	if err := c.Delete(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	all := s.out.await(t, `"phase":"Gone"`)
	for line := range strings.Lines(all) {
		var out struct{ Certificates []struct{ Phase string } }
		if err := json.Unmarshal([]byte(line), &out); err != nil || len(out.Certificates) != 1 {
			t.Errorf("%v: %s", err, line)
		}
	}
	if code := s.interrupt(); code != 0 {
		t.Errorf("exit code %d although nothing is left: %s", code, s.err.String())
	}
}

func TestWatchingOnATerminalDrawsEverythingAnew(t *testing.T) {
	c := cluster(t)
	ours := record(t, c, "drawn", "a.example.com", "Waiting", nil)
	s := stay(t, true, "dns", "status", "-n", "drawn", "-w")
	s.out.await(t, "Waiting")
	become(t, c, ours, "Held", "there is nowhere to lead to")
	s.out.await(t, "there is nowhere to lead to")
	if code := s.interrupt(); code != 0 {
		t.Errorf("exit code %d: %s", code, s.err.String())
	}
	pictures := strings.Split(s.out.String(), "\x1b[H\x1b[2J")
	if last := pictures[len(pictures)-1]; len(pictures) < 3 || !strings.Contains(last, "NAMESPACE") || strings.Contains(last, "Waiting") {
		t.Errorf("%d pictures, the last one:\n%s", len(pictures)-1, last)
	}
}

func TestWatchingIsRefusedAtOnceWhereReadingIs(t *testing.T) {
	c := cluster(t)
	record(t, c, "mistyped", "a.example.com", "Done", nil)
	if got := trellis(t, "", "dns", "status", "b.example.com", "-n", "mistyped", "-w"); got.code != 1 || !strings.Contains(got.err, "there is no such ManagedRecord") {
		t.Errorf("%+v", got)
	}
}

func TestAccountsAreShownWithTheirCredentialsAndZones(t *testing.T) {
	c := cluster(t)
	account := func(name string, zones []string, conditions ...metav1.Condition) {
		t.Helper()
		have(t, c, &v1alpha1.DNSProvider{
			ObjectMeta: metav1.ObjectMeta{Namespace: "accounts", Name: name},
			Spec:       v1alpha1.DNSProviderSpec{RFC2136: &v1alpha1.RFC2136Provider{Server: "ns.example.com:53", Zones: []string{"example.com"}}},
		}, func(p *v1alpha1.DNSProvider) {
			p.Status.ObservedGeneration, p.Status.Conditions = p.Generation, conditions
			for _, zone := range zones {
				p.Status.Zones = append(p.Status.Zones, v1alpha1.DNSZone{Name: zone, ID: zone})
			}
		})
	}
	account("busy", nil, condition("Ready", "False", "Throttled", "come back later", time.Minute))
	account("good", []string{"a.com", "b.com", "c.com", "d.com"}, condition("Ready", "True", "Ready", "4 zones can be written to", time.Minute))
	account("new", nil)
	status := func(code int) result {
		t.Helper()
		got := trellis(t, "", "dns", "status", "-n", "accounts")
		if got.code != code {
			t.Errorf("exit code %d, want %d: %+v", got.code, code, got)
		}
		return got
	}
	want := "NAMESPACE   PROVIDER   AT                  CREDENTIALS   ZONES                  MESSAGE\n" +
		"accounts    busy       ns.example.com:53   unknown       -                      come back later\n" +
		"accounts    good       ns.example.com:53   valid         a.com,b.com,c.com +1   4 zones can be written to\n" +
		"accounts    new        ns.example.com:53   unknown       -                      the operator has not looked at it yet\n"
	if got := status(0); got.out != want {
		t.Errorf("%s\nwant\n%s", got.out, want)
	}
	for reason, word := range map[string]string{"CredentialsInvalid": "refused", "SecretNotFound": "missing", "SecretForbidden": "unreadable", "SecretInvalid": "unusable", "ZoneNotFound": "valid"} {
		t.Run(reason, func(t *testing.T) {
			account(strings.ToLower(reason), nil, condition("Ready", "False", reason, "so it is", time.Minute))
			if got := status(2); !strings.Contains(got.out, "ns.example.com:53   "+word+" ") || !strings.Contains(got.out, "so it is\n") {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestAPlanSaysForWhomAnEntryIs(t *testing.T) {
	c := cluster(t)
	for name, routing := range map[string]*v1alpha1.DNSRouting{
		"w.example.com": {SetIdentifier: "eu", Weighted: &v1alpha1.WeightedRouting{Weight: 10}},
		"g.example.com": {Geographic: &v1alpha1.GeographicRouting{Country: "US", Subdivision: "CA"}},
		"k.example.com": {Geographic: &v1alpha1.GeographicRouting{Continent: "EU"}},
		"o.example.com": {Geographic: &v1alpha1.GeographicRouting{Default: true}},
	} {
		have(t, c, &v1alpha1.ManagedRecord{
			ObjectMeta: metav1.ObjectMeta{Namespace: "routing", Name: name},
			Spec:       v1alpha1.ManagedRecordSpec{ProviderRef: v1alpha1.DNSProviderReference{Name: "route53"}, Name: name, Addresses: []string{"192.0.2.1"}, Routing: routing},
		}, func(r *v1alpha1.ManagedRecord) { r.Status.ObservedGeneration, r.Status.Phase = r.Generation, "Planned" })
	}
	plan, status := trellis(t, "", "dns", "plan", "-n", "routing"), trellis(t, "", "dns", "status", "-n", "routing")
	for _, whom := range []string{"weight 10 as eu", "country US-CA", "continent EU", "all other places"} {
		if plan.code != 0 || !strings.Contains(plan.out, "by routing/route53, for "+whom+"\n") || !strings.Contains(status.out, "192.0.2.1 ("+whom+")") {
			t.Errorf("%s:\n%s\n%s", whom, plan.out, status.out)
		}
	}
}

func TestWhoWaitsForTheClusterIsToldSo(t *testing.T) {
	answer := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		<-answer
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"kind":"ManagedCertificateList","apiVersion":"trellis.dev/v1alpha1","metadata":{},"items":[]}`))
	}))
	t.Cleanup(slow.Close)
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: slow.URL}
	config.Contexts["x"] = &clientcmdapi.Context{Cluster: "c"}
	config.CurrentContext = "x"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	s := stay(t, true, "cert", "status", "-A", "--kubeconfig", path)
	s.err.await(t, "waiting for the cluster at "+strings.TrimPrefix(slow.URL, "http://")+": request 1, 2 s so far")
	close(answer)
	if code := <-s.code; code != 0 || !strings.HasSuffix(s.err.String(), "\r\x1b[Kthere are no certificates of Trellis in the cluster\n") {
		t.Errorf("exit code %d, %q", code, s.err.String())
	}
}
