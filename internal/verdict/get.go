// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// get asks the server, and proves who asks. The answer's body is the caller's to close.
func (c ClientConfig) get(ctx context.Context, address string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("asking trellis-server: %w", err)
	}
	token, err := c.Token(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the token for trellis-server: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	roots, err := c.Roots()
	if err != nil {
		return nil, fmt.Errorf("reading the authority of trellis-server: %w", err)
	}
	// A connection of its own for each question: the authority may have changed, and
	// the replica that answered may be on its way out.
	transport := &http.Transport{
		DisableKeepAlives: true, DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext, TLSHandshakeTimeout: 5 * time.Second,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: c.ServerName},
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		var asked *url.Error
		if errors.As(err, &asked) {
			err = asked.Err // without the URL, which is a different one each time
		}
		return nil, fmt.Errorf("asking trellis-server: %w", err)
	}
	return response, nil
}

// refused is the error of an answer that is none.
func refused(response *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(response.Body, 512))
	return fmt.Errorf("asking trellis-server: it answers %s: %s", response.Status, strings.TrimSpace(string(text)))
}
