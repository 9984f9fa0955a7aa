// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import "github.com/trellis-mesh/trellis/internal/mtls"

// Policies tells which objects decide about mutual TLS.
func (m *Mesh) Policies() mtls.Policies { return nil }
