// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package gather

import (
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/model"
)

// Shown are the objects that the caches hold with their statuses, and the certificates of
// the Secrets that gateways serve. Objects that are being deleted are not among them. It
// is for those who only look: nothing of it may be changed. It is false as long as
// something has not been read.
func (g *Gatherer) Shown() ([]client.Object, []model.Certificate, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.unread() != nil {
		return nil, nil, false
	}
	var objects []client.Object
	var certificates []model.Certificate
	for _, w := range g.watches {
		for _, e := range w.entries() {
			if o, ok := e.object.(client.Object); ok && !leaving(e) {
				objects = append(objects, o)
			}
			if e.certificate != nil {
				certificates = append(certificates, *e.certificate)
			}
		}
	}
	return objects, certificates, true
}
