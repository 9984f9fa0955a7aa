// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/trellis-mesh/trellis/internal/model"
)

// explain turns the API server's errors into findings. Where a list is too long
// that is all that is said about it: nobody reads 10,000 lines about one list.
func (k *kind) explain(value map[string]any, unknown []string, errs field.ErrorList) []model.Finding {
	var long []string
	for _, err := range errs {
		if err.Type == field.ErrorTypeTooMany {
			long = append(long, err.Field)
		}
	}
	tooLong := func(path string) bool {
		return slices.ContainsFunc(long, func(list string) bool { return strings.HasPrefix(path, list+"[") })
	}
	var findings []model.Finding
	unknown = slices.DeleteFunc(unknown, tooLong)
	slices.Sort(unknown)
	if len(unknown) > maxUnknown {
		findings = append(findings, more(len(unknown)-maxUnknown))
		unknown = unknown[:maxUnknown]
	}
	for _, path := range unknown {
		findings = append(findings, k.unknownField(path))
	}
	precise := k.references(value, long)
	for _, err := range errs {
		// Where the rules about names have a finding of their own for each name,
		// the rule's sentence about the whole spec says nothing more.
		if tooLong(err.Field) || (len(precise) > 0 && slices.Contains(referenceRules, err.Detail)) || couldNotRun(err, errs) {
			continue
		}
		findings = append(findings, k.invalid(value, err))
	}
	return append(findings, precise...)
}

// couldNotRun says whether a rule failed to run on a value that another error is
// about already.
func couldNotRun(err *field.Error, all field.ErrorList) bool {
	return strings.Contains(err.Detail, " evaluating rule: ") && slices.ContainsFunc(all, func(other *field.Error) bool {
		return other != err && other.Field == err.Field
	})
}

// unknownField names the nearest field that there is.
func (k *kind) unknownField(path string) model.Finding {
	parent, name := split(path)
	f := model.Finding{
		Severity: model.SeverityError, Field: path, Reason: ReasonUnknownField, Owner: owner,
		Message: fmt.Sprintf("there is no field %s in %s", name, k.place(parent)),
	}
	if later, ok := notInThisVersion[withoutIndexes(path)]; ok {
		f.Message = fmt.Sprintf("the field %s is not in this version of Trellis: it would be ignored, so it is refused", name)
		f.Fix = later
		return f
	}
	known := []string{"name", "namespace", "labels", "annotations"}
	if node := k.at(parent); node != nil && parent != "metadata" {
		known = slices.Collect(maps.Keys(node.Properties))
	}
	f.Fix = suggestion(name, known, "the fields here are")
	return f
}

// place is how a path is called in a sentence.
func (k *kind) place(path string) string {
	if path == "" {
		return k.gvk.Kind
	}
	return path
}

// invalid explains one error of the schema or of a CEL rule.
func (k *kind) invalid(value map[string]any, err *field.Error) model.Finding {
	f := model.Finding{
		Severity: model.SeverityError, Field: err.Field, Reason: ReasonSchemaInvalid, Owner: owner,
		Message: sentence(err.Detail),
	}
	if f.Field == "<nil>" {
		// Only rules about the object's name stand at its root.
		f.Field = "metadata.name"
	}
	_, name := split(f.Field)
	written, _ := lookup(value, f.Field).(string)
	switch err.Type {
	case field.ErrorTypeRequired:
		f.Message = fmt.Sprintf("the field %s is missing", name)
		f.Fix = "add " + f.Field + k.expected(f.Field)
	case field.ErrorTypeTooMany:
		limit := k.at(f.Field).limit()
		f.Message = fmt.Sprintf("there are %v %s where at most %d are taken", err.BadValue, name, limit)
		f.Fix = "leave out what is not needed, or split the object"
		if k.gvk.Kind == "Application" && (name == "routes" || name == "paths") {
			f.Reason = ReasonTooManyRoutes
			f.Message = fmt.Sprintf("there are %v %s where at most %d are taken: each becomes entries in every proxy that enforces it", err.BadValue, name, limit)
			f.Fix = "join " + name + " that need the same by a shorter prefix, or split the Application"
		}
	case field.ErrorTypeTooLong:
		f.Message = "the value is too long: it may not be " + strings.TrimPrefix(err.Detail, "may not be ")
		f.Fix = "shorten it"
	case field.ErrorTypeDuplicate:
		f.Message = "the list already has this item: " + compact(err.BadValue)
		f.Fix = "give every item a name of its own, and remove repetitions"
	case field.ErrorTypeNotSupported:
		f.Message = fmt.Sprintf("%s is not a valid %s", compact(err.BadValue), singular(name))
		f.Fix = "use one of: " + strings.TrimPrefix(strings.ReplaceAll(err.Detail, `"`, ""), "supported values: ")
	case field.ErrorTypeTypeInvalid:
		f.Message, f.Fix = k.mistyped(f.Field, name, lookup(value, f.Field), err.Detail)
	default:
		f.Fix = k.repair(f.Field, written, f.Message)
		if pattern := k.at(f.Field).pattern(); pattern != "" && strings.Contains(err.Detail, pattern) {
			f.Message = fmt.Sprintf("%s is not a valid %s", strconv.Quote(written), singular(name))
		}
	}
	return f
}

