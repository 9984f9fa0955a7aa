// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/mtls"
	"github.com/trellis-mesh/trellis/internal/mtls/diagnosis"
	"github.com/trellis-mesh/trellis/internal/mtls/signature"
)

// few bounds how many failures are shown without -v.
const few = 20

func (v *View) text(w io.Writer, verbose bool) error {
	var b strings.Builder
	if v.Proxy != nil {
		fmt.Fprintf(&b, "%s\n", output.Printable(strings.TrimSpace("the Envoy is that of "+v.Proxy.Name+" "+v.Proxy.Version)))
		if !v.Proxy.CountsClusters {
			b.WriteString("note: it counts little of what it sends, as Istio has it by default (proxyStatsMatcher says what else)\n")
		}
		b.WriteString("\n")
	}
	for i := range v.Failures {
		if i == few && !verbose {
			fmt.Fprintf(&b, "and %d more failures; -v shows all\n\n", len(v.Failures)-i)
			break
		}
		v.Failures[i].write(&b, verbose, v.compared())
		b.WriteString("\n")
	}
	v.summary(&b)
	output.Notes(&b, v.Notes)
	output.Source(&b, v.Source)
	_, err := io.WriteString(w, b.String())
	return err
}

// compared: there was a mesh to compare with.
func (v *View) compared() bool {
	for i := range v.Failures {
		if v.Failures[i].Check != nil {
			return true
		}
	}
	return v.Source != ""
}

func (v *View) summary(b *strings.Builder) {
	s := &v.Summary
	for _, u := range v.Unread {
		fmt.Fprintf(b, "%s cannot be read: %s\n", place(u.Place), output.Printable(u.Why))
	}
	if more := s.Unread - len(v.Unread); more > 0 {
		fmt.Fprintf(b, "and %d more lines that cannot be read\n", more)
	}
	if v.Proxy == nil && s.Requests == 0 && s.Others == 0 {
		b.WriteString("there is no line of an access log: they are those of the container istio-proxy, and proxies write none\n" +
			"without accessLogFile in Istio's mesh configuration, or a Telemetry\n")
	} else if v.Proxy == nil || s.Requests > 0 {
		fmt.Fprintf(b, "requests and connections: %d; %d went well, %d failed\n", s.Requests, s.WentWell, s.Failed)
	} else if len(v.Failures) == 0 {
		b.WriteString("nothing that it counts has failed\n")
	}
	for _, more := range []struct {
		count int
		text  string
	}{
		{s.Ungrouped, "failed in too many different ways to be shown"},
		{s.Others, "lines of the proxy's own log"},
		{s.Beyond, "lines that were left out, for there are too many"},
	} {
		if more.count > 0 {
			fmt.Fprintf(b, "%s: %d\n", more.text, more.count)
		}
	}
}

func place(p diagnosis.Place) string {
	if p.File == "" {
		return fmt.Sprintf("line %d", p.Line)
	}
	return output.Printable(fmt.Sprintf("%s:%d", p.File, p.Line))
}

func (f *Failure) write(b *strings.Builder, verbose, compared bool) {
	fmt.Fprintf(b, "%s\n", output.Printable(f.headline()))
	line := func(label, text string) {
		if text != "" {
			fmt.Fprintf(b, "  %-9s%s\n", label, output.Printable(text))
		}
	}
	first := f.Candidates[0]
	fmt.Fprintf(b, "  %s\n", output.Printable(f.verdict()))
	if f.Conclusion != diagnosis.Untold {
		line("why:", first.Why+f.share())
	}
	line("decides:", strings.Join(f.Decides, ", "))
	if first.Certainty != signature.Certain {
		for _, other := range f.others() {
			line("or:", other)
		}
		line("tells:", first.Needs)
		if f.Check != nil && f.Check.Status != mtls.Unknown {
			line("check:", fmt.Sprintf("%s: the client sends %s, the server takes %s", f.Check.Status, f.Check.Sends, f.Check.Takes))
		}
	}
	for _, note := range f.Notes {
		line("note:", note)
	}
	do := cmp.Or(f.Command, f.Do)
	if do == "" && f.Conclusion == diagnosis.Undecided && !compared {
		do = "give the mesh (-f, --config-dump or --context): what client and service are sent decides"
	}
	line("do:", do)
	if verbose {
		f.long(line)
	}
}

