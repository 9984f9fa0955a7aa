// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package nameserver runs real name servers for tests and the demo: BIND, Knot and
// PowerDNS as programs of the user on loopback, each with one zone that takes
// updates signed by a key, and a server within the process for machines that have
// none of them.
package nameserver

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/trellis-mesh/trellis/internal/dns"
)

// Kind is a program.
type Kind string

// The kinds of name servers. Process is the one within the process.
const (
	BIND     Kind = "BIND"
	Knot     Kind = "Knot"
	PowerDNS Kind = "PowerDNS"
	Process  Kind = "in-process"
)

// Server is a running name server with one zone.
type Server struct {
	Kind Kind
	Zone dns.Name
	// Address is its host and port, for TCP and UDP.
	Address string
	// KeyName, Algorithm (hmac-sha256) and Secret (base64) are its TSIG key's.
	KeyName   dns.Name
	Algorithm string
	Secret    string

	// RefuseTransfers makes the server within the process refuse to transfer its
	// zone to the product. Set it before it is asked.
	RefuseTransfers bool
	// Ahead is how far the clock of the server within the process is ahead of ours,
	// in nanoseconds.
	Ahead atomic.Int64

	stop  func()
	model func() []dns.RecordSet
}

// UnavailableError says why a kind cannot run here.
type UnavailableError struct {
	Kind   Kind
	Reason string
}

func (e *UnavailableError) Error() string {
	return fmt.Sprintf("%s cannot run here: %s", e.Kind, e.Reason)
}

// Start runs a name server with a zone, in a temporary folder of its own, until
// Stop. The error is an UnavailableError where its program is missing.
func Start(ctx context.Context, kind Kind, zone dns.Name) (*Server, error) {
	secret := make([]byte, 32)
	// Read never fails.
	_, _ = rand.Read(secret)
	s := &Server{Kind: kind, Zone: zone, KeyName: "trellis-key", Algorithm: "hmac-sha256", Secret: base64.StdEncoding.EncodeToString(secret)}
	if kind == Process {
		return s, s.serve()
	}
	describe, ok := programs[kind]
	if !ok {
		return nil, fmt.Errorf("starting a name server: there is no kind %q", kind)
	}
	var last error
	// Somebody else may take the port between its choice and its use.
	for range 3 {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		s.Address = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		// Its path is short: sockets allow 108 octets.
		dir, err := os.MkdirTemp("", "ns-")
		if err != nil {
			return nil, fmt.Errorf("starting %s: %w", kind, err)
		}
		cmd, err := describe(ctx, s, dir, port)
		if err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
		if last = s.launch(ctx, cmd, dir); last == nil {
			return s, nil
		}
	}
	return nil, last
}

// Stop ends the server. It may be called twice.
func (s *Server) Stop() { s.stop() }

// freePort finds a port that is free for TCP and UDP.
func freePort() (int, error) {
	for range 20 {
		tcp, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return 0, fmt.Errorf("finding a free port: %w", err)
		}
		udp, err := net.ListenPacket("udp4", tcp.Addr().String())
		_ = tcp.Close()
		if err != nil {
			continue
		}
		_ = udp.Close()
		if address, ok := udp.LocalAddr().(*net.UDPAddr); ok {
			return address.Port, nil
		}
	}
	return 0, errors.New("finding a free port: none is free for both TCP and UDP")
}

// Put writes a record set as somebody else would, whatever was there. No values
// take it away. They are in the form of zone files; texts are whole.
func (s *Server) Put(ctx context.Context, set dns.RecordSet) error {
	update := new(mdns.Msg).SetUpdate(s.Zone.FQDN())
	rrtype := mdns.StringToType[string(set.Type)]
	update.RemoveRRset([]mdns.RR{&mdns.ANY{Hdr: mdns.RR_Header{Name: set.Name.FQDN(), Rrtype: rrtype, Class: mdns.ClassINET}}})
	rrs, err := toRecords(set)
	if err != nil {
		return err
	}
	update.Insert(rrs)
	update.SetTsig(s.KeyName.FQDN(), mdns.HmacSHA256, 300, time.Now().Unix())
	client := mdns.Client{Net: "tcp", TsigSecret: s.secrets(), Timeout: 5 * time.Second}
	answer, _, err := client.ExchangeContext(ctx, update, s.Address)
	if err != nil {
		return fmt.Errorf("writing %s: %w", set.Key, err)
	}
	if answer.Rcode != mdns.RcodeSuccess {
		return fmt.Errorf("writing %s: the server says %s", set.Key, mdns.RcodeToString[answer.Rcode])
	}
	return nil
}

// Dump transfers the zone. The SOA and NS of the apex are left out.
func (s *Server) Dump() ([]dns.RecordSet, error) {
	if s.model != nil && s.RefuseTransfers {
		return s.model(), nil
	}
	q := new(mdns.Msg).SetAxfr(s.Zone.FQDN())
	q.SetTsig(s.KeyName.FQDN(), mdns.HmacSHA256, 300, time.Now().Unix())
	transfer := mdns.Transfer{TsigSecret: s.secrets()}
	envelopes, err := transfer.In(q, s.Address)
	if err != nil {
		return nil, fmt.Errorf("transferring %s: %w", s.Zone, err)
	}
	var rrs []mdns.RR
	for e := range envelopes {
		if e.Error != nil {
			err = fmt.Errorf("transferring %s: %w", s.Zone, e.Error)
		}
		rrs = append(rrs, e.RR...)
	}
	if err != nil {
		return nil, err
	}
	return toSets(s.Zone, rrs)
}

func (s *Server) secrets() map[string]string { return map[string]string{s.KeyName.FQDN(): s.Secret} }
