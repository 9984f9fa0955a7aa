// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package document

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	yaml "go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/trellis-mesh/trellis/internal/model"
)

// The reasons of findings about documents.
const (
	ReasonTooLarge        = "TooLarge"
	ReasonSyntaxError     = "SyntaxError"
	ReasonNotAnObject     = "NotAnObject"
	ReasonDuplicateKey    = "DuplicateKey"
	ReasonDuplicateObject = "DuplicateObject"
)

// Unread reports whether a finding of severity Error and of this reason means that a document,
// or an object of it, is left out, whatever it says.
func Unread(reason string) bool {
	switch reason {
	case ReasonTooLarge, ReasonSyntaxError, ReasonNotAnObject, ReasonDuplicateKey, ReasonDuplicateObject:
		return true
	}
	return false
}

// owner is whose rules these are.
const owner = "YAML and Kubernetes"

func (s *Set) add(f model.Finding) { s.Findings = append(s.Findings, f) }

// take takes one document: a syntax error in it hides none of the others.
func (s *Set) take(t *text, options Options) {
	if t.content == nil {
		s.add(model.Finding{
			Severity: model.SeverityError, Position: t.line(1), Reason: ReasonTooLarge,
			Message: fmt.Sprintf("the document has more than the %d MiB that an API server takes", MaxObjectBytes>>20),
			Owner:   owner, Fix: "split the object",
		})
		return
	}
	written := t.content.nodes()
	root, err := written.root, written.err
	if errors.Is(err, io.EOF) || (err == nil && (root == nil || root.Tag == "!!null")) {
		return
	}
	if err != nil {
		s.syntax(t, err)
		return
	}
	if written.second {
		s.add(model.Finding{
			Severity: model.SeverityError, Position: t.position(root), Reason: ReasonSyntaxError,
			Message: "after the end marker (...) comes another document without --- before it; Kubernetes would read the first one alone",
			Owner:   owner, Fix: "begin every document with a line of three dashes",
		})
		return
	}
	if root.Kind != yaml.MappingNode {
		s.notAnObject(t, root, model.SeverityError, "the document is not an object: it has to be a mapping with apiVersion, kind and metadata")
		return
	}
	group := kindOf(root)
	if group.Kind == "" || group.Version == "" {
		s.notAnObject(t, root, model.SeverityWarning, "the document has no apiVersion and kind, so it is no Kubernetes object and is not read")
		return
	}
	if items := itemsOf(root, group); items != nil {
		s.list(t, items, options)
		return
	}
	s.object(t, root, -1, group, options)
}

// itemsOf are the items of a List, or nil.
func itemsOf(root *yaml.Node, kind schema.GroupVersionKind) *yaml.Node {
	if !strings.HasSuffix(kind.Kind, "List") {
		return nil
	}
	if items := child(root, "items"); items != nil && items.Kind == yaml.SequenceNode {
		return items
	}
	return nil
}

// list takes the items of a List, such as kubectl get prints.
func (s *Set) list(t *text, items *yaml.Node, options Options) {
	for i, item := range items.Content {
		if s.total >= MaxDocuments {
			s.tooMany(t.position(item))
			return
		}
		item = resolve(item)
		group := kindOf(item)
		if item.Kind != yaml.MappingNode || group.Kind == "" || group.Version == "" {
			s.notAnObject(t, item, model.SeverityError, "the list's item has no apiVersion and kind")
			continue
		}
		s.object(t, item, i, group, options)
	}
}

func (s *Set) object(t *text, node *yaml.Node, item int, kind schema.GroupVersionKind, options Options) {
	s.total++
	scope := options.Scope(kind)
	if scope == ScopeUnknown {
		s.Skipped[kind.GroupKind()]++
		return
	}
	o := Object{
		Ref: model.Reference{
			Cluster: options.Cluster, Group: kind.Group, Kind: kind.Kind,
			Name: scalar(child(child(node, "metadata"), "name")),
		},
		Kind: kind, Position: t.position(node), text: t, item: item,
	}
	if scope == ScopeNamespaced {
		o.Ref.Namespace = scalar(child(child(node, "metadata"), "namespace"))
		if o.Ref.Namespace == "" {
			o.Ref.Namespace = DefaultNamespace
		}
	}
	if o.Ref.Name == "" {
		s.notAnObject(t, node, model.SeverityError, "the "+kind.Kind+" has no metadata.name")
		return
	}
	value, err := o.Value()
	if err != nil {
		s.syntax(t, err)
		return
	}
	first, seen := s.index[o.Ref]
	if !seen {
		s.index[o.Ref] = located{t, item}
	}
	before := len(s.Findings)
	o.Refused = s.duplicateKeys(t, o.Ref, node, "") || seen
	if n := len(s.Findings) - before; n > maxRepeated {
		s.Findings = s.Findings[:before+maxRepeated]
		s.add(model.Finding{
			Severity: model.SeverityError, Object: o.Ref, Position: o.Position, Reason: ReasonDuplicateKey,
			Message: fmt.Sprintf("there are %d more repeated keys in this object", n-maxRepeated),
			Owner:   owner, Fix: "remove those that are listed and check again",
		})
	}
	if field := astray(value, &o); field != "" && !o.Refused {
		o.Refused = true
		s.add(model.Finding{
			Severity: model.SeverityError, Object: o.Ref, Field: field, Position: o.Position, Reason: ReasonDuplicateKey,
			Message: "the key is there twice, once by an alias: it is not known which object it is",
			Owner:   owner, Fix: "write the key out, once",
		})
	}
	if seen {
		s.add(model.Finding{
			Severity: model.SeverityError, Object: o.Ref, Position: o.Position, Reason: ReasonDuplicateObject,
			Message: fmt.Sprintf("the same %s is already at %s; a cluster would hold whichever was applied last", kind.Kind, at(first.text.position(first.node()))),
			Owner:   owner, Fix: "keep one of the two, or name only the files of one environment",
		})
	}
	s.Objects = append(s.Objects, o)
}

