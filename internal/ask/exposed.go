// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package ask

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/internal/ask/class"
	"github.com/trellis-mesh/trellis/internal/ask/grid"
	"github.com/trellis-mesh/trellis/internal/ask/wording"
	"github.com/trellis-mesh/trellis/internal/decide"
)

// Needs is what a client has to bring.
type Needs string

const (
	// Nothing is needed: anybody may.
	Nothing Needs = "Nothing"
	// Token is any valid token of an issuer.
	Token Needs = "Token"
	// Claims are needed: a token with certain claims.
	Claims Needs = "Claims"
	// Undecided is where what decides is not known (outcome Unknown).
	Undecided Needs = "Unknown"
)

// Exposure is one thing that the internet can reach: requests of one host and route
// that need the same.
type Exposure struct {
	// Gateway is the Service that they come in by.
	Gateway string `json:"gateway"`
	Scheme  string `json:"scheme"`
	Host    string `json:"host"`
	// Route is Envoy's name of it; empty where there is none.
	Route   string   `json:"route,omitempty"`
	Methods []string `json:"methods,omitempty"`
	// Paths are exact ones, and patterns with * for all that begins or ends so; * alone
	// is any.
	Paths []string `json:"paths,omitempty"`
	Needs Needs    `json:"needs"`
	// Token is what the token has to have, one line for each issuer and claim.
	Token []string `json:"token,omitempty"`
	// Only are other conditions: headers, addresses.
	Only []string `json:"only,omitempty"`
	// Reaches is the workload, or a host outside of the mesh.
	Reaches string `json:"reaches,omitempty"`
	// Why is what is not known.
	Why     string   `json:"why,omitempty"`
	Because []Origin `json:"because,omitempty"`
	// Rules are the Istio objects that decided, for what nobody states in Trellis.
	Rules   []string `json:"rules,omitempty"`
	Witness Witness  `json:"witness"`
}

// Exposed is the answer to what the internet can reach.
type Exposed struct {
	Exposures []Exposure `json:"exposures"`
	// Notes say why something may be missing; none: every class was decided.
	Notes []string `json:"notes,omitempty"`
}

// Exposed finds everything that the internet can reach, once. The answer is read only.
func (w *World) Exposed() *Exposed {
	leaves, notes := w.fromInternet(nil)
	w.sets.mu.Lock()
	defer w.sets.mu.Unlock()
	if w.sets.exposed != nil {
		return w.sets.exposed
	}
	out := &Exposed{Notes: notes, Exposures: []Exposure{}}
	table := grid.New[Exposure]()
	for _, l := range least(leaves) {
		e := exposureOf(l)
		key := strings.Join(slices.Concat([]string{e.Gateway, e.Scheme, e.Host, e.Route, e.Reaches, string(e.Needs), e.Why}, e.Token, e.Only), "\x00")
		table.Add(key, e, e.Methods, e.Paths)
	}
	table.Each(func(e Exposure, methods, paths []string) {
		e.Methods, e.Paths = methods, paths
		out.Exposures = append(out.Exposures, e)
	})
	w.sets.exposed = out
	slices.SortStableFunc(out.Exposures, func(a, b Exposure) int {
		return cmp.Or(strings.Compare(a.Host, b.Host), strings.Compare(a.Gateway, b.Gateway), strings.Compare(a.Scheme, b.Scheme))
	})
	return out
}

func mergeText(a, b []string) []string {
	for _, t := range b {
		if !slices.Contains(a, t) {
			a = append(a, t)
		}
	}
	return a
}

// least are the classes that pass, or of which it is not known, where none passes
// that needs less.
func least(leaves []outsideLeaf) []outsideLeaf {
	var out []outsideLeaf
	for _, group := range byRequest(leaves) {
		out = append(out, weakest(group)...)
	}
	return withoutSpare(out)
}

// withoutSpare leaves out the classes that pass with headers and parameters which
// make no difference: the same requests pass without them.
func withoutSpare(leaves []outsideLeaf) []outsideLeaf {
	plain := map[string][]outsideLeaf{}
	for _, l := range leaves {
		if len(l.extras()) == 0 {
			plain[l.requestKey(true)] = append(plain[l.requestKey(true)], l)
		}
	}
	return slices.DeleteFunc(leaves, func(l outsideLeaf) bool {
		return len(l.extras()) > 0 && slices.ContainsFunc(plain[l.requestKey(true)], func(o outsideLeaf) bool {
			return o.decided.outcome == l.decided.outcome && o.decided.place() == l.decided.place() && slices.Equal(wording.Token(o.point), wording.Token(l.point))
		})
	})
}

