// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/server/forecast"
	"github.com/trellis-mesh/trellis/internal/server/observe"
	"github.com/trellis-mesh/trellis/internal/server/publish"
	"github.com/trellis-mesh/trellis/internal/traffic"
	"github.com/trellis-mesh/trellis/internal/verdict"
)

// moving is a MutualTLSRollout.
const moving = `
apiVersion: trellis.dev/v1alpha1
kind: MutualTLSRollout
metadata: {name: NAME, generation: 3}
spec:
  namespaces: {names: [NAMESPACES]}
  stage: STAGE
  observation: {source: {accessLogs: {}}, window: 1h, soak: 1m}
`

// proxyless is a workload without a proxy.
const proxyless = `
apiVersion: v1
kind: Namespace
metadata: {name: old}
---
apiVersion: v1
kind: Service
metadata: {name: job, namespace: old}
spec: {clusterIP: 10.0.1.99, selector: {app: job}, ports: [{name: http, port: 80, targetPort: 9080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: job-1, namespace: old, labels: {app: job}}
spec: {serviceAccountName: job, containers: [{name: main}]}
status: {phase: Running, podIP: 10.1.1.99, podIPs: [{ip: 10.1.1.99}]}
`

const plaintextByRule = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: plain, namespace: till}
spec: {host: cart.cart.svc.cluster.local, exportTo: ["."], trafficPolicy: {tls: {mode: DISABLE}}}
`

// peers is a PeerAuthentication in namespace cart.
func peers(name, created, labels, spec string) string {
	return fmt.Sprintf("apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: %s, namespace: cart, creationTimestamp: %q, labels: {%s}}\nspec: {%s}\n",
		name, created, labels, spec)
}

const (
	old  = "2026-01-01T00:00:00Z"
	made = "app.kubernetes.io/managed-by: trellis-rollout, trellis.dev/rollout: all"
	self = "selector: {matchLabels: {app: cart}}"
)

func rolling(name, stage string, namespaces ...string) string {
	return strings.NewReplacer("NAMESPACES", strings.Join(namespaces, ", "), "NAME", name, "STAGE", stage).Replace(moving)
}

// foreseen are the forecasts of three workloads with proxies and one without, and with
// some more objects.
func foreseen(t *testing.T, seen *traffic.Seen, more ...string) []verdict.Forecast {
	t.Helper()
	texts := []string{named(workload, "cart"), named(workload, "stock"), named(workload, "till"), proxyless}
	found, err := forecast.Run(t.Context(), observed(t, decode(t, append(texts, more...)...)...), time.Now())
	must(t, err)
	return found.Told(seen)
}

// stageOf is one stage of one forecast in short.
func stageOf(t *testing.T, told []verdict.Forecast, name string) string {
	t.Helper()
	for _, f := range told {
		if f.Problem != "" {
			return f.Problem
		}
		for _, s := range f.Stages {
			if s.Name != name {
				continue
			}
			out := []string{s.Namespace + "/" + s.Object, s.Mode}
			for _, r := range s.Refusals {
				out = append(out, "refused by "+r.Object)
			}
			for _, c := range s.Conflicts {
				out = append(out, fmt.Sprintf("%s:%d %t", c.Client, c.Port, c.Proxied))
			}
			return strings.Join(out, "; ")
		}
	}
	return "no stage"
}

func TestAForecastNamesWhoWouldBeShutOutAndWhatDecidesInstead(t *testing.T) {
	services, whole := rolling("all", "Service", "cart", "stock"), rolling("all", "Namespace", "cart", "stock")
	generated := strings.Replace(named(application, "cart"), "  tests:", "  access: {mutualTLS: Permissive}\n  tests:", 1)
	generated, _, _ = strings.Cut(generated, "  tests:")
	for _, c := range []struct {
		name string
		more []string
		of   string
		want string
	}{
		{"a client without a proxy", []string{services}, "cart/cart", "cart/trellis-rollout-cart; PERMISSIVE; old/job:80 false"},
		{"a client that a rule has send plaintext", []string{services, plaintextByRule}, "cart/cart", "cart/trellis-rollout-cart; PERMISSIVE; old/job:80 false; till/till:80 true"},
		{"a namespace", []string{whole, plaintextByRule}, "cart", "cart/trellis-rollout; PERMISSIVE; old/job:80 false; till/till:80 true"},
		{"a service out of scope", []string{services}, "till/till", "no stage"},
		{"a service whose workloads have no proxy", []string{rolling("all", "Service", "old")}, "old/job", "no stage"},
		{"a service without a selector", []string{services, "apiVersion: v1\nkind: Service\nmetadata: {name: bare, namespace: cart}\nspec: {clusterIP: 10.0.1.77, ports: [{name: http, port: 80}]}"}, "cart/bare", "no stage"},
		{
			"the policy of somebody else", []string{services, peers("theirs", old, "", self+", mtls: {mode: PERMISSIVE}")}, "cart/cart",
			"cart/trellis-rollout-cart; PERMISSIVE; refused by PeerAuthentication cart/theirs; old/job:80 false",
		},
		{
			"one that says nothing hides the stage's own", []string{services, peers("theirs", old, "", self)}, "cart/cart",
			"cart/trellis-rollout-cart; PERMISSIVE; refused by PeerAuthentication cart/theirs; old/job:80 false",
		},
		{
			"one that says nothing hides nothing of the namespace", []string{whole, peers("theirs", old, "", self)}, "cart",
			"cart/trellis-rollout; PERMISSIVE; old/job:80 false",
		},
		{
			"one port is plaintext", []string{whole, peers("theirs", old, "", self+", mtls: {mode: STRICT}, portLevelMtls: {9080: {mode: DISABLE}}")}, "cart",
			"cart/trellis-rollout; DISABLE; refused by PeerAuthentication cart/theirs; old/job:80 false",
		},
		{
			"a port that no Service names is plaintext", []string{services, peers("theirs", old, "", self+", mtls: {mode: STRICT}, portLevelMtls: {15090: {mode: PERMISSIVE}}")}, "cart/cart",
			"cart/trellis-rollout-cart; PERMISSIVE; refused by PeerAuthentication cart/theirs",
		},
		{
			"the one of the namespace, in a stage for the namespace", []string{whole, peers("theirs", old, "", "mtls: {mode: PERMISSIVE}")}, "cart",
			"cart/trellis-rollout; PERMISSIVE; refused by PeerAuthentication cart/theirs; old/job:80 false",
		},
		{
			"the one of the namespace, in a stage for a service", []string{services, peers("theirs", old, "", "mtls: {mode: PERMISSIVE}")}, "cart/cart",
			"cart/trellis-rollout-cart; PERMISSIVE; old/job:80 false",
		},
		{
			"the younger of two does not decide", []string{services, peers("trellis-rollout-cart", old, made, self+", mtls: {mode: STRICT}"), peers("theirs", "2026-02-01T00:00:00Z", "", self+", mtls: {mode: PERMISSIVE}")}, "cart/cart",
			"cart/trellis-rollout-cart; STRICT; old/job:80 false",
		},
		{
			"a stage that somebody edited is no refusal", []string{services, peers("trellis-rollout-cart", old, made, self+", mtls: {mode: PERMISSIVE}")}, "cart/cart",
			"cart/trellis-rollout-cart; PERMISSIVE; old/job:80 false",
		},
		{
			"somebody else's object of that name", []string{services, peers("trellis-rollout-cart", old, "", "selector: {matchLabels: {app: other}}, mtls: {mode: STRICT}")}, "cart/cart",
			"cart/trellis-rollout-cart; PERMISSIVE; refused by PeerAuthentication cart/trellis-rollout-cart",
		},
		{
			"the one of an Application", []string{services, generated}, "cart/cart",
			"cart/trellis-rollout-cart; PERMISSIVE; refused by PeerAuthentication cart/trellis-application-cart; old/job:80 false",
		},
		{
			"the root namespace, which stands for the mesh", []string{strings.NewReplacer("NAMESPACE", "istio-system", "NAME", "own", "NUMBER", "77").Replace(strings.ReplaceAll(workload, "namespace: NAME", "namespace: NAMESPACE")), "apiVersion: v1\nkind: Namespace\nmetadata: {name: istio-system}", rolling("all", "Namespace", "istio-system")}, "istio-system",
			"istio-system/trellis-rollout; PERMISSIVE; refused by namespace istio-system",
		},
		{"a namespace that is not there", []string{rolling("all", "Service", "cart", "nowhere")}, "cart/cart", "there is no namespace nowhere: correct spec.namespaces.names of MutualTLSRollout all, or create it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := stageOf(t, foreseen(t, nil, c.more...), c.of); got != c.want {
				t.Errorf("%s\nwant %s", got, c.want)
			}
		})
	}
}

func TestTheFixForAnApplicationIsOneOfTheApplication(t *testing.T) {
	generated, _, _ := strings.Cut(named(application, "cart"), "  tests:")
	told := foreseen(t, nil, rolling("all", "Service", "cart"), generated+"  access: {mutualTLS: Permissive}\n")
	if r := told[0].Stages[0].Refusals; len(r) != 1 || r[0].Fix != "set access.mutualTLS of Application cart/cart to Strict" {
		t.Errorf("%+v", r)
	}
}

func TestTwoRolloutsOfOneNamespaceBothHearOfIt(t *testing.T) {
	told := foreseen(t, nil, rolling("one", "Service", "cart", "stock"), rolling("two", "Namespace", "cart"), rolling("three", "Service", "till"))
	problems := map[string]string{}
	for _, f := range told {
		problems[f.Rollout] = f.Problem
		if (f.Problem == "") != (len(f.Stages) > 0) || f.Generation != 3 {
			t.Errorf("%+v", f)
		}
	}
	if !strings.Contains(problems["one"], "MutualTLSRollout two") || !strings.Contains(problems["two"], "MutualTLSRollout one") || problems["three"] != "" {
		t.Errorf("%v", problems)
	}
}

func TestStagesFollowWhoWasSeenToCallWhomWhateverBlocksThem(t *testing.T) {
	seen := &traffic.Seen{Edges: []traffic.Edge{
		{Client: "till/till", Services: []string{"stock/stock"}}, {Client: "stock/stock", Services: []string{"cart/cart"}},
	}}
	more := []string{rolling("all", "Service", "cart", "stock", "till"), plaintextByRule, peers("theirs", old, "", self+", mtls: {mode: PERMISSIVE}")}
	for want, s := range map[string]*traffic.Seen{"cart stock till": nil, "till stock cart": seen} {
		var got []string
		for _, stage := range foreseen(t, s, more...)[0].Stages {
			got = append(got, stage.Namespace)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%v, want %s", got, want)
		}
	}
}

func TestServicesThatShareWorkloadsAreOneStagesBusiness(t *testing.T) {
	twin := strings.Split(strings.NewReplacer("name: NAME, namespace: NAME", "name: twin, namespace: NAME", "NUMBER", "88", "port: 80", "port: 81").Replace(workload), "\n---\n")[1]
	told := foreseen(t, nil, rolling("all", "Service", "cart"), strings.ReplaceAll(twin, "NAME", "cart"))
	for _, s := range told[0].Stages {
		if !slices.Equal(s.Services, []string{"cart/cart", "cart/twin"}) || len(s.Conflicts) != 2 {
			t.Errorf("%+v", s)
		}
	}
	if len(told[0].Stages) != 2 {
		t.Errorf("%+v", told)
	}
}

func TestARolloutsStatusIsNoChangeAndWhatItMadeIs(t *testing.T) {
	objects := func() []client.Object { return decode(t, named(workload, "cart"), rolling("all", "Service", "cart")) }
	before := observed(t, objects()...)
	for name, c := range map[string]struct {
		change func([]client.Object) []client.Object
		same   bool
	}{
		"a status": {func(all []client.Object) []client.Object {
			rolloutOf(t, all).Status.Phase, rolloutOf(t, all).ResourceVersion = v1alpha1.RolloutBlocked, "7"
			return all
		}, true},
		"another statement": {func(all []client.Object) []client.Object {
			rolloutOf(t, all).Spec.Stage = v1alpha1.StageNamespace
			return all
		}, false},
		"one that is being deleted": {func(all []client.Object) []client.Object {
			rolloutOf(t, all).DeletionTimestamp = &metav1.Time{Time: time.Now()}
			return all
		}, false},
		"a stage that was made": {func(all []client.Object) []client.Object {
			return append(all, decode(t, peers("trellis-rollout-cart", old, made, self+", mtls: {mode: STRICT}"))...)
		}, false},
	} {
		after := observed(t, c.change(objects())...)
		if (after.Digest == before.Digest) != c.same {
			t.Errorf("%s: the digest is the same: %t, want %t", name, !c.same, c.same)
		}
		made := slices.ContainsFunc(after.Objects, func(o client.Object) bool { _, ok := o.(*securityv1.PeerAuthentication); return ok })
		if made != (name == "a stage that was made") {
			t.Errorf("%s: Istio's generator is given the stage: %t", name, made)
		}
	}
}

func rolloutOf(t *testing.T, objects []client.Object) *v1alpha1.MutualTLSRollout {
	t.Helper()
	for _, o := range objects {
		if r, ok := o.(*v1alpha1.MutualTLSRollout); ok {
			return r
		}
	}
	t.Fatal("there is no rollout")
	return nil
}

func TestAForecasterTellsWhatHasChangedAndNothingWithoutARollout(t *testing.T) {
	states := make(chan func() (*observe.State, error), 1)
	changed := make(chan struct{})
	board := publish.NewBoard()
	f := forecast.New(forecast.Config{
		State: func() (*observe.State, error) { return (<-states)() }, Changed: changed, Board: board,
		Clock: clock.RealClock{}, Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Start(ctx) }()
	defer func() {
		cancel()
		must(t, <-done)
	}()
	server := httptest.NewTLSServer(publish.NewHandler(publish.Config{
		Board: board, Clock: clock.RealClock{}, Log: slog.New(slog.DiscardHandler),
		Guard: publish.NewGuard(publish.GuardConfig{Client: reviewer{}, User: "operator", Clock: clock.RealClock{}, Log: slog.New(slog.DiscardHandler)}),
	}))
	defer server.Close()
	told := follow(t, server)
	whole := []string{named(workload, "cart"), proxyless}
	for _, c := range []struct {
		name  string
		state func() (*observe.State, error)
		want  string
	}{
		{"no rollout", stateOf(t, whole...), `[] ""`},
		{"one rollout", stateOf(t, append(whole, rolling("all", "Service", "cart"))...), `[all] ""`},
		{"odd objects", func() (*observe.State, error) {
			return &observe.State{Rollouts: []*v1alpha1.MutualTLSRollout{{}}, Objects: []client.Object{nil}, Digest: "odd"}, nil
		}, `[] "forecasting rollouts: these objects are too odd`},
	} {
		states <- c.state
		changed <- struct{}{}
		got := <-told
		var names []string
		for _, one := range got.Rollouts {
			names = append(names, one.Rollout)
		}
		if text := fmt.Sprintf("%v %q", names, got.Problem); !strings.HasPrefix(text, c.want) {
			t.Errorf("%s: %s, want %s", c.name, text, c.want)
		}
	}
}

