// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	yaml "go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "k8s.io/apimachinery/pkg/util/json"
	kyaml "sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/internal/model"
)

// content is what the bytes of a document say, in whichever file and at whichever
// line they stand. Nobody changes what it gives, and it is safe for concurrent
// use: who asks for something that is being made waits for it.
type content struct {
	raw []byte
	// read is what was made of the bytes, until it is forgotten.
	read atomic.Pointer[read]

	// shared says that results are kept: another read may ask for them. The digest
	// is what it finds the content by.
	shared bool
	digest digest

	mu      sync.Mutex
	results map[result]func() any
}

// nodes are a document as it is written.
type nodes struct {
	root *yaml.Node
	// second reports a second document that only an end marker (...) separates:
	// Kubernetes would silently read the first alone.
	second bool
	err    error
}

// result is one of those that follow from a content.
type result struct {
	key  any
	item int
	ref  model.Reference
}

// read is a document in two forms, each made when it is asked for.
type read struct {
	nodes func() nodes
	// value is the converted document, which the items of a list share.
	value func() (map[string]any, error)
}

func newContent(raw []byte) *content {
	c := &content{raw: raw}
	c.forget()
	return c
}

// forget lets go of all that was made of the bytes. It is made again for who asks.
func (c *content) forget() {
	raw := c.raw
	nodes := sync.OnceValue(func() nodes { return parse(raw) })
	c.read.Store(&read{nodes: nodes, value: sync.OnceValues(func() (map[string]any, error) {
		if value, ok := valueOf(raw, nodes().root); ok {
			return value, nil
		}
		if err := fits(raw, nodes().root); err != nil {
			return nil, err
		}
		return convert(raw)
	})})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.results = nil
}

func (c *content) nodes() nodes { return c.read.Load().nodes() }

func (c *content) value() (map[string]any, error) { return c.read.Load().value() }

// prepare makes what taking the document will ask for: its nodes, and its value if
// it has an object of a kind that is read.
func (c *content) prepare(scope func(schema.GroupVersionKind) Scope) {
	written := c.nodes()
	if written.root == nil || written.second {
		return
	}
	objects := []*yaml.Node{written.root}
	if items := itemsOf(written.root, kindOf(written.root)); items != nil {
		objects = items.Content
	}
	if slices.ContainsFunc(objects, func(node *yaml.Node) bool {
		kind := kindOf(node)
		return kind.Kind != "" && scope(kind) != ScopeUnknown
	}) {
		// Whoever takes the object is told what is wrong with it.
		_, _ = c.value()
	}
}

func (c *content) once(of result, do func() any) any {
	if !c.shared {
		return do()
	}
	c.mu.Lock()
	made := c.results[of]
	if made == nil {
		if c.results == nil {
			c.results = map[result]func() any{}
		}
		made = sync.OnceValue(do)
		c.results[of] = made
	}
	c.mu.Unlock()
	return made()
}

// parse reads the document's nodes.
func parse(raw []byte) (out nodes) {
	defer func() {
		if r := recover(); r != nil {
			out = nodes{err: fmt.Errorf("yaml: this document cannot be read: %v", r)}
		}
	}()
	decoder := yaml.NewDecoder(bytes.NewReader(raw))
	var document, next yaml.Node
	if err := decoder.Decode(&document); err != nil {
		return nodes{err: err}
	}
	if len(document.Content) == 0 {
		return nodes{}
	}
	err := decoder.Decode(&next)
	return nodes{root: document.Content[0], second: !errors.Is(err, io.EOF)}
}

// convert reads the document the way kubectl does.
func convert(raw []byte) (map[string]any, error) {
	raw, err := toJSON(raw)
	if err != nil {
		return nil, err
	}
	var out map[string]any
	if err := kjson.Unmarshal(raw, &out); err != nil {
		return nil, fmt.Errorf("reading the document as an object: %w", err)
	}
	return out, nil
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

// spacesForTabs lets JSON that is indented with tabs through YAML's scanner. In
// valid JSON a raw tab is never inside a string.
func spacesForTabs(raw []byte) []byte {
	if bytes.IndexByte(raw, '\t') < 0 || !json.Valid(raw) {
		return raw
	}
	return bytes.ReplaceAll(raw, []byte{'\t'}, []byte{' '})
}
