// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package route53

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// skew is how far the clocks of client and server may be apart.
const skew = 5 * time.Minute

// Key is what requests are signed with.
type Key struct {
	Secret string
	// Token goes with temporary credentials.
	Token string
	// Expires is zero for keys that live for ever.
	Expires time.Time
	// Denied: the key is good, and allows nothing.
	Denied bool
}

// AddKey lets requests in that are signed with a key.
func (s *Server) AddKey(id string, k Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[id] = k
}

func forbidden(code, message string) *refusal {
	return &refusal{status: http.StatusForbidden, code: code, message: message}
}

// authenticate checks the signature of a request, Signature Version 4.
func (s *Server) authenticate(r *http.Request, body []byte, service string) *refusal {
	fields, ok := parseAuthorization(r.Header.Get("Authorization"))
	if !ok {
		return forbidden("MissingAuthenticationToken", "Missing Authentication Token")
	}
	scope := strings.Split(fields["Credential"], "/")
	if len(scope) != 5 || scope[3] != service || scope[4] != "aws4_request" {
		return forbidden("SignatureDoesNotMatch", "Credential should be scoped to correct service: '"+service+"'.")
	}
	key, known := s.keys[scope[0]]
	if !known || key.Token != r.Header.Get("X-Amz-Security-Token") {
		return forbidden("InvalidClientTokenId", "The security token included in the request is invalid.")
	}
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if now := s.Now(); err != nil || at.Before(now.Add(-skew)) || at.After(now.Add(skew)) {
		return forbidden("SignatureDoesNotMatch", "Signature expired: "+r.Header.Get("X-Amz-Date")+" is now earlier than "+now.UTC().Format("20060102T150405Z"))
	}
	if !hmac.Equal([]byte(sign(r, body, key.Secret, fields, scope)), []byte(fields["Signature"])) {
		return forbidden("SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. "+
			"The Canonical String for this request should have been\n'"+canonical(r, body, fields["SignedHeaders"])+"'")
	}
	if !key.Expires.IsZero() && s.Now().After(key.Expires) {
		return forbidden("ExpiredToken", "The security token included in the request is expired")
	}
	if key.Denied {
		return forbidden("AccessDenied", "User: arn:aws:sts::123456789012:assumed-role/dns/"+s.requestID()+
			" is not authorized to perform: route53:ListHostedZones because no identity-based policy allows the action")
	}
	return nil
}

func parseAuthorization(header string) (map[string]string, bool) {
	rest, ok := strings.CutPrefix(header, "AWS4-HMAC-SHA256 ")
	fields := map[string]string{}
	for field := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		fields[name] = value
	}
	signed := strings.Split(fields["SignedHeaders"], ";")
	return fields, ok && slices.Contains(signed, "host") && slices.Contains(signed, "x-amz-date")
}

func sign(r *http.Request, body []byte, secret string, fields map[string]string, scope []string) string {
	hash := sha256.Sum256([]byte(canonical(r, body, fields["SignedHeaders"])))
	text := strings.Join([]string{"AWS4-HMAC-SHA256", r.Header.Get("X-Amz-Date"), strings.Join(scope[1:], "/"), hex.EncodeToString(hash[:])}, "\n")
	key := []byte("AWS4" + secret)
	for _, part := range append(slices.Clone(scope[1:]), text) {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	return hex.EncodeToString(key)
}

// canonical is the request in the form that is signed.
func canonical(r *http.Request, body []byte, signed string) string {
	var query []string
	for name, values := range r.URL.Query() {
		for _, v := range values {
			query = append(query, escape(name)+"="+escape(v))
		}
	}
	slices.Sort(query)
	var headers strings.Builder
	for name := range strings.SplitSeq(signed, ";") {
		value := strings.Join(r.Header.Values(name), ",")
		switch name {
		case "host":
			value = r.Host
		case "content-length":
			value = strconv.FormatInt(r.ContentLength, 10)
		}
		headers.WriteString(name + ":" + strings.TrimSpace(value) + "\n")
	}
	sum := sha256.Sum256(body)
	// The path is escaped a second time, for all services but S3.
	path := strings.ReplaceAll(escape(r.URL.EscapedPath()), "%2F", "/")
	return strings.Join([]string{r.Method, path, strings.Join(query, "&"), headers.String(), signed, hex.EncodeToString(sum[:])}, "\n")
}

func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

func readAll(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err == nil && len(body) > maxBody {
		err = errors.New("too large")
	}
	return body, err
}
