// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/trellis-mesh/trellis/internal/certificate"
)

// Phase is where the way to a certificate has come.
type Phase string

// The phases, in their order. The zero value is Waiting without a time.
const (
	Waiting     Phase = "Waiting"     // nothing is open; NextTry says until when
	Registering Phase = "Registering" // with the CA
	Ordering    Phase = "Ordering"    // the budget is charged, the order to be sent
	Authorizing Phase = "Authorizing" // learning what is to be proven
	Presenting  Phase = "Presenting"  // challenges are to be published
	Validating  Phase = "Validating"  // the CA looks
	Finalizing  Phase = "Finalizing"  // a key is made and the request sent
	Issuing     Phase = "Issuing"     // the CA signs
	Downloading Phase = "Downloading"
	Issued      Phase = "Issued" // the certificate is good; renewal is planned
	Failed      Phase = "Failed" // for ever, unless the Spec changes
	// Rehearsing is before an order: the same is ordered at Spec.Preflight.
	Rehearsing Phase = "Rehearsing"
)

// State is all that is remembered of a certificate, and nothing secret. Times are
// of the caller's clock unless a comment says otherwise, and whole seconds.
type State struct {
	Phase Phase `json:"phase,omitempty"`
	// For is a digest of the Spec that the rest is about.
	For string `json:"for,omitempty"`
	// Directory, Account and AccountKey say whose account is used: the CA's URL,
	// the account's URL there, and its key's thumbprint (RFC 7638).
	Directory  string `json:"directory,omitempty"`
	Account    string `json:"account,omitempty"`
	AccountKey string `json:"accountKey,omitempty"`
	// Cause is why another certificate is wanted.
	Cause certificate.Cause `json:"cause,omitempty"`
	// PlainOrder is true after the CA refused to take an order as a replacement.
	PlainOrder bool   `json:"plainOrder,omitempty"`
	Order      *Order `json:"order,omitempty"`
	// Attempts counts orders that failed since the last certificate; Retries counts
	// requests of the present phase that were not answered.
	Attempts  int        `json:"attempts,omitempty"`
	Retries   int        `json:"retries,omitempty"`
	LastError *Failure   `json:"lastError,omitempty"`
	NextTry   *time.Time `json:"nextTry,omitempty"`
	// HeldByCA is true where NextTry is what the CA asked for.
	HeldByCA bool         `json:"heldByCA,omitempty"`
	Issued   *Certificate `json:"issued,omitempty"`
	Renewal  *Renewal     `json:"renewal,omitempty"`
	// Warnings are for people; they stop nothing.
	Warnings []string `json:"warnings,omitempty"`
	// Preflight is how far the order at Spec.Preflight is; Preflighted is a digest of
	// what was issued there last.
	Preflight   *State `json:"preflight,omitempty"`
	Preflighted string `json:"preflighted,omitempty"`
	// Rotated is the caller's note of the last instruction to change the account's
	// key that was followed.
	Rotated string `json:"rotated,omitempty"`
}

// Order is an order at the CA (RFC 8555 §7.1.3).
type Order struct {
	// For is a digest of what it was sent for; Charged names the budget that was.
	For     string `json:"for"`
	Charged string `json:"charged,omitempty"`
	// Ticket tells an order that this process has not sent from one that another may
	// have.
	Ticket string `json:"ticket,omitempty"`
	// URL is empty until the CA has answered.
	URL      string `json:"url,omitempty"`
	Finalize string `json:"finalize,omitempty"`
	// Expires is the CA's clock, and for people: the CA says when an order is over.
	Expires        *time.Time      `json:"expires,omitempty"`
	Replaces       string          `json:"replaces,omitempty"`
	Authorizations []Authorization `json:"authorizations,omitempty"`
	// Presented is for the caller to set, when the world sees what Actions.Publish
	// asked for.
	Presented bool `json:"presented,omitempty"`
	// Key is the fingerprint of the key that the certificate will be for.
	Key         string `json:"key,omitempty"`
	Certificate string `json:"certificate,omitempty"`
	// Since is when the present phase began.
	Since time.Time `json:"since"`
}

// Authorization is the CA's question about one name (RFC 8555 §7.1.4).
type Authorization struct {
	URL string `json:"url"`
	// Status is the CA's word; empty until asked.
	Status   string `json:"status,omitempty"`
	Name     string `json:"name,omitempty"`
	Wildcard bool   `json:"wildcard,omitempty"`
	// Challenge is the type in use, ChallengeURL where to say that the answer is
	// there, Initiated whether that was said.
	Challenge    ChallengeType `json:"challenge,omitempty"`
	ChallengeURL string        `json:"challengeURL,omitempty"`
	Token        string        `json:"token,omitempty"`
	// Digest is the value of the TXT record for DNS01.
	Digest string `json:"digest,omitempty"`
	// Issuer is the CA's name in a record for DNSPersist01.
	Issuer    string `json:"issuer,omitempty"`
	Initiated bool   `json:"initiated,omitempty"`
}

