// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Command bench measures what issue and docs/benchmarks.md promise: compiling,
// applying, statuses, memory, the latency of what is generated, DNS records,
// certificates, policies and counts, each beside a peer in the same run. It prints a table for people;
// -o json is for machines.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// figure is one line of the report.
type figure struct {
	// Name of what was measured, with its size.
	Name string `json:"name"`
	// Ours, Peer and Bar in Unit; Peer and Bar are zero where there is none.
	Ours float64 `json:"ours"`
	Peer float64 `json:"peer,omitempty"`
	// PeerName says what the peer is.
	PeerName string  `json:"peerName,omitempty"`
	Bar      float64 `json:"bar,omitempty"`
	Unit     string  `json:"unit"`
}

// measurement is one named part of the benchmark.
type measurement struct {
	name string
	run  func(ctx context.Context) ([]figure, error)
}

func main() {
	only := flag.String("only", "", "run only these parts, by comma: compile, latency, operator, dns, certificates, questions, mtls, policies, hits")
	output := flag.String("o", "text", "text or json")
	flag.Parse()
	log.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *only, *output); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only, output string) error {
	parts := []measurement{
		{"compile", compileFigures}, {"latency", latencyFigures}, {"operator", operatorFigures},
		{"dns", dnsFigures}, {"certificates", certificateFigures},
		{"questions", questionFigures},
		{"mtls", mutualFigures},
		{"policies", policyFigures},
		{"hits", hitFigures},
	}
	var all []figure
	for _, m := range parts {
		if only != "" && !strings.Contains(","+only+",", ","+m.name+",") {
			continue
		}
		started := time.Now()
		fmt.Fprintf(os.Stderr, "bench: %s …\n", m.name)
		figures, err := m.run(ctx)
		if err != nil {
			return fmt.Errorf("measuring %s, %w", m.name, err)
		}
		fmt.Fprintf(os.Stderr, "bench: %s took %.0f s\n", m.name, time.Since(started).Seconds())
		all = append(all, figures...)
	}
	if output == "json" {
		return json.NewEncoder(os.Stdout).Encode(all)
	}
	return print(all)
}

func print(all []figure) error {
	fmt.Printf("%s, %d cores, %s\n\n", runtime.Version(), runtime.NumCPU(), processor())
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "MEASURED\tOURS\tBAR\tPEER\tRATIO\tPEER IS")
	for _, f := range all {
		bar, peer, ratio := "-", "-", "-"
		if f.Bar != 0 {
			bar = fmt.Sprintf("%.4g %s", f.Bar, f.Unit)
		}
		if f.Peer != 0 {
			peer, ratio = fmt.Sprintf("%.4g %s", f.Peer, f.Unit), fmt.Sprintf("%.2f", f.Ours/f.Peer)
		}
		fmt.Fprintf(w, "%s\t%.4g %s\t%s\t%s\t%s\t%s\n", f.Name, f.Ours, f.Unit, bar, peer, ratio, f.PeerName)
	}
	return w.Flush()
}

// processor is the machine's processor as Linux names it.
func processor() string {
	data, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(data)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimLeft(strings.TrimSpace(name), ": \t")
		}
	}
	return runtime.GOARCH
}
