// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/acme"
	"github.com/trellis-mesh/trellis/internal/controller/managedcertificate"
	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/internal/dns/memory"
	"github.com/trellis-mesh/trellis/test/stack"
)

// An API server is started by the first test that needs one.
var (
	apiServer  *stack.Stack
	startError error
	// uninstalled is what is said of a cluster that does not know Trellis's kinds.
	uninstalled []result
	startOnce   sync.Once
)

func stopCluster() {
	if apiServer != nil {
		apiServer.Stop()
	}
}

// cluster is the API server with Trellis's kinds, and a client of an
// administrator. KUBECONFIG leads there.
func cluster(t *testing.T) client.Client {
	t.Helper()
	startOnce.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if apiServer, startError = stack.Start(ctx, stack.Options{WithoutIstio: true}); startError != nil {
			return
		}
		for _, verb := range [][]string{{"cert", "status"}, {"cert", "renew", "a"}, {"dns", "plan"}} {
			uninstalled = append(uninstalled, trellis(t, "", append(verb, "--kubeconfig", apiServer.Kubeconfig())...))
		}
		startError = apiServer.InstallTrellisCRDs(ctx)
	})
	if startError != nil {
		t.Fatal(startError)
	}
	t.Setenv("KUBECONFIG", apiServer.Kubeconfig())
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(apiServer.Config(), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// have makes an object with the status that a controller would have written, and
// takes it away after the test.
func have[T client.Object](t *testing.T, c client.Client, object T, write func(T)) T {
	t.Helper()
	if err := apiServer.Namespace(t.Context(), object.GetNamespace(), nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Delete(context.Background(), object); err != nil {
			t.Error(err)
		}
	})
	if write == nil {
		return object
	}
	write(object)
	if err := c.Status().Update(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	return object
}

func condition(kind string, status metav1.ConditionStatus, reason, message string, ago time.Duration) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message, LastTransitionTime: metav1.NewTime(time.Now().Add(-ago))}
}

func in(d time.Duration) *metav1.Time {
	at := metav1.NewTime(time.Now().Add(d).Truncate(time.Second))
	return &at
}

const (
	day     = 24 * time.Hour
	gateway = "istio-ingress"
)

// certificate makes one for hosts that has come to a phase.
func certificate(t *testing.T, c client.Client, namespace, name, phase string, change func(*v1alpha1.ManagedCertificate), hosts ...string) *v1alpha1.ManagedCertificate {
	t.Helper()
	object := &v1alpha1.ManagedCertificate{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       v1alpha1.ManagedCertificateSpec{DNSNames: hosts, SecretName: name, Challenge: "HTTP01"},
	}
	return have(t, c, object, func(m *v1alpha1.ManagedCertificate) {
		m.Status.ObservedGeneration, m.Status.Phase = m.Generation, phase
		if change != nil {
			change(m)
		}
	})
}

func issued(m *v1alpha1.ManagedCertificate) {
	m.Status.NotAfter, m.Status.RenewAt = in(60*day+time.Hour), in(30*day+time.Hour)
	m.Status.Conditions = []metav1.Condition{condition("Ready", "True", "Issued", "the certificate is good", day)}
}

func record(t *testing.T, c client.Client, namespace, name, phase string, change func(*v1alpha1.ManagedRecord)) *v1alpha1.ManagedRecord {
	t.Helper()
	object := &v1alpha1.ManagedRecord{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "trellis-record-public." + name},
		Spec: v1alpha1.ManagedRecordSpec{
			ProviderRef: v1alpha1.DNSProviderReference{Name: "route53"}, Name: name, Addresses: []string{"192.0.2.1"},
		},
	}
	return have(t, c, object, func(r *v1alpha1.ManagedRecord) {
		r.Status.ObservedGeneration, r.Status.Phase = r.Generation, phase
		r.Status.Zone = &v1alpha1.DNSZone{Name: "example.com", ID: "Z1"}
		if change != nil {
			change(r)
		}
	})
}