// Failure is why something did not work.
type Failure struct {
	Time  time.Time `json:"time"`
	Phase Phase     `json:"phase,omitempty"`
	// Type is of RFC 8555 §6.7 without its prefix, or one of the Type constants.
	Type string `json:"type"`
	// Status is of HTTP, or zero.
	Status int `json:"status,omitempty"`
	// Name is the domain name that it is about, where it is about one.
	Name   string `json:"name,omitempty"`
	Detail string `json:"detail"`
	// Permanent: trying again will not help, changing the Spec may.
	Permanent bool `json:"permanent,omitempty"`
}

func (f Failure) Error() string {
	where := ""
	if f.Name != "" {
		where = f.Name + ": "
	}
	return fmt.Sprintf("%s%s (%s)", where, f.Detail, f.Type)
}

// Certificate is what was issued.
type Certificate struct {
	URL       string              `json:"url,omitempty"`
	Directory string              `json:"directory"`
	Account   string              `json:"account,omitempty"`
	Profile   string              `json:"profile,omitempty"`
	Names     []string            `json:"names"`
	Key       certificate.KeyType `json:"key"`
	// KeyFingerprint tells whether the pair that is served is this one.
	KeyFingerprint string    `json:"keyFingerprint"`
	Serial         string    `json:"serial"`
	NotBefore      time.Time `json:"notBefore"`
	NotAfter       time.Time `json:"notAfter"`
	// ID is what the CA knows it by for renewal (RFC 9773 §4.1).
	ID string `json:"id,omitempty"`
	// Renew is Spec.Renew at the time of issue.
	Renew string `json:"renew,omitempty"`
}

// Renewal is when the CA would like a certificate renewed (RFC 9773).
type Renewal struct {
	// Start and End are the window, At the point chosen in it; nil where the CA
	// has not said.
	Start *time.Time `json:"start,omitempty"`
	End   *time.Time `json:"end,omitempty"`
	At    *time.Time `json:"at,omitempty"`
	// Explanation is a page of the CA about an unusual window.
	Explanation string `json:"explanation,omitempty"`
	// NextPoll is when to ask again.
	NextPoll time.Time `json:"nextPoll"`
	// LastError is why the last answer could not be used.
	LastError string `json:"lastError,omitempty"`
}

// limits of what is read from storage.
const (
	maxStateSize      = 512 << 10
	maxAuthorizations = 2 * maxNames
)

// DecodeState reads a State from JSON. What people have edited by hand may be
// wrong; it is then refused, or leads to requests that the CA refuses.
func DecodeState(text []byte) (State, error) {
	var s State
	if len(text) > maxStateSize {
		return s, fmt.Errorf("reading the state of a certificate: it has more than %d octets", maxStateSize)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return State{}, fmt.Errorf("reading the state of a certificate: %w", err)
	}
	if err := s.check(); err != nil {
		return State{}, fmt.Errorf("reading the state of a certificate: %w", err)
	}
	return s, nil
}

func (s State) check() error {
	switch s.Phase {
	case "", Waiting, Registering, Issued, Failed:
	case Ordering, Authorizing, Presenting, Validating, Finalizing, Issuing, Downloading:
		if s.Order == nil {
			return fmt.Errorf("the phase is %s and there is no order", s.Phase)
		}
		if s.Phase != Ordering && s.Order.URL == "" {
			return fmt.Errorf("the phase is %s and the order has no URL", s.Phase)
		}
	case Rehearsing:
		if s.Preflight == nil {
			return fmt.Errorf("the phase is %s and there is no preflight", s.Phase)
		}
	default:
		return fmt.Errorf("the phase %q is not known", s.Phase)
	}
	if s.Preflight != nil {
		if s.Preflight.Preflight != nil {
			return fmt.Errorf("a preflight has a preflight")
		}
		if err := s.Preflight.check(); err != nil {
			return fmt.Errorf("of the preflight, %w", err)
		}
	}
	if s.Order != nil && len(s.Order.Authorizations) > maxAuthorizations {
		return fmt.Errorf("an order has %d authorizations, and %d are the limit", len(s.Order.Authorizations), maxAuthorizations)
	}
	if s.Attempts < 0 || s.Retries < 0 {
		return fmt.Errorf("a count is negative")
	}
	return nil
}

// clone copies what a step changes.
func (s State) clone() State {
	if s.Order != nil {
		o := *s.Order
		o.Authorizations = slices.Clone(o.Authorizations)
		s.Order = &o
	}
	if s.Renewal != nil {
		r := *s.Renewal
		s.Renewal = &r
	}
	if s.Preflight != nil {
		p := s.Preflight.clone()
		s.Preflight = &p
	}
	return s
}

// Alert reports whether a person should be told that the certificate has not been
// renewed.
func (s State) Alert(now time.Time) bool {
	return s.Issued != nil && !now.Before(certificate.AlertTime(s.Issued.NotBefore, s.Issued.NotAfter))
}
