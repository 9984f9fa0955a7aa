// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package document

import (
	"fmt"

	yaml "go.yaml.in/yaml/v3"
)

// How much longer a document may become than it is written, by names of what stands elsewhere
// in it: so many times, or to so many bytes.
const (
	maxExpansion = 10
	expandable   = 16 << 10
)

// fits refuses a document in which names of long texts stand for more than anybody writes. A
// name is two bytes, and the libraries that read YAML bound only how many nodes come of them.
func fits(raw []byte, root *yaml.Node) error {
	if root == nil {
		return nil
	}
	most := max(maxExpansion*len(raw), expandable)
	if (&expansion{most: most, known: map[*yaml.Node]int{}}).of(root) > most {
		return fmt.Errorf("its aliases make more than %d bytes of its %d: write out what they stand for", most, len(raw))
	}
	return nil
}

// expansion is how long nodes are with what their aliases stand for.
type expansion struct {
	most int
	// known are the lengths of what has an anchor; of one that is being measured it is more
	// than most, since what contains itself has no end.
	known map[*yaml.Node]int
}

// of is the length of a node, or more than most.
func (e *expansion) of(node *yaml.Node) int {
	if node.Kind == yaml.AliasNode {
		if node.Alias == nil {
			return 1
		}
		node = node.Alias
	}
	if length, ok := e.known[node]; ok {
		return length
	}
	if node.Anchor != "" {
		e.known[node] = e.most + 1
	}
	length := len(node.Value) + 1
	for _, below := range node.Content {
		if length += e.of(below); length > e.most {
			length = e.most + 1
			break
		}
	}
	if node.Anchor != "" {
		e.known[node] = length
	}
	return length
}
