// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/internal/istiod"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/parallel"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// lifetime of a token in seconds: the least that an API server gives, and more
// than a command takes.
const lifetime = 600

// tokens are those of proxies' ServiceAccounts for istiod and nobody else. They are
// kept in memory until the command ends. It is safe for concurrent use.
type tokens struct {
	api *api

	mu    sync.Mutex
	known map[model.Name]*requested
}

// requested is a token that was asked for once.
type requested struct {
	once sync.Once
	text string
	err  error
}

func newTokens(a *api) *tokens { return &tokens{api: a, known: map[model.Name]*requested{}} }

// accountOf is the ServiceAccount that a proxy runs as.
func accountOf(node xds.Node) model.Name {
	return model.Name{Namespace: node.Namespace, Name: cmp.Or(node.ServiceAccount, "default")}
}

// of is the token of a proxy's account.
func (t *tokens) of(node xds.Node) istiod.Token {
	return func(ctx context.Context) (string, error) { return t.get(ctx, accountOf(node)) }
}

// get asks for a token of an account at first.
func (t *tokens) get(ctx context.Context, account model.Name) (string, error) {
	t.mu.Lock()
	r, ok := t.known[account]
	if !ok {
		r = &requested{}
		t.known[account] = r
	}
	t.mu.Unlock()
	r.once.Do(func() { r.text, r.err = t.request(ctx, account) })
	return r.text, r.err
}

func (t *tokens) request(ctx context.Context, account model.Name) (string, error) {
	seconds := int64(lifetime)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{istiod.Audience}, ExpirationSeconds: &seconds}}
	owner := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: account.Namespace, Name: account.Name}}
	err := t.api.SubResource("token").Create(ctx, owner, request)
	switch {
	case apierrors.IsForbidden(err):
		return "", fmt.Errorf("asking for a token of ServiceAccount %s/%s: %w: you may not create serviceaccounts/token there", account.Namespace, account.Name, errMayNot)
	case err != nil:
		return "", fmt.Errorf("asking for a token of ServiceAccount %s/%s: %w", account.Namespace, account.Name, err)
	}
	return request.Status.Token, nil
}

// check finds out of which accounts tokens may be made, before any is: of all, of
// some, which is a lack, or of none, which is an error.
func (t *tokens) check(ctx context.Context, nodes []xds.Node) (lacks []string, err error) {
	t.api.waiting.say("asking what you may do")
	all, err := t.api.may(ctx, tokenRight(model.Name{}))
	if err != nil || all {
		return nil, err
	}
	var accounts []model.Name
	for _, node := range nodes {
		accounts = append(accounts, accountOf(node))
	}
	slices.SortFunc(accounts, func(a, b model.Name) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	accounts = slices.Compact(accounts)
	may, errs := make([]bool, len(accounts)), make([]error, len(accounts))
	parallel.Each(len(accounts), atOnce, func(i int) { may[i], errs[i] = t.api.may(ctx, tokenRight(accounts[i])) })
	var without []string
	for i, account := range accounts {
		if errs[i] != nil {
			return nil, errs[i]
		}
		if !may[i] {
			without = append(without, account.Namespace+"/"+account.Name)
		}
	}
	switch {
	case len(without) == 0:
		return nil, nil
	case len(without) == len(accounts):
		return nil, fmt.Errorf("asking istiod: %w: you may not create serviceaccounts/token, and istiod gives the configuration of a proxy only to who shows a token of its ServiceAccount (%s); "+
			"docs/concepts/access-questions.md has a ClusterRole with what questions need; ask for it, %s", errMayNot, few(without), instead)
	}
	return []string{fmt.Sprintf("you may not create serviceaccounts/token of %s: what their proxies do is not known", few(without))}, nil
}

func tokenRight(account model.Name) authorizationv1.ResourceAttributes {
	return authorizationv1.ResourceAttributes{
		Verb: "create", Resource: "serviceaccounts", Subresource: "token", Namespace: account.Namespace, Name: account.Name,
	}
}

// few names some of a list and counts the rest.
func few(list []string) string {
	const most = 5
	if len(list) <= most {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
}
