// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package prometheus

import (
	"context"
	"time"

	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
)

// Values asks for the value of each series at a moment. It fails as Seen does.
func (s *Source) Values(ctx context.Context, query string, at time.Time) (model.Vector, error) {
	return answer[model.Vector](ctx, s, s.moment(query, at))
}

// Samples asks for the samples themselves, by a selector with a window that ends at a
// moment. It fails as Seen does.
func (s *Source) Samples(ctx context.Context, query string, at time.Time) (model.Matrix, error) {
	return answer[model.Matrix](ctx, s, s.moment(query, at))
}

// moment is a question about one moment.
func (s *Source) moment(query string, at time.Time) func(context.Context) (model.Value, v1.Warnings, error) {
	return func(ctx context.Context) (model.Value, v1.Warnings, error) {
		return s.api.Query(ctx, query, at, s.limits()...)
	}
}
