// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/decide"
)

// Thing is something that a person has in hand and wants explained. One of its
// groups of fields is set.
type Thing struct {
	// URL and Method are a request.
	URL    *url.URL
	Method string
	// Details are response code details, or the name of an RBAC policy.
	Details string
	// Entry is a line of an access log.
	Entry *accesslog.Entry
	// Object is an Istio or Trellis object; its Rule is -1 for all of it.
	Object *decide.Object
	// Route is the route of an Application: NAMESPACE/APPLICATION/ROUTE.
	Route []string
}

// kinds by what people type, in lower case and singular.
var kindsByName = map[string]string{
	"application": "Application", "tapp": "Application", "secureingress": "SecureIngress", "singress": "SecureIngress",
	"goal": "Goal", "clusterpolicybinding": "ClusterPolicyBinding", "cpb": "ClusterPolicyBinding", "policybinding": "PolicyBinding", "pb": "PolicyBinding",
	"hostclaim": "HostClaim", "authorizationpolicy": "AuthorizationPolicy", "ap": "AuthorizationPolicy",
	"requestauthentication": "RequestAuthentication", "ra": "RequestAuthentication",
	"peerauthentication": "PeerAuthentication", "pa": "PeerAuthentication", "virtualservice": "VirtualService", "vs": "VirtualService",
	"gateway": "Gateway", "gw": "Gateway", "envoyfilter": "EnvoyFilter", "destinationrule": "DestinationRule", "dr": "DestinationRule",
	"serviceentry": "ServiceEntry", "se": "ServiceEntry", "sidecar": "Sidecar",
}

func kindNamed(word string) (string, bool) {
	word, _, _ = strings.Cut(strings.ToLower(word), ".")
	for _, name := range []string{word, strings.TrimSuffix(word, "s"), strings.TrimSuffix(word, "es"), strings.TrimSuffix(word, "ies") + "y"} {
		if kind, ok := kindsByName[name]; ok {
			return kind, true
		}
	}
	return "", false
}

var (
	detailsWord = regexp.MustCompile(`^[a-z0-9_.]+(\[.*\]|\{.*\})?$`)
	methodWord  = regexp.MustCompile(`^[A-Z]{3,10}$`)
)

// ParseThing takes words as they are written on a command line. Namespace is that
// of objects which are named without one.
func ParseThing(words []string, namespace string) (*Thing, error) {
	text := strings.TrimSpace(strings.Join(words, " "))
	switch {
	case text == "":
		return nil, fmt.Errorf("there is nothing to explain")
	case strings.HasPrefix(text, "{") || strings.Contains(text, `] "`):
		entry, err := accesslog.Parse(text)
		return &Thing{Entry: entry}, err
	case strings.Contains(words[0], "://") || len(words) == 2 && strings.Contains(words[1], "://"):
		return parseRequest(words)
	}
	if rule := decide.PolicyOf(text); rule != nil {
		return &Thing{Details: "rbac_access_denied_matched_policy[" + text + "]"}, nil
	}
	if len(words) == 1 {
		if thing, err := parseWord(text, namespace); thing != nil || err != nil {
			return thing, err
		}
	}
	if len(words) == 2 {
		if known, ok := kindNamed(words[0]); ok {
			return parseObject(known, words[1], namespace)
		}
	}
	return nil, fmt.Errorf("%q is none of: a URL, response code details, a line of an access log, an object (KIND NAMESPACE/NAME), a route (NAMESPACE/APPLICATION/ROUTE)", text)
}

// parseWord takes one word; both results are nil where it is nothing.
func parseWord(text, namespace string) (*Thing, error) {
	if kind, name, ok := strings.Cut(text, "/"); ok {
		if known, ok := kindNamed(kind); ok {
			return parseObject(known, name, namespace)
		}
		if parts := strings.Split(text, "/"); len(parts) == 3 {
			return &Thing{Route: parts}, nil
		}
	}
	// One word may be anything; details that nobody knows are told by their form.
	if detailsWord.MatchString(text) && (strings.ContainsAny(text, "[{") || accesslog.ParseDetails(text).Kind != accesslog.KindOther) {
		return &Thing{Details: text}, nil
	}
	return nil, nil
}

// parseRequest takes URL, METHOD URL and URL METHOD.
func parseRequest(words []string) (*Thing, error) {
	out := &Thing{Method: "GET"}
	address := words[0]
	for _, word := range words {
		switch {
		case strings.Contains(word, "://"):
			address = word
		case methodWord.MatchString(strings.ToUpper(word)):
			out.Method = strings.ToUpper(word)
		default:
			return nil, fmt.Errorf("%q is neither a URL nor a method", word)
		}
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("reading the URL: %w", err)
	}
	out.URL = u
	return out, nil
}

// parseObject takes NAME, NAMESPACE/NAME and NAMESPACE/NAME/RULE.
func parseObject(kind, name, namespace string) (*Thing, error) {
	out := &decide.Object{Kind: kind, Namespace: namespace, Name: name, Rule: -1}
	parts := strings.Split(name, "/")
	if len(parts) > 1 {
		out.Namespace, out.Name = parts[0], parts[1]
	}
	if len(parts) == 3 {
		rule, err := strconv.Atoi(parts[2])
		if err != nil || rule < 0 {
			return nil, fmt.Errorf("%q is no number of a rule: they count from 0", parts[2])
		}
		out.Rule = rule
	}
	if kind == "Goal" || kind == "ClusterPolicyBinding" {
		if len(parts) > 1 {
			return nil, fmt.Errorf("%q: a %s is in no namespace; write its name alone", name, kind)
		}
		out.Namespace = ""
	}
	if len(parts) > 3 || out.Name == "" {
		return nil, fmt.Errorf("%q is none of NAME, NAMESPACE/NAME and NAMESPACE/NAME/RULE", name)
	}
	return &Thing{Object: out}, nil
}
