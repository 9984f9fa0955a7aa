// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"fmt"
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/posture"
)

// Envelope is what an Application is still free to choose.
type Envelope struct {
	Application string          `json:"application"`
	Bounds      []posture.Bound `json:"bounds"`
}

// EnvelopeOf is the envelope of an Application, which is in a namespace where its name
// says none. It is an error that there is none among the applications.
func EnvelopeOf(p *posture.Posture, s *model.Snapshot, applications []*v1alpha1.Application, name, namespace string) (*Envelope, error) {
	if before, after, ok := strings.Cut(name, "/"); ok {
		namespace, name = before, after
	}
	for _, a := range applications {
		if a.Namespace == namespace && a.Name == name {
			ref := s.ApplicationReference(namespace, name)
			return &Envelope{Application: namespace + "/" + name, Bounds: p.Envelope(s, a, ref)}, nil
		}
	}
	return nil, fmt.Errorf("there is no Application %s/%s among what was read", namespace, name)
}
