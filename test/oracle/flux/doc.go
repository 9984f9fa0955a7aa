// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package flux applies the example repository by the engine of Flux, and asks the library by
// which Flux and kubectl wait for health what it reads in the statuses that the operator
// writes, of every kind of Trellis. It is a module of its own, so that nothing else links
// these. The kstatus of sigs.k8s.io/cli-utils is no longer kept up; this is the fork that
// Flux and Helm link.
package flux
