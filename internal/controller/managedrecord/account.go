// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedrecord

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/dns"
)

// account is a provider that was made, and kept until its spec or Secret changes.
type account struct {
	// name changes with them.
	name string
	// spec is the fingerprint of the spec alone.
	spec     string
	provider dns.Provider
	pace     pace
}

// pace is how fast a provider may be called, as in dns.Options.
type pace struct {
	rate  float64
	burst int
}

// Reasons of conditions, beside the classes of package dns.
const (
	reasonReady            = "Ready"
	reasonSecretNotFound   = "SecretNotFound"
	reasonSecretForbidden  = "SecretForbidden"
	reasonSecretInvalid    = "SecretInvalid"
	reasonForbidden        = "CredentialsForbidden"
	reasonInUse            = "InUse"
	reasonProviderNotFound = "ProviderNotFound"
	// reasonAwaitingSuccessor is of a record that is deleted.
	reasonAwaitingSuccessor = "AwaitingSuccessor"
	// It is the class of names without a zone, too.
	reasonZoneNotFound = string(dns.ClassNoZone)
)

// secretError is about a key of a Secret. It never holds its value.
type secretError struct{ cause error }

func (e *secretError) Error() string { return e.cause.Error() }
func (e *secretError) Unwrap() error { return e.cause }

// open finds or makes the account's provider, or says what is in the way.
func (at *round) open(ctx context.Context, engine *dns.Engine) (*trouble, error) {
	spec := at.provider.Spec
	var data map[string][]byte
	version := ""
	ref := secretOf(spec)
	if ref == nil && usesIdentity(spec) && !slices.Contains(at.ambient, at.key.Namespace) {
		at.close(engine)
		return at.identityForbidden(), nil
	}
	if ref != nil {
		secret := &corev1.Secret{}
		name := types.NamespacedName{Namespace: at.key.Namespace, Name: ref.Name}
		err := at.client.Get(ctx, name, secret)
		switch {
		case apierrors.IsNotFound(err):
			return at.withoutSecret(engine, at.secretNotFound(name)), nil
		case apierrors.IsForbidden(err):
			return at.withoutSecret(engine, at.secretForbidden(name)), nil
		case err != nil:
			return nil, fmt.Errorf("reading the Secret %s: %w", name, err)
		}
		data, version = secret.Data, string(secret.UID)+"/"+digestOf(secret.Data)
	}
	name := at.key.String() + "/" + fingerprint(spec) + "/" + version
	if at.account = at.kept(); at.account == nil || at.account.name != name {
		at.close(engine)
		provider, p, err := at.vendors.provider(ctx, spec, data)
		if err != nil {
			return at.unmade(err, ref), nil
		}
		at.account = &account{name, fingerprint(spec), provider, p}
		at.mu.Lock()
		at.accounts[at.key] = at.account
		at.mu.Unlock()
	}
	return nil, nil
}

// withoutSecret goes on with the account that was made while the Secret could be
// read, where there is one, and for what is deleted alone: of a namespace that is
// deleted, Secrets go first, and nobody can make them again.
func (at *round) withoutSecret(engine *dns.Engine, t *trouble) *trouble {
	last := at.kept()
	if last == nil || last.spec != fingerprint(at.provider.Spec) {
		at.close(engine)
		return t
	}
	if slices.ContainsFunc(at.records, func(e *entry) bool { return e.deleting() && e.held() }) {
		at.account, at.withdrawing = last, t
	}
	return t
}

// settings are what the engine is told of the account.
func (at *round) settings(ctx context.Context) dns.Options {
	spec, a := at.provider.Spec, at.account
	return dns.Options{
		Account: a.name, Private: spec.Private, Zones: spec.Zones, Confirmed: spec.Confirmed,
		Rate: a.pace.rate, Burst: a.pace.burst, Lives: at.lives(ctx),
	}
}

func (at *round) kept() *account {
	at.mu.Lock()
	defer at.mu.Unlock()
	return at.accounts[at.key]
}

// close forgets an account.
func (at *round) close(engine *dns.Engine) {
	at.mu.Lock()
	defer at.mu.Unlock()
	if old := at.accounts[at.key]; old != nil && engine != nil {
		engine.Forget(old.name)
	}
	delete(at.accounts, at.key)
	at.account = nil
}

// unmade says why there can be no provider.
func (at *round) unmade(err error, ref *v1alpha1.SecretReference) *trouble {
	var secret *secretError
	switch {
	case errors.As(err, &secret), ref != nil && errors.Is(err, dns.ErrCredentials):
		return &trouble{reasonSecretInvalid, fmt.Sprintf("the Secret %s/%s cannot be used: %s", at.key.Namespace, ref.Name, err)}
	case errors.Is(err, dns.ErrCredentials):
		return &trouble{string(dns.ClassCredentials), err.Error()}
	}
	return &trouble{string(dns.ClassInvalid), err.Error()}
}

// digestOf is of what a Secret holds. Its metadata may change without another
// account, of which everything would be forgotten.
func digestOf(data map[string][]byte) string {
	h := sha256.New()
	for _, key := range slices.Sorted(maps.Keys(data)) {
		fmt.Fprintf(h, "%q %q\n", key, data[key])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// fingerprint is of what a provider is made from. What changes without another
// provider, as when a mass change is confirmed, is left out.
func fingerprint(spec v1alpha1.DNSProviderSpec) string {
	spec.Confirmed, spec.Zones, spec.Private = nil, nil, false
	text, err := json.Marshal(spec)
	if err != nil {
		// It came from JSON.
		return err.Error()
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}
