// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedrecord

import (
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/internal/dns/azure"
)

// azurePace: a change is up to four requests, and a subscription has some hundreds
// a minute.
var azurePace = pace{rate: 2, burst: 40}

// azure is an Azure subscription.
func (v Vendors) azure(spec v1alpha1.AzureProvider, secret keys) (dns.Provider, pace, error) {
	c := azure.Config{
		SubscriptionID: spec.SubscriptionID, ResourceGroup: spec.ResourceGroup, Cloud: spec.Cloud,
		TenantID: spec.TenantID, ClientID: spec.ClientID, HTTPClient: v.client(),
	}
	if spec.CredentialsSecretRef != nil {
		password, err := secret.text("clientSecret")
		if err != nil {
			return nil, pace{}, err
		}
		c.ClientSecret = strings.TrimSpace(password)
	}
	p, err := azure.New(c)
	if err != nil {
		return nil, pace{}, err
	}
	return p, azurePace, nil
}
