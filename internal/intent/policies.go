// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package intent

import (
	"fmt"
	"slices"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy"
	"github.com/trellis-mesh/trellis/internal/policy/access"
)

// AccessRule is what a policy says of callers of an Application. It is beside what the
// Application states, and only takes away.
type AccessRule struct {
	// Name of the binding and of the rule.
	Name string
	// Access is whom it refuses. Read only: it is the same for all that the binding is about.
	*access.Access
	// Shadow rules refuse nothing: proxies count what they would refuse.
	Shadow bool
	Origin model.Origin
}

// judged reports what does not hold at its subject, and returns where that was bound which
// closes it; nil where nothing does.
func (r *resolver) judged(list []policy.Judgement) (closed *model.Origin) {
	if all := r.graph.Judgements; len(all)+len(list) > cap(all) {
		// There may be many thousands: growing by a quarter, as append does, copies each
		// four times.
		r.graph.Judgements = slices.Grow(all, len(all)+len(list))
	}
	for i := range list {
		r.judgement(&list[i])
		if closed == nil && list[i].Closes() {
			closed = bound(list[i].Binding)
		}
	}
	return closed
}

// bound is the origin of what a policy makes.
func bound(b *policy.Binding) *model.Origin {
	origin := b.Origin
	origin.Field = "spec.policy"
	return &origin
}

func (r *resolver) judgement(j *policy.Judgement) {
	if said, ok := r.graph.Judged(r.snapshot, j); ok {
		r.findings = append(r.findings, said)
	}
}

// Judged notes a judgement, and returns what is said of it at its subject; false where
// that is nothing.
func (g *Graph) Judged(s *model.Snapshot, j *policy.Judgement) (model.Finding, bool) {
	g.Judgements = append(g.Judgements, *j)
	if j.Silent() {
		return model.Finding{}, false
	}
	message := j.Message
	if j.Closes() && !j.Unheld {
		message += "; " + closedBy(j.Subject.Sort)
	}
	at := j.Subject.Origin.Object
	return model.Finding{
		Severity: j.Severity(), Object: at, Field: j.Field(), Position: s.Position(at, j.Field()),
		Reason: j.Reason(), Message: message, Owner: j.Binding.String(), Fix: j.Fix(),
	}, true
}

// closedBy says what comes of a subject that is refused.
func closedBy(subject v1alpha1.PolicySubject) string {
	switch subject {
	case v1alpha1.SubjectRoute:
		return "the route is closed"
	case v1alpha1.SubjectExposure:
		return "the exposure publishes nothing"
	case v1alpha1.SubjectCaller:
		return "the caller is not let in"
	case v1alpha1.SubjectCall:
		return "the call is not let out"
	default:
		return "it is closed"
	}
}

// ingressPolicies holds a SecureIngress to the policies about it.
func (r *resolver) ingressPolicies(in *v1alpha1.SecureIngress, ingress *Ingress) {
	if r.graph.Policies.Empty() {
		return
	}
	for _, c := range r.graph.Policies.IngressContributions(in, ingress.Origin) {
		r.contributed(c)
		ingress.Closed = ingress.Closed || c.Closes()
		stated := in.Spec.TLS.MinimumVersion
		if c.MinimumVersion != v1alpha1.TLSv13 || ingress.Spec.TLS.MinimumVersion == v1alpha1.TLSv13 || stated != "" && !c.Binding.Mandatory {
			continue
		}
		r.overridden(c, field(ingress.Origin, "spec.tls.minimumVersion"), "TLS 1.2 would be taken", "TLS 1.3 alone is taken")
		if c.Holds() {
			spec := *ingress.Spec
			spec.TLS.MinimumVersion = v1alpha1.TLSv13
			ingress.Spec, ingress.TLSOrigin = &spec, bound(c.Binding)
		}
	}
	if r.judged(r.graph.Policies.JudgeIngress(in, ingress.Origin)) != nil {
		ingress.Closed = true
	}
}

// contributed notes what a policy adds, and reports what cannot be told.
func (r *resolver) contributed(c *policy.Contribution) {
	r.graph.Contributions = append(r.graph.Contributions, c)
	if c.Outcome != policy.Pass {
		j := c.Judgement
		r.judgement(&j)
	}
}

