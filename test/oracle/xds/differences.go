// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/trellis-mesh/trellis/internal/xds"
)

// difference is one that is expected between two sources.
type difference struct {
	name, reason string
	// same tells whether two values at a path are this difference.
	same func(path string, a, b any) bool
}

// generated are the differences between the generator (a) and istiod (b).
var generated = []difference{
	{
		"keys that istiod fetches", "the generator calls nothing; it marks the keys as to be fetched, and decide says Unknown about them",
		func(_ string, a, _ any) bool {
			text, _ := a.(string)
			_, marked := xds.KeysToFetch(text)
			return marked
		},
	},
}

// dumped are the differences between Envoy's dump (a) and istiod (b).
var dumped = []difference{
	{
		"what Envoy writes out about hosts", "the dump of endpoints is made from Envoy's hosts, with defaults written out and health as Envoy sees it",
		func(path string, a, b any) bool {
			return hasSuffix(path, "healthStatus", "loadBalancingWeight", "hostname", "priority", "locality", "policy",
				"overprovisioningFactor", "healthCheckConfig", "endpointStaleAfter") && (a == nil || b == nil)
		},
	},
}

func hasSuffix(path string, names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		return len(path) > len(name) && path[len(path)-len(name)-1:] == "."+name
	})
}

// compare returns what differs and is not expected, and counts what is expected.
func compare(a, b *xds.Config, expected []difference, seen map[string]int) []string {
	var out []string
	left, right := byName(a.Resources()), byName(b.Resources())
	for _, name := range slices.Sorted(maps.Keys(left)) {
		if right[name] == nil {
			out = append(out, "only in the first: "+name)
			continue
		}
		if proto.Equal(left[name], right[name]) {
			continue
		}
		out = append(out, diff(name, tree(left[name]), tree(right[name]), expected, seen)...)
	}
	for _, name := range slices.Sorted(maps.Keys(right)) {
		if left[name] == nil {
			out = append(out, "only in the second: "+name)
		}
	}
	return out
}

func byName(r xds.Resources) map[string]proto.Message {
	out := map[string]proto.Message{}
	for _, l := range r.Listeners {
		out["Listener "+l.GetName()] = l
	}
	for _, m := range r.Routes {
		out["RouteConfiguration "+m.GetName()] = m
	}
	for _, c := range r.Clusters {
		out["Cluster "+c.GetName()] = c
	}
	for _, a := range r.Assignments {
		out["ClusterLoadAssignment "+a.GetClusterName()] = a
	}
	for _, e := range r.Extensions {
		out["TypedExtensionConfig "+e.GetName()] = e
	}
	return out
}

// tree is a message with every Any opened.
func tree(message proto.Message) any {
	text, err := protojson.Marshal(message)
	if err != nil {
		return fmt.Sprintf("cannot be written: %v", err)
	}
	var out any
	if err := json.Unmarshal(text, &out); err != nil {
		return fmt.Sprintf("cannot be read: %v", err)
	}
	return out
}

func diff(path string, a, b any, expected []difference, seen map[string]int) []string {
	for _, d := range expected {
		if d.same(path, a, b) {
			seen[d.name]++
			return nil
		}
	}
	switch left := a.(type) {
	case map[string]any:
		right, ok := b.(map[string]any)
		if !ok {
			break
		}
		keys := map[string]bool{}
		for key := range left {
			keys[key] = true
		}
		for key := range right {
			keys[key] = true
		}
		var out []string
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			out = append(out, diff(path+"."+key, left[key], right[key], expected, seen)...)
		}
		return out
	case []any:
		right, ok := b.([]any)
		if !ok || len(left) != len(right) {
			break
		}
		var out []string
		for i := range left {
			out = append(out, diff(fmt.Sprintf("%s[%d]", path, i), left[i], right[i], expected, seen)...)
		}
		return out
	default:
		if a == b {
			return nil
		}
	}
	return []string{fmt.Sprintf("%s: %s, %s", path, short(a), short(b))}
}

func short(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	if len(text) > 300 {
		return string(text[:300]) + "…"
	}
	return string(text)
}
