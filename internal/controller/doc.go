// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package controller is the operator's one loop: gather, compile, apply, prune,
// status. It decides when to rebuild and what to say about the result; what is
// right for the mesh is decided in package compile, how it reaches the API server
// in package apply. Everything runs in one worker, so that nothing here needs a
// lock but the inboxes of the status sources.
package controller
