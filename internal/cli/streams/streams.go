// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package streams holds a command's input and outputs, and whether people read
// them in colour. It is the only place of the CLI that looks at the terminal.
package streams

import (
	"bytes"
	"io"
	"os"
)

// Streams are where a command reads and writes.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
	// OutColour and ErrColour say whether to colour what goes there.
	OutColour bool
	ErrColour bool
	// OutTerminal and ErrTerminal say whether what was written there can be written
	// over: a terminal, and not a dumb one.
	OutTerminal bool
	ErrTerminal bool
}

// System are the process's own streams. Colours are for terminals, unless
// NO_COLOR (https://no-color.org) is set or TERM is dumb.
func System() *Streams {
	smart := os.Getenv("TERM") != "dumb"
	s := &Streams{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		OutTerminal: smart && terminal(os.Stdout),
		ErrTerminal: smart && terminal(os.Stderr),
	}
	colours := os.Getenv("NO_COLOR") == ""
	s.OutColour, s.ErrColour = colours && s.OutTerminal, colours && s.ErrTerminal
	return s
}

// Buffers are streams for tests, without colours.
func Buffers(in string) (s *Streams, out, err *bytes.Buffer) {
	out, err = &bytes.Buffer{}, &bytes.Buffer{}
	return &Streams{In: bytes.NewBufferString(in), Out: out, Err: err}, out, err
}

func terminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
