// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package stream

// Reply is an answer that a proxy gives itself, instead of an upstream host.
type Reply struct {
	// Code is the HTTP status; 0 where the proxy resets the stream or closes the
	// connection without an answer. A gRPC client gets 200 instead, with GRPCStatus.
	Code int
	// Details is Envoy's response_code_details, such as "route_not_found"
	// (https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/response_code_details).
	Details string
	// Flags are Envoy's response flags in their short form, such as "NR".
	Flags []string
	// Headers are those that matter to the client, such as Location; not date,
	// server and length.
	Headers Headers
	// Body is the text, as far as the configuration gives it.
	Body string
}

// GRPCStatus is what a gRPC client gets for the Code: Envoy answers requests whose
// content-type is gRPC's so
// (https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md).
func (r *Reply) GRPCStatus() int {
	switch r.Code {
	case 400:
		return 13 // INTERNAL
	case 401:
		return 16 // UNAUTHENTICATED
	case 403:
		return 7 // PERMISSION_DENIED
	case 404:
		return 12 // UNIMPLEMENTED
	case 429, 502, 503, 504:
		return 14 // UNAVAILABLE
	}
	return 2 // UNKNOWN, for an answer that is no error, too
}
