// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"runtime"
	"strings"
	"testing"
)

// table is one of the system, with a connection of a user.
func table(user int) func(theirs, ours string) string {
	return func(theirs, ours string) string {
		return fmt.Sprintf("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"+
			"   0: %[1]s %[2]s 01 00000000:00000000 00:00000000 00000000   0 0 1 1\n"+
			"   1: %[2]s %[1]s 01 00000000:00000000 00:00000000 00000000  %[3]d 0 2 1\n", ours, theirs, user)
	}
}

func TestConnectionsOfOtherUsersAreClosed(t *testing.T) {
	for name, test := range map[string]struct {
		sockets func(theirs, ours string) string
		refused bool
	}{
		"of the user":         {table(1000), false},
		"of root":             {table(0), false},
		"of another":          {table(1001), true},
		"of nobody knows who": {func(string, string) string { return "" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // of a test
			must(t, err)
			var theirs, ours string
			refused := make(chan int, 1)
			l := &own{Listener: listener, user: 1000, refused: func(user int) { refused <- user }, sockets: func() (io.ReadCloser, error) {
				return io.NopCloser(strings.NewReader(test.sockets(theirs, ours))), nil
			}}
			client, err := net.Dial("tcp", listener.Addr().String()) //nolint:noctx // of a test
			must(t, err)
			theirs, ours = row(client.LocalAddr()), row(client.RemoteAddr())
			taken := make(chan net.Conn)
			go func() {
				conn, _ := l.Accept()
				taken <- conn
			}()
			var conn net.Conn
			select {
			case user := <-refused:
				if !test.refused || user != 1001 {
					t.Errorf("user %d is refused", user)
				}
				must(t, listener.Close())
				conn = <-taken
			case conn = <-taken:
				if test.refused {
					t.Error("it is taken")
				}
				must(t, listener.Close())
			}
			if conn != nil {
				must(t, conn.Close())
			}
			must(t, client.Close())
		})
	}
}

func TestLinuxSaysWhoseAConnectionIs(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux says it")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // of a test
	must(t, err)
	client, err := net.Dial("tcp", listener.Addr().String()) //nolint:noctx // of a test
	must(t, err)
	conn, err := listener.Accept()
	must(t, err)
	user, known := newOwn(listener, nil).whose(conn)
	if !known || user != os.Getuid() {
		t.Errorf("it is of user %d (%t), and this is %d", user, known, os.Getuid())
	}
	for _, open := range []io.Closer{conn, client, listener} {
		must(t, open.Close())
	}
}

func TestTheKeyOpensNoOtherHost(t *testing.T) {
	d := newDoor(&url.URL{Scheme: "http", Host: "server.example.com"}, bearer{}, "127.0.0.1:1", "open-sesame")
	for _, path := range []string{"//evil.example.com/", "///evil.example.com", `/\evil.example.com`, "/%2F/evil.example.com"} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:1"+path+"?key=open-sesame", nil)
		w := httptest.NewRecorder()
		d.ServeHTTP(w, r)
		to, err := url.Parse(w.Header().Get("Location"))
		if err != nil || w.Code != http.StatusSeeOther || to.Host != "" || strings.HasPrefix(to.Path, "//") || strings.HasPrefix(to.Path, `/\`) {
			t.Errorf("%s leads to %q, %v", path, w.Header().Get("Location"), err)
		}
	}
}
