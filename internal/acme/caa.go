// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package acme

import "github.com/trellis-mesh/trellis/internal/acme/caa"

// warnOfCAA looks whether records forbid the CA to issue. It only warns: the CA
// looks itself, from elsewhere, and decides.
func (r *run) warnOfCAA() {
	r.Warnings = nil
	if r.engine.options.CAA == nil {
		return
	}
	directory, err := r.client().read(r.ctx, r.now)
	if err != nil || directory.Meta == nil || len(directory.Meta.CAAIdentities) == 0 {
		return
	}
	for _, w := range caa.Warnings(r.ctx, r.engine.options.CAA, r.spec.Names, directory.Meta.CAAIdentities) {
		r.Warnings = append(r.Warnings, clean(w))
	}
}
