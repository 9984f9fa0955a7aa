// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package route53

import (
	"encoding/xml"
	"fmt"
	"net/url"
	"time"
)

// lifetime is how long what STS gives out is good for.
const lifetime = time.Hour

// Role is what others can become.
type Role struct {
	// ExternalID must be told; empty where it need not be.
	ExternalID string
	// WebToken is the web identity that may become this role.
	WebToken string
}

// AddRole makes a role by its ARN.
func (s *Server) AddRole(arn string, r Role) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roles[arn] = r
}

func stsOperation(body []byte) string {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return "unknown"
	}
	switch action := form.Get("Action"); action {
	case "AssumeRole", "AssumeRoleWithWebIdentity":
		return action
	}
	return "unknown"
}

// credentials is the answer of both operations.
type credentials struct {
	XMLName xml.Name
	Result  struct {
		XMLName     xml.Name
		Credentials struct {
			AccessKeyID     string `xml:"AccessKeyId"`
			SecretAccessKey string
			SessionToken    string
			Expiration      string
		}
	}
}

func (s *Server) assume(body []byte) (any, *refusal) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, refuse("InvalidParameterValue", "the form cannot be read")
	}
	role, known := s.roles[form.Get("RoleArn")]
	if !known || role.ExternalID != form.Get("ExternalId") {
		return nil, forbidden("AccessDenied", "User: arn:aws:iam::123456789012:user/dns is not authorized to perform: sts:AssumeRole on resource: "+form.Get("RoleArn"))
	}
	return s.issue("AssumeRole"), nil
}

func (s *Server) assumeWithToken(body []byte) (any, *refusal) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, refuse("InvalidParameterValue", "the form cannot be read")
	}
	role, known := s.roles[form.Get("RoleArn")]
	switch {
	case !known:
		return nil, forbidden("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
	case role.WebToken == "" || role.WebToken != form.Get("WebIdentityToken"):
		return nil, refuse("InvalidIdentityToken", "Couldn't validate the web identity token")
	}
	return s.issue("AssumeRoleWithWebIdentity"), nil
}

// issue makes credentials for one session.
func (s *Server) issue(operation string) credentials {
	n := len(s.keys)
	id := fmt.Sprintf("ASIA%016d", n)
	key := Key{Secret: fmt.Sprintf("session-secret-%d", n), Token: fmt.Sprintf("session-token-%d", n), Expires: s.Now().Add(lifetime)}
	s.keys[id] = key
	var out credentials
	out.XMLName = xml.Name{Space: "https://sts.amazonaws.com/doc/2011-06-15/", Local: operation + "Response"}
	out.Result.XMLName.Local = operation + "Result"
	c := &out.Result.Credentials
	c.AccessKeyID, c.SecretAccessKey, c.SessionToken = id, key.Secret, key.Token
	c.Expiration = key.Expires.UTC().Format(time.RFC3339)
	return out
}

// ExpireSessions ends all that STS gave out.
func (s *Server) ExpireSessions() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, key := range s.keys {
		if !key.Expires.IsZero() {
			key.Expires = s.Now().Add(-time.Second)
			s.keys[id] = key
		}
	}
}
