// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package recount

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/ask/class"
	"github.com/trellis-mesh/trellis/internal/ask/replay"
	"github.com/trellis-mesh/trellis/internal/attribution"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Group are counted requests of one key.
type Group struct {
	hits.Key
	N    uint64
	Last time.Time
	// Class is Same, Changed, Depends or Unknown.
	Class replay.Class
	// Was is how they end now, and Now how those would end that change, both as outcomes with
	// commas between; empty where nothing ends as they did.
	Was, Now string
	// Why is a sentence about a request that changes, or about what is not known, and
	// Decided the statement behind it; nil: none.
	Why     string
	Decided *ask.Origin
	// Changes is a request that changes, and Stays one of the same key that does not; nil:
	// there is none.
	Changes, Stays *ask.Witness
}

// Report is what comes of counts.
type Report struct {
	// Same and the others are numbers of requests: a request that passes a gateway and a
	// workload is in two of them.
	Same, Changed, Depends, Unknown uint64
	// Groups are those of all classes but Same: by class, and then the largest first.
	Groups []Group
	// Notes say what was not looked at; none: all was.
	Notes []string
}

// Recount judges counts by the classes of requests before and after a change. It is for one
// goroutine.
type Recount struct {
	index        *attribution.Index
	trustDomain  string
	served       map[owner][]sample
	seen         map[seen]*shown
	applications map[owner][]seen
	// unchangedOf are the owners of workloads that the change leaves alone, changedOf those of
	// others, and gateways that there is one which it does not.
	unchangedOf, changedOf map[owner]bool
	gateways               bool
	// doubts are why it is not known how requests end that may end otherwise.
	doubts map[string]bool
}

// owner is whose requests they are.
type owner struct {
	place                  hits.Place
	namespace, application string
}

func ownerOf(k hits.Key) owner { return owner{k.Place, k.Namespace, k.Application} }

// seen are classes of requests that no count tells apart.
type seen struct {
	// key is what they are counted by before the change, without a peer.
	key      hits.Key
	mutual   bool
	clients  string
	class    replay.Class
	was, now decide.Outcome
}

// shown is a request of them.
type shown struct {
	identity class.Value
	named    bool
	witness  ask.Witness
	after    ask.Ending
}

// New begins to judge. The index and the Applications are of the moment before the change.
func New(index *attribution.Index, applications []*v1alpha1.Application, trustDomain string) *Recount {
	return &Recount{
		index: index, trustDomain: cmp.Or(trustDomain, "cluster.local"), served: servedBy(applications),
		seen: map[seen]*shown{}, applications: map[owner][]seen{}, unchangedOf: map[owner]bool{}, changedOf: map[owner]bool{}, doubts: map[string]bool{},
	}
}

// Add takes a class of requests. It may be given to ask.Compare.
func (r *Recount) Add(c *ask.Compared) {
	if c.Before.Outcome == decide.Unknown && (c.After.Outcome != decide.Unknown || c.After.Why != c.Before.Why) {
		// They may have been counted by any key, also by one of which all that is known stays.
		r.doubts[c.Before.Why] = true
	}
	if c.Before.Outcome == decide.Fails && c.Inside {
		key := r.keyOf(c.Node)
		key.Verdict = hits.Failed
		r.note(c, key)
		return
	}
	entry := entryOf(c)
	if entry == nil {
		return
	}
	of := r.index.Of(entry)
	r.count(c, &of)
	if of.Place != hits.Workload || !c.HTTP {
		return
	}
	// A class may have requests of several routes, of which its witness has one.
	for _, s := range r.served[owner{of.Place, of.Namespace, of.Application}] {
		for _, method := range s.within(c) {
			entry.Path, entry.Method = s.path, method
			of := r.index.Of(entry)
			r.count(c, &of)
		}
	}
}

// count notes what the requests of a class are counted by.
func (r *Recount) count(c *ask.Compared, of *attribution.Attribution) {
	for key := range of.Counted {
		if key.Verdict != hits.WouldDeny {
			r.note(c, key)
		}
	}
}

