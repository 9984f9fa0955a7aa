// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
)

// line is what a proxy logged of a request; peer is "-" without mutual TLS.
type line struct{ code, flags, peer, details string }

// accessLog reads what a proxy adds to its log.
type accessLog struct {
	file *os.File
	rest []byte
}

func openAccessLog(path string) (*accessLog, error) {
	// Envoy makes it when its first listener comes.
	file, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening an access log: %w", err)
	}
	return &accessLog{file: file}, nil
}

// read gives the lines since the last time, by request.
func (l *accessLog) read() (map[string][]line, error) {
	more, err := io.ReadAll(l.file)
	if err != nil {
		return nil, fmt.Errorf("reading an access log: %w", err)
	}
	text := append(l.rest, more...)
	end := bytes.LastIndexByte(text, '\n') + 1
	l.rest = bytes.Clone(text[end:])
	out := map[string][]line{}
	scanner := bufio.NewScanner(bytes.NewReader(text[:end]))
	for scanner.Scan() {
		words := strings.SplitN(scanner.Text(), " ", 5)
		if len(words) == 5 && words[0] != "-" {
			out[words[0]] = append(out[words[0]], line{words[1], words[2], words[3], words[4]})
		}
	}
	return out, scanner.Err()
}
