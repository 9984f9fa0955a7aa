// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// Answers are what the world sees of names: a DNS server that gives one address for
// every name and the TXT records that were set, and a web server for HTTP
// challenges. Safe for concurrent use.
type Answers struct {
	dnsAddress string
	httpPort   int
	address    net.IP

	mu  sync.Mutex
	txt map[string][]string
	web map[string]string
}

// newAnswers begins to answer, until stop.
func newAnswers(o Options) (a *Answers, stop func(), err error) {
	a = &Answers{address: net.IPv4(127, 0, 0, 1)}
	if o.Address.IsValid() {
		a.address = o.Address.AsSlice()
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, fmt.Errorf("listening for DNS: %w", err)
	}
	server := &dns.Server{Listener: listener, Handler: dns.HandlerFunc(a.resolve)}
	done := make(chan struct{})
	started := make(chan struct{})
	server.NotifyStartedFunc = func() { close(started) }
	go func() {
		defer close(done)
		// Who asks sees that it has ended.
		_ = server.ActivateAndServe()
	}()
	<-started
	a.dnsAddress = listener.Addr().String()
	web := httptest.NewServer(http.HandlerFunc(a.serve))
	if address, ok := web.Listener.Addr().(*net.TCPAddr); ok {
		a.httpPort = address.Port
	}
	return a, func() {
		web.Close()
		_ = server.Shutdown()
		<-done
	}, nil
}

func (a *Answers) resolve(w dns.ResponseWriter, question *dns.Msg) {
	answer := new(dns.Msg)
	answer.SetReply(question)
	for _, q := range question.Question {
		head := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET}
		switch q.Qtype {
		case dns.TypeA:
			answer.Answer = append(answer.Answer, &dns.A{Hdr: head, A: a.address})
		case dns.TypeTXT:
			for _, v := range a.TXT(strings.TrimSuffix(q.Name, ".")) {
				answer.Answer = append(answer.Answer, &dns.TXT{Hdr: head, Txt: inStrings(v)})
			}
		}
	}
	_ = w.WriteMsg(answer)
}

// inStrings cuts a text as a TXT record holds it (RFC 1035 §3.3).
func inStrings(text string) []string {
	var out []string
	for chunk := range slices.Chunk([]byte(text), 255) {
		out = append(out, string(chunk))
	}
	return out
}

func (a *Answers) serve(w http.ResponseWriter, r *http.Request) {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	a.mu.Lock()
	body, ok := a.web[host+r.URL.Path]
	a.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	_, _ = w.Write([]byte(body))
}

// TXT are the values at a name.
func (a *Answers) TXT(name string) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.txt[strings.ToLower(name)])
}

// Set replaces the values of TXT records at a name, and leaves all others; none takes
// them away.
func (a *Answers) Set(name string, values ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(values) == 0 {
		delete(a.txt, strings.ToLower(name))
		return
	}
	if a.txt == nil {
		a.txt = map[string][]string{}
	}
	a.txt[strings.ToLower(name)] = slices.Clone(values)
}

// Publish replaces all answers at once: the values of TXT records by name, and what
// a GET on port 80 finds, as far as the CA knows, by host and path together.
func (a *Answers) Publish(txt map[string][]string, web map[string]string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.txt, a.web = map[string][]string{}, maps.Clone(web)
	for name, values := range txt {
		a.txt[strings.ToLower(name)] = slices.Clone(values)
	}
}
