// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package ask

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/trellis-mesh/trellis/internal/ask/witness"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Witness is one request that shows an answer.
type Witness struct {
	// From is who sends it: "internet", a workload "shop/cart", or words for a client
	// that does not exist today.
	From string `json:"from"`
	// Identity is the client's SPIFFE ID; empty for none.
	Identity string `json:"identity,omitempty"`
	// Address is the client's, where it matters.
	Address string `json:"address,omitempty"`
	Method  string `json:"method,omitempty"`
	URL     string `json:"url"`
	// Headers are "name: value".
	Headers []string `json:"headers,omitempty"`
	// Claims are those of its token; empty: it has none.
	Claims json.RawMessage `json:"claims,omitempty"`

	request witness.Request
	// unaskable says why it cannot be asked alone; empty where it can.
	unaskable string
}

// Internet is where requests from outside of the mesh come from.
const Internet = "internet"

func (d *door) witness(from string, r witness.Request) Witness {
	out := Witness{From: from, Identity: r.Identity, URL: d.url(r), request: r}
	// A workload has an address of its own.
	if r.Address.IsValid() && (from == Internet || strings.Contains(from, " ")) {
		out.Address = r.Address.String()
	}
	switch {
	case from != Internet && strings.Contains(from, " "):
		out.unaskable = "there is no such workload"
	case from != Internet && d.service == nil:
		out.unaskable = "no Service has that port"
	case d.Mutual && r.Host != witness.AnyHost:
		out.unaskable = "it names another host than it goes to"
	}
	if !d.HTTP {
		return out
	}
	out.Method = r.Method
	if strings.Contains(r.Host, ":") {
		out.Headers = append(out.Headers, "host: "+r.Host)
	}
	for _, h := range r.Headers {
		out.Headers = append(out.Headers, h.Name+": "+h.Value)
	}
	out.Claims = r.ClaimsJSON()
	return out
}

func (d *door) url(r witness.Request) string {
	host, _, _ := strings.Cut(r.Host, ":")
	// At a workload the host makes no difference, where no rule names one.
	indifferent := d.node.Type != xds.Router && host == witness.AnyHost
	if d.Mutual || d.Workload != nil || !d.TLS && !d.HTTP || indifferent {
		if d.service != nil {
			host = d.service.Host
		}
	}
	if fmt.Sprint(d.port) != defaultPort(d.scheme()) {
		host += fmt.Sprintf(":%d", d.port)
	}
	out := d.scheme() + "://" + host
	if !d.HTTP {
		return out
	}
	out += r.Path
	if r.Query != "" {
		out += "?" + r.Query
	}
	return out
}

// Arguments are those of "trellis can" for this request, without the files.
func (w Witness) Arguments() []string {
	var out []string
	switch {
	case w.Address != "":
		out = append(out, "--from", w.Address)
	case w.From != Internet && !strings.Contains(w.From, " "):
		out = append(out, "--from", w.From)
	}
	if len(w.Claims) > 0 {
		out = append(out, "--claims", string(w.Claims))
	}
	for _, h := range w.Headers {
		out = append(out, "-H", h)
	}
	if w.Method != "" {
		out = append(out, w.Method)
	}
	return append(out, w.URL)
}

// Request is the same request, to be asked about alone. An error: it cannot be
// asked so, since its client does not exist.
func (w Witness) Request() (*Request, error) {
	u, err := url.Parse(w.URL)
	if err != nil {
		return nil, fmt.Errorf("reading the URL of a witness: %w", err)
	}
	headers := w.request.Headers
	if strings.Contains(w.request.Host, ":") {
		headers = append([]stream.Header{{Name: "host", Value: w.request.Host}}, headers...)
	}
	out := &Request{Method: w.Method, URL: u, Headers: headers, Claims: w.request.Claims, Address: w.request.Address}
	if w.unaskable != "" {
		return nil, fmt.Errorf("asking in the name of %s: %s", w.From, w.unaskable)
	}
	if w.From == Internet {
		return out, nil
	}
	namespace, name, _ := strings.Cut(w.From, "/")
	out.From = &WorkloadRef{Namespace: namespace, Name: name}
	return out, nil
}
