// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"fmt"
	"slices"
	"strings"
)

// text is a StringMatch around a value.
func (a *author) text(value string, regexes []string) fields {
	switch n := a.IntN(10); {
	case n < 4 && value != "":
		return fields{"exact": value}
	case n < 8 && value != "":
		return fields{"prefix": value[:1+a.IntN(len(value))]}
	}
	return fields{"regex": one(a, regexes)}
}

func (a *author) uri() fields {
	p := one(a, pathWords)
	switch n := a.IntN(10); {
	case n < 3:
		return fields{"exact": p}
	case n < 8:
		return fields{"prefix": p}
	}
	return fields{"regex": one(a, pathRegex)}
}

func (a *author) headerMatches() fields {
	out := fields{}
	for _, name := range some(a, headerNames[:4], 2) {
		if a.chance(20) {
			out[strings.ToLower(name)] = fields{} // presence
			continue
		}
		out[strings.ToLower(name)] = a.text(one(a, headerWords), headerRegex)
	}
	if a.chance(25) {
		out["@request.auth.claims"+pick(a.Rand, ".groups", "[groups]", "[scope]", "[realm][level]", ".sub")] = a.text(one(a, claimWords), headerRegex)
	}
	return out
}

// match is an HTTPMatchRequest. onMesh is for those that name the client's proxy.
func (a *author) match(onMesh bool) fields {
	out := fields{}
	if a.chance(75) {
		out["uri"] = a.uri()
		if a.chance(20) {
			out["ignoreUriCase"] = true
		}
	}
	for range pick(a.Rand, 0, 0, 1, 1, 2) {
		switch a.IntN(8) {
		case 0, 1:
			out["headers"] = a.headerMatches()
		case 2:
			out["withoutHeaders"] = a.headerMatches()
		case 3:
			out["queryParams"] = fields{pick(a.Rand, "x", "y", "q"): pick(a.Rand, fields{"exact": "1"}, fields{"regex": "[0-9]+"}, fields{"exact": ""}, fields{"prefix": "/"})}
		case 4:
			out["method"] = a.text(one(a, methodWords), []string{"GET|POST", "P.*", "get"})
		case 5:
			out["authority"] = a.text(one(a, append(slices.Clone(outerHosts), "cart.shop.svc.cluster.local:8080", "cart")), []string{".*example.com", "cart.*"})
		case 6:
			out["scheme"] = fields{"exact": pick(a.Rand, "http", "https")}
		case 7:
			if !onMesh {
				continue
			}
			switch a.IntN(3) {
			case 0:
				out["sourceLabels"] = pick(a.Rand, map[string]string{"app": "visitor"}, map[string]string{"app": "cart", "version": "v1"})
			case 1:
				out["port"] = pick(a.Rand, 8080, 8081)
			case 2:
				out["sourceNamespace"] = one(a, workingSpaces)
			}
		}
	}
	return out
}

// destination is somewhere to go, mostly a place that exists.
func (a *author) destination() fields {
	out := fields{"host": one(a, meshHosts), "port": fields{"number": 8080}}
	switch n := a.IntN(20); {
	case n < 5:
		out["host"] = "cart.shop.svc.cluster.local"
		out["subset"] = pick(a.Rand, "v1", "v2")
	case n == 5:
		out["host"], out["port"] = "cart.shop.svc.cluster.local", fields{"number": 8081}
	case n == 6:
		out["host"] = one(a, entryHosts[:2])
	case n == 7:
		out["host"] = "nowhere.shop.svc.cluster.local"
	case n == 8:
		delete(out, "port")
	}
	return out
}

func (a *author) destinations() []fields {
	n := pick(a.Rand, 1, 1, 1, 1, 2, 3)
	var out []fields
	left := 100
	for i := range n {
		d := fields{"destination": a.destination()}
		if n > 1 {
			weight := left
			if i < n-1 {
				weight = a.IntN(left + 1)
			}
			left -= weight
			d["weight"] = weight
		}
		if a.chance(15) {
			d["headers"] = a.headerChanges()
		}
		out = append(out, d)
	}
	return out
}

func (a *author) headerChanges() fields {
	values := []string{"alice", "admin", "prod", "x%%y", "a,b", "%REQ(x-env)%"}
	request := fields{}
	if a.chance(60) {
		request["set"] = fields{pick(a.Rand, "x-user", "x-role", "x-env"): one(a, values[:3])}
	}
	if a.chance(40) {
		request["add"] = fields{pick(a.Rand, "x-user", "x-role", "x-new"): one(a, values[:5])}
	}
	if a.chance(30) {
		request["remove"] = some(a, []string{"x-user", "x-role", "authorization", "cookie"}, 2)
	}
	if a.chance(8) {
		request["set"] = fields{":authority": one(a, append(slices.Clone(meshHosts), "other.test"))}
	}
	out := fields{"request": request}
	if a.chance(20) {
		out["response"] = fields{"add": fields{"x-answer": "yes"}}
	}
	return out
}

// httpRoute is one entry of a VirtualService.
func (a *author) httpRoute(i int, onMesh bool) fields {
	out := fields{"name": fmt.Sprintf("route-%d", i)}
	if a.chance(85) {
		var matches []fields
		for range pick(a.Rand, 1, 1, 2) {
			matches = append(matches, a.match(onMesh))
		}
		out["match"] = matches
	}
	switch n := a.IntN(20); {
	case n < 3:
		out["redirect"] = a.redirect()
	case n < 5:
		out["directResponse"] = fields{"status": pick(a.Rand, 200, 204, 404, 418, 503), "body": fields{"string": "direct"}}
	default:
		out["route"] = a.destinations()
		a.extras(out)
	}
	if a.chance(15) {
		out["corsPolicy"] = a.cors()
	}
	if a.chance(15) {
		out["headers"] = a.headerChanges()
	}
	return out
}

