// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mutualtlsrollout

import "github.com/trellis-mesh/trellis/internal/verdict"

// Hear is what Forecasts report to.
func (r *Reconciler) Hear(all *verdict.Forecasts, err error) { r.hear(all, err) }
