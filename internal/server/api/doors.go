// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"slices"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/answer"
)

// Outside are objects that decide nothing and are read where they are asked for.
type Outside struct {
	Records   []*v1alpha1.ManagedRecord
	Providers []*v1alpha1.DNSProvider
}

// doors answers how the mesh is reached.
func (a *API) doors(ctx context.Context, c *call) (any, error) {
	outside, err := a.config.Cluster.Doors(ctx)
	if err != nil {
		return nil, err
	}
	published := map[string][]string{}
	for _, app := range c.picture.InForce {
		for _, host := range hosts(c.picture.Published(app)) {
			published[host] = append(published[host], app.Namespace+"/"+app.Name)
		}
	}
	for _, owners := range published {
		slices.Sort(owners)
	}
	in := &c.picture.State.Input
	return c.sight.Doors(answer.DoorsOf(answer.DoorsInput{
		Ingresses: in.SecureIngresses, Certificates: in.ManagedCertificates, Records: outside.Records, Providers: outside.Providers, Published: published,
	})), nil
}
