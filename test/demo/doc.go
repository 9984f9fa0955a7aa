// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Command demo shows Trellis at work on a real mesh on this machine: make demo.
//
// It builds what it runs, starts the stack of package stack, installs the chart
// and the operator as a user would, applies examples/bookinfo, compares the
// answers to real requests with what the documents say, and then has trellis-server
// count such requests and opens the console. It ends non-zero when one
// answer differs. It has no knowledge of how Trellis works: everything goes
// through Helm, kubectl, users' own programs and the network.
package main
