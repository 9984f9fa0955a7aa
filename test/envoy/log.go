// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package envoy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// Entry is what the access log says of one request or connection. Text that
// Envoy has none of is empty.
type Entry struct {
	Client string `json:"client"` // the other end of the connection, ip:port
	Server string `json:"server"` // where it connected to, ip:port
	// Code is the status; 0 is none.
	Code int `json:"code"`
	// Details are the response code details, such as route_not_found.
	Details string `json:"details"`
	// Flags are the response flags, separated by commas.
	Flags    string `json:"flags"`
	Route    string `json:"route"`
	Cluster  string `json:"cluster"`
	Upstream string `json:"upstream"`
	// Termination says why Envoy closed the connection; Transport why TLS failed.
	Termination string `json:"termination"`
	Transport   string `json:"transport"`
	// Path, Authority and Method are the request's as Envoy has them at its end.
	Path      string `json:"path"`
	Authority string `json:"authority"`
	Method    string `json:"method"`
	// Remote is the client's IP as Envoy takes it.
	Remote string `json:"remote"`
	// Chain is the name of the filter chain.
	Chain   string `json:"chain"`
	Peer    string `json:"peer"`    // URI SANs of the client's certificate
	Subject string `json:"subject"` // its subject
	SNI     string `json:"sni"`
	// RBAC, NetworkRBAC and JWT are the filters' dynamic metadata; nil is none.
	RBAC        map[string]any `json:"rbac"`
	NetworkRBAC map[string]any `json:"networkRBAC"`
	JWT         map[string]any `json:"jwt"`
}

// logReader follows an access log. Entries of one connection are in the order of
// its requests, which is how an answer finds its own.
type logReader struct {
	path string

	mu      sync.Mutex
	offset  int64
	rest    []byte // of a line that is not whole yet
	entries map[connectionKey][]Entry
	used    map[connectionKey]bool
}

type connectionKey struct{ client, server string }

func newLogReader(path string) *logReader {
	return &logReader{path: path, entries: map[connectionKey][]Entry{}, used: map[connectionKey]bool{}}
}

// isNew is true once for each connection.
func (l *logReader) isNew(key connectionKey) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.used[key]
	l.used[key] = true
	return !was
}

const lookEvery = 10 * time.Millisecond

// entry waits for the n-th entry of a connection, from 0.
func (l *logReader) entry(ctx context.Context, key connectionKey, n int) (Entry, error) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		if e, ok, err := l.look(key, n); ok || err != nil {
			return e, err
		}
		select {
		case <-ctx.Done():
			return Entry{}, fmt.Errorf("waiting for entry %d of the connection from %s to %s in the access log: %w", n, key.client, key.server, ctx.Err())
		case <-ticker.C:
		}
	}
}

func (l *logReader) look(key connectionKey, n int) (Entry, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if known := l.entries[key]; n < len(known) {
		return known[n], true, nil
	}
	if err := l.read(); err != nil {
		return Entry{}, false, err
	}
	if known := l.entries[key]; n < len(known) {
		return known[n], true, nil
	}
	return Entry{}, false, nil
}

// read takes what was added since the last time.
func (l *logReader) read() error {
	file, err := os.Open(l.path)
	if err != nil {
		return fmt.Errorf("reading the access log: %w", err)
	}
	defer func() { _ = file.Close() }()
	if _, err := file.Seek(l.offset, io.SeekStart); err != nil {
		return fmt.Errorf("reading the access log: %w", err)
	}
	added, err := io.ReadAll(file)
	if err != nil {
		return fmt.Errorf("reading the access log: %w", err)
	}
	l.offset += int64(len(added))
	l.rest = append(l.rest, added...)
	for {
		line, rest, whole := bytes.Cut(l.rest, []byte("\n"))
		if !whole {
			return nil
		}
		l.rest = rest
		var e Entry
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("reading the access log: %w in %s", err, line)
		}
		e.Flags = strings.TrimPrefix(e.Flags, "-") // Envoy's "none"
		key := connectionKey{e.Client, e.Server}
		l.entries[key] = append(l.entries[key], e)
	}
}
