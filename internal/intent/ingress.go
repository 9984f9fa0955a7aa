// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package intent

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
)

func (r *resolver) resolveIngress(in *v1alpha1.SecureIngress) {
	origin := r.ingressOrigin(in)
	ingress := &Ingress{
		Ref: origin.Object, Origin: origin, Spec: &in.Spec,
		Providers: make(map[string]*Provider), byName: make(map[string]*Host),
	}
	r.graph.Ingresses = append(r.graph.Ingresses, ingress)
	r.ingresses[model.Name{Namespace: in.Namespace, Name: in.Name}] = ingress
	if !r.checkName(origin) {
		ingress.Closed = true
		return
	}
	r.resolveGateway(ingress)
	r.resolveCertificate(ingress)
	r.checkDomains(ingress)
	for i := range in.Spec.IdentityProviders {
		r.resolveProvider(ingress, i)
	}
	r.ingressPolicies(in, ingress)
}

// resolveGateway reads pods, ports and identity from the gateway's Service.
func (r *resolver) resolveGateway(in *Ingress) {
	at := field(in.Origin, "spec.gateway.service")
	name := in.Spec.Gateway.Service
	in.Pods.Namespace = in.Ref.Namespace
	service, ok := r.snapshot.Service(model.Name{Namespace: in.Ref.Namespace, Name: name})
	switch {
	case !ok:
		in.Closed = true
		r.refuse(at, refusal{"ServiceNotFound",
			fmt.Sprintf("the gateway's Service %s/%s does not exist, so its pods and ports are unknown", in.Ref.Namespace, name),
			in.Ref.String(), "name a Service in the SecureIngress's own namespace, or create it"})
		return
	case len(service.Selector) == 0:
		in.Closed = true
		r.refuse(at, refusal{"ServiceHasNoSelector",
			fmt.Sprintf("Service %s/%s has no selector, so it names no pods", in.Ref.Namespace, name),
			in.Ref.String(), "name the Service that selects the gateway's pods"})
		return
	}
	in.Pods.Selector = service.Selector
	pods := r.snapshot.Selected(in.Ref.Namespace, service.Selector)
	in.HTTPS = r.gatewayPort(in, service, pods, "https", 443)
	in.HTTP = r.gatewayPort(in, service, pods, "http", 80)
	if in.HTTPS.Number == 0 {
		in.Closed = true
		r.refuse(at, refusal{"PortNotFound",
			fmt.Sprintf("Service %s/%s has no HTTPS port: none has the application protocol https or the number 443", in.Ref.Namespace, name),
			in.Ref.String(), "add a port 443 with appProtocol https to the Service"})
	}
	in.Identity = r.identityOf(at, service)
}

// gatewayPort finds the Service's port for a protocol: by what it declares, or
// by the well-known number.
func (r *resolver) gatewayPort(in *Ingress, s model.Service, pods []model.Workload, protocol string, number int32) Port {
	var found *model.ServicePort
	for i := range s.Ports {
		p := &s.Ports[i]
		declared := declaredProtocol(*p)
		// Istio's own chart calls the plain port http2.
		plain := protocol == "http" && declared == "http2"
		if declared == protocol || (p.Number == number && (declared == "" || declared == "tcp" || plain)) {
			if found == nil || p.Number == number {
				found = p
			}
		}
	}
	if found == nil {
		return Port{}
	}
	return Port{Number: found.Number, Target: targetPort(*found, pods), Origin: field(in.Origin, "spec.gateway.service")}
}

// declaredProtocol is what Istio reads as the protocol of a port: appProtocol,
// else the port's name up to the first dash, in lower case.
func declaredProtocol(p model.ServicePort) string {
	switch strings.ToLower(p.AppProtocol) {
	case "":
	case "kubernetes.io/h2c":
		return "http2"
	case "kubernetes.io/ws":
		return "http"
	case "kubernetes.io/wss":
		return "https"
	default:
		return strings.ToLower(p.AppProtocol)
	}
	name, _, _ := strings.Cut(strings.ToLower(p.Name), "-")
	switch name {
	case "http", "http2", "https", "grpc", "tcp", "tls":
		return name
	}
	return ""
}

// targetPort is the port on the pods; zero when pods disagree or say nothing.
func targetPort(p model.ServicePort, pods []model.Workload) int32 {
	if p.TargetName == "" {
		if p.TargetNumber == 0 {
			return p.Number
		}
		return p.TargetNumber
	}
	var found int32
	for _, w := range pods {
		n := w.Ports[p.TargetName]
		if n == 0 || (found != 0 && n != found) {
			return 0
		}
		found = n
	}
	return found
}

