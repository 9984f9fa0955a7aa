// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package calls

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/intent"
	"github.com/trellis-mesh/trellis/internal/model"
)

// identity is as whom an Application calls. Account is empty where it cannot be told;
// then only those let it in who let in its whole namespace, or everybody.
type identity struct {
	namespace, account string
	application        model.Reference
}

// identityOf is as package intent resolves it for the callee: pods of one account that
// is not the namespace's default.
func (r *resolver) identityOf(a *intent.Application) identity {
	who := identity{namespace: a.Pods.Namespace, application: a.Ref}
	who.account, _ = r.snapshot.Accounts(a.Pods.Namespace, a.Pods.Selector).One()
	return who
}

// letsIn reports whether a caller entry is about this identity.
func (who identity) letsIn(c *intent.Caller) bool {
	switch {
	case c.Any:
		return true
	case c.Namespace != "":
		return c.Namespace == who.namespace
	}
	return c.Identity != nil && who.account != "" && c.Identity.Namespace == who.namespace && c.Identity.ServiceAccount == who.account
}

// admitted reports whether a callee lets a caller in for all that is called, and refuses
// the whole entry otherwise: half of a statement is not what was stated.
func (r *resolver) admitted(callee *intent.Application, who identity, call *v1alpha1.Call, at model.Origin) bool {
	why, whose := r.missing(callee, who, call)
	if why == "" {
		return true
	}
	var fix string
	switch {
	case whose != "":
		fix = "ask the owner of " + whose + " for an exception, or take the call out here"
	case why == unknownRoute:
		fix = "use the names of routes that " + callee.Ref.String() + " declares"
	default:
		fix = fmt.Sprintf("let the owner of %s add %s to spec.access.callers there, or take the call out here", callee.Ref, who.application)
	}
	whose = cmp.Or(whose, callee.Ref.String())
	r.refuse(at, refusal{"CallNotAdmitted", fmt.Sprintf("%s: %s; call %s is not let out", callee.Ref, why, call.Name), whose, fix})
	return false
}

const unknownRoute = "it does not declare every route that is named"

// missing says what a callee does not let in, and whose rule that is where it is not the
// callee's own; nothing where all of the call is let in.
func (r *resolver) missing(callee *intent.Application, who identity, call *v1alpha1.Call) (why, whose string) {
	if why, whose = closed(callee, who); why != "" {
		return why, whose
	}
	open, entries := letIn(callee, who)
	switch {
	case entries == 0 && who.account == "":
		return "it would have to let in all of namespace " + who.namespace + ", since the pods of " + who.application.String() + " have no service account that is theirs alone", ""
	case entries == 0:
		return fmt.Sprintf("none of its callers is service account %s/%s, as which %s calls", who.namespace, who.account, who.application), ""
	case len(open) == 0:
		return "all routes for which it lets " + who.application.String() + " in are closed", ""
	}
	var refused []string
	for _, name := range call.Routes {
		if !slices.ContainsFunc(callee.Routes, func(route *intent.Route) bool { return route.Name == string(name) }) {
			return unknownRoute, ""
		}
		if !open[string(name)] {
			refused = append(refused, string(name))
		}
	}
	if len(refused) > 0 {
		slices.Sort(refused)
		return fmt.Sprintf("it does not let %s call %s", who.application, strings.Join(refused, ", ")), ""
	}
	return "", ""
}

// closed says why a callee lets nobody in, or nobody of the caller's namespace.
func closed(callee *intent.Application, who identity) (why, whose string) {
	if callee.ClosedBy != nil {
		return "a policy closes it", callee.ClosedBy.Object.String()
	}
	if callee.Closed {
		return "it is closed to everybody", ""
	}
	for _, rule := range callee.AccessRules {
		if rule.Shadow || !rule.RefusesAccount(who.namespace, who.account) {
			continue
		}
		if rule.ByApplication {
			return "a policy refuses callers such as " + who.application.String(), rule.Origin.Object.String()
		}
		return "a policy refuses callers of namespace " + who.namespace, rule.Origin.Object.String()
	}
	return "", ""
}

// letIn are the names of the open routes for which a callee lets a caller in, with the
// empty name for TCP, and how many of its entries are about the caller.
func letIn(callee *intent.Application, who identity) (open map[string]bool, entries int) {
	open = make(map[string]bool)
	for _, c := range callee.Callers {
		if !who.letsIn(c) {
			continue
		}
		entries++
		if len(c.TCP) > 0 {
			open[""] = true
		}
		for _, route := range c.Routes {
			if !route.Closed {
				open[route.Name] = true
			}
		}
	}
	return open, entries
}
