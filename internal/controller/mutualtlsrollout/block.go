// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mutualtlsrollout

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/traffic"
	"github.com/trellis-mesh/trellis/internal/verdict"
)

// block finds out what is in the way of a stage. Of what is not known now, that stays
// which was.
func (n *round) block(s *v1alpha1.RolloutStage, f *verdict.Stage) {
	was := s.Blocks
	blocks := ofReason(was, v1alpha1.BlockConflict, v1alpha1.BlockPolicy)
	if f != nil {
		blocks = append(refusalsOf(f), n.conflicts(s)...)
		blocks = append(blocks, n.taken(f)...)
	}
	seen := ofReason(was, v1alpha1.BlockPlaintextSeen, v1alpha1.BlockFailed)
	if n.Window != nil {
		begin := n.seenUntil().Add(-n.window() - grain)
		now := append(n.plaintext(s, begin), n.failures(s, n.Window, begin)...)
		seen = append(now, n.remembered(seen, now)...)
		seen = append(seen, n.silent(s)...)
	}
	s.Blocks, s.MoreBlocks = n.fewest(append(blocks, seen...))
	s.Phase = v1alpha1.StagePending
	if len(s.Blocks) > 0 {
		s.Phase = v1alpha1.StageBlocked
	}
}

// silent is the block of a stage of which nothing was seen in the whole window.
func (n *round) silent(s *v1alpha1.RolloutStage) []v1alpha1.RolloutBlock {
	since, known := n.quietSince(s)
	if n.spec.Observation.Silence == v1alpha1.SilenceProceed || !known || since.Add(n.window()).After(n.Now) {
		return nil
	}
	if slices.ContainsFunc(n.Window.Edges, func(e traffic.Edge) bool { return !e.SentOnly && e.Reaches(s.Name, s.Services) }) {
		return nil
	}
	return []v1alpha1.RolloutBlock{{
		Reason:  v1alpha1.BlockNothingSeen,
		Message: fmt.Sprintf("no request to %s was seen in the window: perhaps nobody calls, and perhaps its proxies do not say what they see", servicesOf(s)),
		Fix:     "see that its proxies are looked at (access logs that a Telemetry object sends elsewhere, metrics that are not scraped), or set spec.observation.silence to Proceed",
	}}
}

// plaintext are the clients that have called in plaintext at a time or later.
func (n *round) plaintext(s *v1alpha1.RolloutStage, since time.Time) []v1alpha1.RolloutBlock {
	return blocksOf(n.Window, s, func(e *traffic.Edge) *v1alpha1.RolloutBlock {
		last := lastOf(e.Plaintext, e.LastPlaintext, n.Window)
		if last == nil || last.Before(since) {
			return nil
		}
		return &v1alpha1.RolloutBlock{
			Reason: v1alpha1.BlockPlaintextSeen, Client: e.Client, Port: int32(e.Port), Count: int64(e.Plaintext), LastSeen: at(*last),
			Message: fmt.Sprintf("%s calls %s in plaintext, which would be refused", e.Client, servicesOf(s)), Fix: fixOf(e.Client, e.Proxied, s),
		}
	})
}

// remembered are clients of the window that whoever looks has forgotten, because it
// began to look later.
func (n *round) remembered(was, now []v1alpha1.RolloutBlock) []v1alpha1.RolloutBlock {
	if !n.Window.From.After(n.Now.Add(-n.window())) {
		return nil
	}
	var out []v1alpha1.RolloutBlock
	for i := range was {
		b := was[i]
		// It may have been seen again without that being written down.
		fresh := b.LastSeen != nil && n.Now.Sub(b.LastSeen.Time) <= n.window()+noteEvery
		if fresh && !slices.ContainsFunc(now, func(o v1alpha1.RolloutBlock) bool { return sameBlock(b, o) }) {
			out = append(out, b)
		}
	}
	return out
}

// lastOf is the time of the last of some requests, as far as it is said; nil: none.
func lastOf(count uint64, last *time.Time, seen *traffic.Seen) *time.Time {
	if count == 0 || last != nil {
		return last
	}
	return &seen.To
}

// blocksOf makes blocks of what was seen at the services of a stage, one of each client
// and port.
func blocksOf(seen *traffic.Seen, s *v1alpha1.RolloutStage, of func(*traffic.Edge) *v1alpha1.RolloutBlock) []v1alpha1.RolloutBlock {
	if seen == nil {
		return nil
	}
	var out []v1alpha1.RolloutBlock
	for i := range seen.Edges {
		e := &seen.Edges[i]
		if !e.Reaches(s.Name, s.Services) {
			continue
		}
		b := of(e)
		if b == nil {
			continue
		}
		known := slices.IndexFunc(out, func(o v1alpha1.RolloutBlock) bool { return sameBlock(*b, o) })
		if known < 0 {
			out = append(out, *b)
			continue
		}
		out[known].Count += b.Count
		if out[known].LastSeen.Before(b.LastSeen) {
			out[known].LastSeen = b.LastSeen
		}
	}
	return out
}

