// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy/access"
	"github.com/trellis-mesh/trellis/internal/policy/expression"
	"github.com/trellis-mesh/trellis/internal/policy/hosts"
)

// egress evaluates which hosts may be called. Where that cannot be told, none.
func (c *Contribution) egress(one *contribution, facts expression.Facts) error {
	c.Egress = &hosts.List{}
	texts, err := one.hosts.Texts(facts)
	if err != nil {
		return err
	}
	list, err := hosts.New(texts)
	if err != nil {
		return err
	}
	c.Egress = list
	c.Message = "lets requests out of the mesh to " + access.Listed(list.Hosts) + " alone"
	if len(list.Hosts) == 0 {
		c.Message = "lets no request out of the mesh"
	}
	return nil
}

// KeepsIn is the judgement of a call that a contribution about hosts outside of the mesh
// does not let out; false where it does.
func (a *Application) KeepsIn(c *Contribution, call *v1alpha1.Call, origin model.Origin) (Judgement, bool) {
	if call.Peer.External == nil {
		return Judgement{}, false
	}
	kept := c.Egress.Kept(call.Peer.External)
	if len(kept) == 0 {
		return Judgement{}, false
	}
	j := c.Judgement
	j.Subject.Origin, j.Subject.Sort = origin, v1alpha1.SubjectCall
	if j.Outcome == Pass {
		j.Outcome = Fail
		j.Message = fmt.Sprintf("call %s is to %s, and a policy %s", call.Name, strings.Join(kept, ", "), c.Message)
	}
	j.Binding.record(a.origin.Object, j.Outcome)
	return j, true
}

// Unheld is the judgement of an Application that no proxy holds to a contribution.
func (a *Application) Unheld(c *Contribution, why string) Judgement {
	j := c.Judgement
	j.Subject.Sort, j.Unheld = v1alpha1.SubjectCall, true
	j.Subject.Origin.Field = "spec.access.calls"
	if j.Outcome == Pass {
		j.Outcome = Fail
	}
	j.Message = "a policy " + c.Message + ", and nothing keeps this workload to it: " + why
	j.Binding.record(a.origin.Object, j.Outcome)
	return j
}
