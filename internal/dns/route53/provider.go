// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package route53

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"golang.org/x/time/rate"

	"github.com/trellis-mesh/trellis/internal/dns"
)

// The quotas of one batch (Route 53 Developer Guide, "Quotas").
const (
	maxRecords    = 1000
	maxCharacters = 32000
)

// perSecond is how many requests are sent; the quota is 5, and others use it too.
const perSecond = 4

// errAnswer is that an answer lacks what the API reference promises.
var errAnswer = errors.New("the answer is not one of Route 53")

// session names our sessions in AWS's audit log. Without a fixed name each one
// has another, and so has every refusal.
const session = "trellis"

// defaultRegion is where STS is asked when nobody says. Route 53 is global.
const defaultRegion = "us-east-1"

// Limiter holds requests back. It is a *rate.Limiter, but in tests.
type Limiter interface {
	Wait(ctx context.Context) error
}

// Config is an AWS account. The zero Config uses what the process has: keys in
// the environment, a web identity (IRSA), a pod identity, a profile, an instance
// role, in the SDK's order.
type Config struct {
	// Region is where STS is asked; empty for the environment's.
	Region string
	// AccessKeyID and SecretAccessKey are used instead of what the process has;
	// SessionToken belongs to temporary ones.
	AccessKeyID, SecretAccessKey, SessionToken string
	// RoleARN is assumed with the credentials above. ExternalID is what its trust
	// policy asks for.
	RoleARN, ExternalID string
	// Endpoint replaces the address of Route 53, and of nothing else: who states it
	// must not be shown what STS is, such as the pod's token. Whatever credentials
	// there are sign the requests to it.
	Endpoint string
	// HTTPClient is the SDK's where it is nil.
	HTTPClient *http.Client
	// Limiter is shared with all Configs of equal identity where it is nil.
	Limiter Limiter
}

// Provider is an AWS account. Safe for concurrent use.
type Provider struct {
	client  *route53.Client
	limiter Limiter
	// forget makes the next request ask for credentials again.
	forget func()
}

var _ dns.Provider = (*Provider)(nil)

// buckets are the limiters by identity. An account is not known before STS was
// asked, and two identities of one account are rare, so identity stands in for it.
var buckets = struct {
	sync.Mutex
	of map[string]Limiter
}{of: map[string]Limiter{}}

func bucket(c Config) Limiter {
	if c.Limiter != nil {
		return c.Limiter
	}
	buckets.Lock()
	defer buckets.Unlock()
	identity := c.AccessKeyID
	// The fifth field of arn:aws:iam::123456789012:role/name is the account.
	if fields := strings.Split(c.RoleARN, ":"); len(fields) > 4 {
		identity = fields[4]
	}
	if buckets.of[identity] == nil {
		buckets.of[identity] = rate.NewLimiter(perSecond, 1)
	}
	return buckets.of[identity]
}

// New makes a provider. It makes no request, but for what the environment's
// configuration may ask for.
func New(ctx context.Context, c Config) (*Provider, error) {
	loaded, err := config.LoadDefaultConfig(ctx, options(c)...)
	if err != nil {
		return nil, fmt.Errorf("reading the AWS configuration: %w", err)
	}
	if c.RoleARN != "" {
		loaded.Credentials = stscreds.NewAssumeRoleProvider(sts.NewFromConfig(loaded), c.RoleARN, func(o *stscreds.AssumeRoleOptions) {
			o.RoleSessionName = session
			if c.ExternalID != "" {
				o.ExternalID = &c.ExternalID
			}
		})
	}
	inner, _ := loaded.Credentials.(*aws.CredentialsCache)
	cache := aws.NewCredentialsCache(telling{loaded.Credentials})
	loaded.Credentials = cache
	return &Provider{
		client: route53.NewFromConfig(loaded, func(o *route53.Options) {
			if c.Endpoint != "" {
				o.BaseEndpoint = &c.Endpoint
			}
		}),
		limiter: bucket(c),
		forget: func() {
			cache.Invalidate()
			if inner != nil {
				inner.Invalidate()
			}
		},
	}, nil
}

func options(c Config) []func(*config.LoadOptions) error {
	out := []func(*config.LoadOptions) error{
		config.WithDefaultRegion(defaultRegion),
		// Who calls decides when to try again, and sees every attempt.
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }),
		config.WithWebIdentityRoleCredentialOptions(func(o *stscreds.WebIdentityRoleOptions) {
			if o.RoleSessionName == "" {
				o.RoleSessionName = session
			}
		}),
	}
	if c.Region != "" {
		out = append(out, config.WithRegion(c.Region))
	}
	if c.AccessKeyID != "" {
		out = append(out, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken)))
	}
	if c.HTTPClient != nil {
		out = append(out, config.WithHTTPClient(c.HTTPClient))
	}
	return out
}

// Capabilities says that batches are atomic and routing is by weight and place.
func (p *Provider) Capabilities() dns.Capabilities {
	return dns.Capabilities{Atomic: true, Weights: true, Locations: true, MaxChanges: maxRecords, MaxRecords: maxRecords}
}

// Zones lists the hosted zones of the account, private ones too.
func (p *Provider) Zones(ctx context.Context) ([]dns.Zone, error) {
	var out []dns.Zone
	in := &route53.ListHostedZonesInput{}
	for {
		page, err := call(ctx, p, p.client.ListHostedZones, in)
		if err != nil {
			return nil, p.explain("listing the hosted zones", err)
		}
		for _, z := range page.HostedZones {
			// A name that is no host name, as of a reverse zone with a slash, is
			// never the zone of a name of ours.
			name, err := dns.ParseName(unescape(aws.ToString(z.Name)))
			if err != nil {
				continue
			}
			out = append(out, dns.Zone{
				ID: strings.TrimPrefix(aws.ToString(z.Id), "/hostedzone/"), Name: name,
				Private: z.Config != nil && z.Config.PrivateZone,
			})
		}
		if !page.IsTruncated {
			return out, nil
		}
		if aws.ToString(page.NextMarker) == aws.ToString(in.Marker) {
			return nil, fmt.Errorf("listing the hosted zones: %w", errAnswer)
		}
		in.Marker = page.NextMarker
	}
}

// Spread reports whether a change is INSYNC: all of Route 53's servers have it.
func (p *Provider) Spread(ctx context.Context, zone dns.Zone, r dns.Receipt) (bool, error) {
	if r == "" {
		return true, nil
	}
	out, err := call(ctx, p, p.client.GetChange, &route53.GetChangeInput{Id: aws.String(string(r))})
	var forgotten *types.NoSuchChange
	switch {
	case errors.As(err, &forgotten):
		// The service forgets changes long after they are everywhere.
		return true, nil
	case err != nil:
		return false, p.explain(fmt.Sprintf("asking whether a change of %s is everywhere", zone.Name), err)
	case out.ChangeInfo == nil:
		return false, fmt.Errorf("asking whether a change of %s is everywhere: %w", zone.Name, errAnswer)
	}
	return out.ChangeInfo.Status == types.ChangeStatusInsync, nil
}

// call makes one request when the limiter lets it.
func call[In, Out any](ctx context.Context, p *Provider, f func(context.Context, In, ...func(*route53.Options)) (Out, error), in In) (Out, error) {
	if err := p.limiter.Wait(ctx); err != nil {
		var none Out
		return none, fmt.Errorf("waiting for a place among the requests: %w", err)
	}
	return f(ctx, in)
}
