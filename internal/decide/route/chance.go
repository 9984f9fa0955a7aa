// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"slices"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"strings"

	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

// chance is what is known of the random number that Envoy draws once for a
// request. All that a route table asks of it is its remainder modulo something;
// what is known of the remainders modulo different numbers is taken to be
// independent.
type chance struct {
	share  float64
	ranges []remainder
}

// remainder: the number modulo mod is in [from, to).
type remainder struct{ mod, from, to uint64 }

// fraction is how many of how many; the zero value is all.
type fraction struct{ of, out uint64 }

// newFraction reads a runtime_fraction.
func newFraction(f *corev3.RuntimeFractionalPercent, runtime map[string]string) fraction {
	if f == nil {
		return fraction{}
	}
	if n, err := strconv.ParseUint(runtime[f.GetRuntimeKey()], 10, 32); err == nil {
		return fraction{n, 100}
	}
	return fraction{uint64(f.GetDefaultValue().GetNumerator()), denominator(f.GetDefaultValue())}
}

func denominator(p *typev3.FractionalPercent) uint64 {
	switch p.GetDenominator() {
	case typev3.FractionalPercent_TEN_THOUSAND:
		return 10_000
	case typev3.FractionalPercent_MILLION:
		return 1_000_000
	}
	return 100
}

// split divides by whether the number's remainder is in a fraction.
func (c chance) split(f fraction) (in, out chance) {
	if f.out == 0 {
		return c, chance{}
	}
	return c.cut(f.out, 0, min(f.of, f.out)), c.cut(f.out, min(f.of, f.out), f.out)
}

// within is the share of c whose remainder modulo mod is in [from, to).
func (c chance) within(mod, from, to uint64) float64 { return c.cut(mod, from, to).share }

// at is c where the remainder is known.
func (c chance) at(mod, value uint64) chance {
	c.ranges = []remainder{{mod, value % mod, value%mod + 1}}
	return c
}

// cut is the part of c whose remainder modulo mod is in [from, to).
func (c chance) cut(mod, from, to uint64) chance {
	had := remainder{mod, 0, mod}
	at := slices.IndexFunc(c.ranges, func(r remainder) bool { return r.mod == mod })
	if at >= 0 {
		had = c.ranges[at]
	}
	now := remainder{mod, max(had.from, from), min(had.to, to)}
	if now.from >= now.to {
		return chance{}
	}
	out := chance{share: c.share * float64(now.to-now.from) / float64(had.to-had.from), ranges: slices.Clone(c.ranges)}
	if at < 0 {
		out.ranges = append(out.ranges, now)
	} else {
		out.ranges[at] = now
	}
	return out
}

// fixedValue is the number that a header gives in place of the random one
// (WeightedCluster.header_name).
func (r *Route) fixedValue(s *stream.Stream) (uint64, bool) {
	name := r.config.GetRoute().GetWeightedClusters().GetHeaderName()
	if name == "" {
		return 0, false
	}
	values := s.Headers.Values(strings.ToLower(name))
	if len(values) != 1 {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.Trim(values[0], " \t"), 10, 64)
	return n, err == nil
}
