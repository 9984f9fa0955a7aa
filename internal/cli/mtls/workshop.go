// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mtls

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/mtls"
	"github.com/trellis-mesh/trellis/internal/mtls/repair"
	"github.com/trellis-mesh/trellis/internal/mtls/resolve"
	"github.com/trellis-mesh/trellis/internal/world"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// workshop tries changes of a mesh.
type workshop struct {
	mesh    *mesh.Mesh
	rules   *resolve.Resolver
	checker *mtls.Checker
	clients []mtls.Client
	// before are all pairs as they are.
	before []mtls.Row
}

// newWorkshop also tells whether it is known which objects decide: else nothing can be
// changed there.
func newWorkshop(m *mesh.Mesh) (w *workshop, known bool) {
	rules, known := m.Policies()
	w = &workshop{mesh: m, rules: rules, checker: mtls.New(m.World, rules)}
	w.clients = w.checker.Clients()
	return w, known
}

// resolve finds the first proposal that resolves a row and does nothing else.
func (w *workshop) resolve(ctx context.Context, client mtls.Client, target mtls.Target, row mtls.Row) (*Fix, error) {
	out := &Fix{Row: row, Advice: advice(client, target, &row)}
	if client.Node == nil || row.Past != "" {
		return out, nil
	}
	proposals := w.propose(client, target, &row)
	for i := range proposals {
		p := &proposals[i]
		after, effect, why, err := w.try(ctx, client, target, &row, p)
		if err != nil {
			return nil, err
		}
		if why != "" {
			out.Tried = append(out.Tried, p.String()+": "+why)
			continue
		}
		out.after = after
		object, err := written(p.Object, destinationRule)
		if err != nil {
			return nil, errors.Join(err, after.Close())
		}
		out.Change, out.Advice, out.Object, out.Effect, out.Place = p.String(), "", object, effect, position(w.mesh, p)
		out.proposal = p
		return out, nil
	}
	return out, nil
}

func (w *workshop) propose(client mtls.Client, target mtls.Target, row *mtls.Row) []repair.Proposal {
	if row.Unproven != "" {
		// What is not proven is nothing to try a change by.
		return nil
	}
	return repair.Propose(row, w.rules,
		resolve.Client{Namespace: client.Node.Namespace, Labels: client.Node.Labels, Gateway: client.Node.Type == xds.Router},
		resolve.Service{Host: target.Service.Host, Namespace: target.Service.Name.Namespace})
}

// Attempt is a change that was tried, and what came of it.
type Attempt struct {
	Change string `json:"change"`
	// Resolves: it resolves the conflict and does nothing else. If not, Why says what is
	// wrong with it.
	Resolves bool   `json:"resolves"`
	Why      string `json:"why,omitempty"`
	// Effect is what it does to other pairs, where it resolves the conflict.
	Effect *repair.Effect `json:"effect,omitempty"`
}

// attempts tries all proposals for a row.
func (w *workshop) attempts(ctx context.Context, client mtls.Client, target mtls.Target, row *mtls.Row) ([]Attempt, error) {
	if client.Node == nil || row.Past != "" {
		return nil, nil
	}
	var out []Attempt
	proposals := w.propose(client, target, row)
	for i := range proposals {
		after, effect, why, err := w.try(ctx, client, target, row, &proposals[i])
		if err == nil && after != nil {
			err = after.Close()
		}
		if err != nil {
			return nil, err
		}
		out = append(out, Attempt{Change: proposals[i].String(), Resolves: why == "", Why: why, Effect: effect})
	}
	return out, nil
}

// advice is for conflicts that no DestinationRule resolves.
func advice(client mtls.Client, target mtls.Target, row *mtls.Row) string {
	if row.Past != "" {
		return fmt.Sprintf("the connections of %s go past its proxy (%s), which no DestinationRule changes: take that away, or let the workloads take plaintext", client, row.Past)
	}
	port, _ := target.Service.Port(row.Port)
	numbers := strings.ReplaceAll(strings.Trim(fmt.Sprint(target.Service.Targets(port)), "[]"), " ", ", ")
	switch {
	case row.Unproven != "":
		return fmt.Sprintf("a ztunnel, or HBONE, has part in it, for which no change is tried: have both ends speak HBONE (label istio.io/dataplane-mode=ambient, or ISTIO_META_ENABLE_HBONE for sidecars), or let port %s of the workloads take plaintext until they do (PeerAuthentication, portLevelMtls PERMISSIVE)", numbers)
	case client.Node == nil:
		return fmt.Sprintf("%s has no proxy: give it one (label sidecar.istio.io/inject=true on its pods, or istio-injection=enabled on its namespace), or let port %s of the workloads take plaintext until it has (PeerAuthentication, portLevelMtls PERMISSIVE)", client, numbers)
	}
	return "none of the changes of DestinationRules that were tried resolves it without another effect: see trellis mtls explain for what decides"
}

