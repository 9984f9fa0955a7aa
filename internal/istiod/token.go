// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package istiod

import (
	"context"
	"fmt"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"
)

// Audience is the one that istiod accepts by default.
const Audience = "istio-ca"

// TokenFromRequest asks the API server for a token of the ServiceAccount and
// keeps it for four fifths of its life. It is for an operator that runs outside
// the cluster, or without a projected token; it needs the verb create on
// serviceaccounts/token for this one account.
func TokenFromRequest(kube kubernetes.Interface, namespace, account string, now clock.PassiveClock) Token {
	var mu sync.Mutex
	var token string
	var renew time.Time
	return func(ctx context.Context) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		if token != "" && now.Now().Before(renew) {
			return token, nil
		}
		asked := now.Now()
		seconds := int64(time.Hour / time.Second)
		answer, err := kube.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account, &authenticationv1.TokenRequest{
			Spec: authenticationv1.TokenRequestSpec{Audiences: []string{Audience}, ExpirationSeconds: &seconds},
		}, metav1.CreateOptions{})
		if err != nil {
			return "", fmt.Errorf("requesting a token of ServiceAccount %s/%s for istiod: %w", namespace, account, err)
		}
		token = answer.Status.Token
		renew = asked.Add(answer.Status.ExpirationTimestamp.Sub(asked) * 4 / 5)
		return token, nil
	}
}
