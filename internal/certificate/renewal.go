// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package certificate

import (
	"slices"
	"time"
)

// Fractions of a lifetime. No number of days is right for all: Let's Encrypt
// issues for 90 days now, for 64 and 45 soon, and for 160 hours to who asks.
const (
	// shortLifetime is where the CA's own advice changes
	// (letsencrypt.org/docs/integration-guide).
	shortLifetime = 10 * 24 * time.Hour
	// alertPart of the lifetime left means that several renewals have failed.
	alertPart = 6
)

// Backstop is when a certificate is renewed if its CA has said nothing: with a
// third of its lifetime left, or half of one shorter than ten days.
func Backstop(notBefore, notAfter time.Time) time.Time {
	part := time.Duration(3)
	if notAfter.Sub(notBefore) < shortLifetime {
		part = 2
	}
	return notAfter.Add(-notAfter.Sub(notBefore) / part)
}

// AlertTime is when a person has to know that a certificate has not been renewed:
// with a sixth of its lifetime left.
func AlertTime(notBefore, notAfter time.Time) time.Time {
	return notAfter.Add(-notAfter.Sub(notBefore) / alertPart)
}

// Window is when a CA suggests to renew (RFC 9773 §4.2).
type Window struct{ Start, End time.Time }

// Valid reports whether a window can be used: it has both ends, in order
// (RFC 9773 §4.2), and they are years that a timestamp can say.
func (w Window) Valid() bool {
	return !w.Start.IsZero() && w.End.After(w.Start) && w.Start.Year() > 1970 && w.End.Year() < 10000
}

// Choose takes a point in the window; random is at least 0 and below 1. Choose
// once and keep it: choosing again at each look would move renewals to the front.
func (w Window) Choose(random float64) time.Time {
	return w.Start.Add(time.Duration(float64(w.End.Sub(w.Start)) * random)).Truncate(time.Second)
}

// Cause is why another certificate is needed, for people and metrics.
type Cause string

// The causes. NoCause: the one that is there will do.
const (
	NoCause        Cause = ""
	Missing        Cause = "Missing"        // there is none, or only a placeholder
	Damaged        Cause = "Damaged"        // the pair cannot be served
	NamesChanged   Cause = "NamesChanged"   // other names are wanted
	KeyChanged     Cause = "KeyChanged"     // another type of key is wanted
	ProfileChanged Cause = "ProfileChanged" // another profile is wanted
	IssuerChanged  Cause = "IssuerChanged"  // another CA is wanted
	RenewalDue     Cause = "RenewalDue"     // its time has come
)

// Wanted is what a certificate should be.
type Wanted struct {
	Names     []string // canonical: see CanonicalNames
	Key       KeyType
	Profile   string
	Directory string
}

// Issued is what is known of the one that is there, besides the pair itself.
type Issued struct {
	Profile, Directory string
	// RenewAt is the time chosen in the CA's window; zero where it has said none.
	RenewAt time.Time
}

// Decide says whether another certificate is needed now, and if not, when it will
// be. The error is that of Check for a pair that is Damaged.
func Decide(w Wanted, have Issued, p Pair, now time.Time) (Cause, time.Time, error) {
	if p.Empty() {
		return Missing, now, nil
	}
	info, err := Check(p, nil, now)
	if info.Placeholder {
		return Missing, now, nil
	}
	if now.Before(info.NotAfter) && err != nil || info.NotAfter.IsZero() {
		return Damaged, now, err
	}
	switch {
	case have.Directory != w.Directory:
		return IssuerChanged, now, nil
	case !slices.Equal(info.Names, w.Names):
		return NamesChanged, now, nil
	case info.Key != w.Key.OrDefault():
		return KeyChanged, now, nil
	case have.Profile != w.Profile:
		return ProfileChanged, now, nil
	}
	at := Backstop(info.NotBefore, info.NotAfter)
	// A CA may ask for an earlier time, and for a later one within reason: never
	// later than when a person would be called.
	if !have.RenewAt.IsZero() {
		at = have.RenewAt
		if latest := AlertTime(info.NotBefore, info.NotAfter); at.After(latest) {
			at = latest
		}
	}
	if !now.Before(at) {
		return RenewalDue, at, nil
	}
	return NoCause, at, nil
}
