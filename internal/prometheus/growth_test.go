// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package prometheus

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// step is what a store says of samples in one step.
func step(samples ...float64) sample {
	return sample{last: samples[len(samples)-1], max: slices.Max(samples), min: slices.Min(samples)}
}

func TestGrowthOfOneStep(t *testing.T) {
	was := func(value float64) counter { return counter{value: value, known: true} }
	for _, c := range []struct {
		name string
		from counter
		step sample
		want float64
	}{
		{"nothing new", was(5), step(5, 5), 0},
		{"more", was(5), step(5, 6, 9), 4},
		{"a series that begins with its first value", counter{}, step(5), 5},
		{"a series that begins and goes on", counter{}, step(1, 3, 7), 7},
		{"a proxy that began anew before the first sample", was(5), step(2, 3), 3},
		{"a proxy that began anew and went beyond what there was", was(5), step(2, 9), 9},
		{"a proxy that began anew in the step", was(5), step(8, 2), 5},
		{"a proxy that began anew in the step, after nothing", was(5), step(5, 1), 1},
		{"a series that begins and begins anew", counter{}, step(4, 1), 5},
		{"a proxy that began anew twice", was(5), step(3, 1), 4},
		{"too little where it began anew and went beyond", was(5), step(8, 1, 9), 9},
		{"too little where that cannot be seen", was(5), step(8, 6, 9), 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.from.grow(c.step); got != c.want {
				t.Errorf("grew by %v, want %v", got, c.want)
			}
		})
	}
}

// Whatever a counter does that is never zero, growth is seen and never invented.
func TestGrowthIsNeverMissedAndNeverTooMuch(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200_000 {
		var c counter
		value, truth := 0.0, 0.0
		if random.IntN(3) > 0 {
			value = float64(1 + random.IntN(4))
			c = counter{value: value, known: true}
		}
		began := c
		var samples []float64
		for range 1 + random.IntN(5) {
			before := value
			if value > 0 && random.IntN(3) == 0 {
				before, value = 0, float64(1+random.IntN(4))
				if len(samples) == 0 && began.known && value == began.value || len(samples) > 0 && value == samples[len(samples)-1] {
					// That nobody can see.
					value++
				}
			} else {
				value += float64(random.IntN(3))
			}
			if value == 0 {
				value = 1
			}
			truth += value - before
			samples = append(samples, value)
		}
		got := c.grow(step(samples...))
		if got > truth || got <= 0 && truth > 0 {
			t.Fatalf("from %+v by %v: grew by %v, and it was %v", began, samples, got, truth)
		}
	}
}
