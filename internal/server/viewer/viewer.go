// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package viewer finds out who asks and what they may read, by asking the API server:
// TokenReview says whose a token is, and SubjectAccessReview what that user may do. Both
// are believed for a short time. Whoever cannot be told is nobody.
package viewer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Viewer is a user as the API server knows them.
type Viewer struct {
	Name   string
	UID    string
	Groups []string
	Extra  map[string][]string
}

// identity is the same text for viewers that have the same rights.
func (v *Viewer) identity() string {
	var b strings.Builder
	// Quoted, so that no name can be taken for another one and its groups.
	fmt.Fprintf(&b, "%q %q %q", v.Name, v.UID, slices.Sorted(slices.Values(v.Groups)))
	keys := make([]string, 0, len(v.Extra))
	for key := range v.Extra {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		fmt.Fprintf(&b, " %q=%q", key, v.Extra[key])
	}
	return b.String()
}

// Action is what somebody may do with the objects of a resource of trellis.dev.
type Action struct {
	Verb, Resource string
	// Namespace is empty for kinds of the cluster, and for all namespaces.
	Namespace string
}

// Reviewer is the API server's word.
type Reviewer interface {
	// Whose is the viewer whose the token is; nil, without an error, for a token that is
	// nobody's.
	Whose(ctx context.Context, token string) (*Viewer, error)
	// May reports whether the viewer has the right.
	May(ctx context.Context, v *Viewer, a Action) (bool, error)
}

// ErrUnsaid is for what the API server did not say.
var ErrUnsaid = errors.New("the API server does not say")

// Cluster is a Reviewer that asks an API server. It needs the right to create
// tokenreviews and subjectaccessreviews.
type Cluster struct{ Client client.Client }

// Whose implements Reviewer. Tokens are those for the API server itself: those of other
// audiences are for somebody else, and are nobody's here.
func (c Cluster) Whose(ctx context.Context, token string) (*Viewer, error) {
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}
	if err := c.Client.Create(ctx, review); err != nil {
		return nil, fmt.Errorf("%w whose a token is: %w", ErrUnsaid, err)
	}
	if !review.Status.Authenticated || review.Status.User.Username == "" {
		return nil, nil
	}
	user := review.Status.User
	out := &Viewer{Name: user.Username, UID: user.UID, Groups: user.Groups, Extra: map[string][]string{}}
	for key, values := range user.Extra {
		out.Extra[key] = values
	}
	return out, nil
}

// May implements Reviewer.
func (c Cluster) May(ctx context.Context, v *Viewer, a Action) (bool, error) {
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: v.Name, UID: v.UID, Groups: v.Groups, Extra: map[string]authorizationv1.ExtraValue{},
		ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: a.Verb, Group: "trellis.dev", Resource: a.Resource, Namespace: a.Namespace},
	}}
	for key, values := range v.Extra {
		review.Spec.Extra[key] = values
	}
	if err := c.Client.Create(ctx, review); err != nil {
		return false, fmt.Errorf("%w what %s may do: %w", ErrUnsaid, v.Name, err)
	}
	return review.Status.Allowed && !review.Status.Denied, nil
}
