// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package metrics registers what the controllers count. Operators that follow each
// other in one process, as in tests, share the collectors of a registry.
package metrics

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Register adds a collector, or puts the one in its place that the registry has
// under the same name. It fails where that is of another type.
func Register[T prometheus.Collector](registry prometheus.Registerer, collector *T) error {
	err := registry.Register(*collector)
	var there prometheus.AlreadyRegisteredError
	if errors.As(err, &there) {
		same, ok := there.ExistingCollector.(T)
		if !ok {
			return fmt.Errorf("registering metrics: another collector has the name of ours: %w", err)
		}
		*collector = same
		return nil
	}
	return err
}
