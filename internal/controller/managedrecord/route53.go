// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedrecord

import (
	"context"
	"errors"
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/internal/dns/route53"
)

// route53 is an AWS account. Its pace is its own: it shares one bucket with all
// other DNSProviders of the account.
func (v Vendors) route53(ctx context.Context, spec v1alpha1.Route53Provider, secret keys) (dns.Provider, pace, error) {
	c := route53.Config{Region: spec.Region, RoleARN: spec.RoleARN, Endpoint: spec.Endpoint, HTTPClient: v.client()}
	// The API refuses both. It may be of an older version than the operator.
	switch {
	case spec.Endpoint == "":
	case spec.CredentialsSecretRef == nil:
		return nil, pace{}, errors.New("reading spec.route53.endpoint: it needs spec.route53.credentialsSecretRef, since the identity of the operator's pod is shown to Amazon's own addresses alone")
	case !strings.HasPrefix(spec.Endpoint, "https://"):
		return nil, pace{}, errors.New("reading spec.route53.endpoint: it must begin with https://, so that nobody on the way sees or changes what is sent")
	}
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
