// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	acmez "github.com/mholt/acmez/v3/acme"

	"github.com/trellis-mesh/trellis/internal/acme/limit"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func specOf(names ...string) Spec {
	return Spec{Directory: "https://ca.example/dir", Names: names, Challenge: DNS01}
}

func TestAStateWithoutSenseIsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON":                 `{`,
		"an unknown phase":        `{"phase":"Dreaming"}`,
		"no order":                `{"phase":"Validating"}`,
		"an order without a URL":  `{"phase":"Issuing","order":{}}`,
		"a negative count":        `{"attempts":-1}`,
		"too many authorizations": `{"phase":"Ordering","order":{"authorizations":[` + strings.Repeat(`{},`, 300) + `{}]}}`,
		"too much":                `{"for":"` + strings.Repeat("x", maxStateSize) + `"}`,
		"a date that is none":     `{"nextTry":"tomorrow"}`,
	} {
		if _, err := DecodeState([]byte(text)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// refusing is a CA that nobody may reach.
type refusing struct{ t *testing.T }

func (r refusing) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("the network is down")
}

func FuzzAStateIsReadAndSteppedWithoutPanic(f *testing.F) {
	for _, s := range []State{
		{},
		{Phase: Waiting, NextTry: &noon, LastError: &Failure{Type: "caa"}},
		{Phase: Validating, Account: "https://ca.example/1", Order: &Order{URL: "https://ca.example/o", Presented: true,
			Authorizations: []Authorization{{URL: "https://ca.example/a", Status: "pending", Name: "a.example.com", Challenge: DNS01}}}},
		{Phase: Downloading, Order: &Order{URL: "https://ca.example/o", Certificate: "https://ca.example/c"}},
		{Phase: Issued, Issued: &Certificate{Names: []string{"a.example.com"}, NotAfter: noon}, Renewal: &Renewal{Start: &noon, NextPoll: noon}},
	} {
		text, err := json.Marshal(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"order":{"authorizations":[]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := DecodeState(text)
		if err != nil {
			return
		}
		again, err := json.Marshal(s)
		if err != nil {
			// Years beyond 9999 are read from "+10000-…" by nobody.
			t.Fatalf("what was read cannot be written: %v", err)
		}
		// An empty list is the same as none, so the texts are compared.
		back, err := DecodeState(again)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v\n%s", err, again)
		}
		if third, err := json.Marshal(back); err != nil || !bytes.Equal(third, again) {
			t.Errorf("%v: %s became %s", err, again, third)
		}
		e := New(Options{Ledger: limit.NewLedger(limit.LetsEncrypt), Transport: refusing{t}, Now: func() time.Time { return noon }})
		after, _, err := e.Step(context.Background(), specOf("a.example.com"), s, Secrets{})
		if err != nil {
			return
		}
		if err := after.check(); err != nil {
			t.Errorf("a step led to a state without sense: %v", err)
		}
	})
}

func FuzzAProblemIsReadWithoutPanic(f *testing.F) {
	f.Add(400, []byte(`{"type":"urn:ietf:params:acme:error:compound","subproblems":[{"type":"urn:ietf:params:acme:error:caa","detail":"no","identifier":{"type":"dns","value":"a.example.com"}}]}`))
	f.Add(503, []byte("<html>\x00\xff"))
	f.Add(200, []byte(`{"type":1}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		p := parseProblem(status, body)
		for _, text := range []string{p.Type, p.Detail, p.Name} {
			if len(text) > maxDetail || !utf8.ValidString(text) || strings.ContainsAny(text, "\n\r\x00\x1b") {
				t.Errorf("%q is not fit to be shown", text)
			}
		}
	})
}

func FuzzRenewalInformationIsReadWithoutPanic(f *testing.F) {
	f.Add([]byte(`{"suggestedWindow":{"start":"2026-01-01T00:00:00Z","end":"2026-01-02T00:00:00Z"},"explanationURL":"https://ca.example"}`))
	f.Add([]byte(`{"suggestedWindow":{"start":"0000-01-01T00:00:00Z","end":"9999-12-31T23:59:59.999Z"}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		w, url, err := parseRenewalInfo(body)
		if err != nil {
			return
		}
		for _, random := range []float64{0, 0.999} {
			if at := w.Choose(random); at.Before(w.Start) || at.After(w.End) {
				t.Errorf("%s is outside of %v", at, w)
			}
		}
		if url != "" && !strings.HasPrefix(strings.ToLower(url), "https://") {
			t.Errorf("%q would be shown as a link", url)
		}
	})
}

func TestAProblemSaysWhatItIsAbout(t *testing.T) {
	f := parseProblem(403, []byte(`{"type":"urn:ietf:params:acme:error:compound","detail":"Errors","subproblems":[
		{"type":"urn:ietf:params:acme:error:malformed","detail":"no","identifier":{"type":"dns","value":"_b"}},
		{"type":"urn:ietf:params:acme:error:rejectedIdentifier","detail":"never","identifier":{"type":"dns","value":"c"}}]}`))
	if f.Type != "rejectedIdentifier" || !f.Permanent || f.Name != "_b" || !strings.Contains(f.Detail, "never") {
		t.Errorf("%+v", f)
	}
	if f := parseProblem(502, []byte("<html>bad gateway")); f.Type != TypeConnection || !transient(f) || f.Permanent {
		t.Errorf("%+v", f)
	}
}

func TestRetryAfterIsSecondsOrADate(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"0": 0, "120": 2 * time.Minute, "-5": 0, "soon": 0, "": 0, "1e3": 0,
		"Mon, 23 Nov 2026 13:00:00 GMT": time.Hour,
		"Mon, 23 Nov 2020 13:00:00 GMT": 0,
		"Mon, 23 Nov 2099 13:00:00 GMT": maxRetryAfter,
		"99999999999":                   maxRetryAfter,
	} {
		if got := retryAfter(value, noon); got != want {
			t.Errorf("%q is %s, want %s", value, got, want)
		}
	}
}

func TestNothingIsPublishedThatTheCAMadeUp(t *testing.T) {
	spec := specOf("a.example.com")
	good := strings.Repeat("a", 43)
	for name, test := range map[string]struct {
		identifier, token string
		challenge         ChallengeType
		wildcard, ok      bool
	}{
		"what was ordered":      {"a.example.com", good, HTTP01, false, true},
		"another name":          {"admin.example.com", good, HTTP01, false, false},
		"a wildcard instead":    {"a.example.com", good, DNS01, true, false},
		"a path for a token":    {"a.example.com", "../../../../../../admin", HTTP01, false, false},
		"a short token":         {"a.example.com", "abc", HTTP01, false, false},
		"a token with a line":   {"a.example.com", good + "\n", DNS01, false, false},
		"a name that is none":   {"a.example.com/x", good, DNS01, false, false},
		"no issuer for a grant": {"a.example.com", "", DNSPersist01, false, false},
	} {
		spec.Challenge = test.challenge
		var a Authorization
		f := a.read(acmez.Authorization{
			Status: "pending", Identifier: acmez.Identifier{Type: "dns", Value: test.identifier}, Wildcard: test.wildcard,
			Challenges: []acmez.Challenge{{Type: string(test.challenge), Token: test.token, URL: "https://ca.example/c"}},
		}, spec)
		if (f == nil) != test.ok {
			t.Errorf("%s: %v", name, f)
		}
	}
}

// TestChallengesAreWhatTheStandardsSay computes the answers of RFC 8555 §8 by hand.
func TestChallengesAreWhatTheStandardsSay(t *testing.T) {
	token, thumbprint := "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA", "9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
	sum := sha256.Sum256([]byte(token + "." + thumbprint))
	s := State{Phase: Presenting, AccountKey: thumbprint, Account: "https://ca.example/acct/1", Order: &Order{Authorizations: []Authorization{
		{Status: "pending", Name: "h.example.com", Challenge: HTTP01, Token: token},
		{Status: "pending", Name: "d.example.com", Challenge: DNS01, Digest: base64.RawURLEncoding.EncodeToString(sum[:])},
		{Status: "valid", Name: "v.example.com", Challenge: DNS01, Digest: "old"},
		{Status: "pending", Name: "p.example.com", Challenge: DNSPersist01, Issuer: "ca.example"},
		{Status: "pending", Name: "p.example.com", Wildcard: true, Challenge: DNSPersist01, Issuer: "ca.example"},
	}}}
	want := []Challenge{
		{Type: DNS01, Name: "d.example.com", RecordName: "_acme-challenge.d.example.com", Value: base64.RawURLEncoding.EncodeToString(sum[:])},
		{Type: HTTP01, Name: "h.example.com", Path: "/.well-known/acme-challenge/" + token, Body: token + "." + thumbprint},
		{Type: DNSPersist01, Name: "p.example.com", RecordName: "_validation-persist.p.example.com", Standing: true,
			Value: "ca.example; accounturi=https://ca.example/acct/1; policy=wildcard"},
	}
	if got := s.Challenges(); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant\n%+v", got, want)
	}
	s.Phase = Finalizing
	if got := s.Challenges(); len(got) != 0 {
		t.Errorf("%+v is published after it was proven", got)
	}
}
