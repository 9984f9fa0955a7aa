// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package docs keeps the documentation true. It runs the commands of every page,
// holds every YAML block and example to the API's own rules, follows the links,
// and writes docs/reference/api.md from the definitions that a cluster is given.
//
// The info string of a fenced block says what happens to it:
//
//	```sh          commands whose programs, targets, verbs, flags and paths exist
//	```sh run      run from the repository's root with trellis on the PATH;
//	               "exit=2" after it is the exit code to expect
//	```output      what the block before it printed, exactly; a line of … skips lines
//	```yaml        documents; those of Trellis's kinds must have a valid shape
//	```yaml check  documents that trellis check accepts beside the example platform
//	```yaml part KIND  a part of that kind's document, from its root down
//	```yaml mesh   a part of Istio's mesh configuration, which an end-to-end test applies
//	```text, json  shown as it is: a log, a drawing, what another program says
package docs
