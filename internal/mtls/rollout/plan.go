// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package rollout knows how a mesh comes to take mutual TLS only: by which stages, what
// each of them changes, and what stands in the way of it.
//
// It is pure.
package rollout

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	securityapi "istio.io/api/security/v1beta1"
	typeapi "istio.io/api/type/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/internal/ask/directory"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/mtls"
	"github.com/trellis-mesh/trellis/internal/mtls/resolve"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Stage is one service whose workloads are to take mutual TLS only.
type Stage struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Host is the whole name of the service.
	Host string `json:"host"`
	// Mode is what its workloads take today, the weakest of them.
	Mode resolve.Mode `json:"mode"`
	// Change says what the stage does.
	Change string `json:"change"`
	// Object is the PeerAuthentication that it applies.
	Object *securityv1.PeerAuthentication `json:"-"`
	// Clients are how many clients succeed today and go on to.
	Clients int `json:"clients"`
	// Blocks are clients that would fail.
	Blocks []Block `json:"blocks,omitempty"`
}

// Block is a client that a stage would shut out.
type Block struct {
	// Client is NAMESPACE/NAME.
	Client string `json:"client"`
	// Proxy is false for a client without one: it can only send plaintext.
	Proxy bool   `json:"proxy"`
	Port  uint16 `json:"port"`
	Why   string `json:"why"`
}

// Stages are the services of some namespaces, none for all, whose workloads take
// plaintext today. Nothing is said of clients yet (Judge).
func Stages(c *mtls.Checker, proxies decide.Proxies, policies *resolve.Resolver, namespaces []string) []Stage {
	var out []Stage
	for _, t := range c.Targets() {
		s := t.Service
		if s.External || len(namespaces) > 0 && !slices.Contains(namespaces, s.Name.Namespace) {
			continue
		}
		if stage, ok := stageOf(s, proxies, policies); ok {
			out = append(out, stage)
		}
	}
	return out
}

func stageOf(s *directory.Service, proxies decide.Proxies, policies *resolve.Resolver) (Stage, bool) {
	out := Stage{Namespace: s.Name.Namespace, Name: s.Name.Name, Host: s.Host, Mode: resolve.Strict}
	found := false
	for _, address := range s.Endpoints {
		for _, n := range proxies.At(address) {
			if n.Type != xds.Sidecar {
				continue
			}
			found = true
			for _, p := range s.Ports {
				if captured, _ := n.Inbound(s.TargetAt(p, address)); captured == xds.Past {
					// No PeerAuthentication changes what the application takes.
					continue
				}
				trace := policies.PeerAuthentication(resolve.Workload{Namespace: n.Namespace, Labels: n.Labels}, s.TargetAt(p, address))
				if weaker(trace.Mode, out.Mode) {
					out.Mode = trace.Mode
					out.Object, out.Change = tightened(s, trace)
				}
			}
		}
	}
	return out, found && out.Mode != resolve.Strict
}

func weaker(a, b resolve.Mode) bool { return strength(a) < strength(b) }

func strength(m resolve.Mode) int {
	return slices.Index([]resolve.Mode{resolve.Disable, resolve.Permissive, resolve.Strict}, m)
}

var strict = &securityapi.PeerAuthentication_MutualTLS{Mode: securityapi.PeerAuthentication_MutualTLS_STRICT}

// tightened is the policy of a workload that takes mutual TLS only: the one that it has,
// since of two for one workload the older counts, or a new one.
func tightened(s *directory.Service, trace *resolve.ModeTrace) (*securityv1.PeerAuthentication, string) {
	if trace.Level == resolve.WorkloadLevel || trace.Level == resolve.PortLevel {
		out := trace.Policy.DeepCopy()
		out.Spec.Mtls = strict.DeepCopy()
		delete(out.Spec.GetPortLevelMtls(), uint32(trace.Port))
		return out, fmt.Sprintf("set PeerAuthentication %s/%s to STRICT", out.Namespace, out.Name)
	}
	out := &securityv1.PeerAuthentication{ObjectMeta: metav1.ObjectMeta{Namespace: s.Name.Namespace, Name: s.Name.Name + "-strict"}}
	out.Spec.Selector = &typeapi.WorkloadSelector{MatchLabels: maps.Clone(s.Selector)}
	out.Spec.Mtls = strict.DeepCopy()
	return out, fmt.Sprintf("add PeerAuthentication %s/%s, STRICT for %s", out.Namespace, out.Name, labels(s.Selector))
}

func labels(selector map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(selector)) {
		out = append(out, k+"="+selector[k])
	}
	return strings.Join(out, ",")
}

// Judge says of each stage who would be shut out, given all rows as they are and as they
// are with all stages applied, and puts the stages in order: those that nothing blocks
// come first, and of these the ones with the fewest clients.
func Judge(stages []Stage, before, after []mtls.Row, proxied func(client string) bool) []Stage {
	was := map[string]*mtls.Row{}
	for i := range before {
		was[key(&before[i])] = &before[i]
	}
	at := map[string]*Stage{}
	for i := range stages {
		at[stages[i].Host] = &stages[i]
	}
	clients := map[string]map[string]bool{}
	for i := range after {
		row := &after[i]
		stage, old := at[row.Host], was[key(row)]
		if stage == nil || old == nil || old.Status != mtls.OK && !old.Breaks(row) {
			continue
		}
		if row.Status == mtls.OK {
			if clients[row.Host] == nil {
				clients[row.Host] = map[string]bool{}
			}
			clients[row.Host][row.Client] = true
			continue
		}
		stage.Blocks = append(stage.Blocks, Block{Client: row.Client, Proxy: proxied(row.Client), Port: row.Port, Why: row.Why})
	}
	for i := range stages {
		stages[i].Clients = len(clients[stages[i].Host])
	}
	slices.SortStableFunc(stages, func(a, b Stage) int {
		return cmp.Or(cmp.Compare(min(1, len(a.Blocks)), min(1, len(b.Blocks))), cmp.Compare(a.Clients, b.Clients),
			strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	return stages
}

func key(r *mtls.Row) string { return r.Client + " " + r.Address() }
