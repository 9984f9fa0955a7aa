// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"strings"
)

// secure sets what browsers are to keep to. Nothing comes from elsewhere, nothing is
// framed, and no script stands in a page.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// hashed are names that change with what is in the file, as bundlers give them.
var hashed = regexp.MustCompile(`[.-][A-Za-z0-9_-]{8,}\.[a-z0-9]+$`)

// console serves files, and index.html for every page of the console: which there is, the
// page itself finds out.
func console(files fs.FS) http.Handler {
	if files == nil {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "This server has no console. Questions are answered below "+Prefix+", to whoever has a token of the cluster.", http.StatusNotFound)
		})
	}
	server := http.FileServerFS(files)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "the console is only read", http.StatusMethodNotAllowed)
			return
		}
		name := strings.TrimPrefix(path.Clean("/"+r.URL.Path), "/")
		info, err := fs.Stat(files, name)
		if name == "" || name == "index.html" || err != nil || info.IsDir() {
			// Names of objects may have dots, so that an extension says nothing.
			if err != nil && strings.HasPrefix(name, "assets/") {
				http.NotFound(w, r)
				return
			}
			w.Header().Set("Cache-Control", "no-cache")
			http.ServeFileFS(w, index(r), files, "index.html")
			return
		}
		w.Header().Set("Cache-Control", "no-cache")
		if hashed.MatchString(name) {
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		}
		server.ServeHTTP(w, r)
	})
}

// index is a request for the root: the file server sends whoever asks for index.html by
// its name elsewhere.
func index(r *http.Request) *http.Request {
	out := r.Clone(r.Context())
	out.URL.Path = "/"
	return out
}
