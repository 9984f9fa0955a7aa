// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package bookinfo

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestProductpageShowsWhatTheOtherServicesSay(t *testing.T) {
	details, reviews := httptest.NewServer(DetailsService()), httptest.NewServer(ReviewsService())
	t.Cleanup(details.Close)
	t.Cleanup(reviews.Close)
	broken := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(broken.Close)
	started := func() *http.Client { return http.DefaultClient }
	whole := Upstreams{details.URL, reviews.URL, started}
	for _, c := range []struct {
		name, path string
		upstreams  Upstreams
		status     int
		says       []string
	}{
		{"the front page", "/", whole, 200, []string{"The Comedy of Errors", "William Shakespeare", "slapstick"}},
		{"the product page", "/productpage", whole, 200, []string{"William Shakespeare", "Reviewer2"}},
		{"its style", "/static/bookinfo.css", whole, 200, []string{"font-family"}},
		{"the catalogue", "/api/v1/products", whole, 200, []string{`"title":"The Comedy of Errors"`}},
		{"a product", "/api/v1/products/0", whole, 200, []string{`"pages":200`}},
		{"its reviews", "/api/v1/products/0/reviews", whole, 200, []string{`"reviewer":"Reviewer1"`}},
		{"another product", "/api/v1/products/1", whole, 404, nil},
		{"another page", "/admin", whole, 404, nil},
		{"a page without reviews is a page", "/", Upstreams{details.URL, broken.URL, started}, 200, []string{"William Shakespeare", "404 Not Found"}},
		{"an API without its service is not", "/api/v1/products/0", Upstreams{broken.URL, reviews.URL, started}, 502, []string{"404 Not Found"}},
		{"nothing can be called before the sidecar is there", "/", Upstreams{details.URL, reviews.URL, func() *http.Client { return nil }}, 200, []string{"not started yet"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			recorder := httptest.NewRecorder()
			ProductpageService(c.upstreams).ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, c.path, nil))
			body, err := io.ReadAll(recorder.Result().Body)
			if err != nil || recorder.Code != c.status {
				t.Fatalf("status %d, want %d: %v", recorder.Code, c.status, err)
			}
			for _, part := range c.says {
				if !strings.Contains(string(body), part) {
					t.Errorf("%q is not in the answer:\n%s", part, body)
				}
			}
		})
	}
}
