// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"

	acmez "github.com/mholt/acmez/v3/acme"

	"github.com/trellis-mesh/trellis/internal/certificate"
)

// finalize makes a key in one step, and sends the request for it in the next: when
// it is sent, the key is stored.
func (r *run) finalize() {
	key := r.orderKey()
	if key == nil || certificate.TypeOf(key.Public()) != r.spec.Key {
		r.newOrderKey()
		return
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: r.spec.Names}, key)
	if err != nil {
		r.give(Failure{Type: TypeKey, Detail: clean(err.Error())})
		return
	}
	ask := acmez.Order{Location: r.Order.URL, Finalize: r.Order.Finalize}
	got, err := r.client().FinalizeOrder(r.ctx, r.account(), ask, csr)
	f := r.exchange.failureOf(errOrNone(err))
	switch {
	case r.exchange.clean() && got.Status != "":
		// The error is that the order is not done within no time.
		got.Location = r.Order.URL
		r.take(got)
	case f.Type == "orderNotReady":
		// It was finalized before this process began, or is not authorized any more.
		r.enter(Issuing)
	default:
		r.fault(errOrNone(err))
	}
}

var errNoAnswer = errors.New("the CA did not say what the order is")

func errOrNone(err error) error {
	if err == nil {
		return errNoAnswer
	}
	return err
}

// orderKey is the key that was made for this order, and nil for any other.
func (r *run) orderKey() crypto.Signer {
	if r.Order.Key == "" {
		return nil
	}
	key, err := certificate.ParseKey(r.secrets.OrderKey)
	if err != nil {
		return nil
	}
	fingerprint, err := certificate.Fingerprint(key.Public())
	if err != nil || fingerprint != r.Order.Key {
		return nil
	}
	return key
}

func (r *run) newOrderKey() {
	key, err := certificate.NewKey(r.spec.Key)
	var fingerprint string
	if err == nil {
		fingerprint, err = certificate.Fingerprint(key.Public())
	}
	if err == nil {
		r.actions.StoreOrderKey, err = certificate.EncodeKey(key)
	}
	if err != nil {
		r.give(Failure{Type: TypeKey, Detail: clean(err.Error())})
		return
	}
	r.Order.Key = fingerprint
	r.actions.Again = true
}

// poll asks what became of the order.
func (r *run) poll() {
	got, err := r.client().GetOrder(r.ctx, r.account(), acmez.Order{Location: r.Order.URL})
	if err != nil {
		r.forgotten(err)
		return
	}
	if got.Status == acmez.StatusProcessing {
		if r.now.Sub(r.Order.Since) > maxValidation {
			r.give(Failure{Type: TypeOrder, Detail: "the CA has not signed within " + maxValidation.String()})
			return
		}
		r.await()
		return
	}
	r.take(got)
}

// forgotten is for an order that the CA does not have: it has expired, or belongs
// to an account that is not ours any more.
func (r *run) forgotten(err error) {
	f := r.exchange.failureOf(err)
	if f.Status == 404 {
		r.give(Failure{Type: TypeOrder, Status: 404, Detail: "the CA does not have the order any more: " + f.Detail})
		return
	}
	r.fault(err)
}

// download fetches the chain and takes it only if it is what was ordered.
func (r *run) download() {
	key := r.orderKey()
	if key == nil {
		r.give(Failure{Type: TypeKey, Detail: "the key of the order is not stored any more, so that its certificate is of no use"})
		return
	}
	chains, err := r.client().GetCertificateChain(r.ctx, r.account(), r.Order.Certificate)
	if err != nil {
		r.forgotten(err)
		return
	}
	pair, info, err := r.choose(chains)
	if err != nil {
		r.give(Failure{Type: TypeCertificate, Detail: clean(err.Error())})
		return
	}
	r.issued(pair, info)
}

// choose takes the preferred chain where the CA offers it.
func (r *run) choose(chains []acmez.Certificate) (certificate.Pair, certificate.Info, error) {
	var pair certificate.Pair
	var info certificate.Info
	err := errors.New("the CA sent no certificate")
	for i, c := range chains {
		p := certificate.Pair{Chain: c.ChainPEM, Key: r.secrets.OrderKey}
		in, problem := certificate.Check(p, r.spec.Names, r.now)
		if i == 0 || problem == nil && in.Top == r.spec.PreferredChain {
			pair, info, err = p, in, problem
		}
	}
	return pair, info, err
}

func (r *run) issued(pair certificate.Pair, info certificate.Info) {
	r.Issued = r.describe(info)
	r.Issued.URL, r.Issued.Account = r.Order.Certificate, r.Account
	if chain, err := certificate.ParseChain(pair.Chain); err == nil {
		// Without it only the CA's advice is lost.
		r.Issued.ID, _ = acmez.ARIUniqueIdentifier(chain[0])
	}
	r.Order, r.Renewal, r.LastError, r.NextTry = nil, nil, nil, nil
	r.Attempts, r.PlainOrder, r.Cause, r.Warnings = 0, false, certificate.NoCause, nil
	r.enter(Issued)
	r.actions.StorePair, r.actions.DropOrderKey, r.actions.Issued = &pair, true, true
}

func (r *run) describe(info certificate.Info) *Certificate {
	return &Certificate{
		Directory: r.spec.Directory, Profile: r.spec.Profile, Names: info.Names, Key: info.Key,
		KeyFingerprint: info.KeyFingerprint, Serial: info.Serial,
		NotBefore: info.NotBefore, NotAfter: info.NotAfter, Renew: r.spec.Renew,
	}
}