// astray is the field by which an object that is read is another one than its reference says:
// who may give which object is decided by references. A key may be an alias, which only
// whatever converts the document follows.
func astray(value map[string]any, o *Object) string {
	metadata, _ := value["metadata"].(map[string]any)
	for _, one := range []struct {
		field string
		is    any
		said  string
	}{
		{"apiVersion", value["apiVersion"], o.Kind.GroupVersion().String()}, {"kind", value["kind"], o.Kind.Kind},
		{"metadata.name", metadata["name"], o.Ref.Name}, {"metadata.namespace", metadata["namespace"], o.Ref.Namespace},
	} {
		// What is no text is refused by its schema, and a kind without namespaces may name one.
		text, ok := one.is.(string)
		if ok && text != one.said && (one.field != "metadata.namespace" || one.said != "") {
			return one.field
		}
	}
	return ""
}

// duplicateKeys reports every repeated key below a node, and whether there was
// one. Aliases are not followed: what they stand for is looked at where it is.
func (s *Set) duplicateKeys(t *text, ref model.Reference, node *yaml.Node, path string) bool {
	found := false
	switch node.Kind {
	case yaml.MappingNode:
		seen := make(map[string]int, len(node.Content)/2)
		for i := 0; i+1 < len(node.Content); i += 2 {
			key, value := node.Content[i], node.Content[i+1]
			field := joinKey(path, key.Value)
			if line, again := seen[key.Value]; again {
				found = true
				s.add(model.Finding{
					Severity: model.SeverityError, Object: ref, Field: field, Position: t.position(key), Reason: ReasonDuplicateKey,
					Message: fmt.Sprintf("the key %q is already at line %d; only one of the two values could hold", key.Value, t.offset+line),
					Owner:   owner, Fix: "remove one of the two",
				})
			} else {
				seen[key.Value] = key.Line
			}
			found = s.duplicateKeys(t, ref, value, field) || found
		}
	case yaml.SequenceNode:
		for i, item := range node.Content {
			found = s.duplicateKeys(t, ref, item, path+"["+strconv.Itoa(i)+"]") || found
		}
	}
	return found
}

func (s *Set) notAnObject(t *text, node *yaml.Node, severity model.Severity, message string) {
	s.add(model.Finding{
		Severity: severity, Position: t.position(node), Reason: ReasonNotAnObject, Message: message,
		Owner: owner, Fix: "write an object with apiVersion, kind and metadata.name, or leave the file out",
	})
}

func (s *Set) tooMany(position model.Position) {
	s.add(model.Finding{
		Severity: model.SeverityError, Position: position, Reason: ReasonTooLarge,
		Message: fmt.Sprintf("there are more than %d objects; what follows is not read", MaxDocuments),
		Owner:   owner, Fix: "name only the files that belong to this mesh",
	})
}

// lineInError finds the line that the YAML libraries put into their messages.
var lineInError = regexp.MustCompile(`(?:yaml: )?line (\d+): `)

func (s *Set) syntax(t *text, err error) {
	message := err.Error()
	position := t.position(&yaml.Node{})
	if m := lineInError.FindStringSubmatchIndex(message); m != nil {
		if line, e := strconv.Atoi(message[m[2]:m[3]]); e == nil {
			position = t.line(line)
		}
		message = message[:m[0]] + message[m[1]:]
	}
	message = strings.TrimPrefix(strings.TrimPrefix(message, "error converting YAML to JSON: "), "yaml: ")
	s.add(model.Finding{
		Severity: model.SeverityError, Position: position, Reason: ReasonSyntaxError,
		Message: "the document cannot be read: " + message, Owner: owner,
		Fix: "correct the YAML at or just before this line",
	})
}

func at(p model.Position) string { return p.File + ":" + strconv.Itoa(p.Line) }
