// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"cmp"
	"context"
	"net/http"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// tokenFileVariable is where the webhook of Azure Workload Identity says which
// file holds the pod's token.
const tokenFileVariable = "AZURE_FEDERATED_TOKEN_FILE"

// credential is the one kind that the configuration and the pod say. Trying one
// after another, as the SDK's default does, hides which one was refused.
func credential(c Config, options azcore.ClientOptions) (azcore.TokenCredential, error) {
	tenant, client := cmp.Or(c.TenantID, os.Getenv("AZURE_TENANT_ID")), cmp.Or(c.ClientID, os.Getenv("AZURE_CLIENT_ID"))
	// Another authority is not known to Microsoft's.
	elsewhere := c.Authority != ""
	switch {
	case c.ClientSecret != "":
		return azidentity.NewClientSecretCredential(tenant, client, c.ClientSecret,
			&azidentity.ClientSecretCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: elsewhere})
	case c.TokenFile != "" || os.Getenv(tokenFileVariable) != "":
		return azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
			ClientOptions: options, DisableInstanceDiscovery: elsewhere, TenantID: tenant, ClientID: client,
			TokenFilePath: cmp.Or(c.TokenFile, os.Getenv(tokenFileVariable)),
		})
	}
	managed := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: options}
	if client != "" {
		managed.ID = azidentity.ClientID(client)
	}
	return azidentity.NewManagedIdentityCredential(managed)
}

// telling marks errors of getting a token as such, and says whether the network
// was the cause, which the SDK's errors do not.
type telling struct{ from azcore.TokenCredential }

type lostKey struct{}

// GetToken gets a token.
func (t telling) GetToken(ctx context.Context, options policy.TokenRequestOptions) (azcore.AccessToken, error) {
	var lost error
	token, err := t.from.GetToken(context.WithValue(ctx, lostKey{}, &lost), options)
	if err != nil {
		return token, &tokenError{cause: err, lost: lost, ended: ctx.Err()}
	}
	return token, nil
}

// tokenError is that no token was given: a request got no answer, the caller's
// context has ended, or what cause says.
type tokenError struct{ cause, lost, ended error }

func (e *tokenError) Error() string { return e.cause.Error() }
func (e *tokenError) Unwrap() error { return e.cause }

// watched remembers in the context that a request for a token got no answer.
type watched struct{ client *http.Client }

// Do sends a request.
func (w watched) Do(r *http.Request) (*http.Response, error) {
	response, err := w.client.Do(r)
	if lost, ok := r.Context().Value(lostKey{}).(*error); ok && err != nil {
		*lost = err
	}
	return response, err
}
