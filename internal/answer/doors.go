// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
)

// Doors are how the mesh is reached from outside.
type Doors struct {
	Ingresses    []Ingress     `json:"ingresses"`
	Certificates []Certificate `json:"certificates"`
	Records      []Record      `json:"records"`
	Providers    []DNSProvider `json:"providers"`
	Redacted     bool          `json:"redacted,omitempty"`
}

// Ingress is a SecureIngress.
type Ingress struct {
	Namespace  string      `json:"namespace"`
	Name       string      `json:"name"`
	Conditions []Condition `json:"conditions"`
	// Gateways are the Services of the gateways, NAMESPACE/NAME.
	Gateways []string `json:"gateways"`
	Domains  []string `json:"domains"`
	Hosts    []Host   `json:"hosts"`
	// IdentityProviders are who may log people in.
	IdentityProviders []IdentityProvider `json:"identityProviders"`
	TLS               TLS                `json:"tls"`
	Redacted          bool               `json:"redacted,omitempty"`
}

// Host is a name that the mesh is reached by.
type Host struct {
	Host string `json:"host"`
	// Application is NAMESPACE/NAME; empty where nobody's is published there.
	Application string `json:"application,omitempty"`
	// Phase is Ready, Waiting or Failing, of certificate and record together.
	Phase string `json:"phase"`
	Says  string `json:"says,omitempty"`
}

// IdentityProvider is one of an ingress.
type IdentityProvider struct {
	Name      string   `json:"name"`
	Issuer    string   `json:"issuer,omitempty"`
	Audiences []string `json:"audiences,omitempty"`
	Default   bool     `json:"default,omitempty"`
}

// TLS is how an ingress is secured.
type TLS struct {
	// Certificates is Secret, BuiltIn or CertManager.
	Certificates   string `json:"certificates"`
	MinimumVersion string `json:"minimumVersion,omitempty"`
	HSTS           bool   `json:"hsts,omitempty"`
}

// Certificate is a ManagedCertificate.
type Certificate struct {
	Namespace string   `json:"namespace"`
	Name      string   `json:"name"`
	Names     []string `json:"names"`
	// NotAfter is when it expires, and Renewal when a new one is fetched.
	NotAfter   *time.Time  `json:"notAfter,omitempty"`
	Renewal    *time.Time  `json:"renewal,omitempty"`
	Phase      string      `json:"phase,omitempty"`
	Conditions []Condition `json:"conditions"`
	Redacted   bool        `json:"redacted,omitempty"`
}

// Record is a ManagedRecord.
type Record struct {
	Namespace string `json:"namespace"`
	Host      string `json:"host"`
	// Type is Address, Alias or TXT.
	Type       string      `json:"type"`
	Targets    []string    `json:"targets"`
	Provider   string      `json:"provider,omitempty"`
	Phase      string      `json:"phase,omitempty"`
	Conditions []Condition `json:"conditions"`
	Redacted   bool        `json:"redacted,omitempty"`
}

// DNSProvider is one.
type DNSProvider struct {
	Namespace  string      `json:"namespace"`
	Name       string      `json:"name"`
	Kind       string      `json:"kind"`
	Zones      []string    `json:"zones"`
	Conditions []Condition `json:"conditions"`
}

// Condition is one of a status.
type Condition struct {
	Type    string    `json:"type"`
	Status  string    `json:"status"`
	Reason  string    `json:"reason"`
	Message string    `json:"message"`
	Since   time.Time `json:"since"`
}

// ConditionsOf is the view of conditions.
func ConditionsOf(of []metav1.Condition) []Condition {
	out := make([]Condition, 0, len(of))
	for i := range of {
		c := &of[i]
		out = append(out, Condition{c.Type, string(c.Status), c.Reason, c.Message, c.LastTransitionTime.UTC()})
	}
	return out
}

// DoorsInput is what doors are made of.
type DoorsInput struct {
	Ingresses    []*v1alpha1.SecureIngress
	Certificates []*v1alpha1.ManagedCertificate
	Records      []*v1alpha1.ManagedRecord
	Providers    []*v1alpha1.DNSProvider
	// Published are the Applications, NAMESPACE/NAME, of each host.
	Published map[string][]string
}

// DoorsOf are the doors of a cluster, each kind in the order of its names.
func DoorsOf(in DoorsInput) *Doors {
	out := &Doors{Ingresses: []Ingress{}, Certificates: []Certificate{}, Records: []Record{}, Providers: []DNSProvider{}}
	for _, i := range in.Ingresses {
		out.Ingresses = append(out.Ingresses, ingressOf(i, &in))
	}
	for _, c := range in.Certificates {
		one := Certificate{Namespace: c.Namespace, Name: c.Name, Names: append([]string{}, c.Spec.DNSNames...), Phase: c.Status.Phase, Conditions: ConditionsOf(c.Status.Conditions)}
		if c.Status.NotAfter != nil {
			one.NotAfter = Moment(c.Status.NotAfter.Time)
		}
		if c.Status.RenewAt != nil {
			one.Renewal = Moment(c.Status.RenewAt.Time)
		}
		out.Certificates = append(out.Certificates, one)
	}
	for _, r := range in.Records {
		out.Records = append(out.Records, recordOf(r))
	}
	for _, p := range in.Providers {
		one := DNSProvider{Namespace: p.Namespace, Name: p.Name, Kind: providerKind(&p.Spec), Zones: []string{}, Conditions: ConditionsOf(p.Status.Conditions)}
		for _, z := range p.Status.Zones {
			one.Zones = append(one.Zones, z.Name)
		}
		out.Providers = append(out.Providers, one)
	}
	slices.SortFunc(out.Ingresses, func(a, b Ingress) int { return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name) })
	slices.SortFunc(out.Certificates, func(a, b Certificate) int { return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name) })
	slices.SortFunc(out.Records, func(a, b Record) int {
		return cmp.Or(strings.Compare(a.Host, b.Host), strings.Compare(a.Type, b.Type), strings.Compare(a.Namespace, b.Namespace))
	})
	slices.SortFunc(out.Providers, func(a, b DNSProvider) int { return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name) })
	return out
}

