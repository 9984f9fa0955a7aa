// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package google

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/oauth2"
	googleauth "golang.org/x/oauth2/google"
	clouddns "google.golang.org/api/dns/v1"
	"google.golang.org/api/option"

	"github.com/trellis-mesh/trellis/internal/dns"
)

// Limits of one change (https://cloud.google.com/dns/quotas): 1,000 record sets
// added, 1,000 deleted, 100,000 octets of data in both. Each value is counted as
// if it were a set.
const (
	maxRecords   = 1000
	maxChanges   = maxRecords / 4
	maxData      = 100_000
	maxValues    = 100 // of one record set
	maxTTL       = 1<<31 - 1
	callTimeout  = 30 * time.Second
	userAgent    = "trellis"
	statusDone   = "done"
	listPageSize = 1000
)

// Options say where the zones are, and who asks.
type Options struct {
	// Project holds the zones. Empty takes the project of the credentials.
	Project string
	// Key is a service account's key in JSON. Nil takes the application default
	// credentials: workload identity of the cluster, workload identity federation
	// by the file that GOOGLE_APPLICATION_CREDENTIALS names, or the node's account.
	Key []byte
	// Endpoint replaces https://dns.googleapis.com/.
	Endpoint string
	// Transport makes all calls; nil takes http.DefaultTransport.
	Transport http.RoundTripper
}

// Provider is the zones of a project.
type Provider struct {
	project string
	service *clouddns.Service
}

var _ dns.Provider = (*Provider)(nil)

// New makes a provider. It makes no call to Cloud DNS; the error is ErrCredentials
// where there are no credentials, or they are not understood.
func New(ctx context.Context, o Options) (*Provider, error) {
	seen := &witness{base: o.Transport}
	client := &http.Client{Transport: seen, Timeout: callTimeout}
	// Tokens are fetched as long as the provider lives, not as long as this call.
	tokens := context.WithValue(context.WithoutCancel(ctx), oauth2.HTTPClient, client)
	credentials, err := find(tokens, o.Key)
	if err != nil {
		return nil, fmt.Errorf("finding credentials for Google Cloud DNS: %w", err)
	}
	project := cmp.Or(o.Project, credentials.ProjectID)
	if project == "" {
		return nil, fmt.Errorf("finding the Google Cloud project: %w: they name none, and none was given", dns.ErrCredentials)
	}
	authorised := &http.Client{Timeout: callTimeout, Transport: &oauth2.Transport{
		Source: &tokenSource{source: credentials.TokenSource, seen: seen}, Base: o.Transport}}
	options := []option.ClientOption{option.WithHTTPClient(authorised), option.WithUserAgent(userAgent)}
	if o.Endpoint != "" {
		options = append(options, option.WithEndpoint(o.Endpoint))
	}
	service, err := clouddns.NewService(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("making a client of Google Cloud DNS: %w", err)
	}
	return &Provider{project: project, service: service}, nil
}

// find takes a key of a service account only: other kinds of files may name any
// address or program to get tokens from, which is for the operator's own
// environment to say.
func find(ctx context.Context, key []byte) (*googleauth.Credentials, error) {
	if key == nil {
		c, err := googleauth.FindDefaultCredentials(ctx, clouddns.NdevClouddnsReadwriteScope)
		if err != nil {
			return nil, fmt.Errorf("%w: %s", dns.ErrCredentials, brief(err.Error()))
		}
		return c, nil
	}
	c, err := googleauth.CredentialsFromJSONWithType(ctx, key, googleauth.ServiceAccount, clouddns.NdevClouddnsReadwriteScope)
	if err != nil {
		// What is wrong with it is not said: the text might quote the key.
		return nil, fmt.Errorf("%w: this is no service account's key in JSON", dns.ErrCredentials)
	}
	return c, nil
}

// Capabilities are those of one change.
func (p *Provider) Capabilities() dns.Capabilities {
	return dns.Capabilities{Atomic: true, MaxChanges: maxChanges, MaxRecords: maxRecords}
}

// Zones lists the zones of the project that hold records: those that forward or
// peer to elsewhere are left out.
func (p *Provider) Zones(ctx context.Context) ([]dns.Zone, error) {
	var out []dns.Zone
	err := p.service.ManagedZones.List(p.project).Pages(ctx, func(page *clouddns.ManagedZonesListResponse) error {
		for _, z := range page.ManagedZones {
			name, err := dns.ParseName(z.DnsName)
			if err != nil || z.ForwardingConfig != nil || z.PeeringConfig != nil || z.ServiceDirectoryConfig != nil {
				continue
			}
			out = append(out, dns.Zone{ID: z.Name, Name: name, Private: z.Visibility == "private"})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing the zones of the project %s: %w", p.project, explain(err))
	}
	return out, nil
}

// Point makes addresses, or a CNAME, which cannot be at an apex.
func (p *Provider) Point(zone dns.Zone, name dns.Name, identifier string, ttl uint32, t dns.Target) ([]dns.RecordSet, error) {
	switch {
	case identifier != "":
		return nil, fmt.Errorf("pointing %s: %w: no routed groups at Google Cloud DNS", name, dns.ErrInvalid)
	case t.Host == "":
		return dns.Addressed(name, "", ttl, t.Addresses), nil
	case name == zone.Name:
		return nil, fmt.Errorf("pointing the apex %s to a host name: %w: a CNAME cannot be there; give the load balancer an address", name, dns.ErrInvalid)
	}
	set, err := dns.NewRecordSet(dns.Key{Name: name, Type: dns.TypeCNAME}, ttl, string(t.Host))
	if err != nil {
		return nil, fmt.Errorf("pointing %s: %w: %w", name, dns.ErrInvalid, err)
	}
	return []dns.RecordSet{set}, nil
}

// Spread reports whether the change was sent to all name servers. Google says no
// more than that; they have it within seconds.
func (p *Provider) Spread(ctx context.Context, zone dns.Zone, r dns.Receipt) (bool, error) {
	if r == "" {
		return true, nil
	}
	c, err := p.service.Changes.Get(p.project, zone.ID, string(r)).Context(ctx).Do()
	if err != nil {
		return false, fmt.Errorf("asking whether a change of %s has spread: %w", zone.Name, explain(err))
	}
	return c.Status == statusDone, nil
}
