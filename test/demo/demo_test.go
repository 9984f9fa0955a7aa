// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strings"
	"testing"
	"time"
)

// TestEveryAnswerOfTheDemoIsWhatTheDocumentsSay runs what make demo runs.
func TestEveryAnswerOfTheDemoIsWhatTheDocumentsSay(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	var out strings.Builder
	err := run(ctx, &view{out: &out}, true)
	t.Log("\n" + out.String())
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "\n ok   "); n < 20 {
		t.Errorf("only %d requests were made", n)
	}
}
