// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// own is a listener that closes connections of other users of this machine, where the system
// says whose they are. A key alone does not keep them out: the command line that opens a
// browser shows it to everybody, and a browser sends cookies of 127.0.0.1 to any port there.
type own struct {
	net.Listener
	// sockets is a table of the system, as /proc/net/tcp is.
	sockets func() (io.ReadCloser, error)
	user    int
	refused func(user int)
}

// newOwn tells refused of users whose connections are closed; it is called by one goroutine.
func newOwn(listener net.Listener, refused func(user int)) *own {
	return &own{Listener: listener, user: os.Getuid(), refused: refused, sockets: func() (io.ReadCloser, error) { return os.Open("/proc/net/tcp") }}
}

// Accept implements net.Listener. Root is not refused: it may do all that the user may, and
// forwards the ports of virtual machines.
func (o *own) Accept() (net.Conn, error) {
	for {
		conn, err := o.Listener.Accept()
		if err != nil {
			return nil, err
		}
		user, known := o.whose(conn)
		if !known || user == o.user || user == 0 {
			return conn, nil
		}
		_ = conn.Close()
		o.refused(user)
	}
}

// whose is the user who made a connection; false: the system does not say.
func (o *own) whose(conn net.Conn) (user int, known bool) {
	theirs, ours := row(conn.RemoteAddr()), row(conn.LocalAddr())
	table, err := o.sockets()
	if err != nil || theirs == "" || ours == "" {
		return 0, false
	}
	defer func() { _ = table.Close() }()
	for lines := bufio.NewScanner(table); lines.Scan(); {
		// Number, local and remote address, state, queues, timers, retransmits, user.
		fields := strings.Fields(lines.Text())
		if len(fields) < 8 || fields[1] != theirs || fields[2] != ours {
			continue
		}
		user, err := strconv.Atoi(fields[7])
		return user, err == nil
	}
	return 0, false
}

// row is an address as the table has it; empty for one that it has not.
func row(of net.Addr) string {
	at, err := netip.ParseAddrPort(of.String())
	if err != nil || !at.Addr().Is4() {
		return ""
	}
	bytes := at.Addr().As4()
	return fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(bytes[:]), at.Port())
}