// exampleWorld is what the examples of help texts are about, and where kubectl
// would find it.
func exampleWorld(t *testing.T) (kubeconfig string) {
	t.Helper()
	c := cluster(t)
	certificate(t, c, gateway, "trellis-certificate-public.shop.example.com", "Issued", issued, "shop.example.com")
	certificate(t, c, gateway, "trellis-certificate-public.blog.example.com", "Presenting", func(m *v1alpha1.ManagedCertificate) {
		m.Status.Conditions = []metav1.Condition{condition("Ready", "False", "Pending", "waiting for the answer to a challenge to be seen", time.Minute)}
	}, "blog.example.com")
	record(t, c, gateway, "shop.example.com", "Done", nil)
	if err := apiServer.Apply(t.Context(), []byte(excused)); err != nil {
		t.Fatal(err)
	}
	asked := exceptionFrom(t, "tokens", "legacy-clients", time.Date(2126, 1, 1, 0, 0, 0, 0, time.UTC))
	asked.Namespace = "shop"
	have(t, c, asked, nil)
	return apiServer.Kubeconfig()
}

func TestCertificatesAreShownWithWhatIsComing(t *testing.T) {
	exampleWorld(t)
	got := trellis(t, "", "cert", "status", "-n", gateway)
	want := "NAMESPACE       NAME                                          HOSTS              PHASE        EXPIRES   RENEWS   MESSAGE\n" +
		"istio-ingress   trellis-certificate-public.blog.example.com   blog.example.com   Presenting   -         -        waiting for the answer to a challenge to be seen\n" +
		"istio-ingress   trellis-certificate-public.shop.example.com   shop.example.com   Issued       in 60d    in 30d   the certificate is good\n"
	if got.code != 0 || got.out != want || got.err != "" {
		t.Errorf("%+v\nwant\n%s", got, want)
	}
}

