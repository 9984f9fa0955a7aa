// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package verdict

// RolloutPath is where the forecasts of MutualTLSRollouts are asked for, as reports are
// at Path.
const RolloutPath = "/v1/rollouts"

// Forecasts are those of all MutualTLSRollouts at one moment.
type Forecasts struct {
	// Revision names the content, as that of a Report.
	Revision string     `json:"revision"`
	Rollouts []Forecast `json:"rollouts"`
	// Problem is why nothing is known; empty where something is.
	Problem string `json:"problem,omitempty"`
}

// Forecast is what would become of the stages of one MutualTLSRollout.
type Forecast struct {
	// Rollout is its name, and Generation that of the statement which was looked at: a
	// forecast is about nothing else.
	Rollout    string `json:"rollout"`
	Generation int64  `json:"generation"`
	// Stages are in the order in which they are to be taken: callers before those that
	// they call, as far as that is known. Those that are done are among them.
	Stages []Stage `json:"stages"`
	// Problem is why the stages are not known; empty where they are.
	Problem string `json:"problem,omitempty"`
}

// Stage is what takes mutual TLS only after one step.
type Stage struct {
	// Name is NAMESPACE/SERVICE, or NAMESPACE where a stage is a whole namespace.
	Name string `json:"name"`
	// Namespace and Object are the PeerAuthentication that makes the stage, and
	// Selector the labels of the pods that it is for; none: all of the namespace.
	Namespace string            `json:"namespace"`
	Object    string            `json:"object"`
	Selector  map[string]string `json:"selector,omitempty"`
	// Services are those whose workloads it is about, as NAMESPACE/NAME, in order.
	Services []string `json:"services"`
	// Mode is what the workloads take now, the weakest of them: DISABLE, PERMISSIVE or
	// STRICT.
	Mode string `json:"mode"`
	// Refusals are why the stage cannot be made whoever calls: a PeerAuthentication of
	// somebody else decides before Trellis's own could.
	Refusals []Refusal `json:"refusals,omitempty"`
	// Conflicts are clients that get on now, and would not with the stage; and, where
	// the workloads are STRICT already, those that send plaintext.
	Conflicts []Conflict `json:"conflicts,omitempty"`
}

// Refusal says what stands in the way of a stage.
type Refusal struct {
	// Object is the one that decides, such as PeerAuthentication shop/cart.
	Object string `json:"object"`
	// Message says what is wrong and why, and Fix what to do, and where.
	Message string `json:"message"`
	Fix     string `json:"fix"`
}

// Conflict is a client and a port at which it would not get on.
type Conflict struct {
	// Client is NAMESPACE/NAME.
	Client string `json:"client"`
	// Proxied is false for a client without a proxy: that it exists does not say that
	// it ever calls.
	Proxied bool `json:"proxied"`
	// Port is that of the Service.
	Port uint16 `json:"port"`
	// Why is a sentence without a period.
	Why string `json:"why"`
}
