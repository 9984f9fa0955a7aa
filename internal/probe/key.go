// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/load"
)

// keyBytes is the entropy of the probe key: nobody guesses it, and whoever has
// it can learn which routes need a token, which the API says anyway.
const keyBytes = 32

// EnsureKey returns the value of the probe header from the Secret trellis-probe
// of the operator's namespace, and makes Secret or value when they are missing.
// Several operators may call it at once: all get the same value. The client must
// not read from a cache. It needs get and update on that Secret, and create
// where nobody has created it empty.
func EnsureKey(ctx context.Context, api client.Client, namespace string, random io.Reader) (string, error) {
	var key string
	lost := func(err error) bool { return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) }
	err := retry.OnError(retry.DefaultBackoff, lost, func() error {
		var err error
		key, err = ensureKey(ctx, api, namespace, random)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("preparing the probe key in Secret %s/%s: %w", namespace, load.ProbeSecretName, err)
	}
	return key, nil
}

func ensureKey(ctx context.Context, api client.Client, namespace string, random io.Reader) (string, error) {
	secret := &corev1.Secret{}
	err := api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: load.ProbeSecretName}, secret)
	missing := apierrors.IsNotFound(err)
	if err != nil && !missing {
		return "", err
	}
	if key := string(secret.Data[load.ProbeSecretKey]); key != "" {
		return key, nil
	}
	raw := make([]byte, keyBytes)
	if _, err := io.ReadFull(random, raw); err != nil {
		return "", fmt.Errorf("reading random bytes: %w", err)
	}
	key := base64.RawURLEncoding.EncodeToString(raw)
	if missing {
		secret = &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: namespace, Name: load.ProbeSecretName,
				Labels: map[string]string{load.ManagedByLabel: load.ManagedBy},
			},
			Type: corev1.SecretTypeOpaque,
			Data: map[string][]byte{load.ProbeSecretKey: []byte(key)},
		}
		return key, api.Create(ctx, secret)
	}
	if secret.Data == nil {
		secret.Data = map[string][]byte{}
	}
	secret.Data[load.ProbeSecretKey] = []byte(key)
	// The resource version makes this fail when somebody else was first.
	return key, api.Update(ctx, secret)
}
