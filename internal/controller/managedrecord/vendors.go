// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedrecord

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/dns"
)

// Vendors make providers from specs.
type Vendors struct {
	// Transport makes all calls by HTTP; nil takes each vendor's own.
	Transport http.RoundTripper
}

// client is nil where there is no transport to give.
func (v Vendors) client() *http.Client {
	if v.Transport == nil {
		return nil
	}
	return &http.Client{Transport: v.Transport}
}

// secretOf is the Secret that a spec refers to; nil where it refers to none.
func secretOf(spec v1alpha1.DNSProviderSpec) *v1alpha1.SecretReference {
	switch {
	case spec.Route53 != nil:
		return spec.Route53.CredentialsSecretRef
	case spec.RFC2136 != nil:
		return spec.RFC2136.TSIGSecretRef
	case spec.Azure != nil:
		return spec.Azure.CredentialsSecretRef
	case spec.Google != nil:
		return spec.Google.CredentialsSecretRef
	case spec.Cloudflare != nil:
		return &spec.Cloudflare.TokenSecretRef
	}
	return nil
}

// usesIdentity reports whether a spec without a Secret takes what the pod has.
func usesIdentity(spec v1alpha1.DNSProviderSpec) bool {
	return spec.Route53 != nil || spec.Azure != nil || spec.Google != nil
}

// vendorOf is the vendor's name, for people.
func vendorOf(spec v1alpha1.DNSProviderSpec) string {
	switch {
	case spec.Route53 != nil:
		return "Route 53"
	case spec.RFC2136 != nil:
		return "a name server with RFC 2136"
	case spec.Azure != nil:
		return "Azure DNS"
	case spec.Google != nil:
		return "Google Cloud DNS, as Trellis uses it,"
	}
	return "Cloudflare DNS"
}

// provider makes the provider of a spec from the data of its Secret, and says how
// fast it may be called.
func (v Vendors) provider(ctx context.Context, spec v1alpha1.DNSProviderSpec, secret keys) (dns.Provider, pace, error) {
	switch {
	case spec.Route53 != nil:
		return v.route53(ctx, *spec.Route53, secret)
	case spec.RFC2136 != nil:
		return v.rfc2136(*spec.RFC2136, secret)
	case spec.Azure != nil:
		return v.azure(*spec.Azure, secret)
	case spec.Google != nil:
		return v.google(ctx, *spec.Google, secret)
	case spec.Cloudflare != nil:
		return v.cloudflare(*spec.Cloudflare, secret)
	}
	return nil, pace{}, errors.New("the spec names no DNS vendor")
}

// keys are a Secret's data; nil where there is no Secret.
type keys map[string][]byte

// maxKey bounds what is read from a Secret, in octets: an API server takes no
// larger one.
const maxKey = 1 << 20

// text is the value of a key that must be there.
func (k keys) text(key string) (string, error) {
	v, ok := k[key]
	switch {
	case !ok:
		return "", &secretError{fmt.Errorf("it has no key %s", key)}
	case len(v) > maxKey:
		return "", &secretError{fmt.Errorf("its key %s has %d octets", key, len(v))}
	case len(bytes.TrimSpace(v)) == 0:
		// A vendor's client that is given nothing uses the pod's identity instead.
		return "", &secretError{fmt.Errorf("its key %s is empty", key)}
	}
	return string(v), nil
}
