// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package rfc2136

import (
	"context"
	"errors"
	"fmt"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/trellis-mesh/trellis/internal/dns"
)

// maxTransfer bounds a zone, in records: an answer never ends by itself.
const maxTransfer = 5_000_000

// transfer takes the zone (RFC 5936) and picks names.
func (p *Provider) transfer(ctx context.Context, zone dns.Zone, names []dns.Name) ([]dns.Observed, error) {
	c, err := p.dial(ctx, p.options.Server, true)
	if err != nil {
		return nil, err
	}
	defer c.close()
	asked := map[dns.Name]bool{}
	for _, n := range names {
		asked[n] = true
	}
	sets := map[dns.Key][]mdns.RR{}
	err = c.each(new(mdns.Msg).SetAxfr(zone.Name.FQDN()), func(rr mdns.RR) {
		n, bad := dns.ParseName(rr.Header().Name)
		key, ok := keyOf(rr, n)
		// The SOA comes twice, and nobody writes it.
		if bad == nil && asked[n] && ok && rr.Header().Rrtype != mdns.TypeSOA {
			sets[key] = append(sets[key], rr)
		}
	})
	if err != nil {
		return nil, plain(ctx, err)
	}
	return collect(nil, sets)
}

// each calls f with every record of a transfer, which ends with the second SOA.
func (c *connection) each(q *mdns.Msg, f func(mdns.RR)) error {
	chain, err := c.begin(q)
	if err != nil {
		return err
	}
	soas, records := 0, 0
	for soas < 2 {
		answer, err := chain.next(q.Id)
		if err != nil {
			return err
		}
		if answer.Rcode != mdns.RcodeSuccess || len(answer.Answer) == 0 {
			return fmt.Errorf("the server says %s to a transfer", mdns.RcodeToString[answer.Rcode])
		}
		if records += len(answer.Answer); records > maxTransfer {
			return fmt.Errorf("the zone has more than %d records", maxTransfer)
		}
		for _, rr := range answer.Answer {
			if rr.Header().Rrtype == mdns.TypeSOA {
				soas++
			}
			if soas == 0 {
				return errors.New("a transfer does not begin with the SOA")
			}
			f(rr)
		}
	}
	return nil
}

// chain is the messages of one answer, each signed over the one before. The
// library's own transfers believe messages without a signature.
type chain struct {
	*connection
	conn *mdns.Conn
	mac  string
	// later: signatures cover times instead of the whole key data (RFC 8945 §5.3.1).
	later bool
}

// begin sends a question, signed where there is a key.
func (c *connection) begin(q *mdns.Msg) (*chain, error) {
	out := &chain{connection: c, conn: &mdns.Conn{Conn: c.raw}}
	c.sign(q)
	octets, err := q.Pack()
	if c.signed {
		octets, out.mac, err = mdns.TsigGenerate(q, c.p.options.Key.Secret, "", false)
	}
	if err != nil {
		return nil, fmt.Errorf("asking for a transfer: %w", err)
	}
	if err := c.raw.SetDeadline(time.Now().Add(c.p.options.Timeout)); err != nil {
		return nil, err
	}
	_, err = out.conn.Write(octets)
	return out, err
}

// next is the next message, if it is one of this answer.
func (c *chain) next(id uint16) (*mdns.Msg, error) {
	if err := c.raw.SetDeadline(time.Now().Add(c.p.options.Timeout)); err != nil {
		return nil, err
	}
	octets, err := c.conn.ReadMsgHeader(nil)
	if err != nil {
		return nil, err
	}
	answer := new(mdns.Msg)
	if err := answer.Unpack(octets); err != nil {
		return nil, fmt.Errorf("reading a transfer: %w", err)
	}
	if answer.Id != id {
		return nil, errors.New("reading a transfer: the answer is to another question")
	}
	if !c.signed {
		return answer, nil
	}
	signature := answer.IsTsig()
	if signature == nil {
		return nil, fmt.Errorf("reading a transfer: a message is not signed by the TSIG key %s", c.p.options.Key.Name)
	}
	if err := mdns.TsigVerify(octets, c.p.options.Key.Secret, c.mac, c.later); err != nil {
		return nil, fmt.Errorf("reading a transfer: %w", err)
	}
	c.mac, c.later = signature.MAC, true
	return answer, nil
}
