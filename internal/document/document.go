// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package document reads Kubernetes objects from YAML and JSON files and knows
// the line of every field. It knows files, documents and object references, and
// not what an object means: validating is package schema's, translating package
// load's. Everything is bounded, and what is wrong with a document is a finding,
// so that one bad document hides no other.
package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	yaml "go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "k8s.io/apimachinery/pkg/util/json"
	kyaml "sigs.k8s.io/yaml"

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
	// Scope tells the kinds that are read.
	Scope func(schema.GroupVersionKind) Scope
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
	bytes int64
}

// located is a node of the file that it stands in.
type located struct {
	text *text
	node *yaml.Node
}

// text is one YAML document: the lines between two separators.
type text struct {
	file string
	// offset is the number of lines of the file before the document.
	offset int
	lines  int
	raw    []byte
	// value is the converted document, which the items of a list share.
	value map[string]any
}

func (t *text) position(node *yaml.Node) model.Position { return t.line(node.Line) }

// line turns a line of the document into one of the file. YAML counts some line
// breaks that editors do not, so it is held to the document.
func (t *text) line(n int) model.Position {
	return model.Position{File: t.file, Line: t.offset + max(1, min(n, t.lines))}
}

// Value is the object as the API server would be given it: converted by
// Kubernetes's own YAML 1.1 rules (an unquoted yes is a boolean), integers kept
// as such. A missing namespace is filled in. Read only.
func (o Object) Value() (map[string]any, error) {
	value, err := o.text.convert()
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
		metadata["namespace"] = o.Ref.Namespace
	}
	return value, nil
}

// convert reads the document the way kubectl does, once.
func (t *text) convert() (map[string]any, error) {
	if t.value != nil {
		return t.value, nil
	}
	raw, err := toJSON(t.raw)
	if err != nil {
		return nil, err
	}
	if err := kjson.Unmarshal(raw, &t.value); err != nil {
		return nil, fmt.Errorf("reading the document as an object: %w", err)
	}
	return t.value, nil
}

// toJSON converts YAML with the library that kubectl uses. That library panics
// on some malformed input; a reader of strangers' files must not.
func toJSON(raw []byte) (out []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("yaml: this document cannot be read: %v", r)
		}
	}()
	return kyaml.YAMLToJSON(raw)
}

// parse reads the document's nodes, and reports a second document that only an
// end marker (...) separates: Kubernetes would silently read the first alone.
func parse(raw []byte) (root *yaml.Node, second bool, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("yaml: this document cannot be read: %v", r)
		}
	}()
	decoder := yaml.NewDecoder(bytes.NewReader(raw))
	var document, next yaml.Node
	if err := decoder.Decode(&document); err != nil {
		return nil, false, err
	}
	if len(document.Content) == 0 {
		return nil, false, nil
	}
	err = decoder.Decode(&next)
	return document.Content[0], !errors.Is(err, io.EOF), nil
}

// spacesForTabs lets JSON that is indented with tabs through YAML's scanner. In
// valid JSON a raw tab is never inside a string.
func spacesForTabs(raw []byte) []byte {
	if bytes.IndexByte(raw, '\t') < 0 || !json.Valid(raw) {
		return raw
	}
	return bytes.ReplaceAll(raw, []byte{'\t'}, []byte{' '})
}
