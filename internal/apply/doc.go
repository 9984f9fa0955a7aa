// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package apply brings generated objects to the API server and takes away those
// that are no longer wanted. It knows how to write: in which order, so that no
// moment between two writes is more open than the state before and the state
// after; under which field manager; and what it must not touch because somebody
// else made it. It does not know what the objects mean or why they are wanted.
package apply
