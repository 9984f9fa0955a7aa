// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package space

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/trellis-mesh/trellis/internal/ask/atom"
	"github.com/trellis-mesh/trellis/internal/ask/class"
	"github.com/trellis-mesh/trellis/internal/ask/witness"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Door is where requests come to: an address and port, and how its clients talk.
type Door struct {
	// To is what clients connect to.
	To netip.AddrPort
	// Address is where they come from; a class may say otherwise.
	Address netip.Addr
	// Workload is the client's own proxy, where requests begin there.
	Workload *xds.Key
	// Mutual: clients have certificates of the mesh. TLS: they have none, and know
	// the server by its name. Neither: plaintext.
	Mutual, TLS bool
	// Names are what a filter chain of a gateway takes for TLS: exact names and
	// "*.example.com". Clients ask for their host where that is among them, else
	// for the first.
	Names []string
	// Port is the one that clients address; zero where nobody knows.
	Port uint16
	// HTTP is spoken.
	HTTP bool
	// Places are where tokens are sent, by issuer. It is filled while a door is
	// explored.
	Places map[string]witness.Place
	// At is the moment of the requests.
	At time.Time
}

// Witness is one request of a class.
func (d *Door) Witness(p *class.Point) witness.Request {
	out := witness.Request{Host: witness.AnyHost, Path: "/", Method: "GET"}
	query, claims := url.Values{}, map[string]*structpb.Value{}
	p.Each(func(at class.Dimension, v class.Value) {
		if v.Absent {
			return
		}
		switch at.Kind {
		case class.Host:
			out.Host = d.host(v)
		case class.Path:
			out.Path = v.Text()
		case class.Method:
			out.Method = v.Text()
		case class.Identity:
			out.Identity = v.Text()
		case class.Address:
			out.Address, _ = netip.ParseAddr(v.Text())
		case class.Header:
			out.Headers = append(out.Headers, stream.Header{Name: at.Name, Value: v.Text()})
		case class.Parameter:
			query.Set(at.Name, v.Text())
		case class.Token:
			claims["iss"] = structpb.NewStringValue(v.Text())
			claims["sub"] = structpb.NewStringValue("somebody")
		case class.Claim:
			witness.SetClaim(claims, strings.Split(at.Name, "\x00"), v.Texts)
		}
	})
	// A subject that is settled to be missing is.
	if v, ok := p.Value(class.Dimension{Kind: class.Claim, Name: "sub"}); ok && v.Absent {
		delete(claims, "sub")
	}
	if claims["iss"] != nil {
		out.Claims = &structpb.Struct{Fields: claims}
		at, known := d.Places[claims["iss"].GetStringValue()]
		if !known {
			at = witness.Bearer
		}
		out.Place = at
	}
	out.Query = query.Encode()
	return out
}

// host is the witness of a class of hosts: with the door's own port where it has one
// and it makes no difference which.
func (d *Door) host(v class.Value) string {
	name, has := strings.CutSuffix(v.Text(), atom.OtherPort)
	if own := fmt.Sprintf("%s:%d", name, d.Port); has && d.Port > 0 && !v.Single && v.Has(false, own) {
		return own
	}
	return v.Text()
}

// Ask is a request at this door, ready to be decided.
func (d *Door) Ask(r witness.Request) *decide.Question {
	q := d.connect(r)
	if d.HTTP {
		q.Request = r.Message()
	}
	if r.Claims != nil {
		q.Tokens = map[string]*stream.Token{witness.AnyToken: {Claims: r.Claims}}
	}
	return q
}

// connection is the one that requests of a class come by.
func (d *Door) connection(p *class.Point) *stream.Connection {
	r := witness.Request{Host: witness.AnyHost}
	if v, ok := p.Value(class.Dimension{Kind: class.Host}); ok {
		r.Host = d.host(v)
	}
	if v, ok := p.Value(class.Dimension{Kind: class.Identity}); ok {
		r.Identity = v.Text()
	}
	if v, ok := p.Value(class.Dimension{Kind: class.Address}); ok {
		r.Address, _ = netip.ParseAddr(v.Text())
	}
	q := d.connect(r)
	return &stream.Connection{DirectRemote: q.From.Address, Local: q.To, TLS: q.TLS}
}

// connect is a question about the connection that a request comes by.
func (d *Door) connect(r witness.Request) *decide.Question {
	q := &decide.Question{To: d.To, At: d.At}
	q.From.Workload = d.Workload
	from := d.Address
	if r.Address.IsValid() {
		from = r.Address
	}
	if from.IsValid() {
		q.From.Address = netip.AddrPortFrom(from, 40000)
	}
	switch {
	case d.Mutual:
		identity := r.Identity
		if identity == "" {
			identity = "spiffe://cluster.local/ns/any-other/sa/any-other"
		}
		q.TLS = &stream.TLS{ServerName: "outbound_.any", Offered: slices.Clone(meshProtocols), Peer: &stream.Certificate{URIs: []string{identity}}}
		if !d.HTTP {
			q.TLS.Offered = []string{"istio-peer-exchange", "istio"}
		}
	case d.TLS:
		q.TLS = &stream.TLS{ServerName: d.serverName(r.Host), Offered: []string{"http/1.1"}}
	}
	return q
}

// serverName is what a client asks for in TLS.
func (d *Door) serverName(host string) string {
	host, _, _ = strings.Cut(host, ":")
	if len(d.Names) == 0 {
		return host
	}
	for _, name := range d.Names {
		if rest, wild := strings.CutPrefix(name, "*"); name == host || wild && strings.HasSuffix(host, rest) && len(host) > len(rest) {
			return host
		}
	}
	return strings.Replace(d.Names[0], "*", "any-other", 1)
}
