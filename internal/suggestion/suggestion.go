// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package suggestion

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/model"
)

// Evidence is what was counted.
type Evidence struct {
	Allowed uint64 `json:"allowed"`
	Denied  uint64 `json:"denied"`
	// WouldDeny is beside what became of the requests.
	WouldDeny uint64    `json:"wouldDeny"`
	First     time.Time `json:"first,omitzero"`
	Last      time.Time `json:"last,omitzero"`
}

func (e *Evidence) add(t *hits.Total) {
	switch t.Verdict {
	case hits.Allowed:
		e.Allowed += t.N
	case hits.Denied:
		e.Denied += t.N
	case hits.WouldDeny:
		e.WouldDeny += t.N
	case hits.Failed:
		return
	}
	if e.First.IsZero() || t.First.Before(e.First) {
		e.First = t.First
	}
	if t.Last.After(e.Last) {
		e.Last = t.Last
	}
}

// Party is somebody who called, or was called.
type Party struct {
	// Peer is NAMESPACE/ACCOUNT of who called, as hits.Key has it, or NAMESPACE/NAME of the
	// Application that was called.
	Peer string `json:"peer"`
	// Routes are those that were called, in order; none: the requests were of no route.
	Routes []string `json:"routes,omitempty"`
	Evidence
	// Declared are the names of the entries that it is covered by, as far as it is.
	Declared []string `json:"declared,omitempty"`
	// Adds is the name of the entry that is proposed for it, new or with more routes; empty:
	// none is, as Why says where it is not covered.
	Adds string `json:"adds,omitempty"`
	Why  string `json:"why,omitempty"`
}

// Suggestion is what is proposed for an Application.
type Suggestion struct {
	Application string `json:"application"`
	// Callers and Calls were seen, in order.
	Callers []Party `json:"callers"`
	Calls   []Party `json:"calls"`
	// Unseen are entries of spec.access by which nobody was seen, as fields. They stay.
	Unseen []string `json:"unseen,omitempty"`
	// Access is spec.access as it would be; absent where nothing is proposed.
	Access *v1alpha1.Access `json:"access,omitempty"`
	Notes  []string         `json:"notes,omitempty"`
}

// Options say what is proposed.
type Options struct {
	// Denied proposes to let in who was refused, too.
	Denied bool
	// Calls proposes spec.access.calls also where the Application states none.
	Calls bool
}

// Of proposes what of totals is not stated yet. The totals are those of the whole mesh in
// a window: what an Application calls is counted where it arrives.
func Of(s *model.Snapshot, a *v1alpha1.Application, totals []hits.Total, o Options) *Suggestion {
	m := maker{
		snapshot: s, application: a, name: model.Name{Namespace: a.Namespace, Name: a.Name}, options: o,
		access: &v1alpha1.Access{}, out: &Suggestion{Application: a.Namespace + "/" + a.Name, Callers: []Party{}, Calls: []Party{}},
	}
	if a.Spec.Access != nil {
		m.access = a.Spec.Access.DeepCopy()
	}
	m.account, m.owners = accountsOf(s, m.name)
	m.callers(totals)
	m.calls(totals)
	if m.changed {
		m.out.Access = m.access
	}
	return m.out
}

type maker struct {
	snapshot    *model.Snapshot
	application *v1alpha1.Application
	name        model.Name
	options     Options
	// account is the Application's own; empty: it has none of its own.
	account string
	// owners are the Applications of accounts that run one alone.
	owners  map[string]model.Name
	access  *v1alpha1.Access
	changed bool
	out     *Suggestion
}

// accountsOf finds the account of an Application, and those of all.
func accountsOf(s *model.Snapshot, of model.Name) (own string, owners map[string]model.Name) {
	owners = map[string]model.Name{}
	several := map[string]bool{}
	for _, a := range s.Applications() {
		name := model.Name{Namespace: a.Namespace, Name: a.Name}
		account := accountOf(s, a)
		if account == "" {
			continue
		}
		if name == of {
			own = account
		}
		if _, known := owners[account]; known {
			several[account] = true
		}
		owners[account] = name
	}
	for account := range several {
		delete(owners, account)
	}
	return own, owners
}

// accountOf is the one account that only the workloads of an Application have; empty where
// there is none, as then nothing may be allowed in its name.
func accountOf(s *model.Snapshot, a *v1alpha1.Application) string {
	service, ok := s.Service(model.Name{Namespace: a.Namespace, Name: a.Spec.Service})
	if !ok || len(service.Selector) == 0 {
		return ""
	}
	accounts := s.Accounts(a.Namespace, service.Selector)
	account, one := accounts.One()
	if !one || account == "" || accounts.Shared {
		return ""
	}
	return a.Namespace + "/" + account
}

// seen is what one party did, by route.
type seen struct {
	all     Evidence
	byRoute map[string]*Evidence
}

func gather(into map[string]*seen, peer string, t *hits.Total) {
	one := into[peer]
	if one == nil {
		one = &seen{byRoute: map[string]*Evidence{}}
		into[peer] = one
	}
	if one.byRoute[t.Route] == nil {
		one.byRoute[t.Route] = &Evidence{}
	}
	one.all.add(t)
	one.byRoute[t.Route].add(t)
}

// party is how it is shown; routes are those of which something was allowed, or refused if
// that is wanted.
func (s *seen) party(peer string, denied bool) (p Party, wanted []string, unplaced bool) {
	p = Party{Peer: peer, Evidence: s.all}
	for route, e := range s.byRoute {
		is := e.Allowed > 0 || denied && e.Denied > 0
		switch {
		case route != "":
			p.Routes = append(p.Routes, route)
			if is {
				wanted = append(wanted, route)
			}
		case is:
			unplaced = true
		}
	}
	slices.Sort(p.Routes)
	slices.Sort(wanted)
	return p, wanted, unplaced
}

// entry is what an entry of callers and one of calls have in common.
type entry struct {
	name   v1alpha1.LabelName
	routes []v1alpha1.LabelName
}

// declare notes the entries that are about a party, and returns which of the routes that are
// wanted none of them names. Covered: nothing is to be added. What is of no route is covered
// by an entry without routes alone.
func (p *Party) declare(about []entry, wanted []string, used map[string]bool) (missing []string, covered bool) {
	missing = slices.Clone(wanted)
	for _, e := range about {
		p.Declared = append(p.Declared, string(e.name))
		used[string(e.name)] = true
		if len(e.routes) == 0 {
			covered, missing = true, nil
		}
		missing = slices.DeleteFunc(missing, func(r string) bool { return slices.Contains(e.routes, v1alpha1.LabelName(r)) })
	}
	return missing, covered || len(wanted) > 0 && len(missing) == 0
}

// nameFor is a name that no other entry has.
func nameFor(wanted string, taken func(string) bool) v1alpha1.LabelName {
	// A name is a label: no dots, and 63 characters at most.
	base := strings.Trim(strings.ReplaceAll(wanted, ".", "-"), "-")
	base = strings.Trim(base[:min(len(base), 58)], "-")
	name := base
	for i := 2; taken(name); i++ {
		name = fmt.Sprintf("%s-%d", base, i)
	}
	return v1alpha1.LabelName(name)
}

// split reads NAMESPACE/NAME.
func split(peer string) (namespace, name string, ok bool) {
	namespace, name, ok = strings.Cut(peer, "/")
	return namespace, name, ok && namespace != "" && name != "" && !strings.Contains(name, "/")
}

func compare(a, b Party) int {
	return cmp.Or(cmp.Compare(b.Allowed, a.Allowed), cmp.Compare(b.Denied, a.Denied), strings.Compare(a.Peer, b.Peer))
}
