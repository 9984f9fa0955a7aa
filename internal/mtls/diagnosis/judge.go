// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/mtls"
	"github.com/trellis-mesh/trellis/internal/mtls/signature"
)

// agreement are the causes that the check of what both sides are sent knows about.
var agreement = []signature.Cause{signature.PlaintextToStrict, signature.MutualTLSToPlaintext}

// judge lets what else is known decide between the candidates.
func (f *Failure) judge(m *Mesh) {
	if f.Between {
		f.exclude(func(c signature.Candidate) bool { return c.Certainty == signature.Possible && c.Cause.MutualTLS() }, "a request of the same client went well at this endpoint between the first and the last of these")
	}
	if f.about.sidecar {
		f.exclude(func(c signature.Candidate) bool { return c.Cause == signature.HostNotServed }, "the proxy of a workload wrote the line, and no gateway")
	}
	if m != nil {
		f.check(m)
	}
	if f.Check != nil {
		switch f.Check.Status {
		case mtls.Conflict, mtls.Partial:
			f.conflict()
		case mtls.OK:
			f.agreed()
		case mtls.Unknown:
			f.Notes = append(f.Notes, "the check of client and service does not know: "+f.Check.Why)
		}
	}
	f.conclude()
}

// check compares what the parties are sent.
func (f *Failure) check(m *Mesh) {
	row := f.about.row
	if row == nil {
		return
	}
	service := row.Host
	if s := f.about.target.Service; !s.External {
		service = s.Name.Namespace + "/" + s.Name.Name
	}
	f.Check = &Check{Row: *row, Status: row.Status, Why: row.Why, Service: fmt.Sprintf("%s:%d", service, row.Port)}
	if f.about.sender.Ref.Namespace != "" {
		f.Check.Client = f.about.sender.Ref
	}
	if found := f.Check.narrow(f.about.endpoints); found != nil {
		f.Check.decided(found, m.Checker.Explain(*f.about.sender, *f.about.target))
	}
}

// narrow is what the check says of the endpoints that were sent to, where those of the
// service differ; nil: they are of several kinds, or nobody knows.
func (c *Check) narrow(to []netip.AddrPort) *mtls.Endpoint {
	var found *mtls.Endpoint
	for _, address := range to {
		at := endpointOf(&c.Row, address)
		if at < 0 || found != nil && found != &c.Row.Endpoints[at] {
			return nil
		}
		found = &c.Row.Endpoints[at]
	}
	if found == nil {
		return nil
	}
	c.Status, c.Why, c.Row.Accepts, c.Row.Code, c.Row.Flags = found.Status, found.Why, found.Accepts, found.Code, found.Flags
	if found.Sends != "" {
		c.Row.Sends = []decide.Transport{found.Sends}
	}
	return found
}

// endpointOf is the kind of endpoints that an address is of; negative for none.
func endpointOf(r *mtls.Row, address netip.AddrPort) int {
	return slices.IndexFunc(r.Endpoints, func(e mtls.Endpoint) bool { return slices.Contains(e.Addresses, address.String()) })
}

// decided leaves of the PeerAuthentications those that decide for one kind of endpoints.
func (c *Check) decided(e *mtls.Endpoint, all []mtls.Explanation) {
	var names []string
	for i := range all {
		if all[i].Port != c.Row.Port || all[i].Subset != c.Row.Subset {
			continue
		}
		for _, mode := range all[i].Modes {
			namespace, name, ok := strings.Cut(mode.Name, "/")
			if ok && slices.Contains(e.Workloads, mode.Workload) && !slices.Contains(names, name+"/"+namespace) {
				names = append(names, name+"/"+namespace)
			}
		}
	}
	if len(names) > 0 {
		c.Row.PeerAuthentications = names
	}
}

// predicted is what a conflict leads to. Where only some endpoints are in conflict, it is
// what these do.
func (c *Check) predicted() signature.Cause {
	sent, taken := c.Row.Sends, c.Row.Accepts
	if at := slices.IndexFunc(c.Row.Endpoints, func(e mtls.Endpoint) bool { return e.Status == mtls.Conflict }); c.Status == mtls.Partial && at >= 0 {
		sent, taken = []decide.Transport{c.Row.Endpoints[at].Sends}, c.Row.Endpoints[at].Accepts
	}
	takes := func(t decide.Transport) bool { return slices.Contains(taken, t) }
	sends := func(t decide.Transport) bool { return slices.Contains(sent, t) }
	switch {
	case sends(decide.Plaintext) && !takes(decide.Plaintext):
		return signature.PlaintextToStrict
	case (sends(decide.MutualTLS) || sends(decide.OtherTLS)) && takes(decide.Plaintext) && !takes(decide.MutualTLS) && !takes(decide.OtherTLS):
		return signature.MutualTLSToPlaintext
	}
	return signature.HandshakeRefused
}