func TestWhatNeedsAPersonIsExitCode2(t *testing.T) {
	c := cluster(t)
	failed := func(reason string, ago time.Duration) func(*v1alpha1.ManagedCertificate) {
		return func(m *v1alpha1.ManagedCertificate) {
			m.Status.Conditions = []metav1.Condition{condition("Ready", "False", reason, "because", ago)}
		}
	}
	cases := []struct {
		name, phase string
		change      func(*v1alpha1.ManagedCertificate)
		code        int
		says        string
	}{
		{"issued", string(acme.Issued), issued, 0, "the certificate is good"},
		{"refused-for-good", string(acme.Failed), failed("Failed", time.Minute), 2, "because"},
		{"order-failed", string(acme.Waiting), failed("Failed", time.Minute), 2, "because"},
		{"authority-away-for-a-minute", "Registering", failed("Failed", time.Minute), 0, "because"},
		{"authority-away-for-hours", "Registering", failed("Failed", 2*time.Hour), 2, "because"},
		{"foreign-secret", "Waiting", failed("SecretConflict", time.Minute), 2, "because"},
		{"on-its-way", "Validating", failed("Issuing", time.Minute), 0, "because"},
		{"not-renewed", "Waiting", func(m *v1alpha1.ManagedCertificate) {
			issued(m)
			m.Status.NotAfter = in(10 * day)
			m.Status.Conditions = append(m.Status.Conditions, condition(managedcertificate.ConditionExpiring, "True", "NotRenewed", "it was not renewed in time", time.Hour))
		}, 2, "it was not renewed in time"},
		{"expired", "Waiting", func(m *v1alpha1.ManagedCertificate) {
			issued(m)
			m.Status.NotAfter = in(-time.Hour)
		}, 2, "it has expired; the certificate is good"},
		{"renewal-failed-once", "Waiting", func(m *v1alpha1.ManagedCertificate) {
			issued(m)
			m.Status.NextTry = in(time.Minute)
		}, 0, "the certificate is good"},
		{"operator-away", "Waiting", func(m *v1alpha1.ManagedCertificate) {
			issued(m)
			m.Status.NextTry = in(-2*time.Hour - time.Minute)
		}, 0, "the certificate is good; it was to be tried again 2h1m ago: is the operator running?"},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			certificate(t, c, "person", test.name, test.phase, test.change, "a.example.com")
			got := trellis(t, "", "cert", "status", "-n", "person", "-o", "json")
			var out struct {
				Certificates []struct {
					Phase, Message string
					NeedsPerson    bool
				}
			}
			if err := json.Unmarshal([]byte(got.out), &out); err != nil || len(out.Certificates) != 1 {
				t.Fatalf("%v: %+v", err, got)
			}
			seen := out.Certificates[0]
			if got.code != test.code || seen.NeedsPerson != (test.code == 2) || seen.Message != test.says || seen.Phase != test.phase {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestWhatTheOperatorHasNotSeenIsSaidToBeUnseen(t *testing.T) {
	c := cluster(t)
	cert := certificate(t, c, "unseen", "a", "Issued", issued, "a.example.com")
	have(t, c, &v1alpha1.ManagedCertificate{
		ObjectMeta: metav1.ObjectMeta{Namespace: "unseen", Name: "b"},
		Spec:       v1alpha1.ManagedCertificateSpec{DNSNames: []string{"b.example.com"}, SecretName: "b", Challenge: "HTTP01"},
	}, nil)
	cert.Spec.DNSNames = append(cert.Spec.DNSNames, "c.example.com")
	if err := c.Update(t.Context(), cert); err != nil {
		t.Fatal(err)
	}
	got := trellis(t, "", "cert", "status", "-n", "unseen")
	if got.code != 0 || strings.Count(got.out, "Unseen") != 2 ||
		!strings.Contains(got.out, "the operator has not looked at the last change yet; before, it was Issued") ||
		!strings.Contains(got.out, "the operator has not looked at it yet") {
		t.Errorf("%+v", got)
	}
	changed := record(t, c, "unseen", "a.example.com", "Done", nil)
	changed.Spec.Addresses = []string{"192.0.2.2"}
	if err := c.Update(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	got = trellis(t, "", "dns", "status", "-n", "unseen")
	if got.code != 0 || !strings.Contains(got.out, "Unseen") || !strings.Contains(got.out, "before, it was Done") {
		t.Errorf("%+v", got)
	}
}

// annotated is an annotation as it is in the cluster now.
func annotated(t *testing.T, c client.Client, of *v1alpha1.ManagedCertificate, key string) string {
	t.Helper()
	live := &v1alpha1.ManagedCertificate{}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(of), live); err != nil {
		t.Fatal(err)
	}
	return live.Annotations[key]
}

func TestARenewalIsAskedForAndTold(t *testing.T) {
	c := cluster(t)
	cert := certificate(t, c, "renewal", "wildcard", "Issued", issued, "*.example.com", "example.com")
	before := time.Now().Add(-time.Second)
	got := trellis(t, "", "cert", "renew", "shop.example.com", "-n", "renewal")
	at, err := time.Parse(time.RFC3339Nano, annotated(t, c, cert, v1alpha1.RenewAnnotation))
	if got.code != 0 || err != nil || at.Before(before) || at.After(time.Now()) {
		t.Errorf("%v, %v: %+v", at, err, got)
	}
	want := "ManagedCertificate renewal/wildcard (*.example.com,example.com): the operator orders another certificate now, with a new key. " +
		"What is served stays until it is there.\nSee how it goes: trellis cert status wildcard -n renewal\n"
	if got.out != want {
		t.Errorf("%q\nwant\n%q", got.out, want)
	}
	cert.Status.Phase = "Validating"
	cert.ResourceVersion = ""
	if err := c.Status().Patch(t.Context(), cert, client.Merge); err != nil {
		t.Fatal(err)
	}
	first := annotated(t, c, cert, v1alpha1.RenewAnnotation)
	got = trellis(t, "", "cert", "renew", "wildcard", "-n", "renewal")
	if second := annotated(t, c, cert, v1alpha1.RenewAnnotation); got.code != 0 || second == first || !strings.Contains(got.out, "an order is on its way already (Validating)") {
		t.Errorf("from %s to %s: %+v", first, second, got)
	}
}

func TestARetrySaysWhatItCannotLift(t *testing.T) {
	c := cluster(t)
	state := func(m *v1alpha1.ManagedCertificate, held bool) {
		at := time.Now().Add(2*time.Hour + time.Minute).UTC().Truncate(time.Second)
		raw, err := json.Marshal(acme.State{Phase: acme.Waiting, NextTry: &at, HeldByCA: held})
		if err != nil {
			t.Fatal(err)
		}
		m.Status.State, m.Status.NextTry = string(raw), in(2*time.Hour+time.Minute)
	}
	own := certificate(t, c, "retries", "own", "Waiting", func(m *v1alpha1.ManagedCertificate) { state(m, false) }, "own.example.com")
	got := trellis(t, "", "cert", "retry", "own.example.com", "-n", "retries")
	if got.code != 0 || annotated(t, c, own, v1alpha1.RetryAnnotation) == "" || strings.Contains(got.out, "that is kept") {
		t.Errorf("%+v", got)
	}
	theirs := certificate(t, c, "retries", "theirs", "Waiting", func(m *v1alpha1.ManagedCertificate) { state(m, true) }, "theirs.example.com")
	got = trellis(t, "", "cert", "retry", "theirs", "-n", "retries")
	if got.code != 0 || annotated(t, c, theirs, v1alpha1.RetryAnnotation) == "" || !strings.Contains(got.out, "The certificate authority asked to wait until ") || !strings.Contains(got.out, "(in 2h0m), and that is kept.") {
		t.Errorf("%+v", got)
	}
	good := certificate(t, c, "retries", "good", "Issued", issued, "good.example.com")
	got = trellis(t, "", "cert", "retry", "good", "-n", "retries")
	if got.code != 0 || annotated(t, c, good, v1alpha1.RetryAnnotation) != "" || !strings.Contains(got.out, "there is nothing to try again, it is issued and expires in 60d. Nothing was changed") {
		t.Errorf("%+v", got)
	}
}

func TestANameThatMeansNothingOrTooMuchIsRefused(t *testing.T) {
	c := cluster(t)
	one := certificate(t, c, "names", "one", "Issued", issued, "a.example.com")
	certificate(t, c, "names", "two", "Issued", issued, "*.example.com")
	record(t, c, "names", "a.example.com", "Done", nil)
	for _, test := range []struct {
		args []string
		says string
	}{
		{[]string{"cert", "renew", "a.example.com"}, "error: looking for a.example.com: more than one ManagedCertificate is for it, say which: one, two\n"},
		{[]string{"cert", "retry", "x.y.example.com"}, "error: looking for x.y.example.com: there is no ManagedCertificate of this name or for this host in the namespace names\n"},
		{[]string{"cert", "status", "one", "three"}, "error: looking for three: there is no ManagedCertificate of this name or for this host in the namespace names\n"},
		{[]string{"dns", "status", "b.example.com"}, "error: looking for b.example.com: there is no such ManagedRecord in the namespace names\n"},
		{[]string{"dns", "plan", "-o", "sarif"}, "error: reading -o: \"sarif\" is none of text, json, yaml\n"},
		{[]string{"dns", "stauts"}, "error: unknown command \"stauts\" for \"trellis dns\"\n"},
	} {
		args := test.args
		if args[1] != "stauts" {
			args = append(args, "-n", "names")
		}
		if got := trellis(t, "", args...); got.code != 1 || got.out != "" || !strings.HasPrefix(got.err, strings.TrimSuffix(test.says, "\n")) {
			t.Errorf("%v: %+v", args, got)
		}
	}
	if annotated(t, c, one, v1alpha1.RenewAnnotation) != "" {
		t.Error("a renewal was asked for although it was not clear of what")
	}
	if got := trellis(t, "", "dns", "status", "A.Example.COM.", "-n", "names"); got.code != 0 || !strings.Contains(got.out, "a.example.com") {
		t.Errorf("a name in another spelling: %+v", got)
	}
}

func TestEntriesAreShownWithWhoIsInTheirWay(t *testing.T) {
	c := cluster(t)
	record(t, c, "entries", "shop.example.com", "Done", func(r *v1alpha1.ManagedRecord) {
		r.Status.Conditions = []metav1.Condition{condition("Ready", "True", "Done", "shop.example.com A 192.0.2.1", time.Hour)}
	})
	blocked := record(t, c, "entries", "blog.example.com", "Blocked", func(r *v1alpha1.ManagedRecord) {
		r.Status.Conditions = []metav1.Condition{condition("Ready", "False", "Conflict", "blog.example.com A belongs to external-dns\n\x1b[31m(owner id x)", time.Hour)}
	})
	got := trellis(t, "", "dns", "status", "-n", "entries")
	want := "NAMESPACE   NAME               PHASE     ZONE          LEADS TO    MESSAGE\n" +
		"entries     blog.example.com   Blocked   example.com   192.0.2.1   blog.example.com A belongs to external-dns  [31m(owner id x)\n" +
		"entries     shop.example.com   Done      example.com   192.0.2.1   shop.example.com A 192.0.2.1\n"
	if got.code != 2 || got.out != want {
		t.Errorf("%+v\nwant\n%s", got, want)
	}
	for _, name := range []string{"shop.example.com", "trellis-record-public.shop.example.com"} {
		if got := trellis(t, "", "dns", "status", name, "-n", "entries"); got.code != 0 || strings.Contains(got.out, "blog") {
			t.Errorf("one name: %+v", got)
		}
	}
	asJSON, asYAML := trellis(t, "", "dns", "status", "-n", "entries", "-o", "json"), trellis(t, "", "dns", "status", "-n", "entries", "-o", "yaml")
	if same, err := yaml.YAMLToJSON([]byte(asYAML.out)); err != nil || !jsonEqual(same, []byte(asJSON.out)) || asJSON.code != 2 || !strings.Contains(asJSON.out, blocked.Name) {
		t.Errorf("%v\n%s\n%s", err, asJSON.out, asYAML.out)
	}
}

func jsonEqual(a, b []byte) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	return fmt.Sprint(x) == fmt.Sprint(y)
}

// massChange lets a real engine refuse a mass change, and returns what it says.
func massChange(t *testing.T) dns.Outcome {
	t.Helper()
	provider := memory.New(memory.Options{Capabilities: dns.Capabilities{Atomic: true, MaxChanges: 10, MaxRecords: 100}}, dns.Zone{ID: "z", Name: "example.com"})
	e := &dns.Engine{Owner: "us", Clock: time.Now}
	wanted := func(address string) []dns.Wanted {
		var out []dns.Wanted
		for _, name := range []dns.Name{"a.example.com", "b.example.com", "c.example.com", "d.example.com"} {
			out = append(out, dns.Wanted{
				Resource: "mass/" + string(name), Name: name, TTL: 300, Target: &dns.Target{Addresses: []netip.Addr{netip.MustParseAddr(address)}},
			})
		}
		return out
	}
	e.Reconcile(t.Context(), provider, wanted("192.0.2.1"), dns.Options{Account: "a"})
	o := e.Reconcile(t.Context(), provider, wanted("192.0.2.2"), dns.Options{Account: "a"})[0]
	if o.Class != dns.ClassMassChange || o.Confirm == "" {
		t.Fatalf("the engine did not refuse: %+v", o)
	}
	return o
}

func TestAPlanShowsHowAMassChangeIsConfirmed(t *testing.T) {
	c := cluster(t)
	provider := have(t, c, &v1alpha1.DNSProvider{
		ObjectMeta: metav1.ObjectMeta{Namespace: "mass", Name: "route53"},
		Spec:       v1alpha1.DNSProviderSpec{Route53: &v1alpha1.Route53Provider{}, Confirmed: []string{"0123456789abcdef"}},
	}, nil)
	refused := massChange(t)
	for _, name := range []string{"a.example.com", "b.example.com"} {
		record(t, c, "mass", name, "Blocked", func(r *v1alpha1.ManagedRecord) {
			r.Status.Plan = []string{"update " + name + " A 192.0.2.1 becomes 192.0.2.2"}
			r.Status.Confirm = refused.Confirm
			r.Status.Conditions = []metav1.Condition{condition("Ready", "False", string(refused.Class), refused.Err.Error()+"; to let it happen, …", time.Minute)}
		})
	}
	record(t, c, "mass", "dry.example.com", "Planned", func(r *v1alpha1.ManagedRecord) {
		r.Status.Plan = []string{"create dry.example.com A 192.0.2.1"}
		r.Status.Conditions = []metav1.Condition{condition("Ready", "False", "Planned", "nothing is written, since spec.dryRun is set", time.Minute)}
	})
	record(t, c, "mass", "done.example.com", "Done", nil)
	got := trellis(t, "", "dns", "plan", "-n", "mass")
	command := fmt.Sprintf(`kubectl -n mass patch dnsprovider route53 --type=merge -p '{"spec":{"confirmed":["0123456789abcdef","%s"]}}'`, refused.Confirm)
	want := "a.example.com: Blocked (MassChange), by mass/route53 in the zone example.com\n" +
		"  update a.example.com A 192.0.2.1 becomes 192.0.2.2\n" +
		"  why: " + refused.Err.Error() + "; to let it happen, …\n" +
		"b.example.com: Blocked (MassChange), by mass/route53 in the zone example.com\n" +
		"  update b.example.com A 192.0.2.1 becomes 192.0.2.2\n" +
		"  why: " + refused.Err.Error() + "; to let it happen, …\n" +
		"dry.example.com: Planned, by mass/route53 in the zone example.com\n" +
		"  create dry.example.com A 192.0.2.1\n" +
		"\na mass change of mass/route53 waits for your word: 2 of the names above, token " + refused.Confirm + "\n  " + command + "\n"
	if got.code != 2 || got.out != want || got.err != "" {
		t.Errorf("%+v\nwant\n%s", got, want)
	}
	// What the command would write is what the kind takes.
	_, patch, _ := strings.Cut(command, "-p '")
	if err := c.Patch(t.Context(), provider, client.RawPatch("application/merge-patch+json", []byte(strings.TrimSuffix(patch, "'")))); err != nil || len(provider.Spec.Confirmed) != 2 {
		t.Errorf("%v: %v", provider.Spec.Confirmed, err)
	}
	if got := trellis(t, "", "dns", "plan", "dry.example.com", "-n", "mass"); got.code != 0 || strings.Contains(got.out, "Blocked") {
		t.Errorf("a dry run needs nobody: %+v", got)
	}
	if got := trellis(t, "", "dns", "plan", "done.example.com", "-n", "mass"); got.code != 0 || got.out != "nothing is left to do\n" {
		t.Errorf("%+v", got)
	}
}

func TestNamesInAClusterAreCompleted(t *testing.T) {
	exampleWorld(t)
	for _, test := range []struct {
		args  []string
		first string
	}{
		{[]string{"cert", "renew", "-n", gateway, ""}, "trellis-certificate-public.blog.example.com\ntrellis-certificate-public.shop.example.com\n:4\n"},
		{[]string{"cert", "renew", "-n", gateway, "one", ""}, ":4\n"},
		{[]string{"dns", "status", "-n", gateway, ""}, "shop.example.com\n:4\n"},
		{[]string{"dns", "plan", "-n", "nowhere", ""}, ":4\n"},
		{[]string{"cert", "status", "--context", ""}, "stack\n:4\n"},
		{[]string{"cert", "status", "-o", ""}, "text\njson\nyaml\n:4\n"},
	} {
		if got := trellis(t, "", append([]string{"__complete"}, test.args...)...); got.out != test.first {
			t.Errorf("%v: %q, want %q", test.args, got.out, test.first)
		}
	}
	if got := trellis(t, "", "__complete", "cert", "status", "-n", ""); !strings.Contains(got.out, gateway+"\n") {
		t.Errorf("namespaces: %+v", got)
	}
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	if got := trellis(t, "", "__complete", "cert", "renew", ""); got.out != ":4\n" {
		t.Errorf("without a cluster: %+v", got)
	}
}

func TestTheClusterIsFoundAsKubectlFindsIt(t *testing.T) {
	c := cluster(t)
	certificate(t, c, "default", "a", "Issued", issued, "a.example.com")
	certificate(t, c, "found", "b", "Issued", issued, "b.example.com")
	path := apiServer.Kubeconfig()
	lines := func(args ...string) int {
		t.Helper()
		got := trellis(t, "", append([]string{"cert", "status"}, args...)...)
		if got.code != 0 {
			t.Errorf("%v: %+v", args, got)
		}
		return strings.Count(got.out, "example.com")
	}
	if lines() != 1 || lines("-A") != 2 || lines("-n", "found") != 1 || lines("-n", "nothing-there") != 0 {
		t.Error("namespaces are not as with kubectl")
	}
	if got := trellis(t, "", "cert", "status", "-n", "nothing-there"); got.err != "there are no certificates of Trellis in the namespace nothing-there\n" || got.out != "" {
		t.Errorf("%+v", got)
	}
	t.Setenv("HOME", t.TempDir())
	t.Setenv("KUBECONFIG", "")
	if lines("--kubeconfig", path, "-A") != 2 {
		t.Error("the flag does not lead to the cluster")
	}
	if got := trellis(t, "", "cert", "status"); got.code != 1 || got.err != "error: finding the cluster: there is no kubeconfig: name one with --kubeconfig, or set KUBECONFIG\n" {
		t.Errorf("%+v", got)
	}
	if got := trellis(t, "", "dns", "status", "--kubeconfig", path, "--context", "none"); got.code != 1 || !strings.Contains(got.err, "context was not found for specified context: none") {
		t.Errorf("%+v", got)
	}
}

func TestAClusterWithoutTrellisIsSaidToBeOne(t *testing.T) {
	cluster(t)
	if len(uninstalled) != 3 {
		t.Fatal("nothing was tried")
	}
	for _, got := range uninstalled {
		if got.code != 1 || !strings.HasSuffix(got.err, ": the cluster does not know Trellis's kinds: is Trellis installed there, and new enough?\n") {
			t.Errorf("%+v", got)
		}
	}
}

func TestWithoutRightsNothingIsShown(t *testing.T) {
	cluster(t)
	if err := apiServer.Namespace(t.Context(), "rights", nil); err != nil {
		t.Fatal(err)
	}
	nobody, err := apiServer.ServiceAccountConfig(t.Context(), "rights", "nobody")
	if err != nil {
		t.Fatal(err)
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: nobody.Host, CertificateAuthorityData: nobody.CAData}
	config.AuthInfos["u"] = &clientcmdapi.AuthInfo{Token: nobody.BearerToken}
	config.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	config.CurrentContext = "x"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	for _, verb := range [][]string{{"cert", "status"}, {"cert", "renew", "a"}, {"dns", "status"}, {"dns", "plan"}} {
		got := trellis(t, "", append(verb, "--kubeconfig", path)...)
		if got.code != 1 || got.out != "" || !strings.Contains(got.err, "forbidden") || strings.Contains(got.err, nobody.BearerToken) {
			t.Errorf("%v: %+v", verb, got)
		}
	}
}
