// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/test/acme"
	"github.com/trellis-mesh/trellis/test/nameserver"
)

func TestEntriesLeadToTheGatewayAndProveAWildcard(t *testing.T) {
	for kind, name := range map[nameserver.Kind]string{nameserver.Process: "process", nameserver.BIND: "bind"} {
		t.Run(string(kind), func(t *testing.T) {
			server, err := nameserver.Start(t.Context(), kind, dns.Name(name+".example.com"))
			if missing := (*nameserver.UnavailableError)(nil); errors.As(err, &missing) {
				t.Skip(err)
			}
			must(t, err)
			t.Cleanup(server.Stop)
			checkEntries(t, newSite(t, name), server)
		})
	}
}

func checkEntries(t *testing.T, s *site, server *nameserver.Server) {
	foreign := []dns.RecordSet{
		{Key: dns.Key{Name: dns.Name("mail." + s.domain), Type: dns.TypeA}, TTL: 60, Values: []string{"192.0.2.25"}},
		{Key: dns.Key{Name: dns.Name(s.domain), Type: dns.TypeTXT}, TTL: 60, Values: []string{"v=spf1 -all"}},
	}
	for _, set := range foreign {
		must(t, server.Put(t.Context(), set))
	}
	s.provider(server)
	ca := s.authority(acme.Options{Resolver: server.Address})
	ingress := s.publish(fmt.Sprintf("  tls: {builtIn: {directory: %q}}\n  dns: {providerRef: {name: %s}}\n", ca.Directory, s.name))
	s.await("the entry in the zone", func(context.Context) error {
		address, err := resolve(server, s.host)
		if err == nil && address != s.address.String() {
			err = fmt.Errorf("it leads to %q", address)
		}
		return err
	})
	t.Logf("%.1f s from apply to the entry", time.Since(s.started).Seconds())
	c := s.issued()
	t.Logf("%.1f s from apply to issued, proven in the zone", time.Since(s.started).Seconds())
	if c.Spec.Challenge != string(v1alpha1.ChallengeDNS01) || !slices.Equal(slices.Sorted(slices.Values(c.Spec.DNSNames)), []string{"*." + s.domain, s.domain}) {
		t.Errorf("the certificate is for %v by %s", c.Spec.DNSNames, c.Spec.Challenge)
	}
	s.served(ca.Roots(0))
	t.Logf("%.1f s from apply to HTTPS with it", time.Since(s.started).Seconds())
	leaf, err := s.leaf(t.Context())
	must(t, err)
	if err := leaf.VerifyHostname("any." + s.domain); err != nil {
		t.Errorf("the certificate is no wildcard: %v", err)
	}

	key := dns.Key{Name: dns.Name(s.host), Type: dns.TypeA}
	mark, err := dns.MarkName(key)
	must(t, err)
	s.awaitZone(server, foreign, key, dns.Key{Name: mark, Type: dns.TypeTXT})
	must(t, world.client.Delete(t.Context(), ingress))
	s.awaitZone(server, foreign)
}

// One entry stands for as long as the certificate is wanted, and proves the name to
// a real authority at each renewal without being touched.
func TestAStandingEntryProvesTheNamesAtEachRenewal(t *testing.T) {
	s := newSite(t, "persist")
	server, err := nameserver.Start(t.Context(), nameserver.Process, dns.Name(s.domain))
	must(t, err)
	t.Cleanup(server.Stop)
	s.provider(server)
	ca := s.authority(acme.Options{Resolver: server.Address})
	ingress := s.publish(fmt.Sprintf("  tls: {builtIn: {directory: %q, challenge: DNSPersist01}}\n  dns: {providerRef: {name: %s}}\n", ca.Directory, s.name))
	c := s.issued()
	if c.Spec.Challenge != string(v1alpha1.ChallengeDNSPersist01) || !slices.Contains(c.Spec.DNSNames, "*."+s.domain) {
		t.Errorf("the certificate is for %v by %s", c.Spec.DNSNames, c.Spec.Challenge)
	}
	s.served(ca.Roots(0))
	standing := s.standing(server)
	// The operator writes to it, too.
	before := c.DeepCopy()
	metav1.SetMetaDataAnnotation(&c.ObjectMeta, v1alpha1.RenewAnnotation, "1")
	must(t, world.client.Patch(t.Context(), c, client.MergeFrom(before)))
	s.await("the renewal", func(context.Context) error {
		if n := ca.Count(acme.PathCertificate, 200); n != 2 {
			return fmt.Errorf("%d certificates", n)
		}
		return nil
	})
	if after := s.standing(server); !slices.Equal(standing, after) {
		t.Errorf("the entry was %q and is %q", standing, after)
	}
	must(t, world.client.Delete(t.Context(), ingress))
	s.awaitZone(server, nil)
}

// standing are the values of the entry that lets our account have certificates.
func (s *site) standing(server *nameserver.Server) []string {
	s.t.Helper()
	sets, err := server.Dump()
	must(s.t, err)
	for _, set := range sets {
		if string(set.Name) == "_validation-persist."+s.domain && set.Type == dns.TypeTXT {
			if len(set.Values) == 1 && strings.Contains(set.Values[0], acme.Identity+"; accounturi=https://") && strings.Contains(set.Values[0], "policy=wildcard") {
				return set.Values
			}
			s.t.Errorf("the entry has %q", set.Values)
		}
	}
	s.t.Error("there is no standing entry")
	return nil
}

// awaitZone waits until a zone has what is foreign, unchanged, and ours at these
// keys, and nothing else: no challenge, no mark.
func (s *site) awaitZone(server *nameserver.Server, foreign []dns.RecordSet, ours ...dns.Key) {
	s.t.Helper()
	s.await(fmt.Sprintf("the zone to have %d entries of ours", len(ours)), func(context.Context) error {
		sets, err := server.Dump()
		if err != nil {
			return err
		}
		found := 0
		for _, set := range sets {
			switch {
			case slices.ContainsFunc(foreign, set.Equal), slices.Contains(ours, set.Key):
				found++
			default:
				return fmt.Errorf("there is %s %v", set.Key, set.Values)
			}
		}
		if found != len(foreign)+len(ours) {
			return fmt.Errorf("there is %v", sets)
		}
		return nil
	})
}

// provider lets the site write to the server's zone.
func (s *site) provider(server *nameserver.Server) {
	s.t.Helper()
	must(s.t, world.client.Create(s.t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: ingressNamespace, Name: s.name + "-tsig"},
		StringData: map[string]string{"name": string(server.KeyName), "algorithm": server.Algorithm, "secret": server.Secret},
	}))
	provider := &v1alpha1.DNSProvider{}
	must(s.t, yaml.UnmarshalStrict(fmt.Appendf(nil, `
metadata: {name: %[1]s, namespace: %[2]s}
spec:
  rfc2136: {server: %[3]q, zones: [%[4]s], tsigSecretRef: {name: %[1]s-tsig}}
`, s.name, ingressNamespace, server.Address, s.domain), provider))
	must(s.t, world.client.Create(s.t.Context(), provider))
}

// resolve asks a name server for the address of a host; empty where there is none.
func resolve(server *nameserver.Server, host string) (string, error) {
	question := new(mdns.Msg).SetQuestion(mdns.Fqdn(host), mdns.TypeA)
	answer, _, err := (&mdns.Client{Net: "tcp"}).Exchange(question, server.Address)
	if err != nil {
		return "", err
	}
	var out []string
	for _, rr := range answer.Answer {
		if a, ok := rr.(*mdns.A); ok {
			out = append(out, a.A.String())
		}
	}
	return strings.Join(out, " "), nil
}