// overridden says that a policy changes what was stated, or in shadow that it would.
func (r *resolver) overridden(c *policy.Contribution, at model.Origin, stated, held string) {
	switch {
	case c.Holds():
		r.warn(at, refusal{"PolicyOverrides", stated + "; by policy " + held, c.Binding.String(), "state the same here, or nothing"})
	case c.Shadowed():
		r.warn(at, refusal{"PolicyWouldOverride", stated + "; by policy, once it is enforced, " + held, c.Binding.String(), "state the same here, or nothing, before it is enforced"})
	}
}

// contribute adds to an Application what policies contribute, before its statement is
// resolved further.
func (r *resolver) contribute(a *Application) {
	if a.policies == nil {
		return
	}
	r.graph.Assertions = append(r.graph.Assertions, a.policies.Assertions()...)
	var timeouts, retries []*policy.Contribution
	for _, c := range a.policies.Contributions() {
		r.contributed(c)
		if c.Closes() {
			a.close(bound(c.Binding))
		}
		if c.Egress != nil && (c.Outcome == policy.Pass || c.Closes()) {
			a.Egress = append(a.Egress, c)
		}
		if c.Outcome != policy.Pass {
			continue
		}
		switch {
		case c.Access != nil:
			r.contributeAccess(a, c)
		case c.MutualTLS:
			r.contributeMutualTLS(a, c)
		case c.Authentication:
			r.contributeAuthentication(a, c)
		case c.Maximum > 0 || c.Fallback > 0:
			timeouts = append(timeouts, c)
		case c.Retries != nil:
			retries = append(retries, c)
		}
	}
	for i, route := range a.Routes {
		r.contributeTimeouts(a, route, i, timeouts)
		r.contributeRetries(a, route, i, retries)
	}
	r.checkRestrictions(a)
}

// Policies are those about it; nil where there are none.
func (a *Application) Policies() *policy.Application { return a.policies }

func (a *Application) close(by *model.Origin) {
	a.Closed = true
	if a.ClosedBy == nil {
		a.ClosedBy = by
	}
}

func (route *Route) close(by *model.Origin) {
	if !route.Closed {
		route.Closed, route.ClosedBy = true, by
	}
}

// maxAccess bounds what access rules of one Application take, with maxAccessRule for each
// beside its names. An object of more than 1.5 MiB no API server takes, and what was in force
// before would stay: whoever may bind policies in a namespace could keep others away.
const maxAccess, maxAccessRule = 768 << 10, 256

// contributeAccess keeps callers away. A default gives way to an Application that states
// who may call.
func (r *resolver) contributeAccess(a *Application, c *policy.Contribution) {
	a.contributions = append(a.contributions, c)
	if !c.Binding.Mandatory && a.statesCallers() {
		return
	}
	if j, doubts := a.policies.Doubts(c); doubts {
		r.judged([]policy.Judgement{j})
	}
	if !c.Holds() && !c.Shadowed() {
		return
	}
	taken := &a.accessTaken
	if c.Shadowed() {
		taken = &a.shadowTaken
	}
	size := maxAccessRule
	for _, names := range [][]string{c.Access.Namespaces, c.Access.Principals} {
		for _, name := range names {
			size += len(name) + len(`"",`)
		}
	}
	if *taken += size; *taken > maxAccess {
		*taken -= size
		j := a.policies.Exceeds(c.Judgement, "with those of other policies, whom it is about is more than an AuthorizationPolicy can have")
		if by := r.judged([]policy.Judgement{j}); by != nil {
			a.close(by)
		}
		return
	}
	a.AccessRules = append(a.AccessRules, &AccessRule{
		Name: c.Binding.Ref.Name + "/" + c.Rule, Access: c.Access, Shadow: c.Shadowed(), Origin: *bound(c.Binding),
	})
}

func (a *Application) statesCallers() bool {
	return a.Spec.Access != nil && len(a.Spec.Access.Callers) > 0
}

