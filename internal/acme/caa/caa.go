// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package caa asks name servers for CAA records (RFC 8659), and says of which names
// they forbid an authority to issue for.
package caa

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/miekg/dns"
)

// SystemConfig is where a system says which resolvers to ask.
const SystemConfig = "/etc/resolv.conf"

const (
	// timeout is for one question to one server. A resolver that is near answers in
	// milliseconds, and nothing depends on the answer.
	timeout = 2 * time.Second
	// maxServers are asked, as the C library does.
	maxServers = 3
)

// Client asks recursive resolvers, one after the other. It implements
// Resolver and is safe for concurrent use.
type Client struct {
	servers  []string
	udp, tcp *dns.Client
}

// New makes a Client of servers, as host and port.
func New(servers ...string) *Client {
	return &Client{
		servers: servers[:min(len(servers), maxServers)],
		udp:     &dns.Client{Timeout: timeout, UDPSize: 1232},
		tcp:     &dns.Client{Net: "tcp", Timeout: timeout},
	}
}

// System makes a Client of those that a file in the form of SystemConfig names.
func System(file string) (*Client, error) {
	config, err := dns.ClientConfigFromFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading which resolvers to ask: %w", err)
	}
	var servers []string
	for _, s := range config.Servers {
		servers = append(servers, net.JoinHostPort(s, config.Port))
	}
	return New(servers...), nil
}

// LookupCAA gives the records at exactly one name, or where an alias of that name
// leads (RFC 8659 §3). A name that does not exist has none.
func (r *Client) LookupCAA(ctx context.Context, name string) ([]Record, error) {
	question := new(dns.Msg)
	question.SetQuestion(dns.Fqdn(name), dns.TypeCAA)
	question.SetEdns0(1232, false)
	err := errors.New("no resolver is known")
	for _, server := range r.servers {
		var answer *dns.Msg
		if answer, err = r.ask(ctx, question, server); err == nil {
			return read(answer), nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("asking for the CAA records of %s: %w", name, err)
}

func (r *Client) ask(ctx context.Context, question *dns.Msg, server string) (*dns.Msg, error) {
	answer, _, err := r.udp.ExchangeContext(ctx, question, server)
	if err != nil || answer.Truncated {
		answer, _, err = r.tcp.ExchangeContext(ctx, question, server)
	}
	if err != nil {
		// Addresses and ports differ each time, and the message is for people.
		var slow net.Error
		if errors.As(err, &slow) && slow.Timeout() {
			return nil, fmt.Errorf("the resolver %s does not answer", server)
		}
		return nil, fmt.Errorf("the resolver %s cannot be asked", server)
	}
	if answer.Rcode != dns.RcodeSuccess && answer.Rcode != dns.RcodeNameError {
		return nil, fmt.Errorf("the resolver %s says %s", server, dns.RcodeToString[answer.Rcode])
	}
	return answer, nil
}

func read(answer *dns.Msg) []Record {
	var out []Record
	for _, r := range answer.Answer {
		if c, ok := r.(*dns.CAA); ok {
			out = append(out, Record{Critical: c.Flag&0x80 != 0, Tag: c.Tag, Value: c.Value})
		}
	}
	return out
}
