// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package suggest

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/diff"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/suggestion"
)

func text(w io.Writer, v *answer.Suggestion, colour bool) error {
	for _, list := range []struct {
		title   string
		parties []suggestion.Party
	}{{"CALLER", v.Callers}, {"CALLS", v.Calls}} {
		if len(list.parties) == 0 {
			continue
		}
		if err := output.Table(w, []string{list.title, "ROUTES", "ALLOWED", "DENIED", "WOULD-DENY", "LAST", "ENTRY"}, rows(list.parties), colour); err != nil {
			return err
		}
	}
	var b strings.Builder
	if len(v.Callers)+len(v.Calls) == 0 {
		fmt.Fprintf(&b, "nobody called %s from inside of the mesh, and it called nobody\n", v.Application)
	}
	for _, field := range v.Unseen {
		fmt.Fprintf(&b, "nobody was seen by %s\n", output.Printable(field))
	}
	for _, gap := range v.Gaps {
		fmt.Fprintf(&b, "nothing is known from %s to %s\n", gap.From.Format(time.RFC3339), gap.To.Format(time.RFC3339))
	}
	output.Notes(&b, v.Notes)
	if v.Access != nil {
		change, err := difference(v)
		if err != nil {
			return err
		}
		b.WriteString("\n" + change)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func rows(parties []suggestion.Party) []output.Row {
	var out []output.Row
	for i := range parties {
		p := &parties[i]
		entry := strings.Join(p.Declared, ", ")
		if p.Adds != "" {
			entry = "add " + p.Adds
		}
		row := output.Row{Cells: []string{p.Peer, strings.Join(p.Routes, ","), strconv.FormatUint(p.Allowed, 10), strconv.FormatUint(p.Denied, 10),
			strconv.FormatUint(p.WouldDeny, 10), p.Last.UTC().Format(time.RFC3339), entry}}
		if p.Why != "" {
			row.Cells[6] = strings.TrimPrefix(entry+": "+p.Why, ": ")
		}
		out = append(out, row)
	}
	return out
}

// difference is what is to be changed in the Application, as a patch of its YAML.
func difference(v *answer.Suggestion) (string, error) {
	before, err := stated(v.Stated)
	if err != nil {
		return "", err
	}
	after, err := stated(v.Access)
	if err != nil {
		return "", err
	}
	name := "Application " + v.Application
	// The first line is of git, for who applies patches with it.
	_, patch, _ := strings.Cut(string(diff.Diff(name, before, name+" (proposed)", after)), "\n")
	return patch, nil
}

// stated is what a part of an Application looks like in its file.
func stated(access *v1alpha1.Access) ([]byte, error) {
	type spec struct {
		Access *v1alpha1.Access `json:"access,omitempty"`
	}
	out, err := yaml.Marshal(struct {
		Spec spec `json:"spec"`
	}{spec{access}})
	if err != nil {
		return nil, fmt.Errorf("writing what is proposed: %w", err)
	}
	return out, nil
}
