// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
)

// pairSizes are the platforms of which all pairs are checked: each service is a client,
// too, and so are the gateways.
var pairSizes = []int{100, 200, 300}

const pairBar = 300

// mutualFigures check mutual TLS from the command line, each time in a new process that
// reads the files first: all pairs, and one.
func mutualFigures(ctx context.Context) ([]figure, error) {
	return withPrograms(ctx, func(q *questions) ([]figure, error) {
		var out []figure
		for _, n := range pairSizes {
			figures, err := q.pairs(ctx, n)
			if err != nil {
				return nil, fmt.Errorf("checking all pairs of %d services, %w", n, err)
			}
			out = append(out, figures...)
		}
		for _, n := range questionSizes {
			dir, err := q.platform(n)
			if err != nil {
				return nil, err
			}
			u, err := finish(ctx, q.trellis, "mtls", "check", "-f", dir, "team-0001/app-00010", "team-0002/app-00020")
			if err != nil {
				return nil, err
			}
			out = append(out, figure{Name: fmt.Sprintf("mtls check, one pair of %d services, cold", n), Ours: u.seconds, Unit: "s"})
		}
		warm, err := warmPair(ctx)
		return append(out, warm), err
	})
}

// pairs checks all of one size. The peer reads the same objects, and looks for other
// mistakes: nothing else compares clients with services.
func (q *questions) pairs(ctx context.Context, n int) ([]figure, error) {
	dir, err := q.platform(n)
	if err != nil {
		return nil, err
	}
	analyze, err := q.analyzed(ctx, dir)
	if err != nil {
		return nil, err
	}
	u, err := finish(ctx, q.trellis, "mtls", "check", "-f", dir, "-o", "json")
	if err != nil {
		return nil, err
	}
	bar := 0.0
	if n == pairBar {
		bar = 10
	}
	name := fmt.Sprintf("mtls check, all pairs of %d services, cold", n)
	return []figure{
		{Name: name, Ours: u.seconds, Bar: bar, Peer: analyze.seconds, PeerName: "istioctl analyze on the same files", Unit: "s"},
		{Name: name + ", highest memory", Ours: u.megabytes, Peer: analyze.megabytes, PeerName: "istioctl analyze", Unit: "MB"},
	}, nil
}

// warmPair is one pair of a mesh that is open: a Go benchmark.
func warmPair(ctx context.Context) (figure, error) {
	f := figure{Name: "mtls check, one pair of 1000 services, mesh open", Bar: 1000, Unit: "ms"}
	out, err := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^BenchmarkPair$", "./internal/cli/mtls").CombinedOutput()
	if err != nil {
		return f, fmt.Errorf("running the benchmark of internal/cli/mtls, %w: %s", err, out)
	}
	line := benchmarkLine.FindSubmatch(out)
	if line == nil {
		return f, fmt.Errorf("reading the benchmark of internal/cli/mtls: it has no figure: %s", out)
	}
	nanoseconds, err := strconv.ParseFloat(string(line[2]), 64)
	f.Ours = nanoseconds / 1e6
	return f, err
}
