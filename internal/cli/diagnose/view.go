// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"strings"
	"time"

	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/mtls"
	"github.com/trellis-mesh/trellis/internal/mtls/diagnosis"
	"github.com/trellis-mesh/trellis/internal/mtls/signature"
)

// View is the answer as JSON and YAML have it. Fields are added and never change their
// meaning.
type View struct {
	Summary  Summary            `json:"summary"`
	Failures []Failure          `json:"failures"`
	Proxy    *Proxy             `json:"proxy,omitempty"`
	Unread   []diagnosis.Unread `json:"unread,omitempty"`
	Notes    []string           `json:"notes,omitempty"`
	// Source is where the configuration of the proxies came from; empty: from files, or
	// nothing was compared.
	Source string `json:"source,omitempty"`
}

// Summary counts.
type Summary struct {
	// Requests are requests and connections: what client and server wrote of one is one.
	Requests int `json:"requests"`
	WentWell int `json:"wentWell"`
	Failed   int `json:"failed"`
	// Ungrouped are among those that failed, and in none of the failures: there are too
	// many different ones.
	Ungrouped int `json:"ungrouped,omitempty"`
	// Unread are lines that could not be read, Others what a proxy logs beside its access
	// log, and Beyond lines that were left out, for there are too many.
	Unread int `json:"unread"`
	Others int `json:"others,omitempty"`
	Beyond int `json:"beyond,omitempty"`
}

// Proxy is the one whose counters were read.
type Proxy struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	// CountsClusters is false for one that counts little of what it sends.
	CountsClusters bool `json:"countsClusters"`
}

// Failure are requests that failed in one way.
type Failure struct {
	Client  string   `json:"client,omitempty"`
	Service string   `json:"service,omitempty"`
	Subset  string   `json:"subset,omitempty"`
	Code    int      `json:"code,omitempty"`
	Flags   []string `json:"flags,omitempty"`
	Details string   `json:"details,omitempty"`
	// Count is how many there are, Paired of how many client and server wrote, and Proven
	// of how many the lines alone make the cause certain.
	Count  int        `json:"count"`
	Paired int        `json:"paired,omitempty"`
	Proven int        `json:"proven,omitempty"`
	First  *time.Time `json:"first,omitempty"`
	Last   *time.Time `json:"last,omitempty"`

	// Conclusion is MutualTLS, NotMutualTLS, Undecided or Untold.
	Conclusion diagnosis.Conclusion `json:"conclusion"`
	// Candidates are the causes that are left, the most certain first.
	Candidates []Candidate          `json:"candidates"`
	Excluded   []diagnosis.Excluded `json:"excluded,omitempty"`
	// Decides are the objects that make client and server disagree, as KIND NAMESPACE/NAME.
	Decides []string `json:"decides,omitempty"`
	Check   *Check   `json:"check,omitempty"`
	// Do is what to do, and Command finds it out.
	Do       string              `json:"do,omitempty"`
	Command  string              `json:"command,omitempty"`
	Notes    []string            `json:"notes,omitempty"`
	Examples []diagnosis.Example `json:"examples,omitempty"`
}

// Candidate is a cause that something speaks for.
type Candidate struct {
	Cause     signature.Cause     `json:"cause"`
	Certainty signature.Certainty `json:"certainty"`
	Means     string              `json:"means"`
	Why       string              `json:"why"`
	// Needs is what would make it certain.
	Needs string `json:"needs,omitempty"`
	// Holder is whose certificate it is about, and Names are those that this has.
	Holder signature.Side `json:"holder,omitempty"`
	Names  []string       `json:"names,omitempty"`
	// Policy is the rule that refused it.
	Policy string `json:"policy,omitempty"`
}

// Check is what client and service are sent.
type Check struct {
	Status mtls.Status `json:"status"`
	Why    string      `json:"why,omitempty"`
	// Sends and Takes are as trellis mtls check has them, such as mTLS/HTTP.
	Sends string `json:"sends"`
	Takes string `json:"takes"`
}

// view is what was found.
func (d *diagnosed) view() *View {
	out := &View{
		Summary: Summary{
			Requests: d.report.Requests, WentWell: d.report.WentWell, Failed: d.report.Requests - d.report.WentWell, Ungrouped: d.report.Ungrouped,
			Unread: d.log.UnreadCount, Others: d.log.Others, Beyond: d.log.Beyond,
		},
		Failures: []Failure{}, Unread: d.log.Unread, Notes: d.notes, Source: d.source,
	}
	if d.admin != nil {
		out.Proxy = &Proxy{Name: d.admin.Node.String(), Version: d.admin.Node.Version, CountsClusters: d.counts}
	}
	for _, f := range d.failures {
		out.Failures = append(out.Failures, d.failure(f))
	}
	return out
}

func (d *diagnosed) failure(f *diagnosis.Failure) Failure {
	out := Failure{
		Client: f.Client, Service: f.Service, Subset: f.Subset, Code: f.Code, Flags: f.Flags, Details: f.Details,
		Count: f.Count, Paired: f.Paired, Proven: f.Proven, Conclusion: f.Conclusion, Excluded: f.Excluded, Notes: f.Notes, Examples: f.Examples,
	}
	if !f.First.IsZero() {
		out.First, out.Last = &f.First, &f.Last
	}
	for _, c := range f.Candidates {
		out.Candidates = append(out.Candidates, Candidate{c.Cause, c.Certainty, c.Cause.Means(), c.Why, c.Needs, c.Holder, c.Names, c.Policy})
	}
	if first := f.Candidates[0]; first.Certainty != signature.Possible || len(f.Candidates) == 1 {
		out.Do = first.Cause.Fix()
	}
	if f.Check == nil {
		return out
	}
	out.Check = &Check{f.Check.Status, f.Check.Why, f.Check.Row.Sent(), f.Check.Row.Server()}
	if f.Conclusion == diagnosis.MutualTLS && f.Check.Status.Fails() {
		out.Decides = decides(&f.Check.Row)
		out.Command = d.options.fix(f.Check)
	}
	return out
}

// decides are the objects that a row comes from.
func decides(r *mtls.Row) []string {
	var out []string
	for _, name := range r.PeerAuthentications {
		out = append(out, "PeerAuthentication "+whole(name))
	}
	if r.DestinationRule != "" {
		out = append(out, "DestinationRule "+whole(r.DestinationRule))
	}
	return out
}

// whole is NAMESPACE/NAME of a row's NAME/NAMESPACE.
func whole(name string) string {
	short, namespace, _ := strings.Cut(name, "/")
	return namespace + "/" + short
}

// fix is the command that finds what resolves a conflict; empty: there is none, since
// dumps of proxies have no objects that could be changed.
func (o *Options) fix(c *diagnosis.Check) string {
	if c.Client.Namespace == "" || len(o.Dumps) > 0 {
		return ""
	}
	return output.Shell(append(append([]string{"trellis", "mtls", "fix"}, o.Arguments()...), c.Client.String(), c.Service)...)
}