func (r *Recount) note(c *ask.Compared, key hits.Key) {
	key.Peer, key.Reason = "", ""
	at := seen{key: key, mutual: c.Mutual, class: classOf(c), was: c.Before.Outcome, now: c.After.Outcome}
	identity, named := c.Point.Value(class.Dimension{Kind: class.Identity})
	if named {
		at.clients = fmt.Sprint(identity.Texts, identity.Patterns, identity.Signs)
	}
	known := r.seen[at]
	if known == nil {
		r.applications[ownerOf(key)] = append(r.applications[ownerOf(key)], at)
	} else if less(&known.witness, &c.Witness) {
		return
	}
	r.seen[at] = &shown{identity, named, c.Witness, c.After}
}

func classOf(c *ask.Compared) replay.Class {
	switch {
	case c.Before.Outcome == c.After.Outcome:
		return replay.Same
	case c.After.Outcome == decide.Unknown:
		return replay.Unknown
	}
	return replay.Changed
}

// less orders requests that show the same: those that need the least come first.
func less(a, b *ask.Witness) bool {
	return cmp.Or(
		cmp.Compare(len(a.Claims), len(b.Claims)), cmp.Compare(len(a.Headers), len(b.Headers)), cmp.Compare(len(a.URL), len(b.URL)),
		strings.Compare(a.URL, b.URL), strings.Compare(a.Method, b.Method), strings.Compare(a.From, b.From),
		strings.Compare(string(a.Claims), string(b.Claims)), slices.Compare(a.Headers, b.Headers),
	) <= 0
}

// Unchanged notes which of all proxies take connections alike before and after.
func (r *Recount) Unchanged(unchanged, all []xds.Node) {
	same := map[xds.Key]bool{}
	for _, node := range unchanged {
		same[node.Key()] = true
	}
	for _, node := range all {
		if node.Type == xds.Router {
			r.gateways = r.gateways || !same[node.Key()]
			continue
		}
		of := r.changedOf
		if same[node.Key()] {
			of = r.unchangedOf
		}
		own := r.keyOf(node)
		of[ownerOf(own)] = true
		of[owner{place: own.Place, namespace: own.Namespace}] = true
	}
}

// keyOf is what is known of all requests to a workload.
func (r *Recount) keyOf(node xds.Node) hits.Key {
	of := r.index.Of(&accesslog.Entry{
		Writer: accesslog.Writer{Namespace: node.Namespace, Pod: node.Name}, Method: "GET", Code: answered, Details: upstream, Cluster: "inbound|",
	})
	return hits.Key{Namespace: of.Namespace, Application: of.Application, Place: of.Place, Rule: -1}
}

// Left is what becomes of calls at their callers' own proxies, which no count is of.
type Left struct {
	// All: none of the calls that may have been counted leaves as it did.
	All bool
	// Was, Now, Why and Decided are as in Group, and Changes and Stays calls of both kinds;
	// Stays is nil where there is none.
	Was, Now, Why  string
	Decided        *ask.Origin
	Changes, Stays *ask.Witness
}

// Report judges counts. Tell gives a sentence about a request as it ends after the change,
// and the statement behind it; left what callers' proxies make different, or nil.
func (r *Recount) Report(totals []hits.Total, tell func(*ask.Request) (string, *ask.Origin), left func(hits.Key) *Left) *Report {
	out := &Report{}
	for i := range totals {
		if totals[i].Verdict == hits.WouldDeny {
			continue
		}
		g := r.judge(&totals[i], tell)
		if g.Class == replay.Same {
			g.leave(left(g.Key))
		}
		switch g.Class {
		case replay.Same:
			out.Same += g.N
			continue
		case replay.Changed:
			out.Changed += g.N
		case replay.Depends:
			out.Depends += g.N
		case replay.Unknown:
			out.Unknown += g.N
		}
		out.Groups = append(out.Groups, g)
	}
	for _, why := range slices.Sorted(maps.Keys(r.doubts)) {
		out.Notes = append(out.Notes, "how some requests end that may end in another way is not known: "+why)
	}
	order := map[replay.Class]int{replay.Changed: 0, replay.Depends: 1, replay.Unknown: 2}
	slices.SortStableFunc(out.Groups, func(a, b Group) int {
		return cmp.Or(cmp.Compare(order[a.Class], order[b.Class]), cmp.Compare(b.N, a.N), a.Compare(b.Key))
	})
	return out
}