// contributeMutualTLS makes the workload take mutual TLS alone. A default gives way to
// what the Application states.
func (r *resolver) contributeMutualTLS(a *Application, c *policy.Contribution) {
	stated := a.mutualTLS()
	if stated == v1alpha1.MutualTLSStrict || stated != "" && !c.Binding.Mandatory {
		return
	}
	if stated != "" {
		r.overridden(c, field(a.Origin, "spec.access.mutualTLS"), "plaintext would be taken too", "mutual TLS alone is taken")
	}
	if !c.Holds() {
		return
	}
	spec, access := *a.Spec, v1alpha1.Access{}
	if spec.Access != nil {
		access = *spec.Access
	}
	access.MutualTLS = v1alpha1.MutualTLSStrict
	spec.Access = &access
	a.Spec = &spec
	a.MutualTLSOrigin = bound(c.Binding)
}

// maxScopes bounds the scopes of a route, stated and by policies: each is a rule of its own.
const maxScopes = 64

// contributeAuthentication makes routes ask for a token, and for scopes. A default gives
// way to routes that state something.
func (r *resolver) contributeAuthentication(a *Application, c *policy.Contribution) {
	for i, route := range a.Routes {
		stated := a.Spec.Routes[i].Authentication
		if !c.Binding.Mandatory && stated != nil {
			continue
		}
		j, about := a.policies.About(c, policy.Route{
			Index: i, Name: route.Name, Origin: route.Origin, Mode: modeOf(stated), Hosts: r.routeHostsStated(a, route),
		})
		if !about {
			continue
		}
		held := v1alpha1.Authentication{}
		if route.Spec.Authentication != nil {
			held = *route.Spec.Authentication
		}
		auth := held
		auth.Mode = v1alpha1.AuthenticationRequired
		auth.Scopes = joined(held.Scopes, c.Scopes)
		if n := len(auth.Scopes); n > maxScopes && j.Outcome == policy.Pass {
			j = a.policies.Exceeds(j, fmt.Sprintf("with what others ask for, route %s would ask for %d scopes, and at most %d can be asked for", route.Name, n, maxScopes))
			if by := r.judged([]policy.Judgement{j}); by != nil {
				route.close(by)
			}
			continue
		}
		if j.Outcome == policy.Pass && sameAuthentication(&held, &auth) {
			continue
		}
		if j = a.policies.Kept(j); j.Outcome != policy.Pass {
			if by := r.judged([]policy.Judgement{j}); by != nil {
				route.close(by)
			}
			continue
		}
		if stated != nil {
			r.overridden(c, field(route.Origin, "authentication"), "route "+route.Name+" would ask for less", "it "+c.Message)
		}
		if c.Holds() {
			hold(route, &held, &auth, bound(c.Binding))
		}
	}
}

// hold makes a route ask for more than it did, in the name of a policy.
func hold(route *Route, held, auth *v1alpha1.Authentication, by *model.Origin) {
	if modeOf(held) != auth.Mode {
		route.AuthenticationOrigin = by
	}
	if route.ScopeOrigins == nil {
		route.ScopeOrigins = make(map[string]*model.Origin)
	}
	for _, scope := range auth.Scopes {
		if !slices.Contains(held.Scopes, scope) {
			route.ScopeOrigins[string(scope)] = by
		}
	}
	spec := *route.Spec
	spec.Authentication = auth
	route.Spec, route.Mode = &spec, auth.Mode
}

func joined(scopes []v1alpha1.ClaimValue, more []string) []v1alpha1.ClaimValue {
	out := slices.Clone(scopes)
	for _, s := range more {
		if !slices.Contains(out, v1alpha1.ClaimValue(s)) {
			out = append(out, v1alpha1.ClaimValue(s))
		}
	}
	return out
}

// checkRestrictions says when policies together let nobody in.
func (r *resolver) checkRestrictions(a *Application) {
	var owners []string
	var all []*access.Access
	for _, c := range a.contributions {
		if c.Access != nil && c.Access.Only && c.Holds() {
			all, owners = append(all, c.Access), append(owners, c.Binding.String())
		}
	}
	if len(owners) > 1 && access.Nobody(all) {
		list := owners[0]
		for _, o := range owners[1:] {
			list += " and " + o
		}
		r.warn(a.Origin, refusal{"PolicyConflict",
			"policies contradict each other: nobody is let in by all of them, so nobody but its gateways may call", list, "ask the owners to agree on who may call"})
	}
}

