// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	acmez "github.com/mholt/acmez/v3/acme"

	"github.com/trellis-mesh/trellis/internal/certificate"
)

// How often a CA is asked about renewal (RFC 9773 §4.3): by its own word, within a
// minute and a day; without one, four times a day.
const (
	defaultRenewalPoll = 6 * time.Hour
	minRenewalPoll     = time.Minute
	maxRenewalPoll     = 24 * time.Hour
	// directoryLife is how long a directory is believed.
	directoryLife = 12 * time.Hour
)

// idle decides whether there is something to do.
func (r *run) idle() {
	cause, at := r.decide()
	if cause != certificate.NoCause {
		r.Cause = cause
		if r.spec.Preflight != "" && r.Preflighted != r.spec.preflightDigest() {
			r.beginPreflight()
			return
		}
		r.register()
		return
	}
	r.Phase, r.Cause, r.Attempts, r.Retries, r.LastError = Issued, certificate.NoCause, 0, 0, nil
	if r.Renewal == nil || !r.now.Before(r.Renewal.NextPoll) {
		r.askRenewal()
		// Another window may mean that the time is now.
		_, at = r.decide()
	}
	if r.actions.RetryAt = nextSecond(r.Renewal.NextPoll); at.Before(r.actions.RetryAt) {
		r.actions.RetryAt = nextSecond(at)
	}
	r.actions.Again = !r.now.Before(at)
}

func (r *run) decide() (certificate.Cause, time.Time) {
	wanted := certificate.Wanted{Names: r.spec.Names, Key: r.spec.Key, Profile: r.spec.Profile, Directory: r.spec.Directory}
	if r.recognise(); r.replaced() {
		return Replaced, r.now
	}
	// What is known of no certificate says nothing against it.
	have := certificate.Issued{Profile: r.spec.Profile, Directory: r.spec.Directory}
	renew := r.spec.Renew
	if r.Issued != nil {
		have.Profile, have.Directory, renew = r.Issued.Profile, r.Issued.Directory, r.Issued.Renew
	}
	if r.Renewal != nil && r.Renewal.At != nil {
		have.RenewAt = *r.Renewal.At
	}
	cause, at, err := certificate.Decide(wanted, have, r.secrets.Pair, r.now)
	if err != nil {
		r.Warnings = []string{clean(err.Error())}
	}
	if cause == certificate.NoCause && renew != r.spec.Renew {
		return Requested, r.now
	}
	return cause, at
}

// Requested is the cause of an issue that Spec.Renew asked for.
const Requested certificate.Cause = "Requested"

// Replaced is the cause of an issue in the place of a pair that somebody else put
// into that of the last one.
const Replaced certificate.Cause = "Replaced"

// Recognises reports whether a pair is the one that was issued. Where none is known
// to have been, it is any that an authority may have signed.
func (c *Certificate) Recognises(info certificate.Info) bool {
	if c == nil {
		return !info.SelfSigned
	}
	return c.KeyFingerprint == info.KeyFingerprint && c.Serial == info.Serial
}

func (r *run) replaced() bool {
	info, err := certificate.Check(r.secrets.Pair, nil, r.now)
	return err == nil && !info.Placeholder && !r.Issued.Recognises(info)
}

// recognise takes a pair over where this State knows of none, as after somebody
// deleted the object that held it: a good certificate is no reason to order another.
func (r *run) recognise() {
	info, err := certificate.Check(r.secrets.Pair, nil, r.now)
	if err != nil || info.Placeholder || r.Issued != nil || info.SelfSigned {
		return
	}
	chain, err := certificate.ParseChain(r.secrets.Pair.Chain)
	if err != nil {
		return
	}
	r.Issued, r.Renewal = r.describe(info), nil
	if r.secrets.PairFrom != "" {
		r.Issued.Directory = r.secrets.PairFrom
	}
	// Those of CAs without it have no id.
	if len(chain[0].AuthorityKeyId) > 0 {
		r.Issued.ID, _ = acmez.ARIUniqueIdentifier(chain[0])
	}
}

