// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	authentication "k8s.io/client-go/kubernetes/typed/authentication/v1"
)

// WhoAmI is the name of the user that the API server takes the caller for. Everybody may
// ask that.
func (c *Cluster) WhoAmI(ctx context.Context) (string, error) {
	asks, err := authentication.NewForConfig(c.config)
	if err != nil {
		return "", found(err)
	}
	review, err := asks.SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("asking the API server who you are: %w", err)
	}
	return review.Status.UserInfo.Username, nil
}
