// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestALineOfALogIsNoWayToAskForOthers: a line says who called, and anybody can write one.
func TestALineOfALogIsNoWayToAskForOthers(t *testing.T) {
	a := ask(t, town(t), nil)
	line := func(peer, host string) string {
		raw, err := json.Marshal(map[string]string{
			"method": "GET", "path": "/", "authority": host, "upstream_cluster": "inbound|80||", "response_code": "200", "protocol": "HTTP/1.1", "downstream_peer_uri_san": peer,
		})
		must(t, err)
		thing, err := json.Marshal(map[string]string{"thing": string(raw)})
		must(t, err)
		return string(thing)
	}
	status, _, text := a.do("dev", "POST", "/api/v1/explain", "application/json", line("spiffe://cluster.local/ns/till/sa/till", "till.till"))
	if status != 403 {
		t.Errorf("what till may call is answered %d %s", status, text)
	}
	// Who calls one's own is one's own to know.
	if text := a.post("dev", "/api/v1/explain", line("spiffe://cluster.local/ns/till/sa/till", "cart.cart")); !strings.Contains(text, `"now"`) {
		t.Errorf("a line of one's own proxy is answered %s", text)
	}
}

// TestWhatIsNotToBeSeenIsAsIfItWereNotThere: a name that somebody guesses tells nothing.
func TestWhatIsNotToBeSeenIsAsIfItWereNotThere(t *testing.T) {
	a := ask(t, town(t), nil)
	for _, question := range []string{"tree?goal=", "report?goal="} {
		status, _, guessed := a.do("nobody", "GET", "/api/v1/"+question+"guarded", "", "")
		otherStatus, _, made := a.do("nobody", "GET", "/api/v1/"+question+"invented", "", "")
		if status != otherStatus || strings.ReplaceAll(guessed, "guarded", "") != strings.ReplaceAll(made, "invented", "") {
			t.Errorf("%s: %d %s, and of what is not there %d %s", question, status, guessed, otherStatus, made)
		}
	}
}