// extras are the headers and parameters that a class has; at a workload a host that
// rules name is like one.
func (l outsideLeaf) extras() []string {
	var out []string
	l.point.Each(func(d class.Dimension, v class.Value) {
		if !v.Absent && l.extra(d.Kind) && (d.Kind != class.Host || slices.Contains(v.Signs, true)) {
			out = append(out, d.Name)
		}
	})
	return out
}

func (l outsideLeaf) extra(k class.Kind) bool {
	return k == class.Header || k == class.Parameter || k == class.Host && l.door.Mutual
}

// byRequest puts classes together that differ only in the token, in order.
func byRequest(leaves []outsideLeaf) [][]outsideLeaf {
	at := map[string]int{}
	var out [][]outsideLeaf
	for _, l := range leaves {
		key := l.requestKey(false)
		i, ok := at[key]
		if !ok {
			i = len(out)
			at[key] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], l)
	}
	return out
}

// requestKey is all of a class but its token; plain leaves out headers and parameters
// too.
func (l outsideLeaf) requestKey(plain bool) string {
	var key strings.Builder
	key.WriteString(l.door.key)
	l.point.Each(func(d class.Dimension, v class.Value) {
		if d.Kind != class.Token && d.Kind != class.Claim && !(plain && l.extra(d.Kind)) {
			key.WriteString("\x00" + d.Name + "=" + strings.Join(v.Texts, "\x00"))
		}
	})
	return key.String()
}

// weakest are the classes that pass and need the least: without a token, else the
// tokens of each issuer from which nothing can be left out. Where none is sure to
// pass they are those of which it is not known.
func weakest(leaves []outsideLeaf) []outsideLeaf {
	var passing, unknown []outsideLeaf
	for _, l := range leaves {
		switch {
		case l.decided.passes() && l.request.Claims == nil:
			return []outsideLeaf{l}
		case l.decided.passes():
			passing = append(passing, l)
		case l.decided.outcome == decide.Unknown:
			unknown = append(unknown, l)
		}
	}
	if len(unknown) > 0 {
		// One stands for all: the reason is the same.
		passing = append(passing, unknown[0])
	}
	var out []outsideLeaf
	for i, l := range passing {
		if !slices.ContainsFunc(passing, func(o outsideLeaf) bool { return o.decided != l.decided && demandsLess(o, l) }) {
			out = append(out, passing[i])
		}
	}
	return out
}

// demandsLess reports whether all that a's token has to have b's has too, and more.
func demandsLess(a, b outsideLeaf) bool {
	return a.decided.outcome == b.decided.outcome && tokenLess(a.point, b.point)
}

// tokenLess compares what is settled of tokens: all of a's is b's too.
func tokenLess(a, b *class.Point) bool {
	has, wants := wording.Token(b), wording.Token(a)
	if len(wants) >= len(has) {
		return false
	}
	return !slices.ContainsFunc(wants, func(n string) bool { return !slices.Contains(has, n) })
}

func exposureOf(l outsideLeaf) Exposure {
	e := Exposure{
		Gateway: WorkloadRef(l.door.service.Name).String(), Scheme: l.door.scheme(), Host: l.request.Host, Route: l.decided.route,
		Reaches: l.decided.place(), Because: l.decided.because, Rules: l.decided.objects(),
		Witness: l.door.witness(Internet, l.request),
	}
	if l.door.HTTP {
		e.Methods, e.Paths = []string{wording.Of(l.point, class.Method)}, []string{wording.Of(l.point, class.Path)}
	}
	e.Needs, e.Token = needsOf(l.point, l.request, l.decided)
	if e.Needs == Undecided {
		e.Why = l.decided.why
	}
	e.Only = onlyOf(l.point, false)
	return e
}

// place is what a request reaches, in words.
func (d *decided) place() string {
	if d.reached != nil {
		return d.reached.Namespace + "/" + d.reached.Name
	}
	return d.host
}

// objects are the Istio objects that decided.
func (d *decided) objects() []string {
	names := map[string]bool{}
	for _, r := range d.rules {
		if r.object.Kind != "" {
			names[r.object.String()] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}
