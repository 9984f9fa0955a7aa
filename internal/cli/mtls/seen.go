// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mtls

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/pflag"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/trellis-mesh/trellis/internal/cli/logfile"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/document"
	"github.com/trellis-mesh/trellis/internal/mtls/diagnosis"
	"github.com/trellis-mesh/trellis/internal/mtls/sighting"
	"github.com/trellis-mesh/trellis/internal/prometheus"
	"github.com/trellis-mesh/trellis/internal/traffic"
	"github.com/trellis-mesh/trellis/internal/world"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// seenOptions say where traffic was seen; nowhere, without any of them.
type seenOptions struct {
	Logs       []string
	Prometheus string
	Since      time.Duration
	// SinceGiven: somebody said so.
	SinceGiven bool
}

func (o *seenOptions) addFlags(flags *pflag.FlagSet) {
	flags.StringArrayVar(&o.Logs, "log", nil, "a file with access logs of proxies, or - for standard input: who was seen to call in plaintext; may be repeated")
	flags.StringVar(&o.Prometheus, "prometheus", "", "URL of a store with Istio's metrics, such as http://localhost:9090, instead of logs")
	flags.DurationVar(&o.Since, "since", 24*time.Hour, "how far back --prometheus looks")
}

func (o *seenOptions) check(files []string) error {
	switch {
	case len(o.Logs) > 0 && o.Prometheus != "":
		return errors.New("choosing where traffic was seen: it is --log or --prometheus, and not both")
	case slices.Contains(o.Logs, document.Stdin) && slices.Contains(files, document.Stdin):
		return errors.New("reading standard input: it is either a log (--log -) or documents (-f -)")
	case o.SinceGiven && o.Prometheus == "":
		return errors.New("reading --since: it says how far back --prometheus looks; give that too, or leave it out: of --log all lines count")
	case o.Since < time.Minute || o.Since > sighting.Keep:
		return fmt.Errorf("reading --since: it is between %s and %s", time.Minute, sighting.Keep)
	}
	return nil
}

// seen is what was seen of traffic, and when and where in words; nil where nobody says
// where to look.
func (o *seenOptions) seen(ctx context.Context, m *mesh.Mesh, stdin io.Reader, now time.Time) (*traffic.Seen, string, error) {
	switch {
	case o.Prometheus != "":
		source, err := prometheus.New(o.Prometheus, prometheus.Options{})
		if err != nil {
			return nil, "", err
		}
		defer source.Close()
		out, err := source.Seen(ctx, now.Add(-o.Since), now)
		if err != nil {
			return nil, "", err
		}
		return &out, fmt.Sprintf("in metrics from %s to %s", clockTime(out.From), clockTime(out.To)), nil
	case len(o.Logs) > 0:
		return readSeen(m, o.Logs, stdin, now)
	}
	return nil, "", nil
}

func clockTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// readSeen reads logs. What cannot be read of them is lost.
func readSeen(m *mesh.Mesh, files []string, stdin io.Reader, now time.Time) (*traffic.Seen, string, error) {
	log := &diagnosis.Log{}
	for _, name := range files {
		if err := logfile.Read(log, name, stdin); err != nil {
			return nil, "", fmt.Errorf("reading a log: %w", err)
		}
	}
	if log.Entries() == 0 {
		return nil, "", errors.New("reading logs: there is no line of an access log in them; they are those of the container istio-proxy, in Istio's text format, its JSON or OpenTelemetry's, and proxies write none without accessLogFile in Istio's mesh configuration, or a Telemetry")
	}
	first, last := now, time.Time{}
	for e := range log.All() {
		if !e.Start.IsZero() {
			first, last = earlier(first, e.Start), later(last, e.Start)
		}
	}
	// A log is of the past, and may be older than what a running server would keep: times
	// are those of the lines.
	last = cmp.Or(last, now)
	first = later(first, last.Add(-sighting.Keep))
	tally, who := sighting.NewTally(sighting.DefaultLimits, first), who(m)
	counted := 0
	for e := range log.All() {
		at := e.Start
		if at.IsZero() {
			at = last
		}
		s, outcome := sighting.Of(e, who)
		switch {
		case outcome == sighting.Counted:
			tally.Add(&s, at)
			counted++
		case outcome.Lost():
			tally.Lose(1, at)
		}
	}
	tally.Lose(log.UnreadCount+log.Beyond, last)
	out := tally.Seen(first, last)
	return &out, fmt.Sprintf("in logs from %s to %s: %d of %d lines say who called whom", clockTime(first), clockTime(last), counted, log.Entries()), nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// who are the workloads of a mesh.
func who(m *mesh.Mesh) *sighting.Names {
	var pods []*corev1.Pod
	var entries []xds.Entry
	for _, object := range m.All() {
		switch o := world.As(object, named).(type) {
		case *corev1.Pod:
			pods = append(pods, o)
		case *networkingv1.WorkloadEntry:
			entries = append(entries, xds.Entry{Namespace: o.Namespace, Name: o.Name, Labels: o.Labels, Spec: &o.Spec})
		}
	}
	return sighting.NewNames(m.Directory, pods, entries)
}

// named are the kinds that have names and addresses.
var named = map[string]func() runtime.Object{
	"Pod":           func() runtime.Object { return &corev1.Pod{} },
	"WorkloadEntry": func() runtime.Object { return &networkingv1.WorkloadEntry{} },
}
