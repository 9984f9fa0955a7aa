// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package repair

import (
	"fmt"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/proto"

	"github.com/trellis-mesh/trellis/internal/mtls"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Effect is what a change does to all pairs of a mesh.
type Effect struct {
	// Resolved are the rows that were not OK and are, Broken those that were and are not,
	// as "CLIENT to HOST:PORT".
	Resolved []string `json:"resolved,omitempty"`
	Broken   []string `json:"broken,omitempty"`
	// Secured are the rows that were OK and are sent something else now.
	Secured []string `json:"otherwiseSent,omitempty"`
	// Other are settings that are not TLS and that change for a client.
	Other []string `json:"other,omitempty"`
}

// Clean reports whether nothing but TLS changes, and nothing for the worse.
func (e *Effect) Clean() bool { return len(e.Broken) == 0 && len(e.Other) == 0 }

// CompareRows notes what becomes of rows.
func (e *Effect) CompareRows(before, after []mtls.Row) {
	was := map[string]*mtls.Row{}
	for i := range before {
		was[nameOf(&before[i])] = &before[i]
	}
	for i := range after {
		row := &after[i]
		old := was[nameOf(row)]
		delete(was, nameOf(row))
		switch {
		case old == nil || old.Status == mtls.Unknown:
		case old.Status == mtls.OK && row.Status != mtls.OK:
			e.Broken = append(e.Broken, nameOf(row))
		case old.Status != mtls.OK && row.Status == mtls.OK:
			e.Resolved = append(e.Resolved, nameOf(row))
		case old.Status == mtls.OK && !slices.Equal(old.Sends, row.Sends):
			e.Secured = append(e.Secured, nameOf(row))
		}
	}
	for name, row := range was {
		if row.Status == mtls.OK {
			e.Broken = append(e.Broken, name)
		}
	}
	slices.Sort(e.Broken)
}

func nameOf(r *mtls.Row) string { return r.Client + " to " + r.Address() }

// CompareConfigs notes what changes of a client's clusters besides TLS.
func (e *Effect) CompareConfigs(client string, before, after *xds.Config) {
	was := map[string]*clusterv3.Cluster{}
	for _, c := range before.Resources().Clusters {
		was[c.GetName()] = c
	}
	for _, c := range after.Resources().Clusters {
		old, ok := was[c.GetName()]
		delete(was, c.GetName())
		switch {
		case !ok:
			e.Other = append(e.Other, fmt.Sprintf("%s gets the cluster %s", client, c.GetName()))
		case old != c && !proto.Equal(withoutTLS(old), withoutTLS(c)):
			e.Other = append(e.Other, fmt.Sprintf("%s: settings of %s", client, c.GetName()))
		}
	}
	for _, c := range before.Resources().Clusters {
		if _, gone := was[c.GetName()]; gone {
			e.Other = append(e.Other, fmt.Sprintf("%s loses the cluster %s", client, c.GetName()))
		}
	}
}

// withoutTLS is a cluster without what secures the connections of clients, and without
// the names of the objects that it was made from.
func withoutTLS(c *clusterv3.Cluster) *clusterv3.Cluster {
	out, ok := proto.Clone(c).(*clusterv3.Cluster)
	if !ok {
		return c
	}
	delete(out.GetMetadata().GetFilterMetadata(), "istio")
	if len(out.GetMetadata().GetFilterMetadata()) == 0 {
		out.Metadata = nil
	}
	if strings.HasPrefix(c.GetName(), "outbound|") {
		out.TransportSocket, out.TransportSocketMatches = nil, nil
	}
	return out
}
