// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"crypto/subtle"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
)

// cookie keeps the key in the browser.
const cookie = "trellis-console"

// door leads a browser that has the key to a server, and adds a token. Others on the
// machine reach the port, and so do pages of any site in the browser: the first have no
// key, and the second may not send its cookie.
type door struct {
	host, key string
	proxy     *httputil.ReverseProxy
}

// newDoor leads to the target by a transport that adds the token. Host is where the door is
// itself.
func newDoor(target *url.URL, by http.RoundTripper, host, key string) *door {
	return &door{host: host, key: key, proxy: &httputil.ReverseProxy{
		Transport: by,
		// Events are passed on as they come.
		FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			// Whatever a page sends, it is the kubeconfig that says who asks.
			r.Out.Header.Del("Authorization")
			r.Out.Header.Del("Cookie")
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusBadGateway)
		},
	}}
}

// address is what is opened in the browser.
func (d *door) address() string { return "http://" + d.host + "/?key=" + d.key }

// ServeHTTP implements http.Handler.
func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// A name that somebody has made lead here is not this address.
	if r.Host != d.host {
		http.Error(w, "this is "+d.host, http.StatusMisdirectedRequest)
		return
	}
	if r.Method == http.MethodGet && d.opens(r.URL.Query().Get("key")) {
		http.SetCookie(w, &http.Cookie{Name: cookie, Value: d.key, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
		// The key does not stay in the address, nor in what is copied from there.
		query := r.URL.Query()
		query.Del("key")
		// Two slashes would begin the name of another host.
		to := url.URL{Path: "/" + strings.TrimLeft(r.URL.Path, "/\\"), RawQuery: query.Encode()}
		w.Header().Set("Referrer-Policy", "no-referrer")
		http.Redirect(w, r, to.String(), http.StatusSeeOther)
		return
	}
	c, err := r.Cookie(cookie)
	if err != nil || !d.opens(c.Value) {
		http.Error(w, "open the address that trellis console has printed, with its key", http.StatusForbidden)
		return
	}
	d.proxy.ServeHTTP(w, r)
}

func (d *door) opens(key string) bool {
	return subtle.ConstantTimeCompare([]byte(key), []byte(d.key)) == 1
}
