// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	acmez "github.com/mholt/acmez/v3/acme"

	"github.com/trellis-mesh/trellis/internal/dns"
)

// Challenge is an answer that somebody must publish, as data. Which of its fields
// are filled depends on its type.
type Challenge struct {
	Type ChallengeType
	// Name is the domain name that it is for.
	Name string
	// Path and Body are for HTTP01: what a GET on port 80 of Name is to find.
	Path, Body string
	// RecordName and Value are for DNS01 and DNSPersist01: a TXT record. Several
	// challenges may have one RecordName; all their values must be there.
	RecordName, Value string
	// Standing is true for a record that renewals use again: leave it in place.
	Standing bool
}

// tokenForm is base64url (RFC 8555 §8.1). The token becomes part of a path and of
// a record, so nothing else is let through.
var tokenForm = regexp.MustCompile(`^[A-Za-z0-9_-]{16,256}$`)

// thumbprintForm is a base64url SHA-256.
var thumbprintForm = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)

// accountForm is a URL that cannot end a parameter of a TXT record early.
var accountForm = regexp.MustCompile(`^https://[A-Za-z0-9._~:/?#@!$&'()*+,%=\[\]-]{1,400}$`)

// Challenges are the answers that the open order needs published, those alone.
func (s State) Challenges() []Challenge {
	if s.Phase == Rehearsing && s.Preflight != nil {
		return s.Preflight.Challenges()
	}
	if s.Order == nil || s.Phase != Presenting && s.Phase != Validating {
		return nil
	}
	wildcards := map[string]bool{}
	for _, a := range s.Order.Authorizations {
		wildcards[a.Name] = wildcards[a.Name] || a.Wildcard
	}
	var out []Challenge
	for _, a := range s.Order.Authorizations {
		if a.Status == acmez.StatusValid && a.Challenge != DNSPersist01 {
			continue
		}
		c := Challenge{Type: a.Challenge, Name: a.Name}
		switch a.Challenge {
		case HTTP01:
			c.Path, c.Body = "/.well-known/acme-challenge/"+a.Token, a.Token+"."+s.AccountKey
		case DNS01:
			c.RecordName, c.Value = "_acme-challenge."+a.Name, a.Digest
		case DNSPersist01:
			c.RecordName, c.Standing = "_validation-persist."+a.Name, true
			// One record does for a name and its wildcard.
			c.Value = PersistValue(a.Issuer, s.Account, wildcards[a.Name])
		default:
			continue
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b Challenge) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Value, b.Value))
	})
	return slices.Compact(out)
}

// PersistValue is the text of a record for DNSPersist01
// (draft-ietf-acme-dns-persist §4.1). It lets the account have certificates for
// the name for as long as it stands.
func PersistValue(issuer, account string, wildcard bool) string {
	value := issuer + "; accounturi=" + account
	if wildcard {
		value += "; policy=wildcard"
	}
	return value
}

// read takes over what the CA says of an authorization, with the challenge that
// is wanted. The name must be one that was ordered: nothing is published for
// others, whatever the CA asks.
func (a *Authorization) read(from acmez.Authorization, spec Spec) *Failure {
	name, err := dns.ParseName(from.Identifier.Value)
	wanted := string(name)
	if from.Wildcard {
		wanted = "*." + wanted
	}
	if err != nil || from.Identifier.Type != "dns" || !slices.Contains(spec.Names, wanted) {
		return &Failure{Type: TypeChallenge, Detail: "the CA asks about " + clean(from.Identifier.Value) + ", which was not ordered"}
	}
	a.Status, a.Name, a.Wildcard = clean(from.Status), string(name), from.Wildcard
	if a.Status != acmez.StatusPending {
		return nil
	}
	var offered []string
	for _, c := range from.Challenges {
		if ChallengeType(c.Type) == spec.Challenge {
			return a.take(c)
		}
		offered = append(offered, clean(c.Type))
	}
	return &Failure{Type: TypeChallenge, Name: a.Name, Permanent: true,
		Detail: clean(fmt.Sprintf("the CA does not offer the challenge %s, only %s", spec.Challenge, strings.Join(offered, ", ")))}
}

func (a *Authorization) take(c acmez.Challenge) *Failure {
	a.Challenge, a.ChallengeURL, a.Token = ChallengeType(c.Type), c.URL, c.Token
	if a.Challenge == DNSPersist01 {
		for _, issuer := range c.IssuerDomainNames {
			if n, err := dns.ParseName(issuer); err == nil {
				a.Issuer = string(n)
				return nil
			}
		}
		return &Failure{Type: TypeChallenge, Name: a.Name, Detail: "the CA names no issuer for a persistent record"}
	}
	if !tokenForm.MatchString(c.Token) {
		return &Failure{Type: TypeChallenge, Name: a.Name, Detail: "the CA's token is not base64url (RFC 8555 §8.1)"}
	}
	if a.Challenge == DNS01 {
		a.Digest = c.DNS01KeyAuthorization()
	}
	return nil
}