// mistyped says what is wrong with a value that has not the type of its field.
func (k *kind) mistyped(at, name string, value any, detail string) (message, fix string) {
	place := k.at(at)
	text, isText := value.(string)
	switch {
	case isText && strings.Contains(detail, "date-time"):
		return fmt.Sprintf("%s is no moment", strconv.Quote(text)), `write the day and the time of day by RFC 3339, such as "2027-06-30T00:00:00Z"`
	case place != nil && place.Type == "string":
		return fmt.Sprintf("the value of %s is read as %s, which is not text", name, compact(value)),
			"put the value in quotes: YAML reads bare numbers, yes, no, on, off, y and n as something else than text"
	}
	return fmt.Sprintf("the value of %s is of the wrong type", name), "write " + at + k.expected(at)
}

// sentence strips the path that the validator repeats.
func sentence(detail string) string {
	if _, rest, ok := strings.Cut(detail, " in body "); ok {
		detail = "the value " + rest
	}
	// Kubernetes gives an example and its regular expression; the fix says it in words.
	detail, _, _ = strings.Cut(detail, " (e.g.")
	if detail == "" {
		return "the value is not valid"
	}
	return strings.TrimRight(detail, ".")
}

func compact(value any) string {
	raw, err := json.Marshal(value)
	if err != nil || len(raw) > 200 {
		return "the value"
	}
	return string(raw)
}

// singular names one item of a list: "hostnames[2]" is a hostname.
func singular(name string) string {
	name, _, indexed := strings.Cut(name, "[")
	if indexed {
		name = strings.TrimSuffix(name, "s")
	}
	return name
}

// node is a place in a schema; nil is a place that it does not have.
type node struct{ *structuralschema.Structural }

func (n *node) pattern() string {
	if n == nil || n.ValueValidation == nil {
		return ""
	}
	return n.ValueValidation.Pattern
}

func (n *node) limit() int64 {
	if n == nil || n.ValueValidation == nil || n.ValueValidation.MaxItems == nil {
		return 0
	}
	return *n.ValueValidation.MaxItems
}

// at finds the schema of a path.
func (k *kind) at(path string) *node {
	here := k.structural
	for _, step := range steps(path) {
		switch next, known := here.Properties[step]; {
		case known:
			here = &next
		case here.Items != nil:
			here = here.Items
		case here.AdditionalProperties != nil && here.AdditionalProperties.Structural != nil:
			here = here.AdditionalProperties.Structural
		default:
			return nil
		}
	}
	return &node{here}
}

// lookup finds the value at a path.
func lookup(value any, path string) any {
	for _, step := range steps(path) {
		switch v := value.(type) {
		case map[string]any:
			value = v[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(v) {
				return nil
			}
			value = v[i]
		default:
			return nil
		}
	}
	return value
}

func steps(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' })
}

// split takes the last step off a path, with its index.
func split(path string) (parent, name string) {
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return "", path
}

func withoutIndexes(path string) string {
	var out strings.Builder
	depth := 0
	for _, r := range path {
		switch {
		case r == '[':
			depth++
		case r == ']':
			depth--
		case depth == 0:
			out.WriteRune(r)
		}
	}
	return out.String()
}
