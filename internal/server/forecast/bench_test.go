// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package forecast_test

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/server/forecast"
	"github.com/trellis-mesh/trellis/internal/server/observe"
	"github.com/trellis-mesh/trellis/test/fleet"
)

// BenchmarkForecast foresees the stages of a whole mesh, in which each service is a client
// of all others, too.
func BenchmarkForecast(b *testing.B) {
	for _, n := range []int{100, 300} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			objects, err := fleet.Objects(fleet.Options{Applications: n, Routes: 4, Ingresses: 10})
			if err != nil {
				b.Fatal(err)
			}
			for _, o := range objects {
				if a, ok := o.(*v1alpha1.Application); ok {
					a.Spec.Access.MutualTLS = ""
				}
			}
			objects = append(objects, &v1alpha1.MutualTLSRollout{
				ObjectMeta: metav1.ObjectMeta{Name: "all"},
				Spec:       v1alpha1.MutualTLSRolloutSpec{Namespaces: v1alpha1.RolloutNamespaces{Selector: &metav1.LabelSelector{}}},
			})
			state, err := observe.NewState(observe.Options{Mesh: model.DefaultMesh(), Log: slog.New(slog.DiscardHandler)}, objects, time.Now())
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				found, err := forecast.Run(b.Context(), state, time.Now())
				if err != nil {
					b.Fatal(err)
				}
				if told := found.Told(nil); len(told[0].Stages) != n {
					b.Fatalf("%d stages: %s", len(told[0].Stages), told[0].Problem)
				}
			}
		})
	}
}
