// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/test/fleet"
)

// Sizes of the platforms that questions are asked about: the bar is at one of them,
// the others show the growth.
var questionSizes = []int{100, 1000, 3000}

const questionBar = 1000

// questionFigures asks from the command line, each time in a new process that reads
// the files first. The peer is istioctl analyze on what is in these files and what
// Trellis makes of them.
func questionFigures(ctx context.Context) ([]figure, error) {
	return withPrograms(ctx, func(q *questions) ([]figure, error) {
		var out []figure
		for _, n := range questionSizes {
			figures, err := q.ask(ctx, n)
			if err != nil {
				return nil, fmt.Errorf("asking about %d services, %w", n, err)
			}
			out = append(out, figures...)
		}
		warm, err := warmFigures(ctx)
		return append(out, warm...), err
	})
}

// withPrograms builds the programs, and has them measured.
func withPrograms(ctx context.Context, measure func(*questions) ([]figure, error)) ([]figure, error) {
	q := &questions{}
	var err error
	if q.dir, err = os.MkdirTemp("", "bench-"); err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(q.dir) }()
	if err := q.build(ctx); err != nil {
		return nil, err
	}
	return measure(q)
}

// questions are the programs that are measured.
type questions struct {
	dir, trellis, istioctl string
	objects                []client.Object
}

func (q *questions) build(ctx context.Context) error {
	q.trellis, q.istioctl = filepath.Join(q.dir, "trellis"), filepath.Join(q.dir, "istioctl")
	for _, arguments := range [][]string{
		{"build", "-o", q.trellis, "./cmd/trellis"},
		{"-C", "tools/istio", "build", "-o", q.istioctl, "istio.io/istio/istioctl/cmd/istioctl"},
	} {
		if out, err := exec.CommandContext(ctx, "go", arguments...).CombinedOutput(); err != nil {
			return fmt.Errorf("building what is measured, %w: %s", err, out)
		}
	}
	return nil
}

// ask measures one size.
func (q *questions) ask(ctx context.Context, n int) ([]figure, error) {
	before, err := q.platform(n)
	if err != nil {
		return nil, err
	}
	analyze, err := q.analyzed(ctx, before)
	if err != nil {
		return nil, err
	}
	bar := func(seconds float64) float64 {
		if n != questionBar {
			return 0
		}
		return seconds
	}
	rows := []struct {
		name               string
		seconds, megabytes float64
		change             fleet.Change
		arguments          []string
	}{
		{"exposed", 10, 0, nil, []string{"exposed", "-f", before, "-o", "json"}},
		{"who", 10, 0, nil, []string{"who", "-f", before, "team-0001/app-00010", "-o", "json"}},
		{"diff of one line", 5, 1000, fleet.OpenRoute, []string{"diff", before, "--format", "json"}},
		{"diff of one call", 0, 0, fleet.StateCall, []string{"diff", before, "--format", "json"}},
		{"diff of a policy about egress for all", 0, 0, fleet.LimitEgress, []string{"diff", before, "--format", "json"}},
	}
	if n != questionBar {
		rows = rows[:3]
	}
	var out []figure
	for _, one := range rows {
		if one.change != nil {
			after := fmt.Sprint(before, " ", one.name)
			if err := fleet.WriteChanged(filepath.Join(after, "platform.yaml"), q.objects, one.change); err != nil {
				return nil, err
			}
			one.arguments = append(one.arguments, after)
		}
		u, err := finish(ctx, q.trellis, one.arguments...)
		if err != nil {
			return nil, err
		}
		name := fmt.Sprintf("%s, %d services, cold", one.name, n)
		out = append(out,
			figure{Name: name, Ours: u.seconds, Bar: bar(one.seconds), Peer: analyze.seconds, PeerName: "istioctl analyze on the same files", Unit: "s"},
			figure{Name: name + ", highest memory", Ours: u.megabytes, Bar: bar(one.megabytes), Peer: analyze.megabytes, PeerName: "istioctl analyze", Unit: "MB"})
	}
	return out, nil
}