func stateOf(t *testing.T, texts ...string) func() (*observe.State, error) {
	t.Helper()
	state := observed(t, decode(t, texts...)...)
	return func() (*observe.State, error) { return state, nil }
}

// reviewer takes every token for the operator's.
type reviewer struct{ client.Client }

func (reviewer) Create(_ context.Context, o client.Object, _ ...client.CreateOption) error {
	if review, ok := o.(*authenticationv1.TokenReview); ok {
		review.Status = authenticationv1.TokenReviewStatus{Authenticated: true, Audiences: review.Spec.Audiences, User: authenticationv1.UserInfo{Username: "operator"}}
	}
	return nil
}

// follow gives what the client of the operator is told.
func follow(t *testing.T, server *httptest.Server) <-chan *verdict.Forecasts {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	c, err := verdict.NewForecastClient(verdict.ClientConfig{
		Address: server.URL, ServerName: "example.com", Clock: clock.RealClock{}, Log: slog.New(slog.DiscardHandler),
		Roots: func() (*x509.CertPool, error) { return roots, nil },
		Token: func(context.Context) (string, error) { return "secret", nil },
	})
	must(t, err)
	out := make(chan *verdict.Forecasts, 4)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- c.Run(ctx, func(f *verdict.Forecasts, err error) {
			if err == nil {
				out <- f
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		must(t, <-done)
	})
	return out
}
