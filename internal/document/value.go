// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package document

import (
	"bytes"
	"strconv"
	"strings"

	yaml "go.yaml.in/yaml/v3"
)

// valueOf makes of a document's nodes what convert makes of its text, which takes a
// second parsing and a detour through JSON. It reports false for all that is unusual:
// convert has to tell then. The two libraries behind them scan alike but for comments
// (their sources differ in nothing else), so what is left to be decided here is what a
// scalar without quotes stands for in YAML 1.1.
func valueOf(raw []byte, root *yaml.Node) (map[string]any, bool) {
	// A tag may be one that its node does not show. Before a comment, one of the
	// libraries takes tabs where the other does not.
	if bytes.IndexByte(raw, '!') >= 0 || bytes.IndexByte(raw, '\t') >= 0 && bytes.IndexByte(raw, '#') >= 0 {
		return nil, false
	}
	if root == nil || root.Kind != yaml.MappingNode {
		return nil, false
	}
	value, ok := nodeValue(root, 0)
	object, _ := value.(map[string]any)
	return object, ok
}

// maxDepth is far from where either library gives up.
const maxDepth = 1000

func nodeValue(node *yaml.Node, depth int) (any, bool) {
	if node.Anchor != "" || node.Style&yaml.TaggedStyle != 0 || depth > maxDepth {
		return nil, false
	}
	switch node.Kind {
	case yaml.ScalarNode:
		return scalarValue(node)
	case yaml.SequenceNode:
		out := make([]any, len(node.Content))
		for i, item := range node.Content {
			var ok bool
			if out[i], ok = nodeValue(item, depth+1); !ok {
				return nil, false
			}
		}
		return out, true
	case yaml.MappingNode:
		return mappingValue(node, depth)
	}
	return nil, false
}

func mappingValue(node *yaml.Node, depth int) (any, bool) {
	out := make(map[string]any, len(node.Content)/2)
	for i := 0; i+1 < len(node.Content); i += 2 {
		read, ok := nodeValue(node.Content[i], depth+1)
		key, text := read.(string)
		if _, again := out[key]; !ok || !text || again {
			return nil, false
		}
		if out[key], ok = nodeValue(node.Content[i+1], depth+1); !ok {
			return nil, false
		}
	}
	return out, true
}

const quoted = yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle

// words are what YAML 1.1 does not take as text.
var words = map[string]any{
	"": nil, "~": nil, "null": nil, "Null": nil, "NULL": nil,
	"y": true, "Y": true, "yes": true, "Yes": true, "YES": true, "on": true, "On": true, "ON": true,
	"true": true, "True": true, "TRUE": true,
	"n": false, "N": false, "no": false, "No": false, "NO": false, "off": false, "Off": false, "OFF": false,
	"false": false, "False": false, "FALSE": false,
}

func scalarValue(node *yaml.Node) (any, bool) {
	value := node.Value
	if value == "<<" {
		return nil, false
	}
	if node.Style&quoted != 0 {
		return value, true
	}
	if word, ok := words[value]; ok {
		return word, true
	}
	if c := value[0]; c != '+' && c != '-' && c != '.' && (c < '0' || c > '9') {
		return value, true
	}
	// No number has two dots, and none has other letters than these.
	if strings.Count(value, ".") > 1 || strings.ContainsFunc(value, func(r rune) bool {
		return !strings.ContainsRune("0123456789abcdefABCDEFxXoO_+-.", r)
	}) && !strings.HasSuffix(strings.ToLower(value), ".inf") && !strings.HasSuffix(strings.ToLower(value), ".nan") {
		return value, true
	}
	number, err := strconv.ParseInt(value, 10, 64)
	// Numbers that are written in another way have rules of their own.
	return number, err == nil && strconv.FormatInt(number, 10) == value
}
