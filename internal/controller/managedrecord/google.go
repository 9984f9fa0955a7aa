// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedrecord

import (
	"context"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/internal/dns/google"
)

// googlePace: a project has some hundreds of requests a minute, and reading asks
// name by name.
var googlePace = pace{rate: 2, burst: 20}

// google is a Google Cloud project.
func (v Vendors) google(ctx context.Context, spec v1alpha1.GoogleProvider, secret keys) (dns.Provider, pace, error) {
	o := google.Options{Project: spec.Project, Transport: v.Transport}
	if spec.CredentialsSecretRef != nil {
		key, err := secret.text("key.json")
		if err != nil {
			return nil, pace{}, err
		}
		o.Key = []byte(key)
	}
	p, err := google.New(context.WithoutCancel(ctx), o)
	if err != nil {
		return nil, pace{}, err
	}
	return p, googlePace, nil
}
