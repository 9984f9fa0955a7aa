// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package nameserver

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/internal/dns/memory"
)

// serve answers on loopback from a model in memory.
func (s *Server) serve() error {
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("starting the name server: %w", err)
	}
	udp, err := net.ListenPacket("udp4", tcp.Addr().String())
	if err != nil {
		_ = tcp.Close()
		return fmt.Errorf("starting the name server: %w", err)
	}
	s.Address = tcp.Addr().String()
	z := &answering{server: s, zone: dns.Zone{ID: string(s.Zone), Name: s.Zone}, serial: 1}
	z.model = memory.New(memory.Options{Capabilities: dns.Capabilities{Atomic: true}}, z.zone)
	// The package's own rule refuses updates.
	accept := func(h mdns.Header) mdns.MsgAcceptAction {
		if h.Bits&(1<<15) != 0 {
			return mdns.MsgIgnore
		}
		return mdns.MsgAccept
	}
	s.model = func() []dns.RecordSet { return z.model.Dump(z.zone.ID) }
	servers := []*mdns.Server{{Listener: tcp}, {PacketConn: udp}}
	var running sync.WaitGroup
	for _, server := range servers {
		server.Handler, server.TsigSecret, server.MsgAcceptFunc = z, s.secrets(), accept
		up := make(chan struct{})
		server.NotifyStartedFunc = func() { close(up) }
		running.Go(func() { _ = server.ActivateAndServe() })
		<-up
	}
	s.stop = sync.OnceFunc(func() {
		for _, server := range servers {
			_ = server.Shutdown()
		}
		running.Wait()
	})
	return nil
}

// answering is the server's zone.
type answering struct {
	server *Server
	zone   dns.Zone

	mu     sync.Mutex
	model  *memory.Provider
	serial uint32
}

// ServeDNS answers one message.
func (z *answering) ServeDNS(w mdns.ResponseWriter, q *mdns.Msg) {
	z.mu.Lock()
	defer z.mu.Unlock()
	signature := q.IsTsig()
	signed := signature != nil && w.TsigStatus() == nil
	answer := new(mdns.Msg).SetReply(q)
	answer.Authoritative = true
	switch {
	case len(q.Question) != 1:
		answer.Rcode = mdns.RcodeFormatError
	case signature != nil && z.distrust(answer, signature, w.TsigStatus()):
		signed = false
	case q.Opcode == mdns.OpcodeUpdate && !signed:
		answer.Rcode = mdns.RcodeRefused
	case q.Opcode == mdns.OpcodeUpdate:
		answer.Rcode = z.update(q)
	case q.Opcode != mdns.OpcodeQuery:
		answer.Rcode = mdns.RcodeNotImplemented
	case q.Question[0].Qtype == mdns.TypeAXFR:
		z.transfer(w, q, signed)
		return
	default:
		z.query(answer, q.Question[0])
	}
	if signed {
		answer.SetTsig(signature.Hdr.Name, signature.Algorithm, 300, int64(signature.TimeSigned))
	}
	if w.LocalAddr().Network() == "udp" {
		size := uint16(mdns.MinMsgSize)
		if edns := q.IsEdns0(); edns != nil {
			size = edns.UDPSize()
		}
		answer.Truncate(int(size))
	}
	_ = w.WriteMsg(answer)
}

func (z *answering) apex() []mdns.RR {
	header := mdns.RR_Header{Name: z.zone.Name.FQDN(), Class: mdns.ClassINET, Ttl: 300}
	soa, ns := header, header
	soa.Rrtype, ns.Rrtype = mdns.TypeSOA, mdns.TypeNS
	return []mdns.RR{
		&mdns.SOA{Hdr: soa, Ns: "ns.elsewhere.invalid.", Mbox: "hostmaster." + z.zone.Name.FQDN(), Serial: z.serial, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: 60},
		&mdns.NS{Hdr: ns, Ns: "ns.elsewhere.invalid."},
	}
}

// distrust refuses a signature as RFC 8945 section 5.2 says, with the reason in the
// answer's own. It reports false for one that is good.
func (z *answering) distrust(answer *mdns.Msg, signature *mdns.TSIG, problem error) bool {
	now := time.Now().Add(time.Duration(z.server.Ahead.Load())).Unix()
	apart := max(now-int64(signature.TimeSigned), int64(signature.TimeSigned)-now)
	_, known := z.server.secrets()[signature.Hdr.Name]
	var code int
	switch {
	case !known || signature.Algorithm != mdns.HmacSHA256:
		code = mdns.RcodeBadKey
	case errors.Is(problem, mdns.ErrTime), problem == nil && apart > int64(signature.Fudge):
		code = mdns.RcodeBadTime
	case problem != nil:
		code = mdns.RcodeBadSig
	default:
		return false
	}
	answer.Rcode = mdns.RcodeNotAuth
	answer.SetTsig(signature.Hdr.Name, signature.Algorithm, signature.Fudge, int64(signature.TimeSigned))
	answer.IsTsig().Error = uint16(code)
	return true
}

