// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package diagnosis says what made the requests of access logs fail, and whether
// mutual TLS did: it makes one failure of lines that are alike, joins what client and
// server wrote of one request, and lets the check of what both were sent decide
// between causes that a line alone does not tell apart.
package diagnosis