// try makes the mesh anew with a proposal. Why says what is wrong with it; empty: nothing,
// and the caller closes the mesh.
func (w *workshop) try(ctx context.Context, client mtls.Client, target mtls.Target, row *mtls.Row, p *repair.Proposal) (after *mesh.Mesh, effect *repair.Effect, why string, err error) {
	if owner := world.MadeFor(p.Object); owner != "" && !p.Adds {
		return nil, nil, "Trellis made it for " + owner + ", and would put it back", nil
	}
	object := p.Object.DeepCopy()
	object.SetGroupVersionKind(destinationRule)
	if after, err = w.mesh.With(ctx, object); err != nil {
		return nil, nil, "", err
	}
	if effect, why, err = w.compare(after, client, target, row, object); err != nil || why != "" {
		return nil, nil, why, errors.Join(err, after.Close())
	}
	return after, effect, "", nil
}

// compare says what is wrong with a mesh that has a changed object, or else what the
// change does.
func (w *workshop) compare(after *mesh.Mesh, client mtls.Client, target mtls.Target, row *mtls.Row, object *networkingv1.DestinationRule) (effect *repair.Effect, why string, err error) {
	rules, _ := after.Policies()
	checker := mtls.New(after.World, rules)
	if why := unresolved(after, checker, client, target, row, object); why != "" {
		return nil, why, nil
	}
	if w.before == nil {
		w.before = w.checker.CheckAll(w.clients, with(w.checker.Targets(), target))
	}
	effect = &repair.Effect{}
	effect.CompareRows(w.before, checker.CheckAll(checker.Clients(), with(checker.Targets(), target)))
	if err := w.compareConfigs(effect, after); err != nil {
		return nil, "", err
	}
	switch {
	case effect.Clean():
		return effect, "", nil
	case len(effect.Broken) > 0:
		return nil, fmt.Sprintf("%d pairs would fail, such as %s", len(effect.Broken), effect.Broken[0]), nil
	}
	return nil, fmt.Sprintf("%d settings beside TLS would change, such as of %s", len(effect.Other), effect.Other[0]), nil
}

// unresolved says why a change of an object does not resolve a row; empty: it does.
func unresolved(after *mesh.Mesh, checker *mtls.Checker, client mtls.Client, target mtls.Target, row *mtls.Row, object *networkingv1.DestinationRule) string {
	for _, problem := range after.Problems {
		if problem.Kind == xds.Refused && problem.Resource == object.Namespace+"/"+object.Name {
			return "Istio refuses it: " + problem.Detail
		}
	}
	for _, now := range checker.Check(client, target) {
		switch {
		case now.Port != row.Port || now.Subset != row.Subset || now.Status == mtls.OK:
		case now.Status == mtls.Unknown:
			return "it is not known whether it would resolve it: " + now.Why
		default:
			return "it is still in conflict: " + now.Why
		}
	}
	return ""
}

// with has a target among others: those in front of gateways are not.
func with(targets []mtls.Target, one mtls.Target) []mtls.Target {
	if slices.ContainsFunc(targets, func(t mtls.Target) bool { return t.Service.Host == one.Service.Host }) {
		return targets
	}
	return append(targets, mtls.Target{Service: one.Service})
}

func (w *workshop) compareConfigs(effect *repair.Effect, after *mesh.Mesh) error {
	for _, c := range w.clients {
		if c.Node == nil {
			continue
		}
		was, err := w.mesh.Proxies.Config(*c.Node)
		if err != nil {
			return err
		}
		is, err := after.Proxies.Config(*c.Node)
		if err != nil {
			return err
		}
		effect.CompareConfigs(c.String(), was, is)
	}
	return nil
}

var destinationRule = networkingv1.SchemeGroupVersion.WithKind("DestinationRule")

// sayModes writes the mode of TLS where the message leaves it out: DISABLE is the one
// that it has without any, which few people know.
func sayModes(part any) {
	switch part := part.(type) {
	case map[string]any:
		if tls, ok := part["tls"].(map[string]any); ok && tls["mode"] == nil {
			tls["mode"] = "DISABLE"
		}
		for _, one := range part {
			sayModes(one)
		}
	case []any:
		for _, one := range part {
			sayModes(one)
		}
	}
}
