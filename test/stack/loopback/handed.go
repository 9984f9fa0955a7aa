// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package loopback

import (
	"net"
)

// Handed is a listener of connections that somebody else has accepted, such as a port of an
// Application of the stack.
type Handed struct {
	conns chan net.Conn
	done  chan struct{}
}

// NewHanded makes one that has no connection yet.
func NewHanded() *Handed { return &Handed{conns: make(chan net.Conn, 16), done: make(chan struct{})} }

// Take hands it a connection.
func (h *Handed) Take(c net.Conn) { h.conns <- c }

// Accept implements net.Listener.
func (h *Handed) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *Handed) Close() error {
	close(h.done)
	return nil
}

// Addr implements net.Listener. It has none.
func (h *Handed) Addr() net.Addr { return &net.TCPAddr{} }