func (a *author) redirect() fields {
	out := fields{}
	switch a.IntN(3) {
	case 0:
		out["uri"] = pick(a.Rand, "/moved", "/moved?x=1", "%PREFIX()%/x")
	case 1:
		out["authority"] = pick(a.Rand, "other.example.com", "other.example.com:8443")
	case 2:
		out["uri"], out["authority"] = "/moved", "other.example.com"
	}
	if a.chance(30) {
		out["scheme"] = pick(a.Rand, "http", "https")
	}
	if a.chance(30) {
		out["redirectCode"] = pick(a.Rand, 301, 302, 303, 307, 308)
	}
	switch a.IntN(6) {
	case 0:
		out["port"] = pick(a.Rand, 8443, 443, 80)
	case 1:
		out["derivePort"] = pick(a.Rand, "FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT")
	}
	return out
}

func (a *author) extras(out fields) {
	if a.chance(25) {
		out["rewrite"] = pick(a.Rand,
			fields{"uri": one(a, pathWords)}, fields{"authority": "rewritten.test"}, fields{"uri": "/a", "authority": one(a, meshHosts)},
			fields{"uriRegexRewrite": fields{"match": one(a, pathRegex), "rewrite": pick(a.Rand, "/b", "/a/\\0", "/")}},
			fields{"uriRegexRewrite": fields{"match": "/([^/]+)/(.*)", "rewrite": "/\\2/\\1"}})
	}
	if a.chance(10) {
		out["fault"] = fields{"abort": fields{"httpStatus": pick(a.Rand, 400, 503, 555), "percentage": fields{"value": pick(a.Rand, 100, 100, 0, 50)}}}
	}
	if a.chance(10) {
		out["timeout"] = "5s"
	}
	if a.chance(15) {
		out["retries"] = pick(a.Rand, fields{"attempts": 0}, fields{"attempts": 1, "retryOn": "5xx"}, fields{"attempts": 2, "retryOn": "connect-failure,reset,503", "perTryTimeout": "3s"})
	}
	if a.chance(8) {
		out["mirror"] = fields{"host": one(a, meshHosts), "port": fields{"number": 8080}}
		out["mirrorPercentage"] = fields{"value": pick(a.Rand, 0, 100)}
	}
}

func (a *author) cors() fields {
	out := fields{"allowOrigins": []fields{pick(a.Rand, fields{"exact": "https://www.example.com"}, fields{"prefix": "https://"}, fields{"regex": ".*\\.example\\.com"}, fields{"exact": "*"})}}
	if a.chance(60) {
		out["allowMethods"] = some(a, methodWords[2:6], 3)
	}
	if a.chance(30) {
		out["unmatchedPreflights"] = pick(a.Rand, "FORWARD", "IGNORE")
	}
	if a.chance(30) {
		out["allowCredentials"] = true
	}
	return out
}

func (a *author) httpRoutes(onMesh bool) []fields {
	var out []fields
	for i := range pick(a.Rand, 1, 2, 2, 3, 4) {
		out = append(out, a.httpRoute(i, onMesh))
	}
	if a.chance(60) {
		out = append(out, fields{"name": "rest", "route": a.destinations()})
	}
	return out
}

// delegate moves the routes of an entry into a VirtualService of their own.
func (a *author) delegate(namespace string, routes []fields) {
	i := a.IntN(len(routes))
	// A delegate's matches must narrow those of its root: only paths, and none here.
	own := []fields{a.httpRoute(0, false), {"name": "rest", "route": a.destinations()}}
	delete(own[0], "match")
	if a.chance(60) {
		own[0]["match"] = []fields{{"uri": fields{"prefix": "/a/b"}}}
	}
	d := a.add(networking, "VirtualService", namespace, fields{"http": own})
	root := fields{"name": fmt.Sprintf("route-%d", i), "delegate": fields{"name": d.name, "namespace": namespace}}
	if a.chance(70) {
		root["match"] = []fields{{"uri": fields{"prefix": pick(a.Rand, "/a", "/a/b", "/")}}}
	}
	routes[i] = root
}

// meshService routes what workloads ask for.
func (a *author) meshService() {
	spec := fields{}
	namespace := one(a, workingSpaces)
	hosts := some(a, append(slices.Clone(meshHosts), "virtual.mesh.test", "api.partner.test", "*.wild.test"), 2)
	if a.chance(15) {
		hosts = []string{"cart"}
		namespace = "shop"
	}
	spec["hosts"] = hosts
	if a.chance(15) {
		spec["exportTo"] = pick(a.Rand, []string{"."}, []string{"*"}, []string{"people", "shop"})
	}
	if a.chance(15) {
		spec["tcp"] = a.tcpRoutes()
	}
	routes := a.httpRoutes(true)
	if a.chance(10) {
		a.delegate(namespace, routes)
	}
	spec["http"] = routes
	a.add(networking, "VirtualService", namespace, spec)
}

func (a *author) tcpRoutes() []fields {
	to := func() []fields {
		return []fields{{"destination": pick(a.Rand,
			fields{"host": "cart.shop.svc.cluster.local", "port": fields{"number": 9001}}, fields{"host": "ledger.bank.svc.cluster.local", "port": fields{"number": 9002}},
			fields{"host": "mainframe.legacy.svc.cluster.local", "port": fields{"number": 9003}})}}
	}
	return []fields{{"match": []fields{{"port": pick(a.Rand, 9001, 9002, 9003)}}, "route": to()}, {"route": to()}}
}
