// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package mutualtlsrollout is the controller of MutualTLSRollout: stage by stage it
// makes workloads take mutual TLS only, by one PeerAuthentication each, and takes back
// the one after which clients fail.
//
// What is to be done is a pure function, Next, of what is stated, written down,
// foreseen, seen and there. It makes at most one stage at a time, and none while it is
// not known that no client would be shut out. Next to it there is only what reads these
// facts and carries out the decision.
//
// All that matters is in the API server, and both rollout and PeerAuthentications are
// read past every cache. That a stage is made is written to the status before its
// PeerAuthentication is, and what is taken back is deleted before that is written. So an
// operator that is killed between any two writes goes on where it was.
package mutualtlsrollout
