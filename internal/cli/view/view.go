// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package view shows what commands have read of a cluster, once or again and again
// as it changes: tables for people, JSON and YAML for programs.
package view

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/internal/cli/output"
)

// Frame is all that a command shows at a time.
type Frame struct{ Sections []Section }

// Section is things of one kind.
type Section struct {
	// Name is the field that holds them in JSON and YAML.
	Name string
	// Header has a word for each cell of the items' rows.
	Header []string
	Items  []Item
}

// Item is one thing that is shown.
type Item struct {
	output.Row
	// Key tells it from the others of its section, for as long as it is there.
	Key string
	// News changes when there is something to say of it that was not said before.
	// How long ago something was is no news.
	News string
	// Value is the item in JSON and YAML.
	Value any
	// Gone is what is shown once it is not there any more.
	Gone *Item
	// NeedsPerson: it will not go away by itself.
	NeedsPerson bool
}

// NeedsPerson reports whether any item needs a person.
func (f *Frame) NeedsPerson() bool {
	return slices.ContainsFunc(f.Sections, func(s Section) bool {
		return slices.ContainsFunc(s.Items, func(i Item) bool { return i.NeedsPerson })
	})
}

// Write writes the frame in one of output.Formats.
func (f *Frame) Write(w io.Writer, format string, colour bool) error {
	return output.Write(w, format, f.values(), func(w io.Writer) error { return f.tables(w, colour) })
}

// tables writes the sections that have something, with a line between two.
func (f *Frame) tables(w io.Writer, colour bool) error {
	var out bytes.Buffer
	for _, s := range f.Sections {
		if len(s.Items) == 0 {
			continue
		}
		if out.Len() > 0 {
			out.WriteString("\n")
		}
		if err := output.Table(&out, s.Header, s.rows(), colour); err != nil {
			return err
		}
	}
	_, err := w.Write(out.Bytes())
	return err
}

func (s *Section) rows() []output.Row {
	rows := make([]output.Row, 0, len(s.Items))
	for _, item := range s.Items {
		rows = append(rows, item.Row)
	}
	return rows
}

// values is the frame for programs; every section is there, if only empty.
func (f *Frame) values() map[string][]any {
	out := map[string][]any{}
	for _, s := range f.Sections {
		out[s.Name] = []any{}
		for _, item := range s.Items {
			out[s.Name] = append(out[s.Name], item.Value)
		}
	}
	return out
}

// News is the text of a value by which changes are noticed.
func News(value any) string {
	// What cannot be written as JSON could not be shown either, and is told then.
	text, _ := json.Marshal(value)
	return string(text)
}

// appended writes a frame of changes so that a program can tell it from the next
// one: JSON on one line, YAML as a document.
func (f *Frame) appended(w io.Writer, format string) error {
	var raw []byte
	var err error
	if format == "yaml" {
		raw, err = yaml.Marshal(f.values())
		raw = append([]byte("---\n"), raw...)
	} else {
		var line bytes.Buffer
		encoder := json.NewEncoder(&line)
		encoder.SetEscapeHTML(false)
		err = encoder.Encode(f.values())
		raw = line.Bytes()
	}
	if err == nil {
		_, err = w.Write(raw)
	}
	if err != nil {
		return fmt.Errorf("writing what has changed: %w", err)
	}
	return nil
}
