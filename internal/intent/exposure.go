// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package intent

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
)

// resolveExposures resolves where an Application is published. An exposure with
// an error publishes nothing; the others go on. Without pods nothing is
// published, and only what is wrong with the ingress is said.
func (r *resolver) resolveExposures(a *Application) {
	seen := make(map[string]bool)
	for i := range a.Spec.Exposures {
		spec := &a.Spec.Exposures[i]
		at := field(a.Origin, "spec.exposures[%d]", i)
		in := r.exposureIngress(a, spec, at)
		if in == nil || a.Pods == nil {
			r.judgeExposure(a, i, at, hostsStated(a, spec, in), in)
			continue
		}
		hosts := r.exposureHosts(a, spec, in, at)
		if r.judgeExposure(a, i, at, hostNames(hosts), in) {
			continue
		}
		for _, h := range hosts {
			for j, name := range spec.Routes {
				key := h.name + "\x00" + in.Ref.String() + "\x00" + string(name)
				if seen[key] {
					r.warn(field(at, "routes[%d]", j), refusal{"RouteRepeated",
						fmt.Sprintf("route %s is published on %s by another exposure already", name, h.name), a.Ref.String(), "keep it in one exposure"})
					continue
				}
				seen[key] = true
				r.publish(a, in, h, spec, name, field(at, "routes[%d]", j))
			}
		}
	}
}

// exposureIngress finds the SecureIngress of an exposure, if it admits the
// Application's namespace.
func (r *resolver) exposureIngress(a *Application, spec *v1alpha1.Exposure, at model.Origin) *Ingress {
	if spec.Ingress == nil {
		return r.onlyIngress(a, at)
	}
	at = field(at, "ingress")
	in := r.ingresses[model.Name{Namespace: string(spec.Ingress.Namespace), Name: spec.Ingress.Name}]
	if in == nil {
		r.refuse(at, refusal{"IngressNotFound",
			fmt.Sprintf("SecureIngress %s/%s does not exist; exposure %s publishes nothing", spec.Ingress.Namespace, spec.Ingress.Name, spec.Name),
			"the platform", "name an existing SecureIngress, or leave ingress out where only one admits this namespace"})
		return nil
	}
	if len(r.admissions(a, in)) == 0 {
		r.refuse(at, refusal{"NamespaceNotAdmitted",
			fmt.Sprintf("%s admits no Application of namespace %s; exposure %s publishes nothing", in.Ref, a.Ref.Namespace, spec.Name),
			in.Ref.String(), "ask the platform to admit the namespace in spec.applications, or to label it as that asks"})
		return nil
	}
	return r.usable(in, at)
}

func (r *resolver) onlyIngress(a *Application, at model.Origin) *Ingress {
	var admitting []*Ingress
	for _, in := range r.graph.Ingresses {
		if len(r.admissions(a, in)) > 0 {
			admitting = append(admitting, in)
		}
	}
	switch len(admitting) {
	case 1:
		return r.usable(admitting[0], at)
	case 0:
		r.refuse(at, refusal{"NamespaceNotAdmitted",
			fmt.Sprintf("no SecureIngress admits Applications of namespace %s; nothing is published", a.Ref.Namespace),
			"the platform", "ask the platform to admit the namespace in spec.applications of a SecureIngress"})
	default:
		r.refuse(at, refusal{"IngressAmbiguous",
			fmt.Sprintf("%s all admit namespace %s, and the exposure names none; nothing is published", names(admitting), a.Ref.Namespace),
			a.Ref.String(), "say which one in ingress"})
	}
	return nil
}

// usable reports a closed ingress to the Application too: its routes are not
// served, and that is not the Application's fault.
func (r *resolver) usable(in *Ingress, at model.Origin) *Ingress {
	if in.Closed {
		r.refuse(at, refusal{"IngressNotAccepted",
			fmt.Sprintf("%s is not accepted, so nothing is served there", in.Ref), in.Ref.String(), "see the problems of " + in.Ref.String() + "; they are the platform's to solve"})
	}
	return in
}

// admission is a namespace at an ingress.
type admission struct {
	namespace string
	ingress   *Ingress
}