// contents is the zone by key, without its apex SOA and NS.
func (z *answering) contents() map[dns.Key]dns.RecordSet {
	out := map[dns.Key]dns.RecordSet{}
	for _, s := range z.model.Dump(z.zone.ID) {
		out[s.Key] = s
	}
	return out
}

func (z *answering) transfer(w mdns.ResponseWriter, q *mdns.Msg, signed bool) {
	if name, err := dns.ParseName(q.Question[0].Name); err != nil || name != z.zone.Name || !signed || z.server.RefuseTransfers {
		answer := new(mdns.Msg).SetRcode(q, mdns.RcodeRefused)
		_ = w.WriteMsg(answer)
		return
	}
	rrs := z.apex()
	for _, s := range z.model.Dump(z.zone.ID) {
		more, _ := toRecords(s)
		rrs = append(rrs, more...)
	}
	rrs = append(rrs, rrs[0])
	// A record of any length fits beside those before it.
	const full = 1000
	envelopes := make(chan *mdns.Envelope, len(rrs))
	part, size := &mdns.Envelope{}, 0
	for _, rr := range rrs {
		if size > full {
			envelopes <- part
			part, size = &mdns.Envelope{}, 0
		}
		part.RR = append(part.RR, rr)
		size += mdns.Len(rr)
	}
	envelopes <- part
	close(envelopes)
	_ = new(mdns.Transfer).Out(w, q, envelopes)
}

// query answers a question (RFC 1034 §4.3.2) with wildcards (RFC 4592).
func (z *answering) query(answer *mdns.Msg, q mdns.Question) {
	name, err := dns.ParseName(q.Name)
	if err != nil || !name.In(z.zone.Name) {
		answer.Rcode, answer.Authoritative = mdns.RcodeRefused, false
		return
	}
	contents := z.contents()
	// A chain of CNAMEs is followed within the zone, and not round in circles.
	for range 8 {
		if cut := z.delegation(contents, name); cut != nil {
			answer.Authoritative, answer.Ns = len(answer.Answer) > 0, cut
			return
		}
		source, exists := z.source(contents, name)
		if !exists {
			answer.Rcode = mdns.RcodeNameError
			break
		}
		next := z.answerAt(answer, contents, name, source, q.Qtype)
		if next == "" || !next.In(z.zone.Name) {
			break
		}
		name = next
	}
	if len(answer.Answer) == 0 {
		answer.Ns = z.apex()[:1]
	}
}

// delegation is the NS of the zone cut at a name or above it.
func (z *answering) delegation(contents map[dns.Key]dns.RecordSet, name dns.Name) []mdns.RR {
	for n := name; n != z.zone.Name; n = parent(n) {
		if s, ok := contents[dns.Key{Name: n, Type: "NS"}]; ok {
			rrs, _ := toRecords(s)
			return rrs
		}
	}
	return nil
}

func parent(n dns.Name) dns.Name {
	_, rest, _ := strings.Cut(string(n), ".")
	return dns.Name(rest)
}

// source is the name whose records answer for a name: its own, or a wildcard.
func (z *answering) source(contents map[dns.Key]dns.RecordSet, name dns.Name) (dns.Name, bool) {
	exists := func(n dns.Name) bool {
		if n == z.zone.Name {
			return true
		}
		for key := range contents {
			if key.Name.In(n) {
				return true
			}
		}
		return false
	}
	if exists(name) {
		return name, true
	}
	encloser := parent(name)
	for !exists(encloser) {
		encloser = parent(encloser)
	}
	wildcard := "*." + encloser
	return wildcard, exists(wildcard)
}

// answerAt adds what is at source as if it were at name, and returns the target
// of a CNAME that has to be followed.
func (z *answering) answerAt(answer *mdns.Msg, contents map[dns.Key]dns.RecordSet, name, source dns.Name, qtype uint16) (next dns.Name) {
	var rrs []mdns.RR
	if name == z.zone.Name {
		rrs = z.apex()
	}
	for key, s := range contents {
		if key.Name == source {
			more, _ := toRecords(s)
			rrs = append(rrs, more...)
		}
	}
	for _, rr := range rrs {
		rr.Header().Name = name.FQDN()
		if t := rr.Header().Rrtype; qtype == t || qtype == mdns.TypeANY || t == mdns.TypeCNAME {
			answer.Answer = append(answer.Answer, rr)
			if host, ok := rr.(*mdns.CNAME); ok && qtype != mdns.TypeCNAME && qtype != mdns.TypeANY {
				next, _ = dns.ParseName(host.Target)
			}
		}
	}
	return next
}
