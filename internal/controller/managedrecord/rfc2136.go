// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedrecord

import (
	"fmt"
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/internal/dns/rfc2136"
)

// nameServerPace: a server of one's own has no quota, and should not be the one
// that finds out how many questions there can be.
var nameServerPace = pace{rate: 50, burst: 200}

// rfc2136 is a name server.
func (v Vendors) rfc2136(spec v1alpha1.RFC2136Provider, secret keys) (dns.Provider, pace, error) {
	o := rfc2136.Options{Server: spec.Server, NameServers: spec.NameServers}
	for _, z := range spec.Zones {
		name, err := dns.ParseName(z)
		if err != nil {
			return nil, pace{}, fmt.Errorf("reading spec.rfc2136.zones: %w", err)
		}
		o.Zones = append(o.Zones, name)
	}
	if spec.TSIGSecretRef != nil {
		key, err := tsig(secret)
		if err != nil {
			return nil, pace{}, err
		}
		o.Key = key
	}
	p, err := rfc2136.New(o)
	if err != nil {
		// It complains of keys only, and never quotes them.
		return nil, pace{}, &secretError{err}
	}
	return p, nameServerPace, nil
}

func tsig(secret keys) (*rfc2136.Key, error) {
	var values [3]string
	for i, key := range []string{"name", "algorithm", "secret"} {
		v, err := secret.text(key)
		if err != nil {
			return nil, err
		}
		values[i] = strings.TrimSpace(v)
	}
	name, err := dns.ParseName(values[0])
	if err != nil {
		return nil, &secretError{fmt.Errorf("its key name is no domain name")}
	}
	return &rfc2136.Key{Name: name, Algorithm: values[1], Secret: values[2]}, nil
}
