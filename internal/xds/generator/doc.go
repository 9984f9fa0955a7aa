// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package generator is the xds.Source that needs no cluster: it runs Istio's own
// control plane in this process (pilot/test/xds, the server that Istio's own tests
// use) on Kubernetes and Istio objects given as values, and asks its generators
// what each proxy would be sent.
//
// It gives what the pinned version of Istio writes, with the feature flags that
// Configure set; another istiod is asked through package ads. It never calls out:
// keys that istiod would fetch (jwksUri) are left as what they are, a place to
// fetch from, and reported. It knows Secrets by name only.
//
// Istio keeps its flags and its logs in variables of the process: one set of flags
// per process, and Istio's logs are turned off. Nothing that must stay small may
// link this package.
package generator
