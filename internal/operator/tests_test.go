// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package operator_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/verdict"
)

// trials say of tests what a test of the operator wants them to.
type trials struct {
	mu     sync.Mutex
	report func(*verdict.Report, error)
	last   *verdict.Report
	err    error
}

func (s *trials) Run(ctx context.Context, report func(*verdict.Report, error)) error {
	s.mu.Lock()
	s.report = report
	if s.last != nil || s.err != nil {
		report(s.last, s.err)
	}
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report = nil
	return nil
}

// say reports one state for what an Application states now.
func (s *trials) say(t *testing.T, a *v1alpha1.Application, state verdict.State) {
	t.Helper()
	one := verdict.Application{Namespace: a.Namespace, Name: a.Name, Digest: verdict.Digest(&a.Spec), State: state, Tests: len(a.Spec.Tests)}
	if state != verdict.Passed {
		one.Failures = []verdict.Failure{{Test: "nobody", Field: "spec.tests[0]", State: state, Says: "it is Allow, and Deny was expected", Ask: "trellis can"}}
	}
	report, err := verdict.Seal([]verdict.Application{one}, "")
	if err != nil {
		t.Fatal(err)
	}
	s.tell(report, nil)
}

func (s *trials) tell(report *verdict.Report, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last, s.err = report, err
	if s.report != nil {
		s.report(report, err)
	}
}

// tested is a world whose operator waits for tests.
func tested(t *testing.T) (*world, *trials) {
	w := newWorld(t, server)
	s := &trials{}
	w.options.TestSource = s
	w.start()
	w.create(w.ingress())
	return w, s
}

func withTests(a *v1alpha1.Application) *v1alpha1.Application {
	a.Spec.Tests = []v1alpha1.AccessTest{{
		Name: "nobody", From: v1alpha1.TestClient{Internet: &v1alpha1.InternetClient{}},
		Request: v1alpha1.TestRequest{Path: "/api"}, Expect: v1alpha1.TestExpectation{Verdict: v1alpha1.VerdictDeny},
	}}
	return a
}

// change changes an Application's statement.
func (w *world) change(a *v1alpha1.Application, do func(*v1alpha1.ApplicationSpec)) {
	w.t.Helper()
	w.await("the change to be written", func(ctx context.Context) error {
		if err := w.client.Get(ctx, client.ObjectKeyFromObject(a), a); err != nil {
			return err
		}
		do(&a.Spec)
		return w.client.Update(ctx, a)
	})
}

func addPath(path string) func(*v1alpha1.ApplicationSpec) {
	return func(s *v1alpha1.ApplicationSpec) {
		s.Routes[1].Paths = append(s.Routes[1].Paths, v1alpha1.PathMatch{Prefix: &path})
	}
}

// serves reports whether a route for a path was generated.
func (w *world) serves(path string) bool {
	for _, u := range w.generated() {
		if u.GetKind() != "VirtualService" {
			continue
		}
		if strings.Contains(fmt.Sprint(u.Object["spec"]), path) {
			return true
		}
	}
	return false
}

// recorded are the generations of the records.
func (w *world) recorded() []int64 {
	w.t.Helper()
	list := &appsv1.ControllerRevisionList{}
	if err := w.client.List(context.Background(), list, client.InNamespace(w.shop)); err != nil {
		w.t.Fatal(err)
	}
	var out []int64
	for i := range list.Items {
		out = append(out, list.Items[i].Revision)
	}
	return out
}

