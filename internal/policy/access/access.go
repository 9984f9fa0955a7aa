// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package access knows which callers a policy keeps away: those of some namespaces, or some
// Applications, or all but these. It is pure.
package access

import (
	"fmt"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
)

// Access is whom a contribution keeps away. Who has no identity is kept away either way.
type Access struct {
	// Only refuses all but those that are meant; else these are refused.
	Only bool
	// Namespaces that are meant, by name and in order.
	Namespaces []string
	// ByApplication means Applications, and no namespaces.
	ByApplication bool
	// Applications that are meant, in order.
	Applications []Application
	// Identities are theirs, in that order. Where all others are refused, those are left out
	// that are not one Application's own. Principals are the same as Istio writes them.
	Identities []model.Identity
	Principals []string
	// Doubts are those of whom nobody knows whether they are meant. They are kept away: where
	// these are refused that are meant, they are among them, and else they are not.
	Doubts Doubts
}

// mean adds an Application to those that are meant.
func (a *Access) mean(app Application) {
	a.Applications = append(a.Applications, app)
	if a.Only && !app.Clear {
		return
	}
	for _, i := range app.Identities {
		a.Identities, a.Principals = append(a.Identities, i), append(a.Principals, i.Principal())
	}
}

// Application is one by whose identity requests are known.
type Application struct {
	Name model.Name
	// Identities are all that its pods run as; none where they are not known.
	Identities []model.Identity
	// Clear says that there is one, and that nobody else runs as it.
	Clear bool
}

// Of is how requests of an Application are known.
func Of(s *model.Snapshot, app *v1alpha1.Application) Application {
	out := Application{Name: model.Name{Namespace: app.Namespace, Name: app.Name}}
	service, ok := s.Service(model.Name{Namespace: app.Namespace, Name: app.Spec.Service})
	if !ok || len(service.Selector) == 0 {
		return out
	}
	accounts := s.Accounts(app.Namespace, service.Selector)
	for _, account := range accounts.Names {
		out.Identities = append(out.Identities, model.Identity{TrustDomain: s.Mesh().TrustDomain, Namespace: app.Namespace, ServiceAccount: account})
	}
	_, one := accounts.One()
	out.Clear = one && !accounts.Shared
	return out
}

// Affects reports whether anybody is kept away.
func (a *Access) Affects() bool {
	return a.Only || len(a.Namespaces) > 0 || len(a.Applications) > 0
}

// Refuses reports whether whom an Application lets in is kept away. Of everybody, and of all
// of a namespace where Applications are meant, only some may be, and it is false.
func (a *Access) Refuses(peer *v1alpha1.Peer) bool {
	switch {
	case peer.Any != nil || a.ByApplication && peer.Namespace != nil:
		return false
	case !a.ByApplication:
		return slices.Contains(a.Namespaces, NamespaceOf(peer)) != a.Only
	case peer.Application != nil:
		name := model.Name{Namespace: string(peer.Application.Namespace), Name: peer.Application.Name}
		return slices.ContainsFunc(a.Applications, func(app Application) bool { return app.Name == name && (app.Clear || !a.Only) }) != a.Only
	case peer.ServiceAccount != nil:
		return a.RefusesAccount(string(peer.ServiceAccount.Namespace), peer.ServiceAccount.Name)
	}
	return false
}

// RefusesAccount reports whether requests of a service account are refused. One whose name is
// empty is that of pods whose account cannot be told: it may be any of the namespace.
func (a *Access) RefusesAccount(namespace, account string) bool {
	if !a.ByApplication {
		return slices.Contains(a.Namespaces, namespace) != a.Only
	}
	if account == "" && a.Only {
		return true
	}
	return slices.ContainsFunc(a.Identities, func(i model.Identity) bool {
		return i.Namespace == namespace && (i.ServiceAccount == account || account == "")
	}) != a.Only
}

// Doubted reports whether whom an Application lets in is kept away because nobody knows
// whether a policy means that caller.
func (a *Access) Doubted(peer *v1alpha1.Peer) bool {
	d := &a.Doubts
	switch {
	case !a.Refuses(peer):
		return false
	case !a.ByApplication:
		return slices.Contains(d.Names, NamespaceOf(peer))
	case peer.Application != nil:
		name := model.Name{Namespace: string(peer.Application.Namespace), Name: peer.Application.Name}
		return slices.ContainsFunc(d.applications, func(app Application) bool { return app.Name == name })
	case peer.ServiceAccount != nil:
		return a.doubtedAccount(string(peer.ServiceAccount.Namespace), peer.ServiceAccount.Name)
	}
	return false
}

