// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedcertificate

import (
	"bytes"
	"context"
	"fmt"
	"net/url"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/internal/acme"
	"github.com/trellis-mesh/trellis/internal/load"
)

// AccountsName is the Secret with the keys of all accounts, in the operator's
// namespace. It is one, so that the operator needs the right to read one.
const AccountsName = "trellis-acme-accounts"

// accountEntry is where the Secret holds the key of an account: one for each
// authority, and for each external account that is bound to one there. The name
// begins with the authority's, for people.
func accountEntry(s acme.Spec) string {
	id, host := s.Directory, "ca"
	if s.ExternalAccount != "" {
		id += "\n" + s.ExternalAccount
	}
	if u, err := url.Parse(s.Directory); err == nil && validEntry(u.Hostname()) {
		host = u.Hostname()
	}
	return host + "-" + short(id, 16) + ".key"
}

// validEntry tells what the API server takes in a key of a Secret's data.
func validEntry(host string) bool {
	for _, c := range []byte(host) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	return host != "" && len(host) <= 200
}

// account is the key as this process saw it last; nil where it has not.
func (w *work) account() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.accounts[accountEntry(w.active)]
}

func (w *work) setAccount(key []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.accounts[accountEntry(w.active)] = key
}

// readAccountKey gives nil where there is none. An empty entry is one that cannot
// be read, and no reason to make another. A next key that nobody has asked the
// authority about is noted.
func (w *work) readAccountKey(ctx context.Context, r *rotation) ([]byte, error) {
	s, err := w.read(ctx, w.options.Namespace, AccountsName)
	if err != nil || s == nil {
		return nil, err
	}
	key, ok := s.Data[accountEntry(w.active)]
	if !ok {
		return nil, nil
	}
	if next, begun := s.Data[accountEntry(w.active)+nextSuffix]; begun && !r.knows(next) {
		r.open.Store(true)
	}
	key = append([]byte{}, key...)
	w.setAccount(key)
	return key, nil
}

// storeAccountKey never replaces a key: who comes second takes that of the first.
func (w *work) storeAccountKey(ctx context.Context, key []byte) error {
	entry := accountEntry(w.active)
	s, err := w.read(ctx, w.options.Namespace, AccountsName)
	if err != nil {
		return err
	}
	if s == nil {
		s = &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: w.options.Namespace, Name: AccountsName, Labels: map[string]string{load.ManagedByLabel: load.ManagedBy},
			},
			Type: corev1.SecretTypeOpaque, Data: map[string][]byte{entry: key},
		}
		err = w.client.Create(ctx, s, fieldOwner)
	} else if there, ok := s.Data[entry]; !ok {
		if s.Data == nil {
			s.Data = map[string][]byte{}
		}
		s.Data[entry] = key
		// The resource version makes this fail when somebody else was first.
		err = w.client.Update(ctx, s, fieldOwner)
	} else if !bytes.Equal(there, key) {
		w.memory.unsaved = nil
		return fmt.Errorf("making an account's key: %w", errStale)
	}
	if err != nil {
		return writing(s, err)
	}
	w.setAccount(key)
	return nil
}
