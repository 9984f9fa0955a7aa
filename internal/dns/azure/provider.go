// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/dns/armdns"

	"github.com/trellis-mesh/trellis/internal/dns"
)

// spread is how long a change may take to be on all name servers, as Microsoft
// says in its "Azure DNS FAQ". There is no way to ask.
const spread = 60 * time.Second

// Clouds by name; empty is the public one.
const (
	CloudPublic     = "AzurePublicCloud"
	CloudChina      = "AzureChinaCloud"
	CloudGovernment = "AzureUSGovernmentCloud"
)

// Config is a subscription, and who we are to it.
type Config struct {
	SubscriptionID string
	// ResourceGroup limits the zones that are seen; empty for all.
	ResourceGroup string
	// Cloud is one of the constants above.
	Cloud string

	// TenantID and ClientID are of the application, or the ClientID of a
	// user-assigned managed identity. Empty where the environment says them.
	TenantID, ClientID string
	// ClientSecret is the application's password. Where it is empty, the pod's
	// workload identity is used, and where there is none the managed identity.
	ClientSecret string
	// TokenFile holds the token of a workload identity; empty for the environment's.
	TokenFile string

	// Endpoint and Authority replace the addresses of Azure Resource Manager and of
	// Microsoft Entra ID.
	Endpoint, Authority string
	// HTTPClient is the SDK's where it is nil.
	HTTPClient *http.Client
	// Now is the clock; time.Now where it is nil.
	Now func() time.Time
}

// Provider is a subscription. Safe for concurrent use.
type Provider struct {
	zones *armdns.ZonesClient
	sets  *armdns.RecordSetsClient
	group string
	now   func() time.Time
}

var _ dns.Provider = (*Provider)(nil)

// New makes a provider. It makes no request.
func New(c Config) (*Provider, error) {
	options, err := clientOptions(c)
	if err != nil {
		return nil, err
	}
	from, err := credential(c, options)
	if err != nil {
		return nil, fmt.Errorf("reading the Azure credentials: %w: %s", dns.ErrCredentials, steady(err.Error()))
	}
	resources := &arm.ClientOptions{ClientOptions: options, DisableRPRegistration: true}
	p := &Provider{group: c.ResourceGroup, now: c.Now}
	if p.now == nil {
		p.now = time.Now
	}
	if p.zones, err = armdns.NewZonesClient(c.SubscriptionID, telling{from}, resources); err != nil {
		return nil, fmt.Errorf("making a client of Azure DNS: %w", err)
	}
	if p.sets, err = armdns.NewRecordSetsClient(c.SubscriptionID, telling{from}, resources); err != nil {
		return nil, fmt.Errorf("making a client of Azure DNS: %w", err)
	}
	return p, nil
}

func clientOptions(c Config) (azcore.ClientOptions, error) {
	var of cloud.Configuration
	switch c.Cloud {
	case "", CloudPublic:
		of = cloud.AzurePublic
	case CloudChina:
		of = cloud.AzureChina
	case CloudGovernment:
		of = cloud.AzureGovernment
	default:
		return azcore.ClientOptions{}, fmt.Errorf("reading the Azure configuration: there is no cloud %q", c.Cloud)
	}
	if c.Authority != "" {
		of.ActiveDirectoryAuthorityHost = c.Authority
	}
	if c.Endpoint != "" {
		manager := of.Services[cloud.ResourceManager]
		manager.Endpoint = c.Endpoint
		of.Services = map[cloud.ServiceName]cloud.ServiceConfiguration{cloud.ResourceManager: manager}
	}
	client := c.HTTPClient
	if client == nil {
		client = http.DefaultClient
	}
	return azcore.ClientOptions{
		Cloud:     of,
		Transport: watched{client},
		// Who calls decides when to try again, and sees every attempt.
		Retry:     policy.RetryOptions{MaxRetries: -1},
		Telemetry: policy.TelemetryOptions{ApplicationID: "trellis"},
	}, nil
}

// Capabilities says that one change is written at a time, and that there is no
// routing.
func (p *Provider) Capabilities() dns.Capabilities { return dns.Capabilities{MaxChanges: 1} }

// Zones lists the public zones of the resource group, or of the subscription.
func (p *Provider) Zones(ctx context.Context) ([]dns.Zone, error) {
	var out []dns.Zone
	add := func(zones []*armdns.Zone) {
		for _, z := range zones {
			if z == nil || z.ID == nil || z.Name == nil {
				continue
			}
			name, err := dns.ParseName(*z.Name)
			if err != nil {
				// No zone of a name of ours.
				continue
			}
			private := z.Properties != nil && z.Properties.ZoneType != nil && *z.Properties.ZoneType == armdns.ZoneTypePrivate
			out = append(out, dns.Zone{ID: *z.ID, Name: name, Private: private})
		}
	}
	if p.group != "" {
		for pages := p.zones.NewListByResourceGroupPager(p.group, nil); pages.More(); {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, explain("listing the zones of resource group "+p.group, err)
			}
			add(page.Value)
		}
		return out, nil
	}
	for pages := p.zones.NewListPager(nil); pages.More(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, explain("listing the zones", err)
		}
		add(page.Value)
	}
	return out, nil
}

// Point makes addresses, or a CNAME. Aliases of Azure DNS lead to resources of
// Azure by their id, which nothing in a cluster tells.
func (p *Provider) Point(zone dns.Zone, name dns.Name, identifier string, ttl uint32, t dns.Target) ([]dns.RecordSet, error) {
	if t.Host == "" {
		return dns.Addressed(name, identifier, ttl, t.Addresses), nil
	}
	if name == zone.Name {
		return nil, fmt.Errorf("pointing %s to %s: %w: it is the apex of its zone, where no CNAME may be; give the load balancer an address", name, t.Host, dns.ErrInvalid)
	}
	set, err := dns.NewRecordSet(dns.Key{Name: name, Type: dns.TypeCNAME, Identifier: identifier}, ttl, string(t.Host))
	return []dns.RecordSet{set}, err
}

// receipt is the time of a change.
func (p *Provider) receipt() dns.Receipt {
	return dns.Receipt(strconv.FormatInt(p.now().Unix(), 10))
}

// Spread is true when a minute has passed, which is as long as Microsoft says it
// takes.
func (p *Provider) Spread(ctx context.Context, _ dns.Zone, r dns.Receipt) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	at, err := strconv.ParseInt(string(r), 10, 64)
	if err != nil {
		// Nothing was written, or long ago by another version.
		return true, nil
	}
	return p.now().Sub(time.Unix(at, 0)) >= spread, nil
}