// platform is the folder of one of a size, whose objects are kept.
func (q *questions) platform(n int) (dir string, err error) {
	dir = filepath.Join(q.dir, fmt.Sprint(n))
	if q.objects, err = fleet.Objects(fleet.Options{Applications: n, Routes: 4, Ingresses: 10}); err != nil {
		return "", err
	}
	return dir, fleet.WriteFile(filepath.Join(dir, "platform.yaml"), q.objects)
}

// analyzed is what istioctl takes for the objects of a folder.
func (q *questions) analyzed(ctx context.Context, dir string) (usage, error) {
	istio, err := q.rendered(ctx, dir)
	if err != nil {
		return usage{}, err
	}
	return finish(ctx, q.istioctl, "analyze", "--use-kube=false", "--all-namespaces", "--output", "json", istio)
}

// rendered is a file with the objects of Istio and Kubernetes: what a folder has of
// them, and what Trellis makes of the rest.
func (q *questions) rendered(ctx context.Context, dir string) (string, error) {
	made, err := exec.CommandContext(ctx, q.trellis, "render", "-f", dir).Output()
	if err != nil {
		return "", fmt.Errorf("rendering, %w", err)
	}
	stated, err := os.ReadFile(filepath.Join(dir, "platform.yaml"))
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	for _, document := range bytes.Split(stated, []byte("---\n")) {
		if !bytes.Contains(document, []byte(`"apiVersion":"trellis.dev/`)) && len(document) > 0 {
			out.WriteString("---\n")
			out.Write(document)
		}
	}
	out.WriteString("---\n")
	out.Write(made)
	path := dir + "-istio.yaml"
	return path, os.WriteFile(path, out.Bytes(), 0o644)
}

// usage is what one process took.
type usage struct{ seconds, megabytes float64 }

// finish runs a command to its end. Findings are no failure: both tools say so by an
// exit code.
func finish(ctx context.Context, name string, arguments ...string) (usage, error) {
	command := exec.CommandContext(ctx, name, arguments...)
	var complaints bytes.Buffer
	command.Stderr = &complaints
	started := time.Now()
	out, err := command.Output()
	took := time.Since(started)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || len(out) == 0 {
		return usage{}, fmt.Errorf("running %s %v, %w: %s", filepath.Base(name), arguments, err, complaints.Bytes())
	}
	u := usage{seconds: took.Seconds()}
	if rusage, ok := command.ProcessState.SysUsage().(*syscall.Rusage); ok {
		u.megabytes = float64(rusage.Maxrss) / 1000
	}
	return u, nil
}

var benchmarkLine = regexp.MustCompile(`(?m)^Benchmark(\S+?)-\d+\s+\d+\s+([0-9.]+) ns/op`)

// warmFigures are questions to a World that was asked before, and single decisions:
// Go benchmarks.
func warmFigures(ctx context.Context) ([]figure, error) {
	command := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^Benchmark(Exposed|Who|Decide)$/^(warm|decision|answer)$", "-benchtime", "1s", "./internal/ask")
	out, err := command.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("running the benchmarks of internal/ask, %w: %s", err, out)
	}
	names := map[string]figure{
		"Exposed/warm":    {Name: "exposed, 1000 services, warm", Bar: 1000, Unit: "ms"},
		"Who/warm":        {Name: "who, 1000 services, warm", Bar: 1000, Unit: "ms"},
		"Decide/decision": {Name: "one decision, gateway and application, 1000 routes", Bar: 0.05, Unit: "ms"},
		"Decide/answer":   {Name: "the same, with the statements behind it", Unit: "ms"},
	}
	var all []figure
	for _, line := range benchmarkLine.FindAllSubmatch(out, -1) {
		f, ok := names[string(line[1])]
		if !ok {
			continue
		}
		nanoseconds, err := strconv.ParseFloat(string(line[2]), 64)
		if err != nil {
			return nil, err
		}
		f.Ours = nanoseconds / 1e6
		all = append(all, f)
	}
	if len(all) != len(names) {
		return nil, fmt.Errorf("reading the benchmarks of internal/ask: %d of %d figures are there: %s", len(all), len(names), out)
	}
	return all, nil
}
