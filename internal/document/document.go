// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package document reads Kubernetes objects from YAML and JSON files and knows
// the line of every field. It knows files, documents and object references, and
// not what an object means: validating is package schema's, translating package
// load's. Everything is bounded, and what is wrong with a document is a finding,
// so that one bad document hides no other.
package document

import (
	"fmt"
	"maps"

	yaml "go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/trellis-mesh/trellis/internal/model"
)

// Bounds on what is read; what is beyond them is refused with a finding.
const (
	// MaxFileBytes is the size of one file.
	MaxFileBytes = 16 << 20
	// MaxTotalBytes is the size of all files together.
	MaxTotalBytes = 256 << 20
	// MaxObjectBytes is the size of one object outside of a list: what an API
	// server takes in one request.
	MaxObjectBytes = 3 << 20
	// maxRepeated is how many repeated keys of one object are told.
	maxRepeated = 50
	// MaxDocuments is the number of objects of all files together, those of
	// lists included.
	MaxDocuments = 100_000
)

// DefaultNamespace is the namespace of an object that names none, as it is in a
// kubectl context that names none.
const DefaultNamespace = "default"

// Scope says where the objects of a kind live.
type Scope int

const (
	// ScopeUnknown is a kind that the caller does not read: it is counted and
	// skipped.
	ScopeUnknown Scope = iota
	// ScopeNamespaced is a kind whose objects live in namespaces.
	ScopeNamespaced
	// ScopeCluster is a kind whose objects live in no namespace.
	ScopeCluster
)

// Options are the same for all files of a Set.
type Options struct {
	// Cluster is the cluster in the objects' references.
	Cluster string
	// Scope tells the kinds that are read. It is called by several goroutines.
	Scope func(schema.GroupVersionKind) Scope
	// Known is what reads with documents in common share; nil: nothing is shared.
	Known *Known
}

// Object is one object as it was written.
type Object struct {
	Ref      model.Reference
	Kind     schema.GroupVersionKind
	Position model.Position
	// Refused marks an object that was already read elsewhere, or one with
	// repeated keys: a finding says so, and nobody should use it.
	Refused bool

	text *text
	item int
}

// Set is everything that was read, in the order of files and documents. It is
// not changed after reading and then safe for concurrent use.
type Set struct {
	Objects  []Object
	Findings []model.Finding
	// Skipped counts objects of kinds that are not read, by kind.
	Skipped map[schema.GroupKind]int
	// Files counts the files that were read.
	Files int

	index map[model.Reference]located
	total int
}

// located is an object of the document that it stands in: an item of its list, or with -1
// all of it.
type located struct {
	text *text
	item int
}

func (l located) node() *yaml.Node {
	root := l.text.content.nodes().root
	if l.item < 0 {
		return root
	}
	return resolve(itemsOf(root, kindOf(root)).Content[l.item])
}

// text is one YAML document of a file: the lines between two separators.
type text struct {
	file string
	// offset is the number of lines of the file before the document.
	offset int
	lines  int
	// content is nil for a document that is too large to be read.
	content *content
}

func (t *text) position(node *yaml.Node) model.Position { return t.line(node.Line) }

// line turns a line of the document into one of the file. YAML counts some line
// breaks that editors do not, so it is held to the document.
func (t *text) line(n int) model.Position {
	return model.Position{File: t.file, Line: t.offset + max(1, min(n, t.lines))}
}

// Value is the object as the API server would be given it: converted by
// Kubernetes's own YAML 1.1 rules (an unquoted yes is a boolean), integers kept
// as such. A missing namespace is filled in. Read only: other objects share it.
func (o Object) Value() (map[string]any, error) {
	value, err := o.text.content.value()
	if err != nil {
		return nil, err
	}
	if o.item >= 0 {
		items, _ := value["items"].([]any)
		if o.item >= len(items) {
			return nil, fmt.Errorf("reading item %d of the list", o.item)
		}
		value, _ = items[o.item].(map[string]any)
	}
	metadata, ok := value["metadata"].(map[string]any)
	if ok && o.Ref.Namespace != "" && metadata["namespace"] == nil {
		value, metadata = maps.Clone(value), maps.Clone(metadata)
		value["metadata"], metadata["namespace"] = metadata, o.Ref.Namespace
	}
	return value, nil
}

// Once is what do makes of the object's Value, Ref and Kind, and of nothing else
// but the key. Where several reads that share a Known have the same object, do is
// called for one of them alone, and the others wait for what it gives. Read only.
func (o Object) Once(key any, do func() any) any {
	return o.text.content.once(result{key, o.item, o.Ref}, do)
}
