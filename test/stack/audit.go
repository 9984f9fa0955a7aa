// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// AuditedRequest is one request that the API server has decided about.
type AuditedRequest struct {
	Verb, Group, Resource, Subresource string
	// Namespace and Name are empty where the request has none.
	Namespace, Name string
	// Allowed is what RBAC decided, and Reason why, as the API server says it.
	Allowed bool
	Reason  string
}

// auditPolicy has the metadata of all requests of one user written down.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  users: [%q]
- level: None
`

// auditArguments make the API server write down what a user asks.
func (s *Stack) auditArguments() ([]string, error) {
	if s.options.AuditedUser == "" {
		return nil, nil
	}
	policy := filepath.Join(s.dir, "audit.yaml")
	if err := os.WriteFile(policy, fmt.Appendf(nil, auditPolicy, s.options.AuditedUser), 0o600); err != nil {
		return nil, fmt.Errorf("writing the audit policy: %w", err)
	}
	return []string{"--audit-policy-file", policy, "--audit-log-path", s.auditLog()}, nil
}

func (s *Stack) auditLog() string { return filepath.Join(s.Logs(), "audit.log") }

// Audited returns all requests of Options.AuditedUser for resources since the
// start, in the order of their answers.
func (s *Stack) Audited() ([]AuditedRequest, error) {
	raw, err := os.ReadFile(s.auditLog())
	if err != nil {
		return nil, fmt.Errorf("reading the audit log: %w", err)
	}
	// What is being written at the moment is not a line yet.
	raw = raw[:strings.LastIndexByte(string(raw), '\n')+1]
	var out []AuditedRequest
	for line := range strings.Lines(string(raw)) {
		var event struct {
			Verb      string
			ObjectRef *struct{ APIGroup, Resource, Subresource, Namespace, Name string }
			// Annotations are the decisions of the API server's plugins.
			Annotations map[string]string
		}
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			return nil, fmt.Errorf("reading the audit log: %w", err)
		}
		if event.ObjectRef == nil {
			continue
		}
		o := event.ObjectRef
		out = append(out, AuditedRequest{
			Verb: event.Verb, Group: o.APIGroup, Resource: o.Resource, Subresource: o.Subresource, Namespace: o.Namespace, Name: o.Name,
			Allowed: event.Annotations["authorization.k8s.io/decision"] == "allow", Reason: event.Annotations["authorization.k8s.io/reason"],
		})
	}
	return out, nil
}