// logged reports whether the failure has a flag that the check expects of the client's
// proxy. Where it expects none, and of lines of the server's proxy alone, any will do.
func (f *Failure) logged() bool {
	expected := f.Check.Row.Flags
	if len(expected) == 0 || f.byServer() {
		return true
	}
	return slices.ContainsFunc(f.Flags, func(flag string) bool { return slices.Contains(expected, flag) })
}

// byServer: only the server's proxy wrote of it, and read no request.
func (f *Failure) byServer() bool {
	return slices.Contains(f.Flags, "NR") || slices.Contains(f.Flags, "DPE")
}

// conflict is for client and service that do not go together.
func (f *Failure) conflict() {
	cause := f.Check.predicted()
	at := slices.IndexFunc(f.Candidates, func(c signature.Candidate) bool { return c.Cause == cause })
	if at < 0 {
		f.Notes = append(f.Notes, fmt.Sprintf("besides, the check of client and service finds a conflict, which these lines do not show: %s", f.Check.Why))
		return
	}
	found := f.Candidates[at]
	if found.Certainty != signature.Certain {
		found.Why = f.Check.Why
	}
	switch {
	case found.Certainty == signature.Certain:
	case f.Check.Status == mtls.Partial:
		found.Certainty, found.Needs = signature.Likely, "which endpoint these were sent to: some of the service take it and others do not"
	case f.counter:
		found.Certainty, found.Needs = signature.Likely, "whether the counter rises now: it counts from when the proxy began, and the mesh may have changed since"
	case f.logged():
		found.Certainty, found.Needs = signature.Certain, ""
	default:
		found.Certainty = signature.Likely
		found.Needs = "why the client's proxy logs " + cmp.Or(strings.Join(f.Flags, ","), "no flag") + ", where " + strings.Join(f.Check.Row.Flags, ",") + " is expected: " + found.Needs
	}
	rest := slices.Delete(slices.Clone(f.Candidates), at, at+1)
	f.Candidates = append([]signature.Candidate{found}, rest...)
	if found.Certainty == signature.Certain {
		f.exclude(func(c signature.Candidate) bool { return c.Cause != cause }, "nothing that this client sends gets so far")
	}
}

// agreed is for client and service that go together by what they are sent now.
func (f *Failure) agreed() {
	if first := f.Candidates[0]; slices.Contains(agreement, first.Cause) && first.Certainty != signature.Possible {
		f.Notes = append(f.Notes, "by what client and service are sent now it would go through: that has changed since, or the connection goes around the client's proxy")
		return
	}
	f.exclude(func(c signature.Candidate) bool {
		return c.Certainty == signature.Possible && slices.Contains(agreement, c.Cause)
	}, "client and service go together by what both are sent")
	secured := slices.ContainsFunc(f.Check.Row.Sends, func(t decide.Transport) bool { return t != decide.Plaintext })
	if len(f.Check.Row.Sends) > 0 && !secured {
		f.exclude(func(c signature.Candidate) bool { return c.Certainty == signature.Possible && c.Cause.MutualTLS() }, "the client's proxy sends plaintext there, for which nobody looks at a certificate")
	}
	// What is left of mutual TLS are certificates, which no check of the configuration sees.
	slices.SortStableFunc(f.Candidates, func(a, b signature.Candidate) int {
		return cmp.Or(cmp.Compare(rank[a.Certainty], rank[b.Certainty]), cmp.Compare(mutual(a), mutual(b)))
	})
}

var rank = map[signature.Certainty]int{signature.Certain: 0, signature.Likely: 1, signature.Possible: 2}

func mutual(c signature.Candidate) int {
	if c.Cause.MutualTLS() {
		return 1
	}
	return 0
}

// exclude takes candidates away, unless none would be left. What the lines make certain
// stays.
func (f *Failure) exclude(which func(signature.Candidate) bool, why string) {
	var left []signature.Candidate
	var excluded []Excluded
	for _, c := range f.Candidates {
		if c.Certainty != signature.Certain && which(c) {
			if !slices.ContainsFunc(excluded, func(e Excluded) bool { return e.Cause == c.Cause }) {
				excluded = append(excluded, Excluded{c.Cause, why})
			}
			continue
		}
		left = append(left, c)
	}
	if len(left) > 0 {
		f.Candidates, f.Excluded = left, append(f.Excluded, excluded...)
	}
}

// conclude says whether mutual TLS is to blame.
func (f *Failure) conclude() {
	first := f.Candidates[0]
	all, none := true, true
	for _, c := range f.Candidates {
		all, none = all && c.Cause.MutualTLS(), none && !c.Cause.MutualTLS()
	}
	agreed := f.Check != nil && f.Check.Status == mtls.OK
	switch {
	case first.Cause == signature.Unrecognised:
		f.Conclusion = Untold
	case all, first.Cause.MutualTLS() && first.Certainty != signature.Possible:
		f.Conclusion = MutualTLS
	case none, first.Certainty != signature.Possible, agreed && !first.Cause.MutualTLS():
		f.Conclusion = NotMutualTLS
	default:
		f.Conclusion = Undecided
	}
}
