// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"fmt"
	"strings"

	networkingapi "istio.io/api/networking/v1alpha3"

	"github.com/trellis-mesh/trellis/internal/model"
)

// Part is the part of a rule that says TLS.
type Part string

// The parts, the most particular ones first.
const (
	SubsetPortPart Part = "subset port level"
	SubsetPart     Part = "subset"
	PortPart       Part = "port level"
	TopPart        Part = "top level"
	NoPart         Part = ""
)

// TLSView is what one of istiod's two readings finds in a rule.
type TLSView struct {
	// Settings are what is said; nil where nothing is, so that Istio decides by itself
	// (auto mTLS). Read only.
	Settings *networkingapi.ClientTLSSettings
	// Part, Object and Field are where.
	Part   Part
	Object model.Name
	Field  string
}

// Mode is DISABLE, SIMPLE, MUTUAL or ISTIO_MUTUAL; empty where nothing is said.
func (v TLSView) Mode() string {
	if v.Settings == nil {
		return ""
	}
	return v.Settings.GetMode().String()
}

// TLSTrace is what a rule says of TLS towards one port of a service. istiod reads it
// twice, and not in the same way: for the client's cluster and for the endpoints in it.
type TLSTrace struct {
	// Cluster is what the cluster is made by: a port entry without tls takes the tls
	// around it away (MergeSubsetTrafficPolicy in pilot/pkg/networking/util/util.go).
	Cluster TLSView
	// Endpoints is what the endpoints are marked by: a port entry without tls does not
	// count (tlsModeForDestinationRule in pilot/pkg/xds/endpoints/mtls_checker.go).
	Endpoints TLSView
	// NoCluster is true for a subset that the rule does not have: there is nothing to
	// send to.
	NoCluster bool
	// Dropped says why the cluster has no TLS though Cluster asks for it; empty
	// otherwise (buildUpstreamClusterTLSContext in pilot/pkg/networking/core/cluster_tls.go).
	Dropped string

	rule   *Rule
	port   uint16
	subset string
	manual bool
}

// Agree reports whether both readings say the same mode.
func (t TLSTrace) Agree() bool { return t.Cluster.Mode() == t.Endpoints.Mode() }

// TLS says what the rule in force says of TLS for a port of the service and a subset,
// which is empty for none.
func (t *RuleTrace) TLS(port uint16, subset string) TLSTrace {
	out := TLSTrace{rule: t.Rule, port: port, subset: subset, manual: t.resolver.manualTLS}
	switch {
	case t.Rule == nil:
		out.NoCluster = subset != ""
	case subset == "":
		whole := trafficPolicy{t.Rule.TrafficPolicy, t.Rule.PolicyFrom, "spec.trafficPolicy", PortPart, TopPart}
		out.Cluster, _ = whole.forCluster(port)
		out.Endpoints = whole.forEndpoints(port)
	default:
		out.ofSubset()
	}
	out.Dropped = t.dropped(out.Cluster.Settings)
	return out
}

func (t *TLSTrace) ofSubset() {
	u, port := t.rule, t.port
	s := u.Subset(t.subset)
	if s == nil {
		t.NoCluster = true
		return
	}
	whole := trafficPolicy{u.TrafficPolicy, u.PolicyFrom, "spec.trafficPolicy", PortPart, TopPart}
	own := trafficPolicy{s.GetTrafficPolicy(), s.From, fmt.Sprintf("spec.subsets[%d].trafficPolicy", s.Index), SubsetPortPart, SubsetPart}
	cluster, entry := own.forCluster(port)
	if cluster.Settings == nil && !entry {
		cluster, _ = whole.forCluster(port)
	}
	t.Cluster = cluster
	if t.Endpoints = own.forEndpoints(port); t.Endpoints.Settings == nil {
		t.Endpoints = whole.forEndpoints(port)
	}
}

// trafficPolicy is one of a rule, and where it is.
type trafficPolicy struct {
	*networkingapi.TrafficPolicy
	from        model.Name
	field       string
	entry, self Part
}