func ingressOf(i *v1alpha1.SecureIngress, in *DoorsInput) Ingress {
	out := Ingress{
		Namespace: i.Namespace, Name: i.Name, Conditions: ConditionsOf(i.Status.Conditions), Gateways: []string{i.Namespace + "/" + i.Spec.Gateway.Service},
		Domains: []string{}, Hosts: []Host{}, IdentityProviders: []IdentityProvider{},
		TLS: TLS{Certificates: "Secret", MinimumVersion: string(i.Spec.TLS.MinimumVersion), HSTS: i.Spec.TLS.HSTS != nil},
	}
	switch {
	case i.Spec.TLS.BuiltIn != nil:
		out.TLS.Certificates = "BuiltIn"
	case i.Spec.TLS.CertManager != nil:
		out.TLS.Certificates = "CertManager"
	}
	for _, d := range i.Spec.Domains {
		out.Domains = append(out.Domains, d.Domain)
	}
	for _, p := range i.Spec.IdentityProviders {
		one := IdentityProvider{Name: string(p.Name), Issuer: string(p.Issuer), Default: p.Default}
		for _, audience := range p.Audiences {
			one.Audiences = append(one.Audiences, string(audience))
		}
		out.IdentityProviders = append(out.IdentityProviders, one)
	}
	for _, host := range i.Status.Hosts {
		phase, says := phaseOf(host, i.Namespace, in)
		owners := in.Published[host]
		if len(owners) == 0 {
			owners = []string{""}
		}
		for _, owner := range owners {
			out.Hosts = append(out.Hosts, Host{Host: host, Application: owner, Phase: phase, Says: says})
		}
	}
	return out
}

// phaseOf is how it stands with a host: with its certificate, where Trellis keeps one, and
// with its record.
func phaseOf(host, namespace string, in *DoorsInput) (phase, says string) {
	phase = "Ready"
	look := func(kind, name string, of []metav1.Condition) {
		c := meta.FindStatusCondition(of, v1alpha1.ConditionReady)
		switch {
		case phase == "Failing":
		case c == nil || c.Status == metav1.ConditionUnknown:
			phase, says = "Waiting", kind+" "+name+" is not known to be ready"
		case c.Status == metav1.ConditionFalse:
			phase, says = "Waiting", kind+" "+name+": "+c.Message
			if meta.IsStatusConditionTrue(of, v1alpha1.ConditionStalled) {
				phase = "Failing"
			}
		}
	}
	for _, c := range in.Certificates {
		if c.Namespace == namespace && slices.ContainsFunc(c.Spec.DNSNames, func(name string) bool { return covers(name, host) }) {
			look("ManagedCertificate", c.Name, c.Status.Conditions)
		}
	}
	for _, r := range in.Records {
		if r.Namespace == namespace && r.Spec.Name == host {
			look("ManagedRecord", r.Name, r.Status.Conditions)
		}
	}
	return phase, says
}

// covers reports whether a name of a certificate is good for a host.
func covers(name, host string) bool {
	if parent, ok := strings.CutPrefix(name, "*."); ok {
		_, rest, found := strings.Cut(host, ".")
		return found && rest == parent
	}
	return name == host
}

func recordOf(r *v1alpha1.ManagedRecord) Record {
	out := Record{
		Namespace: r.Namespace, Host: r.Spec.Name, Type: "Address", Targets: append([]string{}, r.Spec.Addresses...), Provider: r.Spec.ProviderRef.Name,
		Phase: r.Status.Phase, Conditions: ConditionsOf(r.Status.Conditions),
	}
	switch {
	case len(r.Spec.Texts) > 0:
		out.Type, out.Targets = "TXT", append([]string{}, r.Spec.Texts...)
	case r.Spec.Host != "":
		out.Type, out.Targets = "Alias", []string{r.Spec.Host}
	}
	return out
}

func providerKind(p *v1alpha1.DNSProviderSpec) string {
	switch {
	case p.Route53 != nil:
		return "Route53"
	case p.RFC2136 != nil:
		return "RFC2136"
	case p.Azure != nil:
		return "Azure"
	case p.Google != nil:
		return "Google"
	case p.Cloudflare != nil:
		return "Cloudflare"
	}
	return ""
}
