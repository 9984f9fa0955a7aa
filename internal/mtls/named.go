// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mtls

import "github.com/trellis-mesh/trellis/internal/xds"

// Named is the client that a proxy belongs to, by the name that Clients has for it,
// unless several have that name.
func (c *Checker) Named(n xds.Node) Client { return c.client(&n) }
