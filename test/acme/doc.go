// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package acme runs a real certificate authority in a test: Pebble, in strict
// mode, with its own answers in DNS and to HTTP challenges, and in front of it
// faults that a real CA may show: 429 and 503 with Retry-After, and connections
// that are cut before or after a request was heard. It knows nothing of the engine
// that is tested with it.
//
// What Pebble does not do: limit rates, expire orders, and refuse by CAA.
package acme
