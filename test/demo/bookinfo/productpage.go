// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package bookinfo

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
)

// answerLimit bounds what the product page reads of another service's answer.
const answerLimit = 1 << 20

var (
	//go:embed page.html
	pageText string
	//go:embed bookinfo.css
	stylesheet []byte

	page = template.Must(template.New("page").Parse(pageText))
)

// Upstreams are the services that the product page calls.
type Upstreams struct {
	// Details and Reviews are base URLs such as http://details:9080.
	Details, Reviews string
	// Client returns the client to call them with, or nil as long as there is
	// none. It may be called concurrently.
	Client func() *http.Client
}

// productpage shows one book to people and to programs.
type productpage struct{ upstreams Upstreams }

// ProductpageService answers GET / and /productpage with a page for people,
// /static with its parts, and /api/v1/products, /api/v1/products/{id} and
// /api/v1/products/{id}/reviews with JSON. It may be used concurrently.
func ProductpageService(upstreams Upstreams) http.Handler {
	p := productpage{upstreams}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.page)
	mux.HandleFunc("GET /productpage", p.page)
	mux.HandleFunc("GET /static/bookinfo.css", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		_, _ = w.Write(stylesheet)
	})
	mux.HandleFunc("GET /api/v1/products", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, catalogue) })
	mux.HandleFunc("GET /api/v1/products/{id}", forBook(p.details))
	mux.HandleFunc("GET /api/v1/products/{id}/reviews", forBook(p.reviews))
	return mux
}

func (p productpage) details(w http.ResponseWriter, r *http.Request) {
	var details Details
	if err := p.get(r.Context(), p.upstreams.Details+"/details/0", &details); err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	writeJSON(w, details)
}

func (p productpage) reviews(w http.ResponseWriter, r *http.Request) {
	var reviews Reviews
	if err := p.get(r.Context(), p.upstreams.Reviews+"/reviews/0", &reviews); err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	writeJSON(w, reviews)
}

// page shows what it can get: a service that fails costs its part of the page,
// not the page.
func (p productpage) page(w http.ResponseWriter, r *http.Request) {
	content := struct {
		Book                           Book
		Details                        Details
		Reviews                        Reviews
		DetailsProblem, ReviewsProblem string
	}{Book: catalogue[0]}
	if err := p.get(r.Context(), p.upstreams.Details+"/details/0", &content.Details); err != nil {
		content.DetailsProblem = err.Error()
	}
	if err := p.get(r.Context(), p.upstreams.Reviews+"/reviews/0", &content.Reviews); err != nil {
		content.ReviewsProblem = err.Error()
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	// The client has gone if this fails.
	_ = page.Execute(w, content)
}

// get reads the JSON answer of another service.
func (p productpage) get(ctx context.Context, url string, into any) error {
	client := p.upstreams.Client()
	if client == nil {
		return errors.New("calling another service: not started yet")
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("calling another service: %w", err)
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("calling another service: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, answerLimit))
	if err != nil {
		return fmt.Errorf("reading the answer of %s: %w", url, err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("calling %s: answered %s", url, response.Status)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("reading the answer of %s: %w", url, err)
	}
	return nil
}
