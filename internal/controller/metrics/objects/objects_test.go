// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package objects_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/controller/metrics/objects"
	"github.com/trellis-mesh/trellis/internal/model"
)

var noon = time.Date(2027, 1, 10, 12, 0, 0, 0, time.UTC)

// leading is what a leader has.
func leading() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func named(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}

func condition(kind string, status metav1.ConditionStatus, reason string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: reason}
}

// register makes a registry that is told of objects.
func register(t *testing.T, source objects.Source) *prometheus.Registry {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := objects.Register(registry, source); err != nil {
		t.Fatal(err)
	}
	return registry
}

func source(certificates []model.Certificate, all ...client.Object) objects.Source {
	return objects.Source{Leading: leading(), Shown: func() ([]client.Object, []model.Certificate, bool) { return all, certificates, true }}
}

// tells compares what a registry has of some metrics.
func tells(t *testing.T, registry *prometheus.Registry, want string, names ...string) {
	t.Helper()
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
}

func web(conditions ...metav1.Condition) *v1alpha1.Application {
	return &v1alpha1.Application{ObjectMeta: named("shop", "web"), Status: v1alpha1.ApplicationStatus{Conditions: conditions}}
}

func TestWhatIsNotAsItShouldBeIsTellableByName(t *testing.T) {
	t.Parallel()
	registry := register(t, source(nil,
		web(condition("Accepted", metav1.ConditionTrue, "Accepted"), condition("Enforced", metav1.ConditionFalse, "Open"), condition("Reconciling", metav1.ConditionTrue, "Pending")),
		&v1alpha1.Application{ObjectMeta: named("shop", "new")},
		&v1alpha1.ManagedRecord{ObjectMeta: named("edge", "web"), Status: v1alpha1.ManagedRecordStatus{Conditions: []metav1.Condition{
			condition("Ready", metav1.ConditionUnknown, "Waiting"), condition("Stalled", metav1.ConditionTrue, "Conflict"),
		}}},
		&v1alpha1.ClusterPolicyBinding{ObjectMeta: named("", "no-any"), Status: v1alpha1.PolicyBindingStatus{Conditions: []metav1.Condition{
			condition("Progressing", metav1.ConditionFalse, "Trouble"), condition("Expiring", metav1.ConditionFalse, "Never"),
		}}},
	))
	tells(t, registry, `
# HELP trellis_object_condition 1 for each condition that is not as it should be: not True, or Stalled, Expiring or Warned and True. At most 2,000 of them, those that are False first.
# TYPE trellis_object_condition gauge
trellis_object_condition{condition="Enforced",kind="Application",name="web",namespace="shop",reason="Open",status="False"} 1
trellis_object_condition{condition="Progressing",kind="ClusterPolicyBinding",name="no-any",namespace="",reason="Trouble",status="False"} 1
trellis_object_condition{condition="Ready",kind="ManagedRecord",name="web",namespace="edge",reason="Waiting",status="Unknown"} 1
trellis_object_condition{condition="Stalled",kind="ManagedRecord",name="web",namespace="edge",reason="Conflict",status="True"} 1
# HELP trellis_objects Objects of Trellis's own kinds.
# TYPE trellis_objects gauge
trellis_objects{kind="Application"} 2
trellis_objects{kind="ClusterPolicyBinding"} 1
trellis_objects{kind="ManagedRecord"} 1
# HELP trellis_conditions Conditions of Trellis's own objects, by their status.
# TYPE trellis_conditions gauge
trellis_conditions{condition="Accepted",kind="Application",status="True"} 1
trellis_conditions{condition="Enforced",kind="Application",status="False"} 1
trellis_conditions{condition="Expiring",kind="ClusterPolicyBinding",status="False"} 1
trellis_conditions{condition="Progressing",kind="ClusterPolicyBinding",status="False"} 1
trellis_conditions{condition="Ready",kind="ManagedRecord",status="Unknown"} 1
trellis_conditions{condition="Reconciling",kind="Application",status="True"} 1
trellis_conditions{condition="Stalled",kind="ManagedRecord",status="True"} 1
`, "trellis_object_condition", "trellis_objects", "trellis_conditions")
}