// askRenewal asks the CA when to renew. Whatever goes wrong, the backstop holds.
func (r *run) askRenewal() {
	if r.Renewal == nil {
		r.Renewal = &Renewal{}
	}
	window, explanation, err := r.renewalInfo()
	next := defaultRenewalPoll
	if asked := r.exchange.wait(); asked > 0 {
		next = min(max(asked, minRenewalPoll), maxRenewalPoll)
	}
	r.Renewal.NextPoll, r.Renewal.LastError = r.now.Add(next), ""
	switch {
	case errors.Is(err, acmez.ErrUnsupported):
		return
	case err != nil:
		r.Renewal.LastError = clean(r.exchange.failureOf(err).Detail)
		return
	}
	r.Renewal.Explanation = explanation
	if r.Renewal.Start != nil && r.Renewal.Start.Equal(window.Start) && r.Renewal.End.Equal(window.End) {
		return
	}
	at := window.Choose(r.engine.options.Random())
	r.Renewal.Start, r.Renewal.End, r.Renewal.At = &window.Start, &window.End, &at
}

func (r *run) renewalInfo() (certificate.Window, string, error) {
	var none certificate.Window
	if r.Issued == nil || r.Issued.ID == "" {
		return none, "", acmez.ErrUnsupported
	}
	directory, err := r.client().read(r.ctx, r.now)
	if err != nil {
		return none, "", err
	}
	if directory.RenewalInfo == "" {
		return none, "", acmez.ErrUnsupported
	}
	body, err := r.client().get(r.ctx, strings.TrimSuffix(directory.RenewalInfo, "/")+"/"+r.Issued.ID)
	if err != nil {
		return none, "", err
	}
	return parseRenewalInfo(body)
}

func parseRenewalInfo(body []byte) (certificate.Window, string, error) {
	var doc struct {
		SuggestedWindow struct{ Start, End time.Time } `json:"suggestedWindow"`
		ExplanationURL  string                         `json:"explanationURL"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return certificate.Window{}, "", errors.New("reading the CA's renewal information: " + clean(err.Error()))
	}
	window := certificate.Window{Start: doc.SuggestedWindow.Start.UTC(), End: doc.SuggestedWindow.End.UTC()}
	if !window.Valid() {
		return certificate.Window{}, "", errors.New("reading the CA's renewal information: its window does not begin before it ends")
	}
	// Whole seconds, so that what was stored compares equal; no window is empty.
	window.Start, window.End = window.Start.Truncate(time.Second), window.End.Truncate(time.Second)
	if !window.End.After(window.Start) {
		window.End = window.Start.Add(time.Second)
	}
	if !httpsURL(doc.ExplanationURL) {
		doc.ExplanationURL = ""
	}
	return window, doc.ExplanationURL, nil
}

// read gets the whole directory, which the library sees a part of.
func (c *client) read(ctx context.Context, now time.Time) (acmez.Directory, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.directory.NewOrder != "" && now.Sub(c.readAt) < directoryLife {
		return c.directory, nil
	}
	body, err := c.get(context.WithValue(ctx, wholeKey{}, true), c.Directory)
	if err != nil {
		return acmez.Directory{}, err
	}
	var d acmez.Directory
	if err := json.Unmarshal(body, &d); err != nil {
		return acmez.Directory{}, errors.New("reading the CA's directory: " + clean(err.Error()))
	}
	c.directory, c.readAt = d, now
	return d, nil
}

// get is for what needs no account. The transport bounds what comes.
func (c *client) get(ctx context.Context, from string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	if c.UserAgent != "" {
		req.Header.Set("User-Agent", c.UserAgent)
	}
	resp, err := c.HTTPClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New("asking the CA: " + resp.Status)
	}
	return body, nil
}
