// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package cloudflare

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

const (
	// maxBody is how many octets of an answer are read.
	maxBody = 64 << 20
	// maxPages ends lists that have no end.
	maxPages = 10_000
)

// client speaks JSON with the API.
type client struct {
	base  *url.URL
	token string
	http  *http.Client
}

// envelope is around every answer.
type envelope[T any] struct {
	Success bool     `json:"success"`
	Errors  []reason `json:"errors"`
	Result  T        `json:"result"`
	Info    struct {
		Pages int `json:"total_pages"`
	} `json:"result_info"`
}

// reason is why a request was refused; the chain says it more exactly.
type reason struct {
	Code    int      `json:"code"`
	Message string   `json:"message"`
	Chain   []reason `json:"error_chain"`
}

// call makes one request. Path has no slash at its beginning; body may be nil.
func call[T any](ctx context.Context, c client, method, path string, query url.Values, body any) (envelope[T], error) {
	var out envelope[T]
	address := c.base.JoinPath(path)
	address.RawQuery = query.Encode()
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return out, fmt.Errorf("writing a request: %w", err)
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, address.String(), content)
	if err != nil {
		return out, fmt.Errorf("making a request: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+c.token)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "trellis")
	answer, err := c.http.Do(request)
	if err != nil {
		return out, steady(err)
	}
	defer func() { _ = answer.Body.Close() }() // it was read, or is not wanted
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxBody+1))
	if err != nil {
		return out, fmt.Errorf("reading the answer: %w", steady(err))
	}
	if len(text) > maxBody {
		return out, fmt.Errorf("reading the answer: it has more than %d octets", maxBody)
	}
	// What a proxy in between says is no JSON; then the status alone counts.
	problem := json.Unmarshal(text, &out)
	if answer.StatusCode >= 300 || problem == nil && !out.Success {
		return out, refusal(answer, out.Errors)
	}
	if problem != nil {
		return out, fmt.Errorf("reading the answer: %w", problem)
	}
	return out, nil
}

// pages calls each with every entry of a list.
func pages[T any](ctx context.Context, c client, path string, query url.Values, each func(T)) error {
	for page := 1; page <= maxPages; page++ {
		query.Set("page", strconv.Itoa(page))
		answer, err := call[[]T](ctx, c, http.MethodGet, path, query, nil)
		if err != nil {
			return err
		}
		for _, entry := range answer.Result {
			each(entry)
		}
		if page >= answer.Info.Pages || len(answer.Result) == 0 {
			return nil
		}
	}
	return fmt.Errorf("reading a list: it has more than %d pages", maxPages)
}
