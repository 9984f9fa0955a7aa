// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package caa_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/trellis-mesh/trellis/internal/acme/caa"
)

// serve answers questions on a loopback address, by UDP and TCP.
func serve(t *testing.T, answer func(*dns.Msg, bool)) string {
	t.Helper()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*dns.Server{{Listener: tcp}, {PacketConn: udp}} {
		overTCP := s.Listener != nil
		s.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, question *dns.Msg) {
			reply := new(dns.Msg)
			reply.SetReply(question)
			answer(reply, overTCP)
			_ = w.WriteMsg(reply)
		})
		started, ended := make(chan struct{}), make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() {
			defer close(ended)
			_ = s.ActivateAndServe()
		}()
		<-started
		t.Cleanup(func() {
			_ = s.Shutdown()
			<-ended
		})
	}
	return tcp.Addr().String()
}

func record(t *testing.T, text string) dns.RR {
	t.Helper()
	rr, err := dns.NewRR(text)
	if err != nil {
		t.Fatal(err)
	}
	return rr
}

func TestRecordsAreReadAlsoOfAnAliasAndOverTCP(t *testing.T) {
	server := serve(t, func(m *dns.Msg, overTCP bool) {
		switch m.Question[0].Name {
		case "a.example.com.":
			m.Answer = []dns.RR{record(t, `a.example.com. CAA 128 issue "ca.example; x=y"`), record(t, `a.example.com. CAA 0 iodef "mailto:a@example.com"`)}
		case "alias.example.com.":
			m.Answer = []dns.RR{record(t, "alias.example.com. CNAME b.example.com."), record(t, `b.example.com. CAA 0 issuewild ";"`)}
		case "large.example.com.":
			if m.Truncated = !overTCP; overTCP {
				m.Answer = []dns.RR{record(t, `large.example.com. CAA 0 issue "ca.example"`)}
			}
		case "empty.example.com.":
		case "broken.example.com.":
			m.Rcode = dns.RcodeServerFailure
		default:
			m.Rcode = dns.RcodeNameError
		}
	})
	file := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(file, []byte("nameserver 192.0.2.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := caa.System(file); err != nil {
		t.Error(err)
	}
	if _, err := caa.System(file + ".not"); err == nil {
		t.Error("no error without a file")
	}
	r := caa.New(server)
	for name, want := range map[string]string{
		"a.example.com": "issue=ca.example; x=y! iodef=mailto:a@example.com", "alias.example.com": "issuewild=;",
		"large.example.com": "issue=ca.example", "empty.example.com": "", "gone.example.com": "",
	} {
		got, err := r.LookupCAA(t.Context(), name)
		var words []string
		for _, c := range got {
			word := c.Tag + "=" + c.Value
			if c.Critical {
				word += "!"
			}
			words = append(words, word)
		}
		if is := strings.Join(words, " "); err != nil || is != want {
			t.Errorf("%s: %q, %v; want %q", name, is, err, want)
		}
	}
	if _, err := r.LookupCAA(t.Context(), "broken.example.com"); err == nil || !strings.Contains(err.Error(), "SERVFAIL") {
		t.Errorf("a server that fails: %v", err)
	}
	if _, err := caa.New().LookupCAA(t.Context(), "a.example.com"); err == nil {
		t.Error("nobody was asked, and it is no error")
	}
}
