// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package rfc2136

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"syscall"

	mdns "github.com/miekg/dns"

	"github.com/trellis-mesh/trellis/internal/dns"
)

// manyNames is from where on a transfer of the zone is tried: a name costs five
// questions.
const manyNames = 64

// parallel is how many connections read at once.
const parallel = 4

// Read asks the primary name by name, or takes the zone where there are many and
// the server allows it.
func (p *Provider) Read(ctx context.Context, zone dns.Zone, names []dns.Name) ([]dns.Observed, error) {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	out, err := p.read(ctx, zone, names)
	if err != nil {
		return nil, fmt.Errorf("reading %s at %s: %w", zone.Name, p.options.Server, err)
	}
	slices.SortFunc(out, func(a, b dns.Observed) int { return a.Compare(b.Key) })
	return out, nil
}

func (p *Provider) read(ctx context.Context, zone dns.Zone, names []dns.Name) ([]dns.Observed, error) {
	if _, err := p.serial(ctx, zone.Name); err != nil || len(names) == 0 {
		return nil, err
	}
	if len(names) >= manyNames {
		if out, err := p.transfer(ctx, zone, names); err == nil || ctx.Err() != nil {
			return out, err
		}
		// Servers may refuse transfers, and answer questions nevertheless.
	}
	var mu sync.Mutex
	var out []dns.Observed
	var errs []error
	var workers sync.WaitGroup
	for part := range slices.Chunk(names, (len(names)+parallel-1)/parallel) {
		workers.Go(func() {
			seen, err := p.readPart(ctx, zone, part)
			mu.Lock()
			defer mu.Unlock()
			out, errs = append(out, seen...), append(errs, err)
		})
	}
	workers.Wait()
	return out, errors.Join(errs...)
}

// reader asks over one connection, and remembers wildcards.
type reader struct {
	*connection
	zone      dns.Zone
	types     []uint16 // that are asked for
	wildcards map[dns.Name]map[dns.Key][]mdns.RR
}

