// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package configdump reads what an Envoy says that it has: the answer of its
// admin interface to GET /config_dump?include_eds (envoy.admin.v3.ConfigDump as
// JSON), of any version of Envoy. What this build does not know is kept or named
// among the problems, never dropped in silence. Of secrets only the names are read.
package configdump