func TestGoalsExceptionsAndCertificatesAreTold(t *testing.T) {
	t.Parallel()
	in := v1alpha1.PolicyRollup{Applications: 10, Passing: 6, Failing: 2, Exempt: 1, Unknown: 1}
	exception := func(name string, status metav1.ConditionStatus) *v1alpha1.PolicyException {
		return &v1alpha1.PolicyException{
			ObjectMeta: named("shop", name),
			Spec:       v1alpha1.PolicyExceptionSpec{Binding: v1alpha1.BindingReference{Kind: "PolicyBinding", Name: "no-any"}, Expires: metav1.NewTime(noon)},
			Status:     v1alpha1.PolicyExceptionStatus{Conditions: []metav1.Condition{condition("Ready", status, "Any")}},
		}
	}
	registry := register(t, source(
		[]model.Certificate{
			{Ref: model.Reference{Namespace: "edge", Name: "wildcard"}, NotBefore: noon.Add(-60 * time.Hour), NotAfter: noon},
			{Ref: model.Reference{Namespace: "edge", Name: "garbage"}, Problem: "it holds no certificate"},
		},
		&v1alpha1.Goal{ObjectMeta: named("", "no-strangers"), Status: v1alpha1.GoalStatus{Rollup: in}},
		&v1alpha1.PolicyBinding{ObjectMeta: named("shop", "no-any"), Status: v1alpha1.PolicyBindingStatus{Rollup: in}},
		exception("held", metav1.ConditionTrue), exception("never-approved", metav1.ConditionFalse),
	))
	tells(t, registry, `
# HELP trellis_goal_applications Applications that a Goal is about, by how they stand to it.
# TYPE trellis_goal_applications gauge
trellis_goal_applications{goal="no-strangers",state="Exempt"} 1
trellis_goal_applications{goal="no-strangers",state="Failing"} 2
trellis_goal_applications{goal="no-strangers",state="Passing"} 6
trellis_goal_applications{goal="no-strangers",state="Unknown"} 1
# HELP trellis_policy_binding_applications Applications that a ClusterPolicyBinding or PolicyBinding is about, by how they stand to it.
# TYPE trellis_policy_binding_applications gauge
trellis_policy_binding_applications{kind="PolicyBinding",name="no-any",namespace="shop",state="Exempt"} 1
trellis_policy_binding_applications{kind="PolicyBinding",name="no-any",namespace="shop",state="Failing"} 2
trellis_policy_binding_applications{kind="PolicyBinding",name="no-any",namespace="shop",state="Passing"} 6
trellis_policy_binding_applications{kind="PolicyBinding",name="no-any",namespace="shop",state="Unknown"} 1
# HELP trellis_policy_exception_expiry_timestamp_seconds When a PolicyException that is in force expires.
# TYPE trellis_policy_exception_expiry_timestamp_seconds gauge
trellis_policy_exception_expiry_timestamp_seconds{binding="PolicyBinding no-any",name="held",namespace="shop"} 1.7995824e+09
# HELP trellis_gateway_certificate_expiry_timestamp_seconds When the certificate in a Secret that a SecureIngress names expires, whoever keeps it.
# TYPE trellis_gateway_certificate_expiry_timestamp_seconds gauge
trellis_gateway_certificate_expiry_timestamp_seconds{name="wildcard",namespace="edge"} 1.7995824e+09
# HELP trellis_gateway_certificate_alert_timestamp_seconds When a person has to know that this certificate was not renewed: with a sixth of its lifetime left.
# TYPE trellis_gateway_certificate_alert_timestamp_seconds gauge
trellis_gateway_certificate_alert_timestamp_seconds{name="wildcard",namespace="edge"} 1.7995464e+09
`, "trellis_goal_applications", "trellis_policy_binding_applications", "trellis_policy_exception_expiry_timestamp_seconds",
		"trellis_gateway_certificate_expiry_timestamp_seconds", "trellis_gateway_certificate_alert_timestamp_seconds")
}

func TestThePlatformThatIsAllWrongMakesABoundedNumberOfSeries(t *testing.T) {
	t.Parallel()
	var all []client.Object
	for i := range 1_000 {
		a := web(condition("Accepted", metav1.ConditionUnknown, "IstiodAway"), condition("Programmed", metav1.ConditionUnknown, "IstiodAway"),
			condition("Ready", metav1.ConditionUnknown, "IstiodAway"))
		a.Name = fmt.Sprintf("a%d", i)
		all = append(all, a)
	}
	all = append(all, web(condition("Enforced", metav1.ConditionFalse, "Open")))
	registry := register(t, source(nil, all...))
	tells(t, registry, `
# HELP trellis_object_conditions_omitted Conditions that trellis_object_condition has no room for.
# TYPE trellis_object_conditions_omitted gauge
trellis_object_conditions_omitted 1001
`, "trellis_object_conditions_omitted")
	if n, err := testutil.GatherAndCount(registry, "trellis_object_condition"); err != nil || n != 2_000 {
		t.Errorf("%d series, %v", n, err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(fmt.Sprint(families), `value:"Enforced"`) {
		t.Error("the only one that is known to be open is left out")
	}
}

func TestAReplicaThatWaitsAndOneThatHasReadNothingTellNothing(t *testing.T) {
	t.Parallel()
	waits, unread := source(nil, web()), source(nil)
	waits.Leading = make(chan struct{})
	unread.Shown = func() ([]client.Object, []model.Certificate, bool) { return nil, nil, false }
	for name, s := range map[string]objects.Source{"waits": waits, "has read nothing": unread} {
		if n, err := testutil.GatherAndCount(register(t, s)); err != nil || n != 0 {
			t.Errorf("one that %s has %d series, %v", name, n, err)
		}
	}
}

func TestTheLastOperatorOfAProcessIsTheOneThatIsAsked(t *testing.T) {
	t.Parallel()
	registry := register(t, source(nil, web(), web()))
	if err := objects.Register(registry, source(nil, web())); err != nil {
		t.Fatal(err)
	}
	tells(t, registry, `
# HELP trellis_objects Objects of Trellis's own kinds.
# TYPE trellis_objects gauge
trellis_objects{kind="Application"} 1
`, "trellis_objects")
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) != 0 {
		t.Errorf("the metrics are not named as others are: %v, %v", problems, err)
	}
}

// BenchmarkScrape is of 1,000 Applications with the conditions that they have, where all is
// well and where nothing is known.
func BenchmarkScrape(b *testing.B) {
	for name, status := range map[string]metav1.ConditionStatus{"well": metav1.ConditionTrue, "unknown": metav1.ConditionUnknown} {
		b.Run(name, func(b *testing.B) {
			var all []client.Object
			for i := range 1_000 {
				a := web()
				a.Name = fmt.Sprintf("a%d", i)
				for _, kind := range []string{"Accepted", "Programmed", "Enforced", "CertificatesReady", "DNSReady", "TestsPassed", "Ready"} {
					a.Status.Conditions = append(a.Status.Conditions, condition(kind, status, "Any"))
				}
				all = append(all, a)
			}
			registry := prometheus.NewRegistry()
			if err := objects.Register(registry, source(nil, all...)); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := registry.Gather(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
