// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedrecord

import (
	"context"
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/internal/dns/route53"
)

// route53 is an AWS account. Its pace is its own: it shares one bucket with all
// other DNSProviders of the account.
func (v Vendors) route53(ctx context.Context, spec v1alpha1.Route53Provider, secret keys) (dns.Provider, pace, error) {
	c := route53.Config{Region: spec.Region, RoleARN: spec.RoleARN, Endpoint: spec.Endpoint, HTTPClient: v.client()}
	if spec.CredentialsSecretRef != nil {
		id, err := secret.text("accessKeyID")
		if err != nil {
			return nil, pace{}, err
		}
		key, err := secret.text("secretAccessKey")
		if err != nil {
			return nil, pace{}, err
		}
		// Files that people make Secrets from end with a newline.
		c.AccessKeyID, c.SecretAccessKey = strings.TrimSpace(id), strings.TrimSpace(key)
	}
	// What it reads from files of the pod lives longer than this call.
	p, err := route53.New(context.WithoutCancel(ctx), c)
	if err != nil {
		return nil, pace{}, err
	}
	return p, pace{}, nil
}