func (p *Provider) readPart(ctx context.Context, zone dns.Zone, names []dns.Name) ([]dns.Observed, error) {
	c, err := p.dial(ctx, p.options.Server, true)
	if err != nil {
		return nil, err
	}
	r := &reader{connection: c, zone: zone, wildcards: map[dns.Name]map[dns.Key][]mdns.RR{}}
	defer func() { r.close() }()
	if err := r.learn(ctx); err != nil {
		return nil, err
	}
	var out []dns.Observed
	for _, n := range names {
		sets, err := r.lookup(ctx, n)
		if err == nil {
			err = r.dropSynthesised(ctx, n, sets)
		}
		if err != nil {
			return nil, err
		}
		if out, err = collect(out, sets); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// ask is exchange for messages that change nothing: servers close connections
// after a while or a number of questions, and then it goes on over a new one.
func (r *reader) ask(ctx context.Context, q *mdns.Msg) (*mdns.Msg, error) {
	answer, err := r.exchange(ctx, q)
	closed := errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
	if !closed || ctx.Err() != nil {
		return answer, err
	}
	fresh, err := r.p.dial(ctx, r.p.options.Server, true)
	if err != nil {
		return nil, err
	}
	r.close()
	r.connection = fresh
	// The old signature would be sent, too.
	q.Extra = nil
	return r.exchange(ctx, q)
}

// collect makes record sets of records.
func collect(out []dns.Observed, sets map[dns.Key][]mdns.RR) ([]dns.Observed, error) {
	for key, rrs := range sets {
		if !slices.Contains(dns.Types(), key.Type) {
			out = append(out, dns.Observed{RecordSet: dns.RecordSet{Key: key}, Raw: rrs})
			continue
		}
		o, err := set(key, rrs)
		if err != nil {
			// Somebody's CNAME to a name that we would not write: it is there, and what
			// it says does not matter, since it is not ours.
			o = dns.Observed{RecordSet: dns.RecordSet{Key: key}, Raw: rrs}
		}
		out = append(out, o)
	}
	return out, nil
}

// lookup asks for each type at a name. A name that does not exist has none.
func (r *reader) lookup(ctx context.Context, n dns.Name) (map[dns.Key][]mdns.RR, error) {
	out := map[dns.Key][]mdns.RR{}
	for _, rrtype := range r.types {
		q := new(mdns.Msg).SetQuestion(n.FQDN(), rrtype)
		q.RecursionDesired = false
		answer, err := r.ask(ctx, q)
		if err != nil {
			return nil, err
		}
		if answer.Rcode == mdns.RcodeNameError {
			return nil, nil
		}
		if answer.Rcode != mdns.RcodeSuccess {
			return nil, fmt.Errorf("asking for %s: %w", n, refusal(answer.Rcode))
		}
		found := map[dns.Key][]mdns.RR{}
		for _, rr := range append(answer.Answer, answer.Ns...) {
			if key, ok := keyOf(rr, n); ok && (rrtype == mdns.TypeANY || rr.Header().Rrtype == rrtype || key.Type == "NS") {
				found[key] = append(found[key], rr)
			}
		}
		for key, rrs := range found {
			if out[key] == nil {
				out[key] = rrs
			}
		}
	}
	return out, nil
}

// ours are the types that Trellis writes, and others those that are asked for one
// by one where ANY does not show all (RFC 8482).
var (
	ours   = []uint16{mdns.TypeA, mdns.TypeAAAA, mdns.TypeCNAME, mdns.TypeTXT}
	others = []uint16{mdns.TypeNS, mdns.TypeMX, mdns.TypeCAA, mdns.TypeSRV, mdns.TypeHTTPS, mdns.TypePTR, mdns.TypeDNAME}
)

// learn finds out whether ANY shows all: an apex has at least two types.
func (r *reader) learn(ctx context.Context) error {
	r.types = []uint16{mdns.TypeANY}
	sets, err := r.lookup(ctx, r.zone.Name)
	if err != nil {
		return err
	}
	r.types = append(slices.Clone(ours), mdns.TypeANY)
	if len(sets) < 2 {
		r.types = slices.Concat(ours, others)
	}
	return nil
}

// keyOf is the key of a record that is at a name. A referral has the NS of a name
// that is delegated.
func keyOf(rr mdns.RR, n dns.Name) (dns.Key, bool) {
	h := rr.Header()
	owner, err := dns.ParseName(h.Name)
	if err != nil {
		return dns.Key{}, false
	}
	typ := mdns.TypeToString[h.Rrtype]
	switch h.Rrtype {
	case mdns.TypeRRSIG, mdns.TypeNSEC, mdns.TypeNSEC3, mdns.TypeDNSKEY, mdns.TypeNSEC3PARAM:
		return dns.Key{}, false
	}
	if typ == "" {
		typ = fmt.Sprintf("TYPE%d", h.Rrtype)
	}
	return dns.Key{Name: n, Type: dns.Type(typ)}, owner == n
}

// dropSynthesised takes away what a wildcard stands in for. Answers do not show
// it, but prerequisites are about what is in the zone.
func (r *reader) dropSynthesised(ctx context.Context, n dns.Name, sets map[dns.Key][]mdns.RR) error {
	for key, rrs := range sets {
		suspect, err := r.suspect(ctx, key)
		if err != nil {
			return err
		}
		if !suspect {
			continue
		}
		probe := new(mdns.Msg).SetUpdate(r.zone.Name.FQDN())
		probe.RRsetUsed([]mdns.RR{&mdns.ANY{Hdr: mdns.RR_Header{Name: n.FQDN(), Rrtype: rrs[0].Header().Rrtype, Class: mdns.ClassINET}}})
		answer, err := r.ask(ctx, probe)
		if err != nil {
			return err
		}
		switch answer.Rcode {
		case mdns.RcodeSuccess:
		case mdns.RcodeNXRrset, mdns.RcodeNameError:
			delete(sets, key)
		default:
			return fmt.Errorf("asking whether %s is in the zone: %w", key, refusal(answer.Rcode))
		}
	}
	return nil
}

// suspect reports whether a wildcard above a key has its type, too.
func (r *reader) suspect(ctx context.Context, key dns.Key) (bool, error) {
	_, parent, _ := strings.Cut(strings.TrimPrefix(string(key.Name), "*."), ".")
	for dns.Name(parent).In(r.zone.Name) {
		w := dns.Name("*." + parent)
		if r.wildcards[w] == nil {
			sets, err := r.lookup(ctx, w)
			if err != nil {
				return false, err
			}
			if sets == nil {
				sets = map[dns.Key][]mdns.RR{}
			}
			r.wildcards[w] = sets
		}
		if r.wildcards[w][dns.Key{Name: w, Type: key.Type}] != nil {
			return true, nil
		}
		_, parent, _ = strings.Cut(parent, ".")
	}
	return false, nil
}
