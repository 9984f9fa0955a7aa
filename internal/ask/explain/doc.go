// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package explain takes what a person may have in hand, a URL, details of a
// response, a line of an access log, an object or a route, and walks from it up to
// the statement that somebody wrote and down to the rules of the proxies.
package explain
