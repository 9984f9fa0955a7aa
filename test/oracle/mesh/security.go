// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"fmt"
	"strings"
)

// form makes of a value something that Istio's lists of values match by: exact,
// prefix, suffix or presence.
func (a *author) form(value string) string {
	switch n := a.IntN(10); {
	case n < 6 || value == "":
		return value
	case n < 8:
		return value[:1+a.IntN(len(value))] + "*"
	case n < 9:
		return "*" + value[a.IntN(len(value)):]
	}
	return "*"
}

func (a *author) forms(values []string, n int) []string {
	out := some(a, values, n)
	for i := range out {
		out[i] = a.form(out[i])
	}
	return out
}

// either writes values under a name or under the name that excludes them.
func (a *author) either(into fields, name string, values []string) {
	if a.chance(25) {
		name = "not" + strings.ToUpper(name[:1]) + name[1:]
	}
	into[name] = values
}

func (a *author) authorization() {
	namespace := a.space()
	spec := a.selected(namespace, fields{})
	action := pick(a.Rand, "ALLOW", "ALLOW", "ALLOW", "DENY", "DENY", "DENY", "AUDIT")
	spec["action"] = action
	var rules []fields
	for range pick(a.Rand, 1, 1, 1, 2, 2, 3) {
		rules = append(rules, a.rule())
	}
	// Some of what is allowed is allowed to many, or nothing would ever get through.
	if action == "ALLOW" && a.chance(60) {
		rules = append(rules, fields{"to": []fields{{"operation": fields{"methods": some(a, []string{"GET", "POST", "PUT", "DELETE"}, 3)}}}})
	}
	switch {
	case action == "ALLOW" && a.chance(5):
	case a.chance(2):
		spec["rules"] = []fields{{}}
	default:
		spec["rules"] = rules
	}
	o := a.add(security, "AuthorizationPolicy", namespace, spec)
	if action != "AUDIT" && a.chance(10) {
		o.annotations = map[string]string{"istio.io/dry-run": "true"}
	}
}

func (a *author) rule() fields {
	rule := fields{}
	if a.chance(60) {
		var from []fields
		for range pick(a.Rand, 1, 1, 2) {
			from = append(from, fields{"source": a.source()})
		}
		rule["from"] = from
	}
	if a.chance(60) {
		var to []fields
		for range pick(a.Rand, 1, 1, 2) {
			to = append(to, fields{"operation": a.operation()})
		}
		rule["to"] = to
	}
	if a.chance(40) || len(rule) == 0 {
		var when []fields
		for range pick(a.Rand, 1, 1, 2) {
			when = append(when, a.condition())
		}
		rule["when"] = when
	}
	return rule
}

func (a *author) source() fields {
	out := fields{}
	for range pick(a.Rand, 1, 1, 1, 2) {
		switch a.IntN(8) {
		case 0, 1:
			if _, exclusive := out["serviceAccounts"]; !exclusive {
				a.either(out, "principals", append(a.forms(principals, 2), one(a, principalForms)))
			}
		case 2:
			if _, exclusive := out["serviceAccounts"]; !exclusive {
				a.either(out, "namespaces", a.forms(allSpaces, 2))
			}
		case 3:
			if len(out) == 0 {
				a.either(out, "serviceAccounts", some(a, []string{"shop/cart", "bank/ledger", "edge/door", "people/visitor", "cart"}, 2))
				return out
			}
		case 4, 5:
			a.either(out, "requestPrincipals", a.requestPrincipals())
		case 6:
			a.either(out, "ipBlocks", a.blocks())
		case 7:
			a.either(out, "remoteIpBlocks", a.blocks())
		}
	}
	if len(out) == 0 {
		out["namespaces"] = []string{"*"}
	}
	return out
}

func (a *author) requestPrincipals() []string {
	return some(a, []string{
		"*", issuerMain + "/alice", issuerMain + "/*", issuerMain + "/user", issuerPartner + "/*", "*/alice", issuerBank + "/carol", issuerMain + "*", "*/user",
	}, 2)
}

func (a *author) blocks() []string {
	ledger := a.stage.apps["ledger"].Address
	return some(a, []string{"127.0.0.1", "127.0.0.0/8", ledger, ledger[:strings.LastIndexByte(ledger, '.')] + ".0/24", "203.0.113.0/24", "198.51.100.7", "10.0.0.0/8", "0.0.0.0/0", "127.9.0.0/16", "2001:db8::/32"}, 3)
}

