// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package catalog knows the policies that Trellis comes with, and runs the tests that
// policies carry: admission, the command line and this repository's own tests ask it the
// same. It judges nothing itself. A test is objects, to which the policy is bound as it
// would be in a cluster; what comes of them is for the packages that decide for clusters.
package catalog

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/catalog"
	"github.com/trellis-mesh/trellis/internal/document"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/schema"
)

// Entry is a policy of the catalog.
type Entry struct {
	Template *v1alpha1.PolicyTemplate
	// Text is the template as it was written, comments included.
	Text []byte
}

// Name is the policy's, without its version.
func (e *Entry) Name() string { return string(e.Template.Spec.Policy) }

// Embedded are the policies that Trellis comes with, in order of their names. An error
// is a fault of the build. Read only.
func Embedded() ([]Entry, error) { return embedded() }

var embedded = sync.OnceValues(func() ([]Entry, error) {
	files, err := fs.Glob(catalog.Files, "*/policy.yaml")
	if err != nil {
		return nil, fmt.Errorf("listing the catalog: %w", err)
	}
	var out []Entry
	for _, file := range files {
		text, err := catalog.Files.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading the catalog: %w", err)
		}
		template, err := parse(text)
		if err != nil {
			return nil, fmt.Errorf("reading catalog/%s: %w", file, err)
		}
		if want := string(template.Spec.Policy) + "/policy.yaml"; file != want {
			return nil, fmt.Errorf("reading catalog/%s: the policy belongs into catalog/%s", file, want)
		}
		out = append(out, Entry{Template: template, Text: text})
	}
	return out, nil
})

// parse reads the one template of a file as an API server would take it.
func parse(text []byte) (*v1alpha1.PolicyTemplate, error) {
	templates, findings, err := Read(context.Background(), []string{document.Stdin}, bytes.NewReader(text))
	switch {
	case err != nil:
		return nil, err
	case len(findings) > 0:
		return nil, fmt.Errorf("%s: %s", findings[0].Field, findings[0].Message)
	case len(templates) != 1:
		return nil, fmt.Errorf("the file has %d PolicyTemplates, and must have one", len(templates))
	}
	return templates[0], nil
}

// Read reads templates from files and directories. What is wrong with a document is
// among the findings; other kinds are left out. An error is about a file that cannot be
// opened.
func Read(ctx context.Context, files []string, stdin io.Reader) ([]*v1alpha1.PolicyTemplate, []model.Finding, error) {
	checker, err := schema.Embedded()
	if err != nil {
		return nil, nil, err
	}
	set, err := document.Read(files, stdin, document.Options{Scope: checker.Scope})
	if err != nil {
		return nil, nil, err
	}
	objects, refused := checker.Read(ctx, set)
	var out []*v1alpha1.PolicyTemplate
	for _, object := range objects {
		if template, ok := object.Value.(*v1alpha1.PolicyTemplate); ok {
			out = append(out, template)
		}
	}
	return out, model.SortFindings(slices.Concat(set.Findings, refused)), nil
}

// Find finds a policy of the catalog by its name, or by its name and version.
func Find(name string) (*Entry, error) {
	entries, err := Embedded()
	if err != nil {
		return nil, err
	}
	for i := range entries {
		if entries[i].Name() == name || entries[i].Template.Name == name {
			return &entries[i], nil
		}
	}
	var near []string
	for i := range entries {
		if shareWord(entries[i].Name(), name) {
			near = append(near, entries[i].Name())
		}
	}
	if len(near) > 0 {
		return nil, fmt.Errorf("there is no policy %q in the catalog; there are %s", name, strings.Join(near, ", "))
	}
	return nil, fmt.Errorf("there is no policy %q in the catalog; trellis catalog list shows those that there are", name)
}

// shareWord reports whether two names have a word in common that says something.
func shareWord(a, b string) bool {
	const tooShort = 3
	words := strings.Split(a, "-")
	return slices.ContainsFunc(strings.Split(b, "-"), func(word string) bool {
		return len(word) >= tooShort && slices.Contains(words, word)
	})
}
