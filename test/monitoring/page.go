// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"fmt"
	"strings"
)

// meanings are what labels say, in all metrics that have them.
var meanings = [][2]string{
	{"application", "name of an Application; empty: nobody's"},
	{"binding", "kind and name of the binding that an exception is from"},
	{"class", "what kind of error a DNS vendor answered with"},
	{"condition", "type of a condition of a status"},
	{"goal", "name of a Goal"},
	{"kind", "kind of an object"},
	{"name", "name of an object"},
	{"namespace", "namespace of the object, not of the program that tells; empty: it has none"},
	{"phase", "of a ManagedRecord: Done, Held, Planned, Blocked or Waiting; of a stage of a rollout: Pending, Blocked, Watching, Done or SteppedBack"},
	{"place", "which proxy decided: Gateway or Workload"},
	{"problem", "type of a problem of an authority (RFC 8555), or other; empty: none"},
	{"program", "trellis-operator or trellis-server"},
	{"reason", "reason of a condition or finding: one of the words that statuses have"},
	{"result", "what came of it"},
	{"severity", "Error or Warning"},
	{"state", "of an Application under a policy: Passing, Failing, Exempt or Unknown; by its tests: what the server says"},
	{"status", "status of a condition: True, False or Unknown"},
	{"step", "of a rebuild: compile, apply or status; of a rollout: made, done or back"},
	{"verb", "what was done to an object"},
	{"verdict", "Allowed, Denied, WouldDeny (by a policy that is tried) or Failed (let through, and not passed on)"},
	{"version", "of the program"},
}

// foreign are metrics of the libraries that the programs are built with, by their labels,
// as far as rules and dashboards use them.
var foreign = map[string][]string{
	"leader_election_master_status":             {"name"},
	"controller_runtime_reconcile_errors_total": {"controller"},
	"process_resident_memory_bytes":             nil,
	"process_cpu_seconds_total":                 nil,
}

const beginning = `# Metrics

<!-- Written by ` + "`go test ./test/monitoring -update`" + ` from what the programs register. Do not edit. -->

Both programs serve their metrics at ` + "`/metrics`" + `, by plain HTTP at the port of the chart's value ` + "`metrics.port`" + `. No
secret is a metric, and no path, query, token or address of a request.

Scrape them with ` + "`honor_labels: true`" + `: the label ` + "`namespace`" + ` is that of the object that is told of, and Prometheus
would rename it otherwise. The chart's ` + "`monitoring.podMonitor.enabled`" + ` does that, for the Prometheus operator;
` + "`monitoring.rules.enabled`" + ` brings the [alerts](../guides/alerts.md), and ` + "`monitoring.dashboards.enabled`" + ` a Grafana
dashboard for each [role](../concepts/roles.md). Without that operator, give the file
[rules.yaml](../../charts/trellis/files/monitoring/rules.yaml) to Prometheus as one of its ` + "`rule_files`" + `, and import the
[dashboards](../../charts/trellis/files/monitoring/dashboards).

The leader of the operator tells about objects; other replicas only say that they run. Every trellis-server counts
what it was sent, so that sums over all of them are what there was.

| Metric | Type | Labels | Of | Meaning |
| --- | --- | --- | --- | --- |
`

const ending = `
## Labels

| Label | Meaning |
| --- | --- |
`

const rest = `
## Counts in a store of metrics

Where trellis-server keeps its counts in a Prometheus-compatible store, it writes these series itself, by remote write.
They have the labels of what is counted apart: ` + "`namespace`, `application`, `route`, `place`, `object`, `rule`, `statement`, `field`, `reason`, `verdict`, `peer`" + `
and ` + "`collector`" + `.

| Series | Meaning |
| --- | --- |
| ` + "`trellis_hits`" + ` | how often it was counted in the interval that ends at the sample: sum them, do not rate them |
| ` + "`trellis_hits_last_seconds`" + ` | when the last one was, since 1970 |
| ` + "`trellis_hits_ran_seconds`" + ` | length of the interval in which a collector ran; where there is none is a gap |

## Beside these

The libraries that the programs are built with add their own: ` + "`go_*` and `process_*`, `controller_runtime_*`, `workqueue_*`, `rest_client_*`, `leader_election_master_status`" + `.
`

// page is docs/reference/metrics.md.
func page(all []*metric) string {
	var b strings.Builder
	b.WriteString(beginning)
	for _, m := range all {
		labels := make([]string, len(m.labels))
		for i, l := range m.labels {
			labels[i] = "`" + l + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", m.name, m.kind, strings.Join(labels, ", "), strings.Join(m.programs, ", "), m.help)
	}
	b.WriteString(ending)
	for _, l := range meanings {
		fmt.Fprintf(&b, "| `%s` | %s |\n", l[0], l[1])
	}
	b.WriteString(rest)
	return b.String()
}
