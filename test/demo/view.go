// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// The styles of a terminal (ECMA-48 SGR). In a pipe there are none.
const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "32"
	cyan  = "36"
)

// view prints the story. Its methods may be called concurrently.
type view struct {
	mu      sync.Mutex
	out     io.Writer
	colours bool
}

// newView writes in colour to a terminal that wants it (no-color.org).
func newView(out *os.File) *view {
	info, err := out.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	return &view{out: out, colours: terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

func (v *view) style(code, text string) string {
	if !v.colours || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (v *view) print(text string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	fmt.Fprint(v.out, text)
}

func (v *view) title(text string) { v.print(v.style(bold, text) + "\n") }

func (v *view) chapter(number int, text string) {
	v.print("\n" + v.style(bold, fmt.Sprintf("%d. %s", number, text)) + "\n")
}

// line prints one indented line.
func (v *view) line(format string, arguments ...any) {
	v.print("   " + fmt.Sprintf(format, arguments...) + "\n")
}

// note prints a remark that is no part of the story's actions.
func (v *view) note(format string, arguments ...any) {
	v.print("   " + v.style(dim, fmt.Sprintf(format, arguments...)) + "\n")
}

// command prints a command as a person would type it.
func (v *view) command(text string) { v.print("   " + v.style(cyan, "$ "+text) + "\n") }

// block prints the lines of a longer text, indented.
func (v *view) block(text string) {
	for line := range strings.Lines(strings.TrimRight(text, "\n")) {
		v.print(strings.TrimRight("     "+line, " \n") + "\n")
	}
}

// difference prints the two sides of a changed line.
func (v *view) difference(before, after string) {
	v.print("     " + v.style(red, "- "+before) + "\n     " + v.style(green, "+ "+after) + "\n")
}

// progress returns a writer whose lines appear dimmed, and a function that ends it.
func (v *view) progress() (writer io.Writer, end func()) {
	reader, pipe := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for scanner := bufio.NewScanner(reader); scanner.Scan(); {
			v.note("%s", scanner.Text())
		}
		// A line that is too long for the scanner must not block its writer.
		_, _ = io.Copy(io.Discard, reader)
	}()
	return pipe, func() {
		_ = pipe.Close()
		<-done
	}
}

// patient says at every pause that work goes on, until the returned function is
// called: the Go compiler works for minutes without a word.
func (v *view) patient(pause time.Duration) (end func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	started := time.Now()
	go func() {
		defer close(ended)
		ticker := time.NewTicker(pause)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				v.note("… still working, after %.0f s", time.Since(started).Seconds())
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// row is one line of the table of requests.
type row struct {
	right                    bool
	who, request, credential string
	answer, says             string
}

// widths of the table's columns; longer cells push the rest to the right.
const tableFormat = "%-12s %-47s %-22s %-8s "

func (v *view) header() {
	v.print("      " + v.style(dim, fmt.Sprintf(tableFormat, "from", "request", "token", "answer")+"because") + "\n")
}

func (v *view) row(r row) {
	mark := v.style(green, " ok  ")
	if !r.right {
		mark = v.style(red, "WRONG")
	}
	v.print(mark + " " + fmt.Sprintf(tableFormat, r.who, r.request, r.credential, r.answer) + r.says + "\n")
}
