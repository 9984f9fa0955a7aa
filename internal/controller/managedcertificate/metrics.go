// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedcertificate

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"github.com/trellis-mesh/trellis/internal/acme"
	"github.com/trellis-mesh/trellis/internal/certificate"
	"github.com/trellis-mesh/trellis/internal/controller/metrics"
)

// meters are what Prometheus may ask for.
type meters struct {
	expiry, renewal, window, nextTry *prometheus.GaugeVec
	orders                           *prometheus.CounterVec
}

// newMeters registers with a registry, or joins what is registered there.
func newMeters(registry prometheus.Registerer) (*meters, error) {
	labels := []string{"namespace", "name"}
	m := &meters{
		expiry: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "trellis_certificate_expiry_timestamp_seconds", Help: "When the certificate that was issued last expires.",
		}, labels),
		renewal: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "trellis_certificate_renewal_timestamp_seconds", Help: "When the certificate that was issued last is to be renewed.",
		}, labels),
		window: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "trellis_certificate_ari_window_start_timestamp_seconds",
			Help: "Since when the authority would like the certificate that was issued last to be renewed (RFC 9773); absent where it does not say.",
		}, labels),
		nextTry: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "trellis_certificate_next_try_timestamp_seconds",
			Help: "When the next try is, where one has failed or the authority is awaited; absent otherwise, and where a person has to help first.",
		}, labels),
		orders: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "trellis_acme_orders_total", Help: "Attempts to get a certificate: issued, failed, refused for good, or a request to be repeated.",
		}, []string{"result", "problem"}),
	}
	err := errors.Join(metrics.Register(registry, &m.expiry), metrics.Register(registry, &m.renewal), metrics.Register(registry, &m.window),
		metrics.Register(registry, &m.nextTry), metrics.Register(registry, &m.orders))
	// Of a series that begins with the first refusal no rate knows that there was one.
	for problem := range problems {
		m.orders.WithLabelValues(resultRefused, problem)
	}
	m.orders.WithLabelValues(resultRefused, otherProblem)
	return m, err
}

func (m *meters) observe(key types.NamespacedName, s acme.State) {
	var expiry, renewal, window *time.Time
	if s.Issued != nil {
		at := renewAt(s)
		expiry, renewal = &s.Issued.NotAfter, &at
		if s.Renewal != nil {
			window = s.Renewal.Start
		}
	}
	for gauge, at := range map[*prometheus.GaugeVec]*time.Time{m.expiry: expiry, m.renewal: renewal, m.window: window, m.nextTry: s.NextTry} {
		if at == nil {
			gauge.DeleteLabelValues(key.Namespace, key.Name)
			continue
		}
		gauge.WithLabelValues(key.Namespace, key.Name).Set(float64(at.Unix()))
	}
}

func (m *meters) forget(key types.NamespacedName) { m.observe(key, acme.State{}) }

// renewAt is when the certificate that was issued is to be renewed: when its CA
// would like it, but not after a person would be called, or else by our own rule.
func renewAt(s acme.State) time.Time {
	if s.Renewal == nil || s.Renewal.At == nil {
		return certificate.Backstop(s.Issued.NotBefore, s.Issued.NotAfter)
	}
	if latest := certificate.AlertTime(s.Issued.NotBefore, s.Issued.NotAfter); s.Renewal.At.After(latest) {
		return latest
	}
	return *s.Renewal.At
}

// The results of an attempt.
const (
	resultIssued   = "issued"
	resultFailed   = "failed"
	resultRefused  = "refused"
	resultRepeated = "repeated"
)

// otherProblem stands for what is none of problems.
const otherProblem = "other"

// problems are the types of RFC 8555 §6.7, RFC 9773 and ours: a label must not
// grow with what a CA makes up.
var problems = map[string]bool{
	"accountDoesNotExist": true, "alreadyReplaced": true, "badCSR": true, "badNonce": true, "badPublicKey": true,
	"caa": true, "connection": true, "dns": true, "externalAccountRequired": true, "incorrectResponse": true,
	"invalidContact": true, "invalidProfile": true, "malformed": true, "orderNotReady": true, "rateLimited": true,
	"rejectedIdentifier": true, "serverInternal": true, "tls": true, "unauthorized": true,
	"unsupportedContact": true, "unsupportedIdentifier": true, "userActionRequired": true,
	acme.TypeConnection: true, acme.TypeBudget: true, acme.TypeSpec: true, acme.TypeOrder: true,
	acme.TypeChallenge: true, acme.TypeCertificate: true, acme.TypeKey: true,
}

// attempt counts what became of one.
func (m *meters) attempt(o *outcome) {
	if o.actions.Issued {
		m.orders.WithLabelValues(resultIssued, "").Inc()
	}
	f := o.actions.Failure
	if f == nil {
		return
	}
	result := resultRepeated
	switch {
	case o.after.Phase == acme.Failed:
		result = resultRefused
	case o.after.Attempts > o.before.Attempts:
		result = resultFailed
	}
	problem := f.Type
	if !problems[problem] {
		problem = otherProblem
	}
	m.orders.WithLabelValues(result, problem).Inc()
}
