// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/apply"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/model"
)

// claimOutlives is how long a claim is kept after its last user has gone.
const claimOutlives = 7 * 24 * time.Hour

// claimStep is what is to be done about one claim now.
type claimStep int

const (
	claimStays claimStep = iota
	claimBecomesUnused
	claimIsUsedAgain
	claimIsReleased
)

// nextClaimStep decides about one claim, and says when to look again; zero for
// not before something changes. Claims that the platform made by hand are marked
// and never released.
func nextClaimStep(claim *v1alpha1.HostClaim, used bool, now time.Time) (claimStep, time.Duration) {
	since := claim.Status.UnusedSince
	ours := claim.Labels[compile.LabelManagedBy] == compile.ManagedBy
	switch {
	case used && since == nil:
		return claimStays, 0
	case used:
		return claimIsUsedAgain, 0
	case since == nil && ours:
		return claimBecomesUnused, claimOutlives
	case since == nil:
		return claimBecomesUnused, 0
	case !ours:
		return claimStays, 0
	case now.Sub(since.Time) >= claimOutlives:
		return claimIsReleased, 0
	}
	return claimStays, since.Add(claimOutlives).Sub(now)
}

// keepClaims notes since when claims are unused and releases them in time. It
// returns when it has to be called again, or zero.
func (r *Reconciler) keepClaims(ctx context.Context, done *round) (time.Duration, error) {
	hosts := hostsInUse(done.state.Input, done.outcome)
	var next time.Duration
	var errs []error
	for _, claim := range done.state.Input.HostClaims {
		step, after := nextClaimStep(claim, hosts.used(claim), r.clock.Now())
		if after > 0 && (next == 0 || after < next) {
			next = after
		}
		if err := r.takeClaimStep(ctx, claim, step); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			errs = append(errs, fmt.Errorf("keeping the claim of host %s: %w", claim.Name, err))
		}
	}
	return next, errors.Join(errs...)
}

func (r *Reconciler) takeClaimStep(ctx context.Context, claim *v1alpha1.HostClaim, step claimStep) error {
	changed := claim.DeepCopy()
	switch step {
	case claimBecomesUnused:
		now := metav1.NewTime(r.clock.Now())
		changed.Status.UnusedSince = &now
	case claimIsUsedAgain:
		changed.Status.UnusedSince = nil
	case claimIsReleased:
		r.log.Info("releasing a host that nobody has used for seven days", "host", claim.Name, "namespace", claim.Spec.Namespace)
		return r.client.Delete(ctx, changed, client.Preconditions{UID: &claim.UID, ResourceVersion: &claim.ResourceVersion})
	case claimStays:
		return nil
	}
	patch := client.MergeFromWithOptions(claim, client.MergeFromWithOptimisticLock{})
	return r.client.Status().Patch(ctx, changed, patch, client.FieldOwner(apply.FieldManager))
}

// hostUse are the hosts that somebody asks for, whether they get them or not: an
// Application that is broken for a while does not lose its host by that.
type hostUse struct {
	published map[string]bool
	stated    map[model.Name]bool
}

// used reports whether a claim has a user: somebody who publishes on the host, or
// an Application of the claim's namespace that states it.
func (u hostUse) used(claim *v1alpha1.HostClaim) bool {
	return u.published[claim.Name] || u.stated[model.Name{Namespace: string(claim.Spec.Namespace), Name: claim.Name}]
}

func hostsInUse(in model.Input, outcome *compile.Outcome) hostUse {
	u := hostUse{published: map[string]bool{}, stated: map[model.Name]bool{}}
	for _, o := range outcome.Ingresses {
		for _, h := range o.Hosts {
			u.published[h] = true
		}
	}
	var domains []string
	for _, i := range in.SecureIngresses {
		for _, d := range i.Spec.Domains {
			domains = append(domains, d.Domain)
		}
	}
	for _, a := range in.Applications {
		for _, e := range a.Spec.Exposures {
			names := e.Hostnames
			if len(names) == 0 {
				names = []v1alpha1.Hostname{v1alpha1.Hostname(a.Name)}
			}
			for _, name := range names {
				for _, domain := range domains {
					host := string(name) + "." + domain
					if name == "@" {
						host = domain
					}
					u.stated[model.Name{Namespace: a.Namespace, Name: host}] = true
				}
			}
		}
	}
	return u
}
