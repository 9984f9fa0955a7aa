// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package atom

import "strings"

const (
	lower  = "xabcdefghijklmnopqrstuvwyz"
	upper  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits = "0123456789"
	// unread are characters of paths that no proxy reads as anything else.
	unread = lower + digits + "-_.~" + upper + "!$&'()*+,=:@"
)

func behind(completions ...string) func(string, Kind) []string {
	return func(text string, kind Kind) []string {
		var out []string
		for _, c := range completions {
			if kind == Suffix {
				out = append(out, c+text)
				continue
			}
			out = append(out, text+c)
		}
		return out
	}
}

// OtherPort is the port of hosts that are written with one where it makes no
// difference which.
const OtherPort = ":443"

// The languages of what requests have. Read only.
var (
	// Hosts are names of hosts, which clients may write with a port.
	Hosts = Language{
		Text: `[a-z0-9-]+(?:\.[a-z0-9-]+)*(?::[0-9]+)?`, Alphabet: lower + digits + ".-:",
		Other: behind("any-other", "any-other.example", ".any-other.example", "any-other.", OtherPort, strings.TrimPrefix(OtherPort, ":")),
	}
	// Paths are paths as proxies normalise them; beyond are those that clients may send.
	Paths = Language{
		// As normalised: no empty segment but the last, none of dots.
		Text:     `/|(?:/(?:[^/.;%\\][^/;%\\]*|\.[^/.;%\\][^/;%\\]*|\.\.[^/;%\\]+))+/?`,
		Alphabet: "/" + unread, Preferred: []string{"/"},
		Other: behind("any-other", "/any-other"),
		Beyond: &Language{
			Text: `/[^\x00- ?#]*`, Alphabet: "/;" + unread + `\%`, Other: behind("any-other"),
		},
	}
	// Methods are methods.
	Methods = Language{
		Text: `[A-Z]+`, Alphabet: "X" + upper, Other: behind("X", "OTHER"),
		Preferred: []string{"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"},
	}
	// Identities are SPIFFE IDs of workloads.
	Identities = Language{
		Text:     `spiffe://[a-z0-9.-]+/ns/[a-z0-9-]+/sa/[a-z0-9.-]+`,
		Alphabet: lower + digits + "-./:",
		Other: func(text string, kind Kind) []string {
			if kind == Suffix {
				return behind("spiffe://cluster.local/ns/any-other/sa/any-other", "spiffe://cluster.local/ns/any-other/sa", "spiffe://cluster.local")(text, kind)
			}
			return behind("any-other", "/any-other", "any-other/sa/any-other", "/sa/any-other", "ns/any-other/sa/any-other",
				"spiffe://cluster.local/ns/any-other/sa/any-other", "any-other/ns/any-other/sa/any-other")(text, kind)
		},
	}
	// Addresses are addresses of clients.
	Addresses = Language{Text: `[0-9a-f.:]+`, Alphabet: digits + "abcdef.:", Preferred: []string{"203.0.113.10"}, Other: behind("203.0.113.10")}
	// HeaderValues are values of headers.
	HeaderValues = Language{Text: `[!-~](?:[ -~]*[!-~])?`, Alphabet: lower + digits + "-_./" + upper + " ,:=@", Other: behind("any-other")}
	// ParameterValues are values of parameters of a query.
	ParameterValues = Language{
		Text: `[a-zA-Z0-9._~-]+`, Alphabet: lower + digits + "-_.~" + upper, Other: behind("any-other"),
	}
	// Issuers are issuers of tokens.
	Issuers = Language{Text: `[!-~]+`, Alphabet: lower + digits + "-_./:" + upper, Other: behind("https://any-other-issuer.example")}
	// ClaimValues are values of claims.
	ClaimValues = Language{Text: `[!-~]+`, Alphabet: lower + digits + "-_./:@" + upper, Other: behind("any-other")}
)
