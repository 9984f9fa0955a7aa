// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 holds the kinds of the trellis.dev API group: what an
// application developer states (Application), what a platform operator states
// (SecureIngress), and the record of who owns a host (HostClaim).
//
// The package holds types and validation markers, and no logic beyond small
// accessors. No default is ever written into a spec: an absent field means
// what its documentation says it means when absent.
//
// +kubebuilder:object:generate=true
// +groupName=trellis.dev
package v1alpha1
