// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package stack runs a real service mesh on loopback addresses of one Linux
// machine, without containers or privileges: etcd, kube-apiserver, istiod with
// its CA, and for each gateway and application Istio's own agent with upstream
// Envoy. The demo, the end-to-end tests and the benchmarks share it. It knows
// how to run the parts and to make the objects that a kubelet, an endpoint
// controller or an installer would make; it knows nothing of Trellis' own kinds.
// `make tools` builds the binaries.
//
// # What differs from a cluster
//
// There is no controller manager, scheduler or kubelet: Pod objects are written
// as a kubelet would report them, Services get no EndpointSlices (those may not
// hold loopback addresses, see package headless for an exception), and a deleted namespace stays Terminating.
// Applications are WorkloadEntries that the Service selects. Sidecars intercept
// nothing: a workload calls others through its sidecar's HTTP proxy port, see
// Application.Do. One that is Redirected has the sidecar of a cluster, and says by the
// PROXY protocol where a connection meant to go, as the kernel does where it
// redirects. istiod runs with two of its filters off that upstream Envoy
// does not have, so that every Service port must declare its appProtocol.
//
// # istiod's debug endpoints
//
// What istiod says depends on how it is asked (pilot/pkg/xds of the pinned
// Istio):
//   - over HTTP, ports 15014 and 8080 (debug.go, allowAuthenticatedOrLocalhost):
//     a caller with a loopback source address is trusted without credentials. In
//     this stack that is every caller, although istiod listens on an address other
//     than 127.0.0.1: a test of an unauthorised caller must use port 15012.
//   - over xDS as istio.io/debug (debuggen.go): a verified identity is required
//     whatever the source address, so never on plaintext 15010; identities outside
//     the root namespace may ask config_dump, ndsz and edsz only.
//   - over xDS as istio.io/debug/syncz and .../config_dump (statusgen.go): a
//     verified identity as well, and callers outside the root namespace see only
//     the proxies of their own namespace.
package stack