// admissions are the entries of an ingress that admit a namespace. A namespace
// that is not known has no labels, and is admitted only where all are.
func (r *resolver) admissions(a *Application, in *Ingress) []*v1alpha1.ApplicationAdmission {
	k := admission{a.Ref.Namespace, in}
	if out, ok := r.admitted[k]; ok {
		return out
	}
	ns, _ := r.snapshot.Namespace(a.Ref.Namespace)
	var out []*v1alpha1.ApplicationAdmission
	for i := range in.Spec.Applications {
		entry := &in.Spec.Applications[i]
		selector, err := metav1.LabelSelectorAsSelector(&entry.NamespaceSelector)
		if err == nil && selector.Matches(labels.Set(ns.Labels)) {
			out = append(out, entry)
		}
	}
	r.admitted[k] = out
	return out
}

// exposedHost is one host that an exposure may use.
type exposedHost struct{ name, domain string }

func hostNames(hosts []exposedHost) []string {
	out := make([]string, len(hosts))
	for i, h := range hosts {
		out[i] = h.name
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// hostsStated are the hosts that an exposure asks for at an ingress, whether it gets them
// or not; none where the ingress is not known.
func hostsStated(a *Application, spec *v1alpha1.Exposure, in *Ingress) []string {
	if in == nil {
		return []string{}
	}
	hostnames := spec.Hostnames
	if len(hostnames) == 0 {
		hostnames = []v1alpha1.Hostname{v1alpha1.Hostname(a.Ref.Name)}
	}
	var out []exposedHost
	for _, d := range in.Spec.Domains {
		if len(spec.Domains) > 0 && !slices.Contains(spec.Domains, d.Name) {
			continue
		}
		for _, name := range hostnames {
			if name == "@" {
				out = append(out, exposedHost{name: d.Domain})
				continue
			}
			out = append(out, exposedHost{name: string(name) + "." + d.Domain})
		}
	}
	return hostNames(out)
}

// routeHostsStated are those of all exposures of a route.
func (r *resolver) routeHostsStated(a *Application, route *Route) []string {
	out := []string{}
	for i := range a.Spec.Exposures {
		spec := &a.Spec.Exposures[i]
		if !slices.Contains(spec.Routes, v1alpha1.LabelName(route.Name)) {
			continue
		}
		for _, in := range r.graph.Ingresses {
			named := spec.Ingress != nil && in.Ref.Namespace == string(spec.Ingress.Namespace) && in.Ref.Name == spec.Ingress.Name
			if named || spec.Ingress == nil && len(r.admissions(a, in)) > 0 {
				out = append(out, hostsStated(a, spec, in)...)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (r *resolver) exposureHosts(a *Application, spec *v1alpha1.Exposure, in *Ingress, at model.Origin) []exposedHost {
	hostnames := spec.Hostnames
	if len(hostnames) == 0 {
		hostnames = []v1alpha1.Hostname{v1alpha1.Hostname(a.Ref.Name)}
	}
	domains := r.exposureDomains(spec, in, at)
	admitted := r.admissions(a, in)
	var out []exposedHost
	for i, hostname := range hostnames {
		name := string(hostname)
		where := field(at, "hostnames[%d]", i)
		if len(spec.Hostnames) == 0 {
			where = at
		}
		if !r.mayUse(name, admitted, in, where, a) {
			continue
		}
		for _, domain := range domains {
			host := domain
			if name != "@" {
				host = name + "." + domain
			}
			if len(validation.IsDNS1123Subdomain(host)) > 0 {
				r.refuse(where, refusal{"HostInvalid", fmt.Sprintf("%s cannot be a host name; it is not published", quoted(host)),
					"RFC 1123", "use labels of lower-case letters, digits and dashes, at most 253 characters together with the domain; an internationalised name as its A-label (xn--…)"})
				continue
			}
			if r.covered(host, in, where) {
				out = append(out, exposedHost{host, domain})
			}
		}
	}
	return out
}

func (r *resolver) exposureDomains(spec *v1alpha1.Exposure, in *Ingress, at model.Origin) []string {
	var out []string
	for _, d := range in.Spec.Domains {
		if len(spec.Domains) == 0 || slices.Contains(spec.Domains, d.Name) {
			out = append(out, d.Domain)
		}
	}
	for i, want := range spec.Domains {
		if !slices.ContainsFunc(in.Spec.Domains, func(d v1alpha1.IngressDomain) bool { return d.Name == want }) {
			r.refuse(field(at, "domains[%d]", i), refusal{"DomainNotFound",
				fmt.Sprintf("%s has no domain named %s", in.Ref, want), in.Ref.String(), "use the name of one of its spec.domains"})
		}
	}
	return out
}

// mayUse decides whether a namespace may use a name: one of its entries lists
// it, and no other entry reserves it.
func (r *resolver) mayUse(name string, admitted []*v1alpha1.ApplicationAdmission, in *Ingress, at model.Origin, a *Application) bool {
	for i := range in.Spec.Applications {
		entry := &in.Spec.Applications[i]
		if entry.Reserved && lists(entry, name) && !slices.Contains(admitted, entry) && !reservedFor(name, admitted) {
			r.refuse(at, refusal{"HostnameNotAdmitted",
				fmt.Sprintf("%s reserves the name %s for others (spec.applications %s); it is not published", in.Ref, name, entry.Name),
				in.Ref.String(), "use another name, or ask the platform"})
			return false
		}
	}
	for _, entry := range admitted {
		if lists(entry, name) {
			return true
		}
	}
	r.refuse(at, refusal{"HostnameNotAdmitted",
		fmt.Sprintf("%s does not let namespace %s use the name %s; it is not published", in.Ref, a.Ref.Namespace, name),
		in.Ref.String(), "use a name that spec.applications of the ingress lists, or ask the platform"})
	return false
}

// lists reports whether an entry is about a name: "*" is every one but "@".
func lists(entry *v1alpha1.ApplicationAdmission, name string) bool {
	return slices.Contains(entry.Hostnames, name) || (name != "@" && slices.Contains(entry.Hostnames, "*"))
}

// reservedFor reports whether an entry of the namespace reserves the very name:
// that goes before another entry's "*".
func reservedFor(name string, admitted []*v1alpha1.ApplicationAdmission) bool {
	return slices.ContainsFunc(admitted, func(e *v1alpha1.ApplicationAdmission) bool {
		return e.Reserved && slices.Contains(e.Hostnames, name)
	})
}

// covered reports whether the ingress's certificate is good for a host. A host
// without a certificate is not published: browsers would refuse it, and people
// would learn to click warnings away.
func (r *resolver) covered(host string, in *Ingress, at model.Origin) bool {
	if in.Spec.TLS.SecretName == "" {
		return true
	}
	c, ok := r.snapshot.Certificate(model.Name{Namespace: in.Ref.Namespace, Name: in.Spec.TLS.SecretName})
	if !ok || c.Problem != "" || slices.ContainsFunc(c.Names, func(n string) bool { return model.CoversHost(n, host) }) {
		return true
	}
	why := fmt.Sprintf("the certificate in Secret %s/%s is for %s and not for %s; the host is not published", in.Ref.Namespace, in.Spec.TLS.SecretName, strings.Join(c.Names, ", "), host)
	r.refuse(at, refusal{"CertificateMismatch", why, in.Ref.String(), "ask the platform for a certificate that covers the host, or use a name that it covers"})
	r.warn(field(in.Origin, "spec.tls.secretName"), refusal{"CertificateMismatch", why, in.Ref.String(), "put a certificate in the Secret that covers the host"})
	return false
}

func (r *resolver) publish(a *Application, in *Ingress, h exposedHost, spec *v1alpha1.Exposure, name v1alpha1.LabelName, at model.Origin) {
	k := slices.IndexFunc(a.Routes, func(route *Route) bool { return route.Name == string(name) })
	if k < 0 {
		if !a.Closed {
			r.refuse(at, refusal{"RouteNotFound", fmt.Sprintf("exposure %s names route %s, which spec.routes does not declare", spec.Name, name), a.Ref.String(), "use the name of one of spec.routes"})
		}
		return
	}
	host := in.host(h.name)
	p := &Publication{
		Host: host, Application: a, Route: a.Routes[k], Exposure: string(spec.Name),
		Domain: h.domain, CORS: spec.CORS, Origin: at,
	}
	q, ok := r.requirement(p.Route, in)
	p.Requirement = q
	p.Closed = !ok || p.Route.Closed || a.Closed
	if ok {
		p.ClosedBy = cmp.Or(p.Route.ClosedBy, a.ClosedBy)
	}
	r.hosts[h.name] = append(r.hosts[h.name], p)
}

func (in *Ingress) host(name string) *Host {
	if h := in.byName[name]; h != nil {
		return h
	}
	h := &Host{Name: name, Ingress: in}
	in.byName[name] = h
	in.Hosts = append(in.Hosts, h)
	return h
}
