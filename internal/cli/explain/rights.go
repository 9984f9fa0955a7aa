// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"context"
	"fmt"
	"strings"

	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
)

// mine finds out which of the places whoever asks may change, where a cluster can
// tell. That it does not is a note: the explanation stands without it.
func (v *view) mine(ctx context.Context, m *mesh.Mesh) {
	if m.Rights == nil || len(v.Change) == 0 {
		return
	}
	objects := make([]string, len(v.Change))
	for i := range v.Change {
		objects[i] = v.Change[i].Object
	}
	may, err := m.Rights(ctx, objects)
	if err != nil {
		v.Notes = append(v.Notes, "what you may edit is not known: "+err.Error())
		return
	}
	for i := range v.Change {
		v.Change[i].Editable = may[i]
	}
}

// forYou says what to do about a place: edit it, or whom to ask.
func forYou(p *answer.Place) string {
	if p.Editable == nil {
		return "ask " + p.Whom
	}
	if !*p.Editable {
		return "you may not edit it: ask " + p.Whom
	}
	kind, name, _ := strings.Cut(p.Object, " ")
	namespace, name, namespaced := strings.Cut(name, "/")
	command := fmt.Sprintf("kubectl edit %s %s -n %s", strings.ToLower(kind), name, namespace)
	if !namespaced {
		command = fmt.Sprintf("kubectl edit %s %s", strings.ToLower(kind), namespace)
	}
	if p.Source != "" {
		// Whatever keeps the object in step with its source would undo an edit.
		return "you may edit it; keep " + p.Source + " in step"
	}
	return "you may edit it: " + command
}
