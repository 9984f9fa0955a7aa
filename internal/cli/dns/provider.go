// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/cli/cluster"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/view"
	engine "github.com/trellis-mesh/trellis/internal/dns"
)

// Provider is an account at a DNS vendor.
type Provider struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// At is the vendor, and where it is a name server, its address.
	At string `json:"at"`
	// Credentials are valid, refused, missing, unreadable, unusable, or unknown where
	// nothing was asked of the vendor yet or it did not answer.
	Credentials string `json:"credentials"`
	// Zones are the names of those that may be written to, as they were seen last.
	Zones []string `json:"zones,omitempty"`
	Ready bool     `json:"ready"`
	// Reason and Message are of the condition Ready: the last error, if there is one.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// NeedsPerson: it will not go away by itself.
	NeedsPerson bool `json:"needsPerson"`
}

// What is said of credentials.
const (
	valid   = "valid"
	unknown = "unknown"
)

// credentials are the words for reasons of the condition Ready. Those that are not
// here say nothing of credentials.
var credentials = map[string]string{
	"Ready": valid, "InUse": valid,
	"SecretNotFound": "missing", "SecretForbidden": "unreadable", "CredentialsForbidden": "forbidden", "SecretInvalid": "unusable",
	string(engine.ClassCredentials): "refused",
	string(engine.ClassNoZone):      valid, string(engine.ClassAmbiguousZone): valid,
}

// passing are reasons that go away by themselves, or are somebody's wish.
var passing = []string{"Ready", "InUse", string(engine.ClassThrottled), string(engine.ClassStale), string(engine.ClassUnavailable)}

// RunProviders reads the accounts, ordered by namespace and name. It writes nothing.
func RunProviders(ctx context.Context, _ *Options, c *cluster.Cluster) ([]Provider, error) {
	out := []Provider{}
	err := cluster.Each(ctx, c, &v1alpha1.DNSProviderList{}, func(object client.Object) {
		if p, ok := object.(*v1alpha1.DNSProvider); ok {
			out = append(out, providerOf(p))
		}
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(a, b Provider) int {
		return strings.Compare(a.Namespace+"\x00"+a.Name, b.Namespace+"\x00"+b.Name)
	})
	return out, nil
}

func providerOf(p *v1alpha1.DNSProvider) Provider {
	out := Provider{
		Namespace: p.Namespace, Name: p.Name, At: vendor(&p.Spec), Credentials: unknown,
		Message: "the operator has not looked at it yet",
	}
	for _, zone := range p.Status.Zones {
		out.Zones = append(out.Zones, zone.Name)
	}
	ready := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady)
	switch {
	case ready == nil:
		return out
	case p.Status.ObservedGeneration != p.Generation:
		out.Message = "the operator has not looked at the last change yet; before, it was: " + ready.Message
		return out
	}
	out.Ready, out.Reason, out.Message = ready.Status == metav1.ConditionTrue, ready.Reason, ready.Message
	if word, ok := credentials[ready.Reason]; ok {
		out.Credentials = word
	}
	out.NeedsPerson = !out.Ready && !slices.Contains(passing, ready.Reason)
	return out
}

func vendor(spec *v1alpha1.DNSProviderSpec) string {
	switch {
	case spec.Route53 != nil:
		return "Route 53"
	case spec.RFC2136 != nil:
		return spec.RFC2136.Server
	case spec.Azure != nil:
		return "Azure DNS"
	case spec.Google != nil:
		return "Google Cloud DNS"
	case spec.Cloudflare != nil:
		return "Cloudflare"
	}
	return ""
}

func (p Provider) item() view.Item {
	m := output.Calm
	switch {
	case p.NeedsPerson:
		m = output.Alarming
	case !p.Ready:
		m = output.Waiting
	}
	const most = 3
	zones := strings.Join(p.Zones[:min(most, len(p.Zones))], ",")
	if len(p.Zones) > most {
		zones += fmt.Sprintf(" +%d", len(p.Zones)-most)
	}
	item := view.Item{Key: p.Namespace + "/" + p.Name, News: view.News(p), Value: p, NeedsPerson: p.NeedsPerson}
	item.Row = output.Row{Mood: m, Cells: []string{p.Namespace, p.Name, p.At, p.Credentials, zones, p.Message}}
	left := Provider{Namespace: p.Namespace, Name: p.Name, At: p.At, Credentials: unknown, Reason: goneWord, Message: "it was deleted"}
	item.Gone = &view.Item{Key: item.Key, Value: left, Row: output.Row{Cells: []string{p.Namespace, p.Name, p.At, goneWord, "", left.Message}}}
	return item
}
