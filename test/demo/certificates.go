// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/trellis-mesh/trellis/test/acme"
	"github.com/trellis-mesh/trellis/test/nameserver"
	"github.com/trellis-mesh/trellis/test/stack"
)

const (
	ownDomainFolder = "examples/own-domain"
	ownDomain       = "flowers.example.net"
	ownSpace        = "flowers"
	// renewAfter is when the authority wants its certificate renewed: late enough
	// to have requests under way.
	renewAfter = 10 * time.Second
)

// The lines of the example that are other ones in a place without names.
const (
	mailLine   = "    email: ops@example.net\n"
	serverLine = "server: ns1.example.net:53"
	keyLine    = "secret: dGhpcyBrZXkgaXMgbm8gc2VjcmV0IGF0IGFsbC4uLi4="
)

// outside is what the world has besides the cluster.
type outside struct {
	names     *nameserver.Server
	authority *acme.Server
	// roots is a file with the certificate by which the authority's own HTTPS is
	// known.
	roots string
}

// startOutside starts a name server and a certificate authority that asks it.
func (d *demo) startOutside(ctx context.Context) error {
	var err error
	d.outside.names, err = nameserver.Start(ctx, nameserver.BIND, ownDomain)
	if missing := (*nameserver.UnavailableError)(nil); errors.As(err, &missing) {
		d.outside.names, err = nameserver.Start(ctx, nameserver.Process, ownDomain)
	}
	if err != nil {
		return err
	}
	d.outside.authority, err = acme.Start(acme.Options{Resolver: d.outside.names.Address, RenewFirst: renewAfter})
	if err != nil {
		return err
	}
	d.outside.roots = filepath.Join(d.dir, "authority.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: d.outside.authority.Front.Raw})
	if err := os.WriteFile(d.outside.roots, text, 0o600); err != nil {
		return fmt.Errorf("writing how the certificate authority is known: %w", err)
	}
	return nil
}

func (o *outside) stop() {
	if o.authority != nil {
		o.authority.Stop()
	}
	if o.names != nil {
		o.names.Stop()
	}
}

// obtain states a domain, and follows its entry and its certificate.
func (d *demo) obtain(ctx context.Context) error {
	if d.outside.names.Kind == nameserver.BIND {
		d.view.note("name server: BIND, with the zone %s, at %s", ownDomain, d.outside.names.Address)
	} else {
		d.view.note("name server: one within the demo, with the zone %s, since BIND (named) is not installed", ownDomain)
	}
	d.view.note("certificate authority: Pebble, Let's Encrypt's own test server, in strict mode; it asks that name server")
	started := time.Now()
	if err := d.applyOwnDomain(ctx); err != nil {
		return err
	}
	published := time.Now()
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err := stack.Until(limited, "the entry in the zone", func(context.Context) error {
		address, err := d.resolve()
		if err == nil {
			d.view.line("%s leads to %s, says the name server %.1f s after the Application", ownDomain, address, time.Since(published).Seconds())
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := d.kubectl(ctx, nil, "-n", gatewaySpace, "wait", "--for=condition=Ready", "--timeout=60s", "managedcertificate", "--all"); err != nil {
		return errors.Join(err, d.kubectl(ctx, nil, "-n", gatewaySpace, "get", "managedcertificates,managedrecords,dnsproviders", "-o", "wide"))
	}
	d.view.line("The certificate is there %.1f s after the Application, and %.1f s after all of it began", time.Since(published).Seconds(), time.Since(started).Seconds())
	if err := d.kubectl(ctx, nil, "-n", gatewaySpace, "get", "managedcertificates,managedrecords"); err != nil {
		return err
	}
	if err := d.showZone(); err != nil {
		return err
	}
	err = stack.Until(limited, "the gateway to serve the certificate", func(ctx context.Context) error {
		_, err := d.serial(ctx)
		return err
	})
	if err != nil {
		return err
	}
	return d.rotate(ctx)
}

// applyOwnDomain applies what platform and team state.
func (d *demo) applyOwnDomain(ctx context.Context) error {
	platform, err := d.example("../own-domain/platform.yaml")
	if err != nil {
		return err
	}
	for _, edit := range []struct{ before, after string }{
		{mailLine, mailLine + "    builtIn: {directory: " + strconv.Quote(d.outside.authority.Directory) + "}\n"},
		{serverLine, "server: " + strconv.Quote(d.outside.names.Address)},
		{keyLine, "secret: " + d.outside.names.Secret},
	} {
		if platform, err = replaced(platform, edit.before, edit.after); err != nil {
			return err
		}
	}
	d.view.note("edited: address and key of the name server, and the authority, which would be Let's Encrypt")
	if err := d.kubectl(ctx, platform, "apply", "-f", ownDomainFolder+"/platform.yaml"); err != nil {
		return err
	}
	if err := d.kubectl(ctx, nil, "apply", "-f", ownDomainFolder+"/workload.yaml"); err != nil {
		return err
	}
	flowers := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("roses and tulips\n")) })
	_, err = d.stack.Application(ctx, stack.ApplicationOptions{
		Namespace: ownSpace, Name: ownSpace, Ports: []stack.Port{{Name: "http", Port: 9080, Handler: flowers}},
	})
	if err != nil {
		return err
	}
	return d.kubectl(ctx, nil, "apply", "-f", ownDomainFolder+"/application.yaml")
}

// resolve asks the name server where the domain leads.
func (d *demo) resolve() (string, error) {
	question := new(mdns.Msg).SetQuestion(mdns.Fqdn(ownDomain), mdns.TypeA)
	answer, _, err := (&mdns.Client{Net: "tcp"}).Exchange(question, d.outside.names.Address)
	if err != nil {
		return "", fmt.Errorf("asking the name server: %w", err)
	}
	for _, rr := range answer.Answer {
		if a, ok := rr.(*mdns.A); ok {
			return a.A.String(), nil
		}
	}
	return "", fmt.Errorf("asking the name server: it knows no address of %s", ownDomain)
}

// showZone prints all that is in the zone: entries and their marks, and nothing
// that is left of the proof.
func (d *demo) showZone() error {
	sets, err := d.outside.names.Dump()
	if err != nil {
		return err
	}
	d.view.line("What the zone has now, beside its own SOA and NS:")
	for _, set := range sets {
		for _, value := range set.Values {
			d.view.block(fmt.Sprintf("%-36s %-4s %s", set.Name, set.Type, value))
		}
	}
	return nil
}

// ownHTTPS sends a request to where the name server says, for who trusts the
// authority's root, on a connection of its own.
func (d *demo) ownHTTPS(ctx context.Context) (*stack.Response, error) {
	address, err := d.resolve()
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(d.gateway.HTTPSAddress)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{RootCAs: d.outside.authority.Roots(0), ServerName: ownDomain}
	return stack.Send(ctx, net.JoinHostPort(address, port), config, stack.Request{Host: ownDomain})
}

// rotate sends requests without a pause until another certificate is served.
func (d *demo) rotate(ctx context.Context) error {
	d.view.header()
	ask := question{
		who: "anybody", request: "GET https://" + ownDomain + "/", credential: "-", send: d.ownHTTPS,
		want: []int{http.StatusOK}, holds: "tulips", says: "trusting the authority's root, at the entry's address",
	}
	d.record(ask.ask(ctx))
	first, err := d.serial(ctx)
	if err != nil {
		return err
	}
	sent, failed := 0, row{right: true}
	started := time.Now()
	for now := first; now == first; {
		if time.Since(started) > time.Minute {
			return errors.New("waiting for another certificate: it is the first one after a minute")
		}
		if now, err = d.serial(ctx); err != nil {
			return err
		}
		for range 20 {
			sent++
			if r := ask.ask(ctx); !r.right {
				failed = r
			}
		}
	}
	says := fmt.Sprintf("no request failed; another certificate after %.1f s: the authority asked for it (ARI)", time.Since(started).Seconds())
	if !failed.right {
		says = "at least one failed: " + failed.says
	}
	d.record(row{
		right: failed.right, who: "anybody", request: fmt.Sprintf("the same %d times, on as many connections", sent),
		credential: "-", answer: "200", says: says,
	})
	return nil
}

// serial is the serial number of the certificate that is served.
func (d *demo) serial(ctx context.Context) (string, error) {
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: d.outside.authority.Roots(0), ServerName: ownDomain}}
	conn, err := dialer.DialContext(ctx, "tcp", d.gateway.HTTPSAddress)
	if err != nil {
		return "", fmt.Errorf("looking at the certificate: %w", err)
	}
	defer func() { _ = conn.Close() }()
	secure, ok := conn.(*tls.Conn)
	if !ok {
		return "", errors.New("looking at the certificate: the connection has none")
	}
	return secure.ConnectionState().PeerCertificates[0].SerialNumber.String(), nil
}