func TestANewApplicationStaysClosedUntilItsTestsHavePassed(t *testing.T) {
	w, s := tested(t)
	app := withTests(w.application())
	w.create(app)
	w.awaitCondition(app, v1alpha1.ConditionAccepted, metav1.ConditionUnknown, "AwaitingTests")
	w.awaitCondition(app, v1alpha1.ConditionProgrammed, metav1.ConditionUnknown, "NotInForce")
	w.awaitCondition(app, v1alpha1.ConditionTestsPassed, metav1.ConditionUnknown, "NotRun")
	w.awaitCondition(app, v1alpha1.ConditionReady, metav1.ConditionUnknown, "AwaitingTests")
	w.awaitCondition(app, v1alpha1.ConditionReconciling, metav1.ConditionTrue, "AwaitingTests")
	if w.serves("/api") || len(w.recorded()) != 0 {
		t.Error("it is in force")
	}
	s.say(t, app, verdict.Unknown)
	w.awaitCondition(app, v1alpha1.ConditionTestsPassed, metav1.ConditionUnknown, "NotKnown")
	s.say(t, app, verdict.Failed)
	c := w.awaitCondition(app, v1alpha1.ConditionAccepted, metav1.ConditionFalse, "TestsFailed")
	if !strings.Contains(c.Message, "generation 1 is not in force, and none was before") {
		t.Errorf("Accepted says %q", c.Message)
	}
	w.awaitCondition(app, v1alpha1.ConditionStalled, metav1.ConditionTrue, "TestsFailed")
	if w.serves("/api") || len(w.recorded()) != 0 {
		t.Error("it is in force though its tests failed")
	}
	s.say(t, app, verdict.Passed)
	w.awaitCondition(app, v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	if !w.serves("/api") || !slices.Equal(w.recorded(), []int64{1}) {
		t.Error("it is not in force")
	}
}

func TestAChangeWaitsForItsTestsAndWhatWasInForceStaysSo(t *testing.T) {
	w, s := tested(t)
	app := withTests(w.application())
	w.create(app)
	s.say(t, app, verdict.Passed)
	w.awaitCondition(app, v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	w.change(app, addPath("/later"))
	c := w.awaitCondition(app, v1alpha1.ConditionAccepted, metav1.ConditionUnknown, "AwaitingTests")
	if !strings.Contains(c.Message, "generation 2 is not in force, generation 1 is") {
		t.Errorf("Accepted says %q", c.Message)
	}
	if !w.serves("/api") || w.serves("/later") {
		t.Error("what was in force is not as it was")
	}
	s.tell(nil, errors.New("asking trellis-server: connection refused"))
	w.awaitCondition(app, v1alpha1.ConditionTestsPassed, metav1.ConditionUnknown, "ServerUnavailable")
	// Whatever happens to the operator meanwhile.
	w.stop()
	w.start()
	w.quiet()
	if !w.serves("/api") || w.serves("/later") {
		t.Error("a restart changed what is in force")
	}
	s.say(t, app, verdict.Passed)
	w.awaitCondition(app, v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	if !w.serves("/later") {
		t.Error("the change is not in force")
	}
	w.await("the older record to go", func(context.Context) error {
		if got := w.recorded(); !slices.Equal(got, []int64{2}) {
			return fmt.Errorf("the records are of %v", got)
		}
		return nil
	})
}

func TestATestThatFailsLaterTakesNothingOutOfForce(t *testing.T) {
	w, s := tested(t)
	app := withTests(w.application())
	w.create(app)
	s.say(t, app, verdict.Passed)
	w.awaitCondition(app, v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	w.quiet()
	before := versionsOf(w.generated())
	s.say(t, app, verdict.Failed)
	w.awaitCondition(app, v1alpha1.ConditionReady, metav1.ConditionFalse, "TestsFailed")
	w.awaitCondition(app, v1alpha1.ConditionTestsPassed, metav1.ConditionFalse, "TestsFailed")
	w.awaitCondition(app, v1alpha1.ConditionAccepted, metav1.ConditionTrue, "Accepted")
	if len(app.Status.Problems) != 1 || app.Status.Problems[0].Severity != "Warning" || app.Status.Problems[0].Field != "spec.tests[0]" {
		t.Errorf("the problems are %+v", app.Status.Problems)
	}
	w.quiet()
	if after := versionsOf(w.generated()); !slices.Equal(before, after) {
		t.Errorf("a test that failed changed what is generated:\n%v\n%v", before, after)
	}
	// An answer that is away is no news about what is in force either.
	s.tell(nil, errors.New("away"))
	w.awaitCondition(app, v1alpha1.ConditionTestsPassed, metav1.ConditionUnknown, "ServerUnavailable")
	w.awaitCondition(app, v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
}

func TestAtRestAnOperatorThatWaitsForTestsWritesNothing(t *testing.T) {
	w, s := tested(t)
	app := withTests(w.application())
	w.create(app)
	s.say(t, app, verdict.Passed)
	w.awaitCondition(app, v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	w.change(app, addPath("/later"))
	w.awaitCondition(app, v1alpha1.ConditionAccepted, metav1.ConditionUnknown, "AwaitingTests")
	w.quiet()
	before := w.writes.Load()
	w.create(&appsv1.ControllerRevision{
		// One that is nobody's wakes the loop, and says nothing.
		ObjectMeta: metav1.ObjectMeta{Namespace: w.shop, Name: "other", Labels: map[string]string{"trellis.dev/in-force": "application"}},
		Data:       runtime.RawExtension{Raw: []byte(`{}`)},
	})
	w.quiet()
	if after := w.writes.Load(); after != before {
		t.Errorf("%d writes where nothing was to be done", after-before)
	}
}

func TestWhatIsInForceWithoutTestsIsRecordedBeforeTheyAreAdded(t *testing.T) {
	w, _ := tested(t)
	app := w.application()
	w.create(app)
	w.awaitCondition(app, v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	if got := w.recorded(); !slices.Equal(got, []int64{1}) {
		t.Fatalf("the records are of %v", got)
	}
	w.change(app, func(s *v1alpha1.ApplicationSpec) {
		s.Tests = withTests(w.application()).Spec.Tests
		addPath("/later")(s)
	})
	w.awaitCondition(app, v1alpha1.ConditionAccepted, metav1.ConditionUnknown, "AwaitingTests")
	if !w.serves("/api") || w.serves("/later") {
		t.Error("what was in force without tests is not as it was")
	}
	w.change(app, func(s *v1alpha1.ApplicationSpec) { s.Tests = nil })
	w.awaitCondition(app, v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	if !w.serves("/later") {
		t.Error("a change without tests waits for some")
	}
}

func TestWhatWasInForceBeforeAnybodyWaitedStaysSo(t *testing.T) {
	w := newWorld(t, server)
	w.start()
	w.create(w.ingress())
	app := withTests(w.application())
	w.create(app)
	w.awaitCondition(app, v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	w.awaitCondition(app, v1alpha1.ConditionTestsPassed, metav1.ConditionUnknown, "NotRun")
	if len(w.recorded()) != 0 {
		t.Error("records are kept where nobody waits for tests")
	}
	w.stop()
	before := versionsOf(w.generated())
	w.options.TestSource = &trials{err: errors.New("away")}
	w.start()
	w.awaitCondition(app, v1alpha1.ConditionTestsPassed, metav1.ConditionUnknown, "ServerUnavailable")
	w.quiet()
	if after := versionsOf(w.generated()); !slices.Equal(before, after) || !slices.Equal(w.recorded(), []int64{1}) {
		t.Errorf("beginning to wait changed what is in force: records %v\n%v\n%v", w.recorded(), before, after)
	}
}

func TestWithoutARecordOfItNothingComesIntoForce(t *testing.T) {
	w, s := tested(t)
	w.stop()
	w.refuse = func(o client.Object) error {
		if _, ok := o.(*appsv1.ControllerRevision); ok {
			return apierrors.NewForbidden(appsv1.Resource("controllerrevisions"), o.GetName(), errors.New("no right"))
		}
		return nil
	}
	w.start()
	app := withTests(w.application())
	w.create(app)
	s.say(t, app, verdict.Passed)
	w.awaitCondition(app, v1alpha1.ConditionTestsPassed, metav1.ConditionTrue, "Passed")
	if w.serves("/api") {
		t.Error("it is in force without a record")
	}
	w.stop()
	w.refuse = nil
	w.start()
	w.awaitCondition(app, v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
}

func TestARecordThatIsLostOpensNothing(t *testing.T) {
	w, s := tested(t)
	app := withTests(w.application())
	w.create(app)
	s.say(t, app, verdict.Passed)
	w.awaitCondition(app, v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	own := func() int {
		n := 0
		for _, u := range w.generated() {
			if u.GetKind() == "AuthorizationPolicy" && u.GetNamespace() == w.shop {
				n++
			}
		}
		return n
	}
	restrictions := own()
	if restrictions == 0 {
		t.Fatal("nothing restricts the workload")
	}
	w.change(app, addPath("/later"))
	w.awaitCondition(app, v1alpha1.ConditionAccepted, metav1.ConditionUnknown, "AwaitingTests")
	if err := w.client.DeleteAllOf(t.Context(), &appsv1.ControllerRevision{}, client.InNamespace(w.shop)); err != nil {
		t.Fatal(err)
	}
	// What an operator has written it remembers; another one does not.
	w.stop()
	w.start()
	w.await("the routes to go", func(context.Context) error {
		if w.serves("/api") {
			return errors.New("they are there")
		}
		return nil
	})
	w.quiet()
	if got := own(); got != restrictions {
		t.Errorf("%d policies restrict the workload, %d did", got, restrictions)
	}
}
