// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package oracle says, from the API's documentation and not from the compiler,
// which requests may reach an application and which must. It makes random
// Applications and requests from a seed, answers as a back end that decodes
// paths in the ways that real ones do, and judges what a mesh did with a request.
// It knows the API types and shares no code with the compiler, which it checks;
// sending requests is left to the end-to-end tests.
package oracle
