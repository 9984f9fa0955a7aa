// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"iter"
	"strings"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
)

// What is kept of logs at most: with that, an answer takes seconds and less than a
// gigabyte.
const (
	MaxEntries = 200_000
	MaxBytes   = 128 << 20
)

// namedUnread is how many of the lines that cannot be read are named.
const namedUnread = 5

// Place is where a line is written. Line counts from 1.
type Place struct {
	File string `json:"file,omitempty"`
	Line int    `json:"line"`
}

// Unread is a line that could not be read. What is in it is not repeated: it may be
// anything.
type Unread struct {
	Place
	Why string `json:"why"`
}

// line is an entry and where it is written.
type line struct {
	*accesslog.Entry
	at Place
}

// Log is what was read of the logs of one or several proxies, in any order. The zero
// value is empty.
type Log struct {
	lines []line
	bytes int
	// Unread are the first of UnreadCount lines that could not be read.
	Unread      []Unread
	UnreadCount int
	// Others are what a proxy logs beside its access log.
	Others int
	// Beyond are lines that were left out, for there are too many.
	Beyond int
}

// Entries is how many entries were read.
func (l *Log) Entries() int { return len(l.lines) }

// All are the entries, in the order in which they were read. Read only.
func (l *Log) All() iter.Seq[*accesslog.Entry] {
	return func(yield func(*accesslog.Entry) bool) {
		for i := range l.lines {
			if !yield(l.lines[i].Entry) {
				return
			}
		}
	}
}

// Add reads one line. Writer is the pod that wrote it where the line does not say it.
func (l *Log) Add(at Place, text string, writer accesslog.Writer) {
	if strings.TrimSpace(text) == "" {
		return
	}
	if len(l.lines) >= MaxEntries || l.bytes+len(text) > MaxBytes {
		l.Beyond++
		return
	}
	entries, errs := accesslog.ParseAll(text)
	if len(entries) == 0 && accesslog.Own(text) {
		l.Others++
		return
	}
	l.bytes += len(text)
	for _, e := range entries {
		if len(l.lines) >= MaxEntries {
			l.Beyond++
			continue
		}
		if e.Writer == (accesslog.Writer{}) {
			e.Writer = writer
		}
		l.lines = append(l.lines, line{e, at})
	}
	for _, err := range errs {
		l.Skip(at, err.Error())
	}
}

// Skip notes a line that cannot be read.
func (l *Log) Skip(at Place, why string) {
	l.UnreadCount++
	if len(l.Unread) < namedUnread {
		l.Unread = append(l.Unread, Unread{at, strings.TrimPrefix(why, "reading a line of an access log: ")})
	}
}
