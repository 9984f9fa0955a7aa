// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package sight leaves out of answers what whoever asks may not read. It is the one place
// where that is done, and it goes by type: for each type of answer there is a method that
// returns what of it is seen, and says so in a field Redacted where something is missing.
//
// What stays of an object that may not be read is its kind and name, its tier and mode,
// what it does to the viewer's own objects, and what a policy says to do about it. What
// goes are its parameters, where it is kept, and everything about the objects of others.
// Who calls the viewer's own Application is the viewer's to know.
package sight

import (
	"slices"
	"strings"
)

// Sight is what one viewer may read. The zero value is nothing.
type Sight struct {
	// Everywhere: the Applications of all namespaces, and else those of Namespaces.
	Everywhere bool
	Namespaces map[string]bool
	// AllIngresses: the SecureIngresses of all namespaces, and else those of Ingresses.
	AllIngresses bool
	Ingresses    map[string]bool
	// Goals, Bindings and Templates are the kinds of policies that are the cluster's.
	Goals, Bindings, Templates bool
}

// Full reports whether there is nothing that is not seen.
func (s *Sight) Full() bool {
	return s.Everywhere && s.AllIngresses && s.Goals && s.Bindings && s.Templates
}

// Namespace reports whether a namespace is the viewer's to look at.
func (s *Sight) Namespace(name string) bool { return s.Everywhere || s.Namespaces[name] }

// Ingress reports whether the SecureIngresses of a namespace are.
func (s *Sight) Ingress(namespace string) bool { return s.AllIngresses || s.Ingresses[namespace] }

// Object reports whether an object is. What is of no known kind goes by its namespace.
func (s *Sight) Object(kind, namespace string) bool {
	switch kind {
	case "Goal":
		return s.Goals
	case "ClusterPolicyBinding":
		return s.Bindings
	case "PolicyTemplate":
		return s.Templates
	case "SecureIngress":
		return s.Ingress(namespace)
	}
	return s.Namespace(namespace)
}

// Named is Object of one that is named as answers do: "Application shop/cart". Nothing
// has no secrets.
func (s *Sight) Named(text string) bool {
	if text == "" {
		return true
	}
	kind, name, _ := strings.Cut(text, " ")
	namespace, _, ok := strings.Cut(name, "/")
	if !ok {
		namespace = ""
	}
	return s.Object(kind, namespace)
}

// workload reports whether a workload or Service, NAMESPACE/NAME, is in a namespace that
// is seen. What has no namespace is outside of the mesh, and everybody's.
func (s *Sight) workload(name string) bool {
	namespace, _, ok := strings.Cut(name, "/")
	return !ok || s.Namespace(namespace)
}

// proxy reports whether a proxy, as answers name it ("sidecar NAMESPACE/NAME"), is in a
// namespace that is seen. A step of none is everybody's.
func (s *Sight) proxy(name string) bool { return s.workload(name[strings.LastIndexByte(name, ' ')+1:]) }

// kept are the elements for which keep is true, in a list of their own, and whether any is
// missing.
func kept[T any](all []T, keep func(*T) bool) (out []T, missing bool) {
	for i := range all {
		if keep(&all[i]) {
			out = append(out, all[i])
		} else {
			missing = true
		}
	}
	if out == nil && all != nil {
		out = []T{}
	}
	return out, missing
}

// hidden is what is said instead of words that may have parameters of an object in them.
func hidden(object, whom string) string {
	out := "it hangs on " + object + ", which you may not read"
	if object == "" {
		out = "it hangs on a statement that you may not read"
	}
	if whom != "" {
		out += ": ask " + whom
	}
	return out
}

// host reports whether a host of the mesh, NAME.NAMESPACE.svc..., is in a namespace that is
// seen.
func (s *Sight) host(name string) bool {
	if inMesh(name) {
		return s.Namespace(strings.Split(name, ".")[1])
	}
	return s.Everywhere
}

// inMesh reports whether a host is one of a Service.
func inMesh(host string) bool { return slices.Index(strings.Split(host, "."), "svc") == 2 }
