// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package output_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/cli/output"
)

func TestColumnsStandBelowEachOtherInColourToo(t *testing.T) {
	header := []string{"NAME", "WHY"}
	rows := func() []output.Row {
		return []output.Row{
			{Mood: output.Calm, Cells: []string{"bücher", "fine"}},
			{Mood: output.Waiting, Cells: []string{"b", ""}},
			{Mood: output.Alarming, Cells: []string{"c\x1b[2J\n", "a\tb"}},
		}
	}
	for colour, want := range map[bool]string{
		false: "NAME     WHY\nbücher   fine\nb        -\nc [2J    a b\n",
		true: "\x1b[1mNAME     \x1b[0mWHY\nbücher   fine\n\x1b[33mb        \x1b[0m-\n" +
			"\x1b[31mc [2J    \x1b[0ma b\n",
	} {
		var out bytes.Buffer
		if err := output.Table(&out, header, rows(), colour); err != nil || out.String() != want {
			t.Errorf("%v: %q, want %q", err, out.String(), want)
		}
	}
}

func TestTimesAreSaidAsSeenFromNow(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for d, want := range map[time.Duration]string{
		63*24*time.Hour + time.Hour: "in 63d", 50 * time.Hour: "in 2d2h", 90 * time.Minute: "in 1h30m", 5 * time.Minute: "in 5m",
		7 * time.Second: "in 7s", 0: "0s ago", -time.Hour: "1h0m ago", -240 * time.Hour: "10d ago",
	} {
		at := now.Add(d)
		if got := output.In(&at, now); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
	if got := output.In(nil, now); got != "" {
		t.Errorf("no time is %q", got)
	}
}

func TestALongTextIsBrokenBetweenWordsAndGoesOnBelowItself(t *testing.T) {
	for _, c := range []struct {
		text  string
		width int
		want  []string
	}{
		{"", 10, nil},
		{"one two three", 7, []string{"one two", "three"}},
		{"one two three", 6, []string{"one", "two", "three"}},
		{"an unbreakable-word here", 8, []string{"an", "unbreakable-word", "here"}},
		{"fünf für", 8, []string{"fünf für"}},
	} {
		if got := output.Wrap(c.text, c.width); !slices.Equal(got, c.want) {
			t.Errorf("%q in %d: %q", c.text, c.width, got)
		}
	}
	var out strings.Builder
	rows := []output.Row{{Cells: []string{"a", "one two"}}, {Cells: []string{"three"}, Continues: true}, {Cells: []string{"b", ""}}}
	if err := output.Table(&out, []string{"PART", "WHAT"}, rows, false); err != nil {
		t.Fatal(err)
	}
	if want := "PART   WHAT\na      one two\n       three\nb      -\n"; out.String() != want {
		t.Errorf("%q", out.String())
	}
}