// headline is what happened, how often, to whom and when.
func (f *Failure) headline() string {
	signs := strings.Join(f.Flags, ",")
	if f.Code != 0 {
		signs = strings.TrimSpace(fmt.Sprintf("%d %s", f.Code, signs))
	}
	if f.Code == 0 || len(f.Flags) == 0 {
		signs = strings.TrimSpace(signs + " " + f.Details)
	}
	out := fmt.Sprintf("%d× %s: %s to %s", f.Count, signs, cmp.Or(f.Client, "somebody"), cmp.Or(f.Service, "a service that is not named"))
	if f.Subset != "" {
		out += " [" + f.Subset + "]"
	}
	if f.First == nil {
		return out
	}
	first, last := f.First.UTC(), f.Last.UTC()
	out += ", " + first.Format(time.DateTime+"Z")
	switch {
	case last.Equal(first):
	case last.Format(time.DateOnly) == first.Format(time.DateOnly):
		out += " to " + last.Format(time.TimeOnly+"Z")
	default:
		out += " to " + last.Format(time.DateTime+"Z")
	}
	return out
}

// share says how many of them the lines themselves settle, where those are not all.
func (f *Failure) share() string {
	if f.Candidates[0].Certainty != signature.Certain || f.Proven == 0 || f.Proven == f.Count {
		return ""
	}
	return fmt.Sprintf("; so it was in %d of %d, and the others look the same to the client", f.Proven, f.Count)
}

var certainties = map[signature.Certainty]string{signature.Certain: "certain", signature.Likely: "likely", signature.Possible: "possible"}

// verdict is a sentence without a period.
func (f *Failure) verdict() string {
	first := f.Candidates[0]
	cause, sure := first.means(), certainties[first.Certainty]
	switch f.Conclusion {
	case diagnosis.MutualTLS:
		return fmt.Sprintf("mTLS, %s: %s", sure, cause)
	case diagnosis.NotMutualTLS:
		aside := ""
		if slices.ContainsFunc(f.Candidates, func(c Candidate) bool { return c.Holder != "" }) {
			aside = ", certificates aside"
		}
		return fmt.Sprintf("not mTLS%s: %s (%s)", aside, cause, sure)
	case diagnosis.Undecided:
		return fmt.Sprintf("mTLS or not, the lines do not tell: %s (%s)", cause, sure)
	case diagnosis.Untold:
	}
	return cause
}

// means is what happened, and whose certificate it is about.
func (c *Candidate) means() string {
	if c.Holder == "" {
		return c.Means
	}
	return c.Means + " (the " + strings.ToLower(string(c.Holder)) + "'s)"
}

// others are the candidates behind the first, those about one certificate together.
func (f *Failure) others() []string {
	certificates := map[signature.Side][]string{}
	for _, c := range f.Candidates[1:] {
		if c.Holder != "" {
			certificates[c.Holder] = append(certificates[c.Holder], string(c.Cause))
		}
	}
	var out []string
	for _, c := range f.Candidates[1:] {
		text := c.means()
		if causes := certificates[c.Holder]; c.Holder != "" && len(causes) > 1 {
			if causes[0] != string(c.Cause) {
				continue
			}
			text = fmt.Sprintf("the certificate of the %s was refused (%s)", strings.ToLower(string(c.Holder)), strings.Join(causes, ", "))
		}
		if c.Needs != "" && c.Needs != f.Candidates[0].Needs && f.Conclusion == diagnosis.NotMutualTLS {
			text += "; tells: " + c.Needs
		}
		out = append(out, text)
	}
	return out
}

// long is what -v says besides.
func (f *Failure) long(line func(label, text string)) {
	line("details:", f.Details)
	for _, c := range f.Candidates {
		text := fmt.Sprintf("%s %s %s", certainties[c.Certainty], c.Cause, strings.ToLower(string(c.Holder)))
		text = strings.TrimSpace(text) + ": " + c.Why
		if c.Needs != "" {
			text += "; certain by " + c.Needs
		}
		if len(c.Names) > 0 {
			text += "; its names are " + strings.Join(c.Names, ", ")
		}
		if c.Policy != "" {
			text += "; by the rule " + c.Policy
		}
		line("for:", text)
	}
	for _, e := range f.Excluded {
		line("against:", fmt.Sprintf("%s: %s", e.Cause, e.Why))
	}
	if f.Paired > 0 {
		line("lines:", fmt.Sprintf("client and server wrote of %d, and for %d the lines alone are certain", f.Paired, f.Proven))
	}
	for _, e := range f.Examples {
		text := strings.TrimSpace(fmt.Sprintf("%s %s%s", e.Method, e.Authority, e.Path))
		text = strings.TrimSpace(place(e.Place) + " " + text)
		if e.Server != nil {
			text += " (server: " + place(*e.Server) + ")"
		}
		if e.RequestID != "" {
			text += " " + e.RequestID
		}
		line("such as:", text)
	}
}