// resolveCertificate checks what the gateway is to prove itself with.
func (r *resolver) resolveCertificate(in *Ingress) {
	r.resolveDelegation(in)
	if in.Spec.TLS.SecretName == "" {
		return // settleCertificates
	}
	at := field(in.Origin, "spec.tls.secretName")
	name := in.Spec.TLS.SecretName
	c, ok := r.snapshot.Certificate(model.Name{Namespace: in.Ref.Namespace, Name: name})
	switch {
	case !ok:
		in.Closed = true
		r.refuse(at, refusal{"SecretNotFound",
			fmt.Sprintf("Secret %s/%s does not exist, so HTTPS cannot be served; every host of this ingress is closed", in.Ref.Namespace, name),
			in.Ref.String(), "create a Secret of type kubernetes.io/tls of that name, or name another one"})
	case c.Problem != "":
		in.Closed = true
		r.refuse(at, refusal{"SecretInvalid",
			fmt.Sprintf("Secret %s/%s cannot be served: %s; every host of this ingress is closed", in.Ref.Namespace, name, c.Problem),
			in.Ref.String(), "put a certificate chain in tls.crt and its private key in tls.key, both PEM"})
	default:
		in.Fingerprint = c.Fingerprint
	}
}

// checkDomains refuses one domain twice in a list.
func (r *resolver) checkDomains(in *Ingress) {
	seen := make(map[string]string)
	for i, d := range in.Spec.Domains {
		if first, ok := seen[d.Domain]; ok {
			in.Closed = true
			r.refuse(field(in.Origin, "spec.domains[%d].domain", i), refusal{"DomainRepeated",
				fmt.Sprintf("domain %s is listed as %s already", d.Domain, first), in.Ref.String(), "list each domain once"})
		}
		seen[d.Domain] = string(d.Name)
	}
}

func (r *resolver) resolveProvider(in *Ingress, i int) {
	p := &in.Spec.IdentityProviders[i]
	at := field(in.Origin, "spec.identityProviders[%d]", i)
	if (p.JWKS == "") == (p.JWKSURI == "") {
		r.refuse(at, refusal{"KeysInvalid",
			fmt.Sprintf("identity provider %s states both or neither of jwksURI and jwks, so whose keys count is not clear; routes that need its tokens are closed", p.Name),
			"API trellis.dev/v1alpha1", "set exactly one of jwksURI and jwks"})
		return
	}
	if problem := checkKeys(p.JWKS); problem != "" {
		r.refuse(field(at, "jwks"), refusal{"KeysInvalid",
			fmt.Sprintf("the keys of identity provider %s cannot be read: %s; routes that need its tokens are closed", p.Name, problem),
			in.Ref.String(), "paste a JSON Web Key Set, an object with a list \"keys\" (RFC 7517 section 5)"})
		return
	}
	for j := range i {
		if o := &in.Spec.IdentityProviders[j]; o.Issuer == p.Issuer {
			delete(in.Providers, string(o.Name))
			r.refuse(field(at, "issuer"), refusal{"IssuerConflict",
				fmt.Sprintf("issuer %s is stated by identity provider %s already; tokens name only their issuer, so neither can be told from the other and both are closed", p.Issuer, o.Name),
				in.Ref.String(), "keep one provider for the issuer, with all audiences; routes narrow them"})
			return
		}
	}
	in.Providers[string(p.Name)] = &Provider{Spec: p, Origin: at}
}

// checkKeys says why a JSON Web Key Set cannot be used; empty when it can.
func checkKeys(jwks string) string {
	if jwks == "" {
		return ""
	}
	var set struct {
		Keys []struct {
			Type    string  `json:"kty"`
			Private *string `json:"d"`
		} `json:"keys"`
	}
	if err := json.Unmarshal([]byte(jwks), &set); err != nil {
		return "it is not JSON (" + err.Error() + ")"
	}
	if len(set.Keys) == 0 {
		return "it holds no keys"
	}
	for i, k := range set.Keys {
		if k.Type == "" {
			return fmt.Sprintf("key %d has no type (kty)", i)
		}
		if k.Private != nil || k.Type == "oct" {
			return fmt.Sprintf("key %d is a secret key; only public keys belong here", i)
		}
	}
	return ""
}

// reportIngresses adds what is only known at the end: nobody is admitted, or
// nothing is published.
func (r *resolver) reportIngresses() {
	for _, in := range r.graph.Ingresses {
		if in.Pods.Selector == nil {
			continue
		}
		r.reportForeign(in)
		if in.HTTPS.Target == 0 && in.HTTPS.Number != 0 {
			r.warn(field(in.Origin, "spec.gateway.service"), refusal{"PortUnresolved",
				"the target port of the gateway's HTTPS port is a name that no pod declares, so token rules hold on every port, the plain one included",
				in.Ref.String(), "use a number as targetPort, or name the container's port"})
		}
	}
}
