// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package delegation

// The kinds of cert-manager's own issuers, and the names of what defines them.
const (
	IssuerKind        = "Issuer"
	ClusterIssuerKind = "ClusterIssuer"
	IssuerCRD         = "issuers.cert-manager.io"
	ClusterIssuerCRD  = "clusterissuers.cert-manager.io"
)

// Issuer is what Trellis wants to know of one of cert-manager's own issuers.
type Issuer struct {
	Kind string
	// Namespace is empty for a ClusterIssuer.
	Namespace, Name string
	// OnlyHTTP01 is true for an ACME issuer all of whose solvers answer by HTTP.
	OnlyHTTP01 bool
}