// forCluster reads it as for a cluster; entry is true where there is one for the port,
// with or without tls. It then names the entry.
func (p trafficPolicy) forCluster(port uint16) (view TLSView, entry bool) {
	for i, e := range p.GetPortLevelSettings() {
		if e.GetPort() != nil && e.GetPort().GetNumber() == uint32(port) {
			return p.ofEntry(i), true
		}
	}
	return p.ofTop(), false
}

// forEndpoints reads it as for the mark of endpoints.
func (p trafficPolicy) forEndpoints(port uint16) TLSView {
	for i, e := range p.GetPortLevelSettings() {
		if e.GetPort().GetNumber() == uint32(port) && e.GetTls() != nil {
			return p.ofEntry(i)
		}
	}
	return p.ofTop()
}

func (p trafficPolicy) ofEntry(i int) TLSView {
	return TLSView{p.GetPortLevelSettings()[i].GetTls(), p.entry, p.from, fmt.Sprintf("%s.portLevelSettings[%d]", p.field, i)}.settled(true)
}

func (p trafficPolicy) ofTop() TLSView {
	return TLSView{p.GetTls(), p.self, p.from, p.field}.settled(false)
}

// settled completes the field. What says nothing has no part, except for an entry: it
// is the reason that nothing is said.
func (v TLSView) settled(entry bool) TLSView {
	switch {
	case v.Settings != nil:
		v.Field += ".tls"
	case !entry:
		return TLSView{}
	}
	return v
}

// secretless is the kind of credential that every client may read.
const secretless = "configmap://"

// dropped says why Istio makes no TLS of settings.
func (t *RuleTrace) dropped(s *networkingapi.ClientTLSSettings) string {
	mode := s.GetMode()
	if s == nil || mode != networkingapi.ClientTLSSettings_SIMPLE && mode != networkingapi.ClientTLSSettings_MUTUAL {
		return ""
	}
	_, selector := t.Rule.Selector()
	name := s.GetCredentialName()
	switch {
	case name != "" && !strings.HasPrefix(name, secretless) && !t.Client.Gateway && !selector:
		return "sidecars get the secret of a credentialName only by a rule with a workloadSelector, so there is no TLS at all"
	case name == "" && mode == networkingapi.ClientTLSSettings_MUTUAL && (s.GetClientCertificate() == "" || s.GetPrivateKey() == ""):
		return "MUTUAL needs a client certificate and its key, so there is no TLS at all"
	}
	return ""
}

// Why is the answer in one sentence.
func (t TLSTrace) Why() string {
	switch {
	case t.rule == nil && t.subset != "":
		return fmt.Sprintf("No DestinationRule is in force, so there is no subset %s.", t.subset)
	case t.rule == nil:
		return fmt.Sprintf("No DestinationRule is in force, so %s.", t.otherwise("Istio decides about TLS by itself"))
	case t.NoCluster:
		return fmt.Sprintf("DestinationRule %s has no subset %s.", full(t.rule.Name), t.subset)
	}
	var why string
	switch {
	case !t.Agree():
		why = fmt.Sprintf("For port %d the client's cluster is made with %s, but its endpoints are marked by %s", t.port, t.Cluster.said(), t.Endpoints.said())
	case t.Cluster.Settings == nil:
		why = fmt.Sprintf("DestinationRule %s says nothing of TLS for port %d, so %s", full(t.rule.Name), t.port, t.otherwise("Istio decides by itself"))
	default:
		why = fmt.Sprintf("For port %d it is %s", t.port, t.Cluster.said())
	}
	if t.Dropped != "" {
		why += "; " + t.Dropped
	}
	return why + "."
}

// otherwise is what follows where no rule speaks of TLS.
func (t TLSTrace) otherwise(auto string) string {
	if t.manual {
		return "plaintext is sent, since the mesh does not have Istio decide (enableAutoMtls is false)"
	}
	return auto
}

// said is the mode and where it is.
func (v TLSView) said() string {
	switch {
	case v.Settings != nil:
		return fmt.Sprintf("%s (%s, %s)", v.Mode(), full(v.Object), v.Field)
	case v.Part != NoPart:
		return fmt.Sprintf("no TLS setting, since the entry for the port has none (%s, %s)", full(v.Object), v.Field)
	}
	return "no TLS setting"
}
