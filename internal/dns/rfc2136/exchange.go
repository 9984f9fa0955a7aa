// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package rfc2136

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/trellis-mesh/trellis/internal/dns"
)

// fudge is how far clocks may be apart, in seconds, as RFC 8945 §10 recommends.
const fudge = 300

// errUnsigned is a refusal without a signature: the key is wrong, or the server
// looks for keys in its zones, and this zone is not one of them.
var errUnsigned = fmt.Errorf("%w", dns.ErrCredentials)

// explain finds out which of both an errUnsigned is, by asking as the public does.
func (p *Provider) explain(ctx context.Context, zone dns.Name, err error) error {
	if !errors.Is(err, errUnsigned) {
		return err
	}
	if _, public := p.serialAt(ctx, p.options.Server, zone); errors.Is(public, dns.ErrNoZone) {
		return public
	}
	return err
}

// connection is one to a name server. Not safe for concurrent use.
type connection struct {
	p      *Provider
	raw    net.Conn
	signed bool
	stop   func() bool
}

// dial connects. A context that ends breaks the connection.
func (p *Provider) dial(ctx context.Context, server string, signed bool) (*connection, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: p.options.Timeout}
	raw, err := dialer.DialContext(ctx, "tcp", server)
	if err != nil {
		return nil, plain(ctx, err)
	}
	c := &connection{p: p, raw: raw, signed: signed && p.options.Key != nil}
	c.stop = context.AfterFunc(ctx, func() { _ = raw.Close() })
	return c, nil
}

func (c *connection) close() {
	c.stop()
	_ = c.raw.Close()
}

// framed is the connection for one message and its answer: the next one's
// signature must not build on theirs.
func (c *connection) framed() *mdns.Conn {
	out := &mdns.Conn{Conn: c.raw}
	if c.signed {
		out.TsigSecret = c.p.secrets
	}
	return out
}

// ask is one question to the primary.
func (p *Provider) ask(ctx context.Context, q *mdns.Msg) (*mdns.Msg, error) {
	c, err := p.dial(ctx, p.options.Server, true)
	if err != nil {
		return nil, err
	}
	defer c.close()
	return c.exchange(ctx, q)
}

// sign adds a signature to a message where there is a key.
func (c *connection) sign(q *mdns.Msg) {
	if c.signed {
		q.SetTsig(c.p.options.Key.Name.FQDN(), c.p.algorithm, fudge, c.p.options.Clock().Unix())
	}
}

// exchange sends a message and reads the answer, which is signed if the message
// is. Answers that refuse the key are ErrCredentials.
func (c *connection) exchange(ctx context.Context, q *mdns.Msg) (*mdns.Msg, error) {
	c.sign(q)
	if err := c.raw.SetDeadline(time.Now().Add(c.p.options.Timeout)); err != nil {
		return nil, plain(ctx, err)
	}
	conn := c.framed()
	if err := conn.WriteMsg(q); err != nil {
		return nil, plain(ctx, err)
	}
	answer, err := conn.ReadMsg()
	if answer == nil || answer.Id != q.Id {
		if err == nil {
			err = errors.New("the answer is to another question")
		}
		return nil, plain(ctx, err)
	}
	return answer, c.judge(ctx, answer, err)
}

// judge says what is wrong with the signature of an answer.
func (c *connection) judge(ctx context.Context, answer *mdns.Msg, err error) error {
	signature := answer.IsTsig()
	switch {
	case !c.signed:
		return plain(ctx, err)
	case signature != nil && signature.Error != mdns.RcodeSuccess:
		return c.refused(int(signature.Error))
	case signature == nil && (answer.Rcode == mdns.RcodeNotAuth || answer.Rcode == mdns.RcodeRefused):
		// PowerDNS, for one.
		return fmt.Errorf("%w: the server says %s and not why: the name, the algorithm or the secret of the TSIG key %s is another than there, or the clocks are more than %d seconds apart",
			errUnsigned, mdns.RcodeToString[answer.Rcode], c.p.options.Key.Name, fudge)
	case signature != nil && answer.Rcode == mdns.RcodeNotAuth:
		// The server knows the key and not the zone. The library does not check the
		// signatures of such answers; this one only refuses.
		return nil
	case signature == nil:
		return fmt.Errorf("the answer (%s) is not signed by the TSIG key %s", mdns.RcodeToString[answer.Rcode], c.p.options.Key.Name)
	case err != nil:
		return fmt.Errorf("the answer is not signed by the TSIG key %s: %w", c.p.options.Key.Name, plain(ctx, err))
	}
	return nil
}

// refused says what a server finds wrong with our signature (RFC 8945 section 5.2).
func (c *connection) refused(code int) error {
	key, said := c.p.options.Key, mdns.RcodeToString[code]
	switch code {
	case mdns.RcodeBadTime:
		return fmt.Errorf("%w: the server says %s: its clock and ours are more than %d seconds apart", dns.ErrClock, said, fudge)
	case mdns.RcodeBadKey:
		return fmt.Errorf("%w: the server says %s: it has no TSIG key %s with the algorithm %s", dns.ErrCredentials, said, key.Name, key.Algorithm)
	case mdns.RcodeBadSig:
		return fmt.Errorf("%w: the server says %s: it has the TSIG key %s with another secret", dns.ErrCredentials, said, key.Name)
	}
	return fmt.Errorf("%w: the server says %s of the TSIG key %s", dns.ErrCredentials, said, key.Name)
}

// plain leaves out what changes from one attempt to the next: our own port. The
// end of the context comes first, since it breaks connections.
func plain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ended := ctx.Err(); ended != nil {
		return ended
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}