func sameBlock(a, b v1alpha1.RolloutBlock) bool {
	return a.Reason == b.Reason && a.Client == b.Client && a.Port == b.Port
}

// conflicts are those of clients with a proxy. That another one exists does not say that
// it calls.
func (n *round) conflicts(s *v1alpha1.RolloutStage) []v1alpha1.RolloutBlock {
	f := n.foreseen[s.Name]
	if f == nil {
		return nil
	}
	var out []v1alpha1.RolloutBlock
	for _, c := range f.Conflicts {
		if c.Proxied {
			out = append(out, v1alpha1.RolloutBlock{
				Reason: v1alpha1.BlockConflict, Client: c.Client, Port: int32(c.Port),
				Message: clip(fmt.Sprintf("%s and %s do not get on by mutual TLS: %s", c.Client, servicesOf(s), c.Why), maxBlock), Fix: fixOf(c.Client, true, s),
			})
		}
	}
	return out
}

func refusalsOf(f *verdict.Stage) []v1alpha1.RolloutBlock {
	var out []v1alpha1.RolloutBlock
	for _, r := range f.Refusals {
		message := r.Message
		if !strings.Contains(message, r.Object) {
			message = r.Object + ": " + message
		}
		out = append(out, v1alpha1.RolloutBlock{Reason: v1alpha1.BlockPolicy, Message: clip(message, maxBlock), Fix: clip(r.Fix, maxBlock)})
	}
	return out
}

// taken is the block of a name that somebody else's object has, or of an object that
// could not be written.
func (n *round) taken(f *verdict.Stage) []v1alpha1.RolloutBlock {
	object := ref(f.Namespace, f.Object)
	if whose, ok := n.Foreign[object]; ok {
		return []v1alpha1.RolloutBlock{{
			Reason: v1alpha1.BlockPolicy, Message: takenMessage(object) + whose,
			Fix: fmt.Sprintf("rename or delete it: kubectl -n %s get peerauthentication %s -o yaml", f.Namespace, f.Object),
		}}
	}
	if why, ok := n.Refused[object]; ok {
		return []v1alpha1.RolloutBlock{{
			Reason: v1alpha1.BlockPolicy, Message: clip("the API server refused PeerAuthentication "+object+": "+why, maxBlock),
			Fix: "change what refuses it, a policy of the cluster or the operator's rights; it is tried again once a minute",
		}}
	}
	return nil
}

func takenMessage(object string) string {
	return "PeerAuthentication " + object + " has the name of the one that is to be made, and is of "
}

// TakenNames are the names that kept stages from being made because others have them.
func TakenNames(f *verdict.Forecast, status *v1alpha1.MutualTLSRolloutStatus) []string {
	if f == nil {
		return nil
	}
	names := map[string]string{}
	for i := range f.Stages {
		names[f.Stages[i].Name] = ref(f.Stages[i].Namespace, f.Stages[i].Object)
	}
	var out []string
	for i := range status.Stages {
		object, ok := names[status.Stages[i].Name]
		says := func(b v1alpha1.RolloutBlock) bool {
			return b.Reason == v1alpha1.BlockPolicy && strings.HasPrefix(b.Message, takenMessage(object))
		}
		if ok && slices.ContainsFunc(status.Stages[i].Blocks, says) {
			out = append(out, object)
		}
	}
	return out
}

func ofReason(blocks []v1alpha1.RolloutBlock, reasons ...string) []v1alpha1.RolloutBlock {
	var out []v1alpha1.RolloutBlock
	for i := range blocks {
		if slices.Contains(reasons, blocks[i].Reason) {
			out = append(out, blocks[i])
		}
	}
	return out
}

const (
	// maxBlocks bounds those of a stage, and allBlocks those of a status, which must
	// be stored.
	maxBlocks = 16
	allBlocks = 1024
)

// fewest are as many blocks as there is room for, those that were seen last before
// others, and in an order that stays; and how many there are besides.
func (n *round) fewest(blocks []v1alpha1.RolloutBlock) ([]v1alpha1.RolloutBlock, int32) {
	room := max(1, min(maxBlocks, allBlocks/max(1, min(len(n.status.Stages), maxStages))))
	more := max(0, len(blocks)-room)
	if more > 0 {
		slices.SortStableFunc(blocks, func(a, b v1alpha1.RolloutBlock) int {
			return cmp.Compare(lastSeen(b), lastSeen(a))
		})
		blocks = blocks[:room:room]
	}
	slices.SortStableFunc(blocks, func(a, b v1alpha1.RolloutBlock) int {
		return cmp.Or(strings.Compare(a.Reason, b.Reason), strings.Compare(a.Client, b.Client), cmp.Compare(a.Port, b.Port), strings.Compare(a.Message, b.Message))
	})
	return blocks, int32(more)
}

func lastSeen(b v1alpha1.RolloutBlock) int64 {
	if b.LastSeen == nil {
		return 0
	}
	return b.LastSeen.Unix()
}