// doubtedAccount reports whether a service account that is kept away is that of an
// Application in doubt, and of none that is kept away for sure.
func (a *Access) doubtedAccount(namespace, account string) bool {
	runs := func(app Application) bool {
		return slices.ContainsFunc(app.Identities, func(i model.Identity) bool { return i.Namespace == namespace && i.ServiceAccount == account })
	}
	doubted := func(app Application) bool {
		return slices.ContainsFunc(a.Doubts.applications, func(d Application) bool { return d.Name == app.Name })
	}
	return slices.ContainsFunc(a.Doubts.applications, func(d Application) bool { return runs(d) && (d.Clear || !a.Only) }) &&
		(a.Only || !slices.ContainsFunc(a.Applications, func(app Application) bool { return runs(app) && !doubted(app) }))
}

// Some reports whether some of those may be kept away whom an Application lets in at once.
func (a *Access) Some(peer *v1alpha1.Peer) bool {
	return peer.Any != nil || a.ByApplication && peer.Namespace != nil
}

// Nobody reports whether no caller is let in by all of several that refuse all but those that
// are meant.
func Nobody(all []*Access) bool {
	var namespaces []string
	var applications []Application
	spaces, apps := false, false
	for _, a := range all {
		switch {
		case a.ByApplication && !apps:
			applications, apps = slices.DeleteFunc(slices.Clone(a.Applications), func(x Application) bool { return !x.Clear }), true
		case a.ByApplication:
			applications = slices.DeleteFunc(applications, func(x Application) bool {
				return !slices.ContainsFunc(a.Applications, func(y Application) bool { return x.Name == y.Name })
			})
		case !spaces:
			namespaces, spaces = slices.Clone(a.Namespaces), true
		default:
			namespaces = slices.DeleteFunc(namespaces, func(n string) bool { return !slices.Contains(a.Namespaces, n) })
		}
	}
	if apps && spaces {
		applications = slices.DeleteFunc(applications, func(x Application) bool { return !slices.Contains(namespaces, x.Name.Namespace) })
	}
	return apps && len(applications) == 0 || spaces && len(namespaces) == 0
}

// NamespaceOf is the namespace that a peer is in; empty for everybody.
func NamespaceOf(p *v1alpha1.Peer) string {
	switch {
	case p.Application != nil:
		return string(p.Application.Namespace)
	case p.ServiceAccount != nil:
		return string(p.ServiceAccount.Namespace)
	case p.Namespace != nil:
		return string(p.Namespace.Name)
	}
	return ""
}

// Seen is a peer in the words of who looks for those that are meant.
func (a *Access) Seen(peer *v1alpha1.Peer) string {
	switch {
	case !a.ByApplication:
		return "in namespace " + NamespaceOf(peer)
	case peer.Application != nil:
		return fmt.Sprintf("Application %s/%s", peer.Application.Namespace, peer.Application.Name)
	default:
		return fmt.Sprintf("service account %s/%s", peer.ServiceAccount.Namespace, peer.ServiceAccount.Name)
	}
}

// Namespaces are these in words.
func Namespaces(names []string) string {
	if len(names) == 0 {
		return "no namespace"
	}
	return "namespace " + Listed(names)
}

// InDoubt are those of Doubts in words.
func (a *Access) InDoubt() string {
	if a.ByApplication {
		return "Application " + Listed(a.Doubts.Names)
	}
	return Namespaces(a.Doubts.Names)
}

// String says who is kept away.
func (a *Access) String() string {
	but := ""
	if a.Only {
		but = "but "
	}
	return "denies requests " + but + "from " + a.meant()
}

func (a *Access) meant() string {
	if !a.ByApplication {
		return Namespaces(a.Namespaces)
	}
	var known, unknown []string
	for _, app := range a.Applications {
		name := app.Name.Namespace + "/" + app.Name.Name
		if a.Only && !app.Clear {
			unknown = append(unknown, name)
		} else {
			known = append(known, name)
		}
	}
	out := "no Application"
	if len(known) > 0 {
		out = "Application " + Listed(known)
	}
	if len(unknown) > 0 {
		out += " (not from " + Listed(unknown) + ": no service account is that one's alone)"
	}
	return out
}

// Listed are the first of many names, and how many more there are: each message about each
// subject has them.
func Listed(names []string) string {
	const most = 8
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
