// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Command round measures what ExternalDNS does for a zone of many records: it
// creates them, finds nothing changed, and changes one. It reads a job as JSON
// from its input and prints what it measured as JSON. The benchmark runs it as a
// peer, without linking ExternalDNS.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"sigs.k8s.io/external-dns/endpoint"

	"github.com/trellis-mesh/trellis/test/oracle/externaldns"
)

// job is what is to be measured.
type job struct {
	Server externaldns.Server `json:"server"`
	// Records is how many there are, one name each; Runs how often the rounds are
	// repeated for a median.
	Records int `json:"records"`
	Runs    int `json:"runs"`
}

// figures are times in nanoseconds, and counts of calls.
type figures struct {
	// Create is the first round, Unchanged the median of those that find nothing to
	// do, Changed the median of those with one change.
	Create    externaldns.Took `json:"create"`
	Unchanged externaldns.Took `json:"unchanged"`
	Changed   externaldns.Took `json:"changed"`
}

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "round:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var j job
	if err := json.NewDecoder(os.Stdin).Decode(&j); err != nil {
		return fmt.Errorf("reading the job: %w", err)
	}
	if j.Records < 1 || j.Runs < 1 {
		return fmt.Errorf("reading the job: %d records and %d runs", j.Records, j.Runs)
	}
	peer, err := externaldns.New(ctx, j.Server, "peer")
	if err != nil {
		return err
	}
	// round checks that what was to be done was.
	round := func(changed, want int) (externaldns.Took, error) {
		made, took, err := peer.Round(ctx, j.desired(changed))
		if n := len(made.Create) + len(made.UpdateNew) + len(made.Delete); err == nil && n != want {
			err = fmt.Errorf("ExternalDNS made %d changes, and %d were to be made", n, want)
		}
		return took, err
	}
	var out figures
	if out.Create, err = round(0, j.Records); err != nil {
		return err
	}
	var unchanged, changed []externaldns.Took
	for i := range j.Runs {
		same, err := round(i, 0)
		if err != nil {
			return err
		}
		one, err := round(i+1, 1)
		if err != nil {
			return err
		}
		unchanged, changed = append(unchanged, same), append(changed, one)
	}
	out.Unchanged, out.Changed = median(unchanged), median(changed)
	return json.NewEncoder(os.Stdout).Encode(out)
}

// desired is the list with the first record at its state of that number. Sources
// make it anew for every round.
func (j job) desired(state int) []*endpoint.Endpoint {
	out := make([]*endpoint.Endpoint, j.Records)
	for i := range out {
		address := fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)
		if i == 0 {
			address = fmt.Sprintf("192.0.2.%d", state)
		}
		out[i] = endpoint.NewEndpointWithTTL(fmt.Sprintf("host-%05d.%s", i, j.Server.Zone), "A", 300, address)
	}
	return out
}

// median is the round in the middle by its whole time.
func median(all []externaldns.Took) externaldns.Took {
	slices.SortFunc(all, func(a, b externaldns.Took) int {
		return int(a.Transfer + a.Plan + a.Apply - b.Transfer - b.Plan - b.Apply)
	})
	return all[len(all)/2]
}
