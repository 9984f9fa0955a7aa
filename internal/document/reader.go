// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package document

import (
	"bytes"
	"strings"
	"sync"
)

// How much is parsed before its turn comes: more documents than there are cores, so
// that a long one keeps none of them idle, and few enough for what is parsed in vain,
// beyond a bound or of kinds that are not read, to take little memory.
const (
	aheadDocuments = 64
	aheadBytes     = 2 * MaxObjectBytes
)

// reader splits files into documents, has these parsed at the same time, and gives
// them to the Set in order. All but parsing is done by one goroutine.
type reader struct {
	set     *Set
	options Options
	bytes   int64
	// waiting are the documents that the Set was not given yet, of ahead bytes.
	waiting []pending
	ahead   int
	parsing sync.WaitGroup
}

// pending is a document whose turn has not come.
type pending struct {
	*text
	in   *file
	size int
}

// file is one file of those that are read.
type file struct {
	// over says that what follows in it is not read.
	over bool
}

// split takes a file's documents one by one.
func (r *reader) split(name string, raw []byte) {
	offset, in := 0, &file{}
	for len(raw) > 0 && !in.over {
		end := nextDocument(raw)
		breaks := bytes.Count(raw[:end], []byte{'\n'})
		t := &text{file: name, offset: offset, lines: breaks}
		if raw[end-1] != '\n' {
			t.lines++
		}
		r.start(t, raw[:end])
		r.waiting = append(r.waiting, pending{t, in, end})
		r.ahead += end
		for len(r.waiting) >= aheadDocuments || r.ahead > aheadBytes {
			r.take()
		}
		offset += breaks
		raw = raw[end:]
	}
}

// nextDocument is where the next document begins: at a line of three dashes
// that is not the first. The dashes stay with the document that they begin.
func nextDocument(raw []byte) int {
	for at := 0; ; {
		eol := bytes.IndexByte(raw[at:], '\n')
		if eol < 0 {
			return len(raw)
		}
		at += eol + 1
		line := raw[at:]
		if bytes.HasPrefix(line, []byte("---")) && (len(line) == 3 || strings.IndexByte(" \t\r\n", line[3]) >= 0) {
			return at
		}
	}
}

// start begins to parse a document, unless it is known to be beyond a bound.
func (r *reader) start(t *text, raw []byte) {
	// A list's kind ends with its name. Looking for the word costs nothing, and
	// reading megabytes of something else does.
	large := len(raw) > MaxObjectBytes && !bytes.Contains(raw, []byte("List"))
	if large || r.set.total >= MaxDocuments {
		return
	}
	t.content = r.options.Known.content(raw)
	r.parsing.Go(func() { t.content.prepare(r.options.Scope) })
}

// take gives the Set the first of the documents that wait.
func (r *reader) take() {
	first, had := r.waiting[0], len(r.set.Objects)
	r.waiting = r.waiting[1:]
	r.ahead -= first.size
	switch {
	case first.in.over:
	case r.set.total >= MaxDocuments:
		r.set.tooMany(first.line(1))
		first.in.over = true
	default:
		r.set.take(first.text, r.options)
	}
	if len(r.set.Objects) == had {
		r.options.Known.forget(first.content)
	}
}

func (r *reader) takeAll() {
	for len(r.waiting) > 0 {
		r.take()
	}
}
