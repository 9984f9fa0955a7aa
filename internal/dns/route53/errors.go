// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package route53

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/aws/smithy-go"

	"github.com/trellis-mesh/trellis/internal/dns"
)

// stale are parts of the messages of InvalidChangeBatch that say that something
// else is there than was observed.
var stale = []string{
	"but it already exists",
	"but it was not found",
	"do not match the current values",
	"conflicts with other records with the same DNS name",
	"conflicting RRSet of type",
	"exist with the same name and type",
	"exists with the same name and type",
	"with the same name, type, and location exists",
}

// large are those that say that a batch is too large.
var large = []string{"Number of records limit", "Number of characters limit"}

// credentialCodes say that it is the credentials, and what about them. The
// service's own text is not repeated: it holds the signed request, session token
// and all.
var credentialCodes = map[string]string{
	"SignatureDoesNotMatch":       "the secret access key is wrong, or the clock is",
	"InvalidSignatureException":   "the secret access key is wrong, or the clock is",
	"IncompleteSignature":         "the request was not signed as it should be",
	"InvalidClientTokenId":        "the access key or session token does not exist",
	"UnrecognizedClientException": "the access key or session token does not exist",
	"MissingAuthenticationToken":  "there are no credentials",
	"ExpiredToken":                "the session token has expired",
	"ExpiredTokenException":       "the session token has expired",
	"RequestExpired":              "the clock is wrong",
	"InvalidIdentityToken":        "the web identity token is not accepted",
	"IDPRejectedClaim":            "the web identity token is not accepted",
	"OptInRequired":               "the account is not signed up for Route 53",
}

// deniedCodes say that the credentials are good and do not allow this.
var deniedCodes = map[string]bool{"AccessDenied": true, "AccessDeniedException": true, "NotAuthorizedException": true, "AuthorizationError": true}

// invalidCodes say that the request will never be accepted.
var invalidCodes = map[string]bool{
	"InvalidInput": true, "InvalidDomainName": true, "InvalidArgument": true, "NoSuchGeoLocation": true, "MalformedInput": true, "ValidationError": true,
}

// changing is what differs between two answers that say the same: request ids,
// our own port, sessions of roles, and encoded explanations.
var changing = []struct {
	found *regexp.Regexp
	put   string
}{
	{regexp.MustCompile(`,? ?[Rr]equest ?I[Dd]: ?[0-9A-Za-z-]*`), ""},
	{regexp.MustCompile(`\b(read|write) (tcp|udp) \S+->`), "$1 $2 "},
	{regexp.MustCompile(`(assumed-role/[^/\s]+)/\S+`), "$1"},
	{regexp.MustCompile(`\s*Encoded authorization failure message: \S+`), ""},
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "…"},
}

// steady leaves out what changes.
func steady(text string) string {
	for _, c := range changing {
		text = c.found.ReplaceAllString(text, c.put)
	}
	return text
}

// telling marks errors of getting credentials as such.
type telling struct{ from aws.CredentialsProvider }

// Retrieve gets credentials.
func (t telling) Retrieve(ctx context.Context) (aws.Credentials, error) {
	c, err := t.from.Retrieve(ctx)
	if err != nil {
		return c, &retrievalError{err}
	}
	return c, nil
}

type retrievalError struct{ cause error }

func (e *retrievalError) Error() string { return e.cause.Error() }
func (e *retrievalError) Unwrap() error { return e.cause }

// explain turns an error of the SDK into one of package dns.
func (p *Provider) explain(doing string, err error) error {
	out := explain(doing, err)
	if errors.Is(out, dns.ErrCredentials) {
		// A token file or a role may be better by the next attempt.
		p.forget()
	}
	return out
}

func explain(doing string, err error) error {
	var api smithy.APIError
	var retrieval *retrievalError
	// First, since an attempt to get credentials has a time limit of its own.
	if errors.As(err, &retrieval) {
		return fmt.Errorf("%s: getting credentials: %w", doing, explainRetrieval(retrieval))
	}
	for _, end := range []error{context.Canceled, context.DeadlineExceeded} {
		// The sentinel itself, so that no text of the SDK comes along.
		if errors.Is(err, end) {
			return fmt.Errorf("%s: %w", doing, end)
		}
	}
	if errors.As(err, &api) {
		return fmt.Errorf("%s: %w", doing, explainCode(api))
	}
	return fmt.Errorf("%s: %s", doing, steady(err.Error()))
}

// explainRetrieval says why there are no credentials. What does not answer may do
// so later, but for the instance's metadata: where nothing else was found, that
// silence means that there are none.
func explainRetrieval(e *retrievalError) error {
	var api smithy.APIError
	var answered interface{ HTTPStatusCode() int }
	var operation *smithy.OperationError
	var network net.Error
	metadata := errors.As(e.cause, &operation) && operation.ServiceID == "ec2imds"
	switch {
	case errors.As(e.cause, &answered) && answered.HTTPStatusCode() >= http.StatusInternalServerError,
		errors.As(e.cause, &network) && !metadata:
		return errors.New(steady(e.Error()))
	case errors.As(e.cause, &api):
		out := explainCode(api)
		var throttled *dns.ThrottledError
		if errors.As(out, &throttled) || errors.Is(out, dns.ErrCredentials) {
			return out
		}
	}
	return fmt.Errorf("%w: %s", dns.ErrCredentials, steady(e.Error()))
}

// explainCode reads the service's code.
func explainCode(api smithy.APIError) error {
	code, text := api.ErrorCode(), steady(api.ErrorMessage())
	if _, throttled := retry.DefaultThrottleErrorCodes[code]; throttled {
		return &dns.ThrottledError{Said: code + ": " + text}
	}
	var batch *types.InvalidChangeBatch
	switch what := credentialCodes[code]; {
	case code == "RequestExpired":
		return fmt.Errorf("%w: %s: %s", dns.ErrClock, code, what)
	case what != "":
		return fmt.Errorf("%w: %s: %s", dns.ErrCredentials, code, what)
	case deniedCodes[code]:
		return fmt.Errorf("%w: %s: %s", dns.ErrCredentials, code, text)
	case code == "NoSuchHostedZone":
		return fmt.Errorf("%w: %s", dns.ErrNoZone, text)
	case errors.As(error(api), &batch):
		return explainBatch(batch)
	case invalidCodes[code]:
		return fmt.Errorf("%w: %s: %s", dns.ErrInvalid, code, text)
	}
	return fmt.Errorf("%s: %s", code, text)
}

// explainBatch reads the messages of a refused batch. One that was stale in any
// part is planned again as a whole, and what else is wrong with it shows then.
func explainBatch(batch *types.InvalidChangeBatch) error {
	text := steady(strings.Join(batch.Messages, ", "))
	if text == "" {
		text = steady(aws.ToString(batch.Message))
	}
	for _, part := range stale {
		if strings.Contains(text, part) {
			return fmt.Errorf("%w: %s", dns.ErrStale, text)
		}
	}
	for _, part := range large {
		if strings.Contains(text, part) {
			return fmt.Errorf("%w: %s", dns.ErrTooLarge, text)
		}
	}
	return fmt.Errorf("%w: %s", dns.ErrInvalid, text)
}
