// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package sink is where access logs go while trellis-server does not take them, and the way
// that leads proxies to whoever does.
package sink

import (
	"io"
	"net"
	"sync"
)

// Way leads connections to whoever takes access logs at the moment. The zero Way leads
// nowhere: connections end at once. It is safe for concurrent use.
type Way struct {
	mu    sync.Mutex
	to    string
	conns map[net.Conn]bool
}

// Lead leads to another HOST:PORT, or nowhere where it is empty, and ends all connections
// that there are.
func (w *Way) Lead(to string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.to = to
	for c := range w.conns {
		_ = c.Close()
	}
}

// HandOn is what becomes of a connection; it returns when that has ended.
func (w *Way) HandOn(from net.Conn) {
	to, ok := w.open(from)
	if !ok {
		_ = from.Close()
		return
	}
	var work sync.WaitGroup
	pass := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		_, _ = to.Close(), from.Close()
	}
	work.Go(func() { pass(to, from) })
	work.Go(func() { pass(from, to) })
	work.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.conns, from)
	delete(w.conns, to)
}

// open connects and remembers both, unless the way leads elsewhere meanwhile.
func (w *Way) open(from net.Conn) (net.Conn, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.to == "" {
		return nil, false
	}
	to, err := net.Dial("tcp", w.to)
	if err != nil {
		return nil, false
	}
	if w.conns == nil {
		w.conns = map[net.Conn]bool{}
	}
	w.conns[from], w.conns[to] = true, true
	return to, true
}
