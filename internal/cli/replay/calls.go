// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/tell"
	"github.com/trellis-mesh/trellis/internal/attribution"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/recount"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// calls finds out what callers' own proxies do with what was counted where it arrived. No
// count says it: a call that leaves its proxy is counted once, at the other end.
type calls struct {
	before, after *mesh.Mesh
	known         map[call][2]way
}

// call is one workload's to a port of a Service.
type call struct {
	from  ask.WorkloadRef
	proxy string
	url   url.URL
}

func (c *call) request() *ask.Request {
	return &ask.Request{From: &c.from, Method: "GET", URL: &c.url}
}

func (c *call) witness() *ask.Witness {
	return &ask.Witness{From: c.from.String(), Method: "GET", URL: c.url.String()}
}

// way is what the caller's proxy does with it.
type way struct {
	// known: there is such a Service.
	known bool
	// stopped: the call comes no further; passes: it is answered by whom it is for.
	stopped, passes bool
}

// left says of a key which calls end otherwise at the callers' proxies than they did; nil:
// none does.
func (c *calls) left(k hits.Key) *recount.Left {
	if k.Place != hits.Workload || k.Verdict != hits.Allowed && !kept(k) {
		return nil
	}
	stopped := kept(k)
	changed, stays := c.differ(k, stopped)
	if changed == nil {
		return nil
	}
	out := &recount.Left{Changes: changed.witness(), All: stays == nil && !stopped, Was: string(decide.Allow), Now: string(decide.NoRoute), Why: "nobody is there any more who is called"}
	if stays != nil {
		out.Stays = stays.witness()
	}
	if answered, err := c.after.Can(changed.request()); err == nil {
		told := tell.Tell(c.after.World, changed.request(), answered)
		out.Now, out.Why, out.Decided = string(answered.Outcome), told.Why, told.Decided
	}
	if stopped {
		out.Was = string(decide.Deny)
	}
	if out.Was == out.Now {
		out.Now, out.Why, out.Decided = string(decide.Unknown), "the caller's own proxy lets it out: what becomes of it then hangs on the request", nil
	}
	return out
}

// differ are a call that ends otherwise at its caller's proxy than it did, and one that does
// not, of those that may have been counted by a key; nil: there is none. Stopped: they ended
// there.
func (c *calls) differ(k hits.Key, stopped bool) (changed, stays *call) {
	for _, node := range c.callers(k.Peer) {
		for _, at := range c.targets(k) {
			one := call{from: ask.WorkloadRef{Namespace: node.Namespace, Name: node.Name}, proxy: node.String(), url: at}
			switch ways := c.ways(one); {
			case !ways[0].known && (!stopped || !ways[1].known || ways[1].stopped):
			case ways[0].known && ways[0].stopped != stopped: // it was not counted so
			case ways[1].known && ways[1].stopped == stopped:
				stays = &one
			case changed == nil || ways[1].passes:
				changed = &one
			}
		}
	}
	return changed, stays
}

// kept reports whether a key may be of calls that the caller's own proxy did not let out. To
// whom they were it does not say.
func kept(k hits.Key) bool {
	return k.Verdict == hits.Denied && (strings.HasPrefix(k.Field, "spec.access.calls") || strings.HasPrefix(k.Object, "Sidecar ") || k.Statement == "" && k.Object == "")
}

// callers are workloads that a peer may be, one of those that are configured alike.
func (c *calls) callers(peer string) []xds.Node {
	anybody := slices.Contains([]string{hits.Other, attribution.UnknownPeer, ""}, peer)
	seen := map[string]bool{}
	var out []xds.Node
	for _, n := range c.before.Nodes {
		like := n.Likeness()
		if n.Type != xds.Sidecar || seen[like] || !anybody && n.Namespace+"/"+n.ServiceAccount != peer {
			continue
		}
		seen[like] = true
		out = append(out, n)
	}
	return out
}

// targets are where a key's requests may have gone.
func (c *calls) targets(k hits.Key) []url.URL {
	host := ""
	for _, a := range c.before.Applications {
		if a.Namespace == k.Namespace && a.Name == k.Application {
			host = string(a.Spec.Service)
		}
	}
	all := c.before.Directory.Services()
	if kept(k) {
		all = slices.Concat(all, c.after.Directory.Services())
	}
	var out []url.URL
	for _, s := range all {
		if !kept(k) && (s.Name.Namespace != k.Namespace || k.Application != "" && s.Name.Name != host) {
			continue
		}
		for _, p := range s.Ports {
			if at := (url.URL{Scheme: p.Scheme(), Host: fmt.Sprintf("%s:%d", s.Host, p.Number), Path: "/"}); !slices.Contains(out, at) {
				out = append(out, at)
			}
		}
	}
	return out
}

// ways are what becomes of a call before and after.
func (c *calls) ways(of call) [2]way {
	if known, ok := c.known[of]; ok {
		return known
	}
	var out [2]way
	for i, m := range []*mesh.Mesh{c.before, c.after} {
		answered, err := m.Can(of.request())
		if err != nil {
			continue
		}
		passes := answered.Outcome == decide.Allow
		out[i] = way{known: true, passes: passes, stopped: !passes && lastOf(answered) == of.proxy}
	}
	c.known[of] = out
	return out
}

// lastOf is the proxy that a request came to last.
func lastOf(a *ask.Answer) string {
	for _, step := range slices.Backward(a.Steps) {
		if step.Proxy != "" {
			return step.Proxy
		}
	}
	return ""
}
