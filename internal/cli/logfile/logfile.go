// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package logfile reads access logs of proxies from files and streams, line by line and
// within bounds.
package logfile

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/document"
	"github.com/trellis-mesh/trellis/internal/mtls/diagnosis"
)

// Taker takes what is in a log: lines, of which each may hold several entries, and those
// that are too long to be read, with why. *diagnosis.Log is one.
type Taker interface {
	Add(at diagnosis.Place, text string, writer accesslog.Writer)
	Skip(at diagnosis.Place, why string)
}

// Read reads a file, or standard input where its name is that of a document there.
func Read(log Taker, name string, stdin io.Reader) (err error) {
	if name == document.Stdin {
		return Lines(log, "stdin", stdin, accesslog.Writer{})
	}
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return Lines(log, name, file, accesslog.Writer{})
}

// Lines adds what a reader has. Writer is the pod that wrote it where lines do not say it. Exporters write a document of OpenTelemetry as one
// line; one that somebody has made readable is taken as a whole.
func Lines(log Taker, name string, from io.Reader, writer accesslog.Writer) error {
	reader := bufio.NewReaderSize(from, 64<<10)
	head, err := reader.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if string(head) == "{\n" || string(head) == "{\r" {
		raw, err := io.ReadAll(io.LimitReader(reader, accesslog.MaxBatch+1))
		if err != nil {
			return err
		}
		var whole bytes.Buffer
		if json.Compact(&whole, raw) == nil {
			log.Add(diagnosis.Place{File: name, Line: 1}, whole.String(), writer)
			return nil
		}
		reader = bufio.NewReaderSize(io.MultiReader(bytes.NewReader(raw), reader), 64<<10)
	}
	for number := 1; ; number++ {
		text, long, err := readLine(reader)
		at := diagnosis.Place{File: name, Line: number}
		switch {
		case err != nil && !errors.Is(err, io.EOF):
			return err
		case long:
			log.Skip(at, accesslog.ErrTooLong.Error())
		default:
			log.Add(at, text, writer)
		}
		if err != nil {
			return nil
		}
	}
}

// readLine reads to the end of a line, and keeps no more of it than is ever read.
func readLine(from *bufio.Reader) (text string, long bool, err error) {
	var out []byte
	for {
		part, err := from.ReadSlice('\n')
		if long = long || len(out)+len(part) > accesslog.MaxBatch+1; !long {
			out = append(out, part...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return strings.TrimRight(string(out), "\r\n"), long, err
		}
	}
}
