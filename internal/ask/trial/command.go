// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package trial

import (
	"encoding/json"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/trellis-mesh/trellis/internal/ask"
)

// Command is the command line that asks about a request of a test and shows every
// step of it. FILES stands for those of the mesh.
func Command(r *ask.Request) string {
	words := []string{"trellis", "can", "-v", "-f", "FILES"}
	if r.From != nil {
		words = append(words, "--from", r.From.String())
	}
	if r.Claims != nil {
		// protojson varies its spaces.
		if raw, err := protojson.Marshal(r.Claims); err == nil {
			var value any
			if json.Unmarshal(raw, &value) == nil {
				if raw, err = json.Marshal(value); err == nil {
					words = append(words, "--claims", string(raw))
				}
			}
		}
	}
	for _, h := range r.Headers {
		words = append(words, "-H", h.Name+": "+h.Value)
	}
	if r.Method != "" {
		words = append(words, r.Method)
	}
	words = append(words, r.URL.Scheme+"://"+r.URL.Host+r.Target)
	for i, word := range words {
		words[i] = quoted(word)
	}
	return strings.Join(words, " ")
}

// quoted is a word of a POSIX shell.
func quoted(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=,@%+", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
