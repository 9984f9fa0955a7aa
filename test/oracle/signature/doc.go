// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package signature makes requests fail between two real Envoys, one as the proxy
// of the client and one as that of the server, each time for a cause that is known,
// and holds internal/mtls/signature to it: what that makes of the lines that both
// logged, in Istio's default format, has to be that cause. It has only tests.
package signature
