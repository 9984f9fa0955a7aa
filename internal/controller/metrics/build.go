// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/trellis-mesh/trellis/internal/version"
)

// Programs that have metrics, as the label program of trellis_build_info names them.
const (
	Operator = "trellis-operator"
	Server   = "trellis-server"
)

// Build registers trellis_build_info, by which rules know that a program runs, whatever
// the job of whoever scrapes it is called.
func Build(registry prometheus.Registerer, program string) error {
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "trellis_build_info", Help: "1, with the version of a program of Trellis that runs.",
	}, []string{"program", "version"})
	if err := Register(registry, &info); err != nil {
		return err
	}
	info.WithLabelValues(program, version.String()).Set(1)
	return nil
}
