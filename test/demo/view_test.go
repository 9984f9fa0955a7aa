// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAFileGetsPlainText(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	v := newView(file)
	v.title("title")
	v.row(row{right: true, who: "anybody", request: "GET /", credential: "-", answer: "200", says: "because"})
	v.row(row{who: "anybody", request: "GET /x", credential: "-", answer: "200", says: "because"})
	v.block("one\n\ntwo\n")
	text, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "\x1b") || strings.Contains(string(text), " \n") {
		t.Errorf("control sequences or trailing blanks:\n%q", text)
	}
	for _, line := range []string{"title\n", " ok   anybody      GET / ", "\nWRONG anybody      GET /x ", "\n     one\n\n     two\n"} {
		if !strings.Contains(string(text), line) {
			t.Errorf("%q is not in\n%s", line, text)
		}
	}
}

func TestATerminalGetsColours(t *testing.T) {
	var out strings.Builder
	(&view{out: &out, colours: true}).row(row{right: true})
	if !strings.Contains(out.String(), "\x1b[32m") {
		t.Errorf("no green in %q", out.String())
	}
}

func TestProgressShowsEachLineBeforeItEnds(t *testing.T) {
	var out strings.Builder
	writer, end := (&view{out: &out}).progress()
	fmt.Fprintf(writer, "one\n%s\ntwo\n", strings.Repeat("x", 100_000))
	end()
	if !strings.HasPrefix(out.String(), "   one\n") {
		t.Errorf("got %.60q", out.String())
	}
}

// notices is a writer that tells of each write.
type notices chan string

func (n notices) Write(text []byte) (int, error) {
	select {
	case n <- string(text):
	default:
	}
	return len(text), nil
}

func TestLongWorkIsSaidToGoOn(t *testing.T) {
	out := make(notices, 1)
	end := (&view{out: out}).patient(time.Millisecond)
	if text := <-out; !strings.Contains(text, "still working") {
		t.Errorf("got %q", text)
	}
	end()
}

func TestFlagsOfTheChartKeepTheirOrder(t *testing.T) {
	got := override([]string{"--a=1", "--leader-elect", "--b="}, map[string]string{"--b": "2", "--c": "3"})
	if want := "--a=1 --leader-elect --b=2"; strings.Join(got, " ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAnExampleThatNoLongerHasTheEditedLineIsAnError(t *testing.T) {
	for _, text := range []string{"", "line\nline\n"} {
		if _, err := replaced([]byte(text), "line", "other"); err == nil {
			t.Errorf("%q was changed", text)
		}
	}
	got, err := replaced([]byte("a line\n"), "line", "word")
	if err != nil || string(got) != "a word\n" {
		t.Errorf("%q, %v", got, err)
	}
}
