// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package document

import (
	"strconv"
	"strings"

	yaml "go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/trellis-mesh/trellis/internal/model"
)

// Position is the line of a field, given as a path such as
// spec.routes[2].paths[0].exact or metadata.labels[app.kubernetes.io/name]. A
// field that is not written is at its nearest ancestor that is; an object that
// was not read has no position.
func (s *Set) Position(object model.Reference, field string) model.Position {
	found, ok := s.index[object]
	if !ok {
		return model.Position{}
	}
	node := found.node()
	line := node
	for _, step := range steps(field) {
		node = resolve(node)
		next, key := descend(node, step)
		if next == nil {
			break
		}
		node, line = next, key
	}
	return found.text.position(line)
}

// descend takes one step, and gives the node and the one whose line a reader
// looks for: the key of a mapping, the item of a sequence.
func descend(node *yaml.Node, step string) (value, at *yaml.Node) {
	switch node.Kind {
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(node.Content) {
			return node.Content[i], node.Content[i]
		}
	case yaml.MappingNode:
		return lookup(node, step, 0)
	}
	return nil, nil
}

// maxMerges bounds how deep merge keys (<<) are followed; they can be circular.
const maxMerges = 16

func lookup(node *yaml.Node, name string, depth int) (value, key *yaml.Node) {
	var merged *yaml.Node
	for i := 0; i+1 < len(node.Content); i += 2 {
		switch node.Content[i].Value {
		case name:
			return node.Content[i+1], node.Content[i]
		case "<<":
			merged = resolve(node.Content[i+1])
		}
	}
	if merged == nil || depth >= maxMerges {
		return nil, nil
	}
	if merged.Kind == yaml.SequenceNode {
		for _, one := range merged.Content {
			if one = resolve(one); one.Kind == yaml.MappingNode {
				if value, key = lookup(one, name, depth+1); value != nil {
					return value, key
				}
			}
		}
		return nil, nil
	}
	if merged.Kind != yaml.MappingNode {
		return nil, nil
	}
	return lookup(merged, name, depth+1)
}

// steps splits a path at dots and brackets. Dots inside brackets belong to the
// key.
func steps(path string) []string {
	var out []string
	for path != "" {
		switch path[0] {
		case '.':
			path = path[1:]
		case '[':
			end := strings.IndexByte(path, ']')
			if end < 0 {
				return append(out, path[1:])
			}
			out = append(out, strings.Trim(path[1:end], `"`))
			path = path[end+1:]
		default:
			end := strings.IndexAny(path, ".[")
			if end < 0 {
				end = len(path)
			}
			out = append(out, path[:end])
			path = path[end:]
		}
	}
	return out
}

// joinKey appends a key to a path, in brackets when it would not read as one step.
func joinKey(path, key string) string {
	if strings.ContainsAny(key, ".[]/") {
		return path + "[" + key + "]"
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// resolve follows an alias to what it stands for. An alias never stands for
// another alias.
func resolve(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode && node.Alias != nil {
		return node.Alias
	}
	return node
}

func child(node *yaml.Node, name string) *yaml.Node {
	if node == nil {
		return nil
	}
	if node = resolve(node); node.Kind != yaml.MappingNode {
		return nil
	}
	value, _ := lookup(node, name, 0)
	if value == nil {
		return nil
	}
	return resolve(value)
}

func scalar(node *yaml.Node) string {
	if node == nil || node.Kind != yaml.ScalarNode || node.Tag == "!!null" {
		return ""
	}
	return node.Value
}

func kindOf(node *yaml.Node) schema.GroupVersionKind {
	version, err := schema.ParseGroupVersion(scalar(child(node, "apiVersion")))
	if err != nil {
		return schema.GroupVersionKind{}
	}
	return version.WithKind(scalar(child(node, "kind")))
}
