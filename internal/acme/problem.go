// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	acmez "github.com/mholt/acmez/v3/acme"
)

// Types of failures that are not the CA's problem documents.
const (
	// TypeConnection: there was no answer that could be read.
	TypeConnection = "trellis:connection"
	// TypeBudget: the engine's own Ledger forbids another order.
	TypeBudget = "trellis:budget"
	// TypeSpec: what is wanted cannot be had from any CA.
	TypeSpec = "trellis:spec"
	// TypeOrder: the CA gave the order up, or forgot it.
	TypeOrder = "trellis:order"
	// TypeChallenge: the CA does not offer the challenge, or offers it in a form
	// that must not be published.
	TypeChallenge = "trellis:challenge"
	// TypeCertificate: what was downloaded is not what was ordered.
	TypeCertificate = "trellis:certificate"
	// TypeKey: the key of an order is gone.
	TypeKey = "trellis:key"
)

// maxDetail bounds text of a CA, in octets.
const maxDetail = 1024

// parseProblem reads a problem document (RFC 7807, RFC 8555 §6.7). A text that is
// none is quoted.
func parseProblem(status int, body []byte) Failure {
	var p acmez.Problem
	if err := json.Unmarshal(body, &p); err != nil || p.Type == "" && p.Detail == "" {
		return Failure{Type: TypeConnection, Status: status, Detail: clean(fmt.Sprintf("HTTP %d: %s", status, body))}
	}
	return problem(p, status)
}

func problem(p acmez.Problem, status int) Failure {
	f := Failure{Type: shortType(p.Type), Status: status, Detail: p.Detail}
	// A compound problem says nothing itself: the first part that names what it is
	// about does (RFC 8555 §6.7.1).
	for _, sub := range p.Subproblems {
		f.Detail += "; " + sub.Identifier.Value + ": " + sub.Detail
		if f.Name == "" {
			f.Name = clean(sub.Identifier.Value)
		}
		if f.Type == "compound" || permanentTypes[shortType(sub.Type)] {
			f.Type = shortType(sub.Type)
		}
	}
	f.Detail = clean(strings.TrimPrefix(f.Detail, "; "))
	f.Permanent = permanent(f)
	return f
}

func shortType(t string) string {
	return clean(strings.TrimPrefix(t, acmez.ProblemTypeNamespace))
}

// clean makes a foreign text fit to be stored and shown.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, " "))
	if len(s) > maxDetail {
		s = strings.ToValidUTF8(s[:maxDetail-len("…")], "") + "…"
	}
	return strings.TrimSpace(s)
}

// permanentTypes are problems that the same request will meet again.
var permanentTypes = map[string]bool{
	"rejectedIdentifier":      true,
	"unsupportedIdentifier":   true,
	"caa":                     true,
	"invalidProfile":          true,
	"externalAccountRequired": true,
	"userActionRequired":      true,
	"invalidContact":          true,
	"unsupportedContact":      true,
	"badPublicKey":            true,
}

// permanent reports whether only a person can help. A paused account is told by
// its text only: it has the type of a rate limit (Boulder's probs.Paused).
func permanent(f Failure) bool {
	return permanentTypes[f.Type] || f.Type == "rateLimited" && strings.Contains(f.Detail, "temporarily prevented from requesting")
}

// transient reports whether the same request may be sent again as it is.
func transient(f Failure) bool {
	return !f.Permanent && (f.Type == TypeConnection && f.Status != 404 || f.Type == "badNonce" || f.Type == "rateLimited" ||
		f.Status == 429 || f.Status >= 500)
}

// failure is what an attempt's error says; the exchange knows better than the
// library, which keeps the last of its own attempts only.
func (x *exchange) failureOf(err error) Failure {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.failure != nil {
		return *x.failure
	}
	var own Failure
	if errors.As(err, &own) {
		return own
	}
	var p acmez.Problem
	if errors.As(err, &p) {
		return problem(p, p.Status)
	}
	return Failure{Type: TypeConnection, Detail: clean(err.Error())}
}

// permanentError is a failure of our own making that only a person can help.
func permanentError(kind, detail string) error {
	return Failure{Type: kind, Detail: detail, Permanent: true}
}

// ladder is how long to wait after so many failures (Let's Encrypt's integration
// guide): a minute, ten, a hundred, then a day.
func ladder(failures int) time.Duration {
	steps := []time.Duration{time.Minute, 10 * time.Minute, 100 * time.Minute}
	if failures >= 1 && failures <= len(steps) {
		return steps[failures-1]
	}
	return 24 * time.Hour
}
