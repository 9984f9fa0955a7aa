// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package collect takes access logs of the mesh's proxies by OTLP, as a collector of
// OpenTelemetry does, and by Envoy's own access log service, and says what was seen in
// them. Of an entry it keeps who called
// whom, how that was secured, and a cause of failure of mutual TLS. In a directory that goes
// on after a restart.
//
// Nobody proves who sends: entries are what the network lets through. They open nothing.
// With forged ones a rollout can be held up, or made to step back; what others send cannot
// be hidden by them, because what is too much is counted as lost.
//
// A proxy is never kept waiting: what comes is put into a bounded queue, and what does not
// fit in is lost and counted.
package collect
