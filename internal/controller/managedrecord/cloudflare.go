// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedrecord

import (
	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/internal/dns/cloudflare"
)

// cloudflarePace: a user has 1,200 requests in five minutes, is locked out for
// five more beyond that, and each of our calls may be several requests.
var cloudflarePace = pace{rate: 1, burst: 20}

// cloudflare is what an API token can see.
func (v Vendors) cloudflare(_ v1alpha1.CloudflareProvider, secret keys) (dns.Provider, pace, error) {
	token, err := secret.text("token")
	if err != nil {
		return nil, pace{}, err
	}
	p, err := cloudflare.New(cloudflare.Options{Token: token, Transport: v.Transport})
	if err != nil {
		return nil, pace{}, err
	}
	return p, cloudflarePace, nil
}
