// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package objects tells Prometheus how it stands with Trellis's own objects: their
// conditions, whether goals are met, when exceptions and certificates expire. It is
// computed from the operator's caches when somebody scrapes, so that it cannot lag behind
// a status or outlive an object, and it makes no call.
//
// Names of objects are labels only where a person has to act on that object, and the
// number of series is bounded: see the constants of limits.
package objects

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/controller/metrics"
	"github.com/trellis-mesh/trellis/internal/model"
)

// Limits of series, whatever is in the cluster. What is beyond them is counted.
const (
	// mostConditions is how many conditions are told one by one.
	mostConditions = 2_000
	// mostSubjects is how many goals, bindings, exceptions or certificates are.
	mostSubjects = 1_000
)

// patience is how long a list from a cache may take that has not been read yet.
const patience = time.Second

// Source is where objects come from.
type Source struct {
	// Leading is closed once this replica works. Before, it tells nothing: the same objects
	// would be counted once for each replica.
	Leading <-chan struct{}
	// Shown are objects with their statuses and certificates of Secrets, which are only
	// looked at; false as long as they are not known.
	Shown func() ([]client.Object, []model.Certificate, bool)
	// Cache has the kinds that Shown does not have: DNSProviders and MutualTLSRollouts.
	Cache client.Reader
}

// Collector is a prometheus.Collector. It may be used by several goroutines.
type Collector struct{ source atomic.Pointer[Source] }

var _ prometheus.Collector = (*Collector)(nil)

// Register tells a registry about objects of a source. Where operators follow each other
// in one process it is those of the last one.
func Register(registry prometheus.Registerer, source Source) error {
	c := &Collector{}
	if err := metrics.Register(registry, &c); err != nil {
		return err
	}
	c.source.Store(&source)
	return nil
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	descObjects = desc("trellis_objects", "Objects of Trellis's own kinds.", "kind")
	descTotals  = desc("trellis_conditions", "Conditions of Trellis's own objects, by their status.", "kind", "condition", "status")
	descAmiss   = desc("trellis_object_condition",
		"1 for each condition that is not as it should be: not True, or Stalled, Expiring or Warned and True. At most 2,000 of them, those that are False first.",
		"kind", "namespace", "name", "condition", "status", "reason")
	descOmitted = desc("trellis_object_conditions_omitted", "Conditions that trellis_object_condition has no room for.")
	descGoal    = desc("trellis_goal_applications", "Applications that a Goal is about, by how they stand to it.", "goal", "state")
	descBinding = desc("trellis_policy_binding_applications",
		"Applications that a ClusterPolicyBinding or PolicyBinding is about, by how they stand to it.", "kind", "namespace", "name", "state")
	descException = desc("trellis_policy_exception_expiry_timestamp_seconds",
		"When a PolicyException that is in force expires.", "namespace", "name", "binding")
	descExpiry = desc("trellis_gateway_certificate_expiry_timestamp_seconds",
		"When the certificate in a Secret that a SecureIngress names expires, whoever keeps it.", "namespace", "name")
	descAlert = desc("trellis_gateway_certificate_alert_timestamp_seconds",
		"When a person has to know that this certificate was not renewed: with a sixth of its lifetime left.", "namespace", "name")
)

// Describe implements prometheus.Collector.
func (*Collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descObjects, descTotals, descAmiss, descOmitted, descGoal, descBinding, descException, descExpiry, descAlert} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	source := c.source.Load()
	if source == nil {
		return
	}
	select {
	case <-source.Leading:
	default:
		return
	}
	objects, certificates, ok := source.Shown()
	if !ok {
		return
	}
	objects = append(objects, source.cached()...)
	s := survey{objects: map[string]int{}, totals: map[total]int{}}
	for _, o := range objects {
		s.add(o)
	}
	s.tell(out)
	tellPolicies(out, objects)
	tellCertificates(out, certificates)
}

// cached are the objects of the Cache. A kind that cannot be read is not told of.
func (s *Source) cached() []client.Object {
	if s.Cache == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var out []client.Object
	providers, rollouts := &v1alpha1.DNSProviderList{}, &v1alpha1.MutualTLSRolloutList{}
	if s.Cache.List(ctx, providers) == nil {
		for i := range providers.Items {
			out = append(out, &providers.Items[i])
		}
	}
	if s.Cache.List(ctx, rollouts) == nil {
		for i := range rollouts.Items {
			out = append(out, &rollouts.Items[i])
		}
	}
	return out
}

func gauge(out chan<- prometheus.Metric, d *prometheus.Desc, value float64, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}
