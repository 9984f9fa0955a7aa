// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package generated knows the forms of an object that Trellis makes: its typed value, the
// manifest that is applied, and the packed form that is kept.
package generated

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/trellis-mesh/trellis/internal/model"
)

// AnnotationOrigin holds the provenance of every rule.
const AnnotationOrigin = "trellis.dev/origin"

// Object is one generated object.
type Object struct {
	Ref model.Reference
	// Owners are the Application and SecureIngress objects that it was made
	// for, in order; the first one is in its labels.
	Owners []model.Reference
	// Value is the typed object, with its TypeMeta set. Read only.
	Value Resource
}

// Resource is a typed Kubernetes object.
type Resource interface {
	metav1.Object
	runtime.Object
}