func (a *author) operation() fields {
	out := fields{}
	for range pick(a.Rand, 1, 1, 2, 2, 3) {
		switch a.IntN(6) {
		case 0:
			hosts := a.forms(append(append(meshHosts[:len(meshHosts):len(meshHosts)], outerHosts...), "cart.shop.svc.cluster.local:8080"), 3)
			a.either(out, "hosts", hosts)
		case 1:
			a.either(out, "ports", some(a, []string{"8080", "8081", "9001", "9002", fmt.Sprint(a.stage.gateway.HTTPSPort), fmt.Sprint(a.stage.gateway.HTTPPort)}, 2))
		case 2:
			a.either(out, "methods", a.forms(methodWords[2:], 3))
		default:
			paths := a.forms(pathWords, 3)
			if a.chance(25) {
				paths = append(paths, one(a, templateWords))
			}
			a.either(out, "paths", paths)
		}
	}
	return out
}

func (a *author) condition() fields {
	type key struct {
		name   string
		values []string
	}
	keys := []key{
		{"request.headers[" + one(a, headerNames) + "]", a.forms(headerWords[1:], 3)},
		{"request.headers[" + one(a, headerNames) + "]", a.forms(headerWords[1:], 3)},
		{"request.auth.claims[groups]", a.forms(claimWords, 2)},
		{"request.auth.claims[realm][groups]", a.forms(claimWords, 2)},
		{"request.auth.claims[realm][level]", a.forms(claimWords, 2)},
		{"request.auth.claims[scope]", a.forms(claimWords, 2)},
		{"request.auth.claims[iss]", a.forms([]string{issuerMain, issuerPartner, issuerBank}, 2)},
		{"request.auth.claims[n]", []string{"7"}},
		{"request.auth.principal", a.requestPrincipals()},
		{"request.auth.audiences", a.forms([]string{"shop", "mobile", "bank", "elsewhere"}, 2)},
		{"request.auth.presenter", a.forms([]string{"app", "other"}, 2)},
		{"source.ip", a.blocks()}, {"remote.ip", a.blocks()}, {"destination.ip", a.blocks()},
		{"source.namespace", a.forms(allSpaces, 2)},
		{"source.principal", append(a.forms(principals, 2), one(a, principalForms))},
		{"destination.port", some(a, []string{"8080", "8081", "9001", fmt.Sprint(a.stage.gateway.HTTPSPort)}, 2)},
		{"connection.sni", a.forms(append([]string{"outbound_.8080_._.cart.shop.svc.cluster.local"}, outerHosts...), 2)},
	}
	k := one(a, keys)
	out := fields{"key": k.name}
	if a.chance(25) {
		out["notValues"] = k.values
	} else {
		out["values"] = k.values
	}
	return out
}

func (a *author) requestAuthentication() {
	namespace := a.space()
	spec := a.selected(namespace, fields{})
	var rules []fields
	for _, issuer := range some(a, []string{issuerMain, issuerPartner, issuerBank}, 3) {
		rules = append(rules, a.jwtRule(issuer))
	}
	if a.chance(15) {
		rules = append(rules, a.jwtRule(issuerMain))
	}
	spec["jwtRules"] = rules
	a.add(security, "RequestAuthentication", namespace, spec)
}

func (a *author) jwtRule(issuer string) fields {
	out := fields{"issuer": issuer, "jwks": a.stage.keys.keys(issuer)}
	if a.chance(40) {
		out["audiences"] = some(a, []string{"shop", "mobile", "bank"}, 2)
	}
	if a.chance(25) {
		headers := []fields{{"name": pick(a.Rand, "x-token", "authorization", "x-user")}}
		if a.chance(60) {
			headers[0]["prefix"] = pick(a.Rand, "Bearer ", "Token ", "t=")
		}
		out["fromHeaders"] = headers
	}
	if a.chance(20) {
		out["fromParams"] = some(a, []string{"access_token", "token", "x"}, 2)
	}
	if a.chance(15) {
		out["fromCookies"] = some(a, []string{"session", "id"}, 2)
	}
	if a.chance(40) {
		out["forwardOriginalToken"] = a.chance(70)
	}
	if a.chance(20) {
		out["outputPayloadToHeader"] = "x-payload"
	}
	if a.chance(25) {
		out["outputClaimToHeaders"] = []fields{
			{"header": pick(a.Rand, "x-role", "x-user", "x-claim"), "claim": pick(a.Rand, "sub", "groups", "realm.level", "n", "yes", "scope", "missing")},
		}
	}
	if a.chance(10) {
		out["spaceDelimitedClaims"] = []string{"groups", "scope"}
	}
	return out
}

func (a *author) peerAuthentication() {
	namespace := a.space()
	spec := a.selected(namespace, fields{})
	mode := func() fields {
		return fields{"mode": pick(a.Rand, "STRICT", "STRICT", "PERMISSIVE", "DISABLE", "UNSET")}
	}
	if a.chance(85) {
		spec["mtls"] = mode()
	}
	if _, selects := spec["selector"]; selects && a.chance(40) {
		ports := fields{}
		for _, port := range some(a, []string{"8080", "8081", "9001", "9002"}, 2) {
			ports[port] = mode()
		}
		spec["portLevelMtls"] = ports
	}
	a.add(security, "PeerAuthentication", namespace, spec)
}
