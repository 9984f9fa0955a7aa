// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package route53

import (
	"regexp"
	"strings"
	"testing"

	"golang.org/x/time/rate"
)

func TestAllWhoShareAnAccountShareFourRequestsASecond(t *testing.T) {
	for name, c := range map[string]struct {
		a, b   Config
		shared bool
	}{
		"what the process has":         {Config{}, Config{Region: "eu-west-1"}, true},
		"one key":                      {Config{AccessKeyID: "AKIA1"}, Config{AccessKeyID: "AKIA1"}, true},
		"two keys":                     {Config{AccessKeyID: "AKIA1"}, Config{AccessKeyID: "AKIA2"}, false},
		"two roles of one account":     {Config{RoleARN: "arn:aws:iam::123456789012:role/a"}, Config{RoleARN: "arn:aws:iam::123456789012:role/b", AccessKeyID: "AKIA1"}, true},
		"roles of different accounts":  {Config{RoleARN: "arn:aws:iam::123456789012:role/a"}, Config{RoleARN: "arn:aws:iam::210987654321:role/a"}, false},
		"a role that is no role's ARN": {Config{RoleARN: "role"}, Config{}, true},
	} {
		a, b := bucket(c.a), bucket(c.b)
		if (a == b) != c.shared {
			t.Errorf("%s: shared is %v, want %v", name, a == b, c.shared)
		}
		if l, ok := a.(*rate.Limiter); !ok || l.Limit() != 4 || l.Burst() != 1 {
			t.Errorf("%s: the limiter is %+v", name, a)
		}
	}
}

// wireText is what the Developer Guide allows in the value of a TXT record.
var wireText = regexp.MustCompile(`^"([ !#-\[\]-~]|\\["\\]|\\[0-3][0-7]{2})*"( "([ !#-\[\]-~]|\\["\\]|\\[0-3][0-7]{2})*")*$`)

func FuzzTextsComeBackAsTheyWere(f *testing.F) {
	for _, s := range []string{"", "a", `"`, `\`, `\"`, "\x00\xff", "ü", strings.Repeat("x", 255), strings.Repeat("\"", 256)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		value := quote(text)
		if !wireText.MatchString(value) {
			t.Errorf("%q is written as %s", text, value)
		}
		if back := unquote(value); back != text {
			t.Errorf("%q came back as %q", text, back)
		}
		// Whatever else comes does not panic.
		unquote(text)
		unescape(text)
	})
}

func FuzzNamesComeBackAsTheyWere(f *testing.F) {
	f.Add("*.example.test")
	f.Add(`a\052`)
	f.Fuzz(func(t *testing.T, name string) {
		if back := unescape(escapeName(name)); back != strings.TrimSuffix(name, ".") {
			t.Errorf("%q came back as %q", name, back)
		}
	})
}

func TestWhatChangesFromAnswerToAnswerIsLeftOut(t *testing.T) {
	for is, want := range map[string]string{
		"https response error StatusCode: 403, RequestID: 5c1f-aa, AccessDenied":              "https response error StatusCode: 403, AccessDenied",
		"User: arn:aws:sts::1:assumed-role/dns/1700000000000000000 is not authorized":         "User: arn:aws:sts::1:assumed-role/dns is not authorized",
		"denied. Encoded authorization failure message: abcDEF-123_xyz":                       "denied.",
		"read tcp 10.0.0.1:43210->192.0.2.1:443: connection reset by peer":                    "read tcp 192.0.2.1:443: connection reset by peer",
		"the request 1b4e28ba-2fa1-11d2-883f-0016d3cca427 was not found":                      "the request … was not found",
		"[Tried to create resource record set [name='a.', type='A'] but it already exists]":   "[Tried to create resource record set [name='a.', type='A'] but it already exists]",
		"User: arn:aws:iam::1:user/dns is not authorized to perform: route53:ListHostedZones": "User: arn:aws:iam::1:user/dns is not authorized to perform: route53:ListHostedZones",
	} {
		if got := steady(is); got != want {
			t.Errorf("%q became %q, want %q", is, got, want)
		}
	}
}
