// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"crypto"
	"crypto/sha256"
	"strings"

	acmez "github.com/mholt/acmez/v3/acme"

	"github.com/trellis-mesh/trellis/internal/certificate"
)

// accountKey reads the account's key; nil where there is none yet. The last one is
// remembered: reading it takes longer than anything else that a step computes.
func (e *Engine) accountKey(s Secrets) (crypto.Signer, error) {
	if len(s.AccountKey) == 0 {
		return nil, nil
	}
	is := sha256.Sum256(s.AccountKey)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.key != nil && e.keyIs == is {
		return e.key, nil
	}
	key, err := certificate.ParseKey(s.AccountKey)
	if err != nil {
		return nil, err
	}
	e.key, e.keyIs = key, is
	return key, nil
}

// register makes sure that there is a key, and an account for it, at this CA.
// Registering a key twice gives the same account (RFC 8555 §7.3).
func (r *run) register() {
	r.Phase = Registering
	if r.key == nil {
		r.newAccountKey()
		return
	}
	account := r.account()
	thumbprint, err := account.Thumbprint()
	if err != nil {
		r.give(Failure{Type: "badPublicKey", Detail: clean(err.Error()), Permanent: true})
		return
	}
	if r.Account != "" && r.AccountKey == thumbprint && r.Directory == r.spec.Directory {
		r.reserve()
		return
	}
	account.Location, account.TermsOfServiceAgreed = "", true
	if r.spec.Email != "" {
		account.Contact = []string{"mailto:" + r.spec.Email}
	}
	if err := r.bind(&account); err != nil {
		r.fault(err)
		return
	}
	account, err = r.client().NewAccount(r.ctx, account)
	if err != nil {
		r.refused(r.exchange.failureOf(err))
		return
	}
	if !accountForm.MatchString(account.Location) || !thumbprintForm.MatchString(thumbprint) {
		r.give(Failure{Type: TypeConnection, Detail: "the CA gave the account no URL that could be used"})
		return
	}
	r.Account, r.AccountKey, r.Directory = account.Location, thumbprint, r.spec.Directory
	r.enter(Registering)
}

// refused is for newAccount: nothing in it changes by itself, so that what is not
// transient waits for a person.
func (r *run) refused(f Failure) {
	if transient(f) {
		r.retry(f)
		return
	}
	f.Permanent = true
	r.give(f)
}

func (r *run) newAccountKey() {
	key, err := certificate.NewKey(certificate.P256)
	if err == nil {
		r.actions.StoreAccountKey, err = certificate.EncodeKey(key)
	}
	if err != nil {
		r.give(Failure{Type: TypeKey, Detail: clean(err.Error())})
		return
	}
	r.Account, r.AccountKey = "", ""
	r.enter(Registering)
}

// bind adds the external account that a CA may ask for (RFC 8555 §7.3.4).
func (r *run) bind(account *acmez.Account) error {
	if r.spec.ExternalAccount == "" {
		return nil
	}
	if len(r.secrets.ExternalAccountKey) == 0 {
		return permanentError("externalAccountRequired", errNoExternalAccountKey.Error())
	}
	// CAs hand keys out with padding and line ends; the library wants none.
	mac := strings.TrimRight(strings.TrimSpace(string(r.secrets.ExternalAccountKey)), "=")
	err := account.SetExternalAccountBinding(r.ctx, r.client().Client, acmez.EAB{KeyID: r.spec.ExternalAccount, MACKey: mac})
	if err != nil && r.exchange.clean() {
		// The library's text could quote the key.
		return permanentError("externalAccountRequired", "the key of the external account is not base64url")
	}
	return err
}
