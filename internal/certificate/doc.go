// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package certificate knows what a certificate of a host is: a chain and the key
// that it was issued for, the names that it covers, how long it is good, how it
// lies in a Secret, and when another one is needed. It gets none: package acme
// does. All of it is pure but for the randomness that keys are made of, which the
// caller passes.
package certificate
