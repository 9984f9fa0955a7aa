// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package attribution joins entries of access logs to what people wrote: to the
// Application and route that a request was for, and to the statement by which it was let
// in or refused.
//
// Nothing is guessed. A denial names its rule, and a default denial follows from the
// policies that allow and select the workload. What cannot be told is Unknown, with the
// reason, so that it can be counted as such.
//
// Entries are what strangers may have shaped. Every text of a Key is one that an Index
// knows, but for the peer's identity, which has the form of one and no more than its
// length. What entries say else, such as paths and details, goes nowhere.
//
// It is pure.
package attribution