// judgeRoutes holds routes, and the Application as a whole, to the policies about them.
// Where they are published is known by then.
func (r *resolver) judgeRoutes(a *Application) {
	if a.policies == nil {
		return
	}
	for _, list := range [][]policy.Judgement{a.policies.Broken(), a.policies.Judge()} {
		if by := r.judged(list); by != nil {
			a.close(by)
		}
	}
	for i, route := range a.Routes {
		hosts := []string{}
		for _, p := range a.Publications {
			if p.Route == route && !p.Unpublished {
				hosts = append(hosts, p.Host.Name)
			}
		}
		slices.Sort(hosts)
		of := policy.Route{Index: i, Name: route.Name, Origin: route.Origin, Mode: route.Mode, Hosts: slices.Compact(hosts)}
		if by := r.judged(a.policies.JudgeRoute(of)); by != nil {
			route.close(by)
		}
	}
	r.closeRawPaths(a)
	for _, p := range a.Publications {
		if p.Closed {
			continue
		}
		switch {
		case a.Closed:
			p.Closed, p.ClosedBy = true, a.ClosedBy
		case p.Route.Closed:
			p.Closed, p.ClosedBy = true, p.Route.ClosedBy
		}
	}
}

// judgeExposure reports whether policies refuse an exposure. The ingress is nil where it
// could not be told.
func (r *resolver) judgeExposure(a *Application, i int, at model.Origin, hosts []string, in *Ingress) bool {
	if a.policies == nil {
		return false
	}
	var name model.Name
	if in != nil {
		name = model.Name{Namespace: in.Ref.Namespace, Name: in.Ref.Name}
	}
	return r.judged(a.policies.JudgeExposure(i, at, hosts, name)) != nil
}

// judgeCaller returns the policy that does not let a caller in, by what it says of the
// caller or by whom it keeps away; nil where all of them do. It is asked of callers that
// cannot be resolved, too.
func (r *resolver) judgeCaller(a *Application, spec *v1alpha1.Caller, i int, at model.Origin) *model.Origin {
	if a.policies == nil {
		return nil
	}
	refused := r.judged(a.policies.JudgeCaller(i, at, access.NamespaceOf(&spec.Peer)))
	for _, c := range a.contributions {
		switch {
		case c.Access.Some(&spec.Peer) && c.Binding.Mandatory:
			whom := "everybody"
			if spec.Peer.Namespace != nil {
				whom = "everybody of namespace " + string(spec.Peer.Namespace.Name)
			}
			r.overridden(c, at, "caller "+string(spec.Name)+" is "+whom, "the Application "+c.Message)
		case c.Access.Refuses(&spec.Peer):
			by := r.judged([]policy.Judgement{a.policies.KeepsAway(c, spec, at)})
			if refused == nil {
				refused = by
			}
		}
	}
	return refused
}

// judgeCalls holds the calls of an Application to the policies about them. What comes of it is
// for package calls; asked it is here, with all else that policies are asked.
func (r *resolver) judgeCalls(a *Application) {
	if a.policies == nil || a.Spec.Access == nil {
		return
	}
	for i := range a.Spec.Access.Calls {
		at := field(a.Origin, "spec.access.calls[%d]", i)
		a.JudgedCalls = append(a.JudgedCalls, a.policies.JudgeCall(i, at, calleeNamespace(&a.Spec.Access.Calls[i].Peer)))
	}
}

// calleeNamespace is the namespace that a callee is in; empty outside of the mesh.
func calleeNamespace(c *v1alpha1.Callee) string {
	switch {
	case c.Application != nil:
		return string(c.Application.Namespace)
	case c.Service != nil:
		return string(c.Service.Namespace)
	}
	return ""
}

// foreignPolicies reports objects of others that a policy does not allow. What policies
// say of exceptions is reported already, and counts with all else.
func (r *resolver) foreignPolicies() {
	for _, e := range r.graph.Policies.Exceptions {
		r.graph.Judgements = append(r.graph.Judgements, e.Judgements...)
	}
	if r.graph.Policies.Empty() {
		return
	}
	for _, j := range r.graph.Policies.JudgeIstioObjects() {
		r.graph.Judgements = append(r.graph.Judgements, j)
		if !j.Silent() {
			at := j.Subject.Origin
			at.Field = j.Field()
			r.warn(at, refusal{j.Reason(), j.Message + "; it is not Trellis's, and stays as it is", j.Binding.String(), j.Fix()})
		}
	}
}
