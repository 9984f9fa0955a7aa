// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/compile/generated"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy"
)

// The forms of a generated object.
type (
	// Object is one with its typed value.
	Object = generated.Object
	// Resource is such a value.
	Resource = generated.Resource
	// Packed is one in encoded form.
	Packed = generated.Packed
	// Packer packs many.
	Packer = generated.Packer
)

// Pack encodes an object, and shares its labels.
func Pack(o Object) (Packed, error) { return generated.Pack(o) }

// Outcome is everything that follows from a Snapshot. It is deterministic: two
// equal Snapshots have equal Outcomes, byte for byte.
type Outcome struct {
	// Objects in the order in which they are to be applied: what restricts
	// comes before what lets requests in. Pruning goes the other way round.
	Objects []Object
	// Findings are sorted.
	Findings []model.Finding
	// Policies are those that everything was held to, Judgements what they did not find as
	// they have it, and Contributions what they added. Assertions are what is to be asked
	// of the configuration of proxies.
	Policies      *policy.Set
	Judgements    []policy.Judgement
	Contributions []*policy.Contribution
	Assertions    []*policy.Assertion
	// Applications and Ingresses say what became of each, by reference.
	Applications map[model.Reference]*ApplicationOutcome
	Ingresses    map[model.Reference]*IngressOutcome
	// Err is set when something could not be encoded. It never is in practice,
	// and nothing may be applied or pruned when it is.
	Err error
}

// ApplicationOutcome is what became of one Application.
type ApplicationOutcome struct {
	Ref model.Reference
	// Accepted is false when a finding of severity Error is about it.
	Accepted  bool
	Addresses []v1alpha1.Address
	Generated []model.Reference
	// Workloads are the labels and namespace of the proxies that enforce it.
	Workloads WorkloadSelector
	// Gateways are the proxies through which it is exposed.
	Gateways []WorkloadSelector
	Probes   []Probe
}

// IngressOutcome is what became of one SecureIngress.
type IngressOutcome struct {
	Ref      model.Reference
	Accepted bool
	// Awaits is true while an Application states an exposure that may be this
	// ingress's and its workload cannot be told: hosts may be missing below that
	// will be there again.
	Awaits bool
	Hosts  []string
	// Entries are those that a person must make in the DNS: all of them where the
	// ingress does not let Trellis write, and its load balancer has an address.
	Entries   []v1alpha1.DNSEntry
	Generated []model.Reference
	Workloads WorkloadSelector
	Probes    []Probe
}

// WorkloadSelector selects proxies: workloads of a namespace by their labels.
type WorkloadSelector struct {
	Namespace string
	Selector  map[string]string
}

// Expectation is the answer that a probe must get.
type Expectation string

const (
	// ExpectOpen means that the probe entry itself answers (status 418):
	// authorization let the request through.
	ExpectOpen Expectation = "Open"
	// ExpectRefused means that a request without a token is answered 401 or 403.
	ExpectRefused Expectation = "Refused"
)

// Probe is one request that shows whether a route does what was stated. It goes
// to every pod of Gateway, on the HTTPS target port, and never reaches an
// application.
type Probe struct {
	Application model.Reference
	Route       string
	Gateway     WorkloadSelector
	// Port is the HTTPS target port of the gateway's pods.
	Port   int32
	Host   string
	Method string
	Path   string
	Expect Expectation
	// Fingerprint is the SHA-256 of the certificate that must be served, in
	// lower-case hex.
	Fingerprint string
}
