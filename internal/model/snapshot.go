// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package model holds the Snapshot: an immutable value with everything that
// compiling depends on, in a fixed order and with its indexes built once. It
// knows Kubernetes objects only as far as Trellis reads them, and it never
// talks to anything: packages load and gather fill it.
package model

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
)

// Input is what a Snapshot is made from, in any order. The Snapshot keeps the
// pointers: nobody may change the objects afterwards.
type Input struct {
	Mesh         Mesh
	Applications []*v1alpha1.Application
	// Others are Applications that nothing is made of: policies may mean them as callers.
	Others          []*v1alpha1.Application
	SecureIngresses []*v1alpha1.SecureIngress
	HostClaims      []*v1alpha1.HostClaim
	Namespaces      []Namespace
	Services        []Service
	Workloads       []Workload
	Certificates    []Certificate
	Foreign         []Foreign
	// ManagedCertificates and ManagedRecords are as their controllers see them.
	ManagedCertificates []*v1alpha1.ManagedCertificate
	ManagedRecords      []*v1alpha1.ManagedRecord
	// Delegated is what other controllers do for Trellis.
	Delegated Delegated
	// Policies are what security and compliance state.
	Policies Policies
	// At is the moment at which it is judged whether exceptions have expired.
	At time.Time
	// Positions finds the line of a field of an object that was read from a
	// file; nil when nothing was.
	Positions func(object Reference, field string) Position
	// ProbeKey is the secret value of the probe header; empty leaves the probe
	// entries out of what is compiled.
	ProbeKey string
}

// Snapshot is an immutable view of one moment. It is safe for concurrent use.
type Snapshot struct {
	mesh         Mesh
	applications []*v1alpha1.Application
	ingresses    []*v1alpha1.SecureIngress
	claims       map[string]*v1alpha1.HostClaim
	namespaces   map[string]Namespace
	// namespaceList holds them in order.
	namespaceList []Namespace
	services      map[Name]Service
	workloads     map[string]*workloadIndex
	certificates  map[Name]Certificate
	foreign       map[string][]Foreign
	managed       map[Name]*v1alpha1.ManagedCertificate
	records       map[Name]*v1alpha1.ManagedRecord
	delegated     delegated
	policies      Policies
	at            time.Time
	applicationX  map[Name]*v1alpha1.Application
	others        []*v1alpha1.Application
	positions     func(Reference, string) Position
	probeKey      string
}

// Name is a namespaced name of an object whose kind is known.
type Name struct{ Namespace, Name string }

// NewSnapshot builds a Snapshot. The order of the input does not matter.
func NewSnapshot(in Input) *Snapshot {
	s := &Snapshot{
		mesh:         in.Mesh,
		applications: sortedBy(in.Applications, compareObjects[*v1alpha1.Application]),
		ingresses:    sortedBy(in.SecureIngresses, compareObjects[*v1alpha1.SecureIngress]),
		claims:       make(map[string]*v1alpha1.HostClaim, len(in.HostClaims)),
		namespaces:   make(map[string]Namespace, len(in.Namespaces)),
		services:     make(map[Name]Service, len(in.Services)),
		workloads:    make(map[string]*workloadIndex),
		certificates: make(map[Name]Certificate, len(in.Certificates)),
		foreign:      make(map[string][]Foreign),
		managed:      make(map[Name]*v1alpha1.ManagedCertificate, len(in.ManagedCertificates)),
		records:      make(map[Name]*v1alpha1.ManagedRecord, len(in.ManagedRecords)),
		delegated:    newDelegated(in.Delegated),
		policies:     in.Policies.sorted(),
		at:           in.At,
		applicationX: make(map[Name]*v1alpha1.Application, len(in.Applications)),
		others:       in.Others,
		positions:    in.Positions,
		probeKey:     in.ProbeKey,
	}
	for _, a := range s.applications {
		s.applicationX[Name{a.Namespace, a.Name}] = a
	}
	for _, c := range in.HostClaims {
		s.claims[c.Name] = c
	}
	for _, n := range in.Namespaces {
		s.namespaces[n.Name] = n
	}
	for _, name := range slices.Sorted(maps.Keys(s.namespaces)) {
		s.namespaceList = append(s.namespaceList, s.namespaces[name])
	}
	for _, v := range in.Services {
		s.services[Name{v.Ref.Namespace, v.Ref.Name}] = v
	}
	for _, w := range sortedBy(in.Workloads, CompareWorkloads) {
		x := s.workloads[w.Ref.Namespace]
		if x == nil {
			x = newWorkloadIndex()
			s.workloads[w.Ref.Namespace] = x
		}
		x.add(w)
	}
	for _, c := range in.ManagedCertificates {
		s.managed[Name{c.Namespace, c.Name}] = c
	}
	for _, e := range in.ManagedRecords {
		s.records[Name{e.Namespace, e.Name}] = e
	}
	for _, c := range in.Certificates {
		s.certificates[Name{c.Ref.Namespace, c.Ref.Name}] = c
	}
	for _, f := range sortedBy(in.Foreign, func(a, b Foreign) int { return a.Ref.Compare(b.Ref) }) {
		s.foreign[f.Ref.Kind] = append(s.foreign[f.Ref.Kind], f)
	}
	return s
}

// Mesh is what is true of the whole mesh.
func (s *Snapshot) Mesh() Mesh { return s.mesh }

// Applications are in order of namespace and name. Read only.
func (s *Snapshot) Applications() []*v1alpha1.Application { return s.applications }

// Stated are all Applications, those of Applications and those that are not looked at
// closer, in order of namespace and name. The slice is the caller's.
func (s *Snapshot) Stated() []*v1alpha1.Application {
	return sortedBy(slices.Concat(s.applications, s.others), compareObjects[*v1alpha1.Application])
}

// SecureIngresses are in order of namespace and name. Read only.
func (s *Snapshot) SecureIngresses() []*v1alpha1.SecureIngress { return s.ingresses }

// Application finds one Application, or returns nil.
func (s *Snapshot) Application(n Name) *v1alpha1.Application { return s.applicationX[n] }

// HostClaim finds the claim of a host, or returns nil.
func (s *Snapshot) HostClaim(host string) *v1alpha1.HostClaim { return s.claims[host] }

// Namespace finds a namespace by name. An unknown one has no labels.
func (s *Snapshot) Namespace(name string) (Namespace, bool) {
	n, ok := s.namespaces[name]
	return n, ok
}

// Service finds a Service.
func (s *Snapshot) Service(n Name) (Service, bool) {
	v, ok := s.services[n]
	return v, ok
}

// Certificate finds what is known of a TLS Secret.
func (s *Snapshot) Certificate(n Name) (Certificate, bool) {
	c, ok := s.certificates[n]
	return c, ok
}

// ManagedCertificate finds a certificate that Trellis keeps, or returns nil.
func (s *Snapshot) ManagedCertificate(n Name) *v1alpha1.ManagedCertificate { return s.managed[n] }

// ManagedRecord finds a DNS entry that Trellis keeps, or returns nil.
func (s *Snapshot) ManagedRecord(n Name) *v1alpha1.ManagedRecord { return s.records[n] }

// Workloads are those of a namespace, in order of their reference. Read only.
func (s *Snapshot) Workloads(namespace string) []Workload {
	if x := s.workloads[namespace]; x != nil {
		return x.all
	}
	return nil
}

// Selected are the workloads of a namespace that a selector selects, in order.
func (s *Snapshot) Selected(namespace string, selector map[string]string) []Workload {
	if x := s.workloads[namespace]; x != nil {
		return x.selected(selector)
	}
	return nil
}

// Accounts are the service accounts that some workloads of a namespace run as.
type Accounts struct {
	// Names are theirs, in order.
	Names []string
	// Shared says that there is one, and that others run as it, too.
	Shared bool
}

// One is the account by which the workloads are known; false where there are none or
// several, or where it is one that every workload of the namespace may have.
func (a Accounts) One() (string, bool) {
	if len(a.Names) != 1 || a.Names[0] == DefaultAccount {
		return "", false
	}
	return a.Names[0], true
}

// Accounts are those of the workloads of a namespace that a selector selects.
func (s *Snapshot) Accounts(namespace string, selector map[string]string) Accounts {
	var out Accounts
	selected := s.Selected(namespace, selector)
	for _, w := range selected {
		out.Names = append(out.Names, w.ServiceAccount)
	}
	slices.Sort(out.Names)
	if out.Names = slices.Compact(out.Names); len(out.Names) == 1 {
		out.Shared = s.WithServiceAccount(namespace, out.Names[0]) > len(selected)
	}
	return out
}

// WithServiceAccount counts the workloads of a namespace that run as an account.
func (s *Snapshot) WithServiceAccount(namespace, account string) int {
	if x := s.workloads[namespace]; x != nil {
		return x.byAccount[account]
	}
	return 0
}

// Foreign are the Istio objects of a kind that Trellis did not make, in order.
func (s *Snapshot) Foreign(kind string) []Foreign { return s.foreign[kind] }

// Position is the line of a field of an object that was read from a file.
func (s *Snapshot) Position(object Reference, field string) Position {
	if s.positions == nil {
		return Position{}
	}
	return s.positions(object, field)
}

// ProbeKey is the secret value of the probe header, or empty.
func (s *Snapshot) ProbeKey() string { return s.probeKey }

// Policies are in order of namespace and name. Read only.
func (s *Snapshot) Policies() Policies { return s.policies }

// At is the moment at which it is judged whether exceptions have expired.
func (s *Snapshot) At() time.Time { return s.at }

// Namespaces are all that are known, in order of their names.
func (s *Snapshot) Namespaces() []Namespace { return s.namespaceList }

// ApplicationReference names an Application of this mesh.
func (s *Snapshot) ApplicationReference(namespace, name string) Reference {
	return Reference{Cluster: s.mesh.Cluster, Group: v1alpha1.GroupName, Kind: "Application", Namespace: namespace, Name: name}
}

// SecureIngressReference names a SecureIngress of this mesh.
func (s *Snapshot) SecureIngressReference(namespace, name string) Reference {
	return Reference{Cluster: s.mesh.Cluster, Group: v1alpha1.GroupName, Kind: "SecureIngress", Namespace: namespace, Name: name}
}

type object interface {
	GetNamespace() string
	GetName() string
}

func compareObjects[T object](a, b T) int {
	if c := strings.Compare(a.GetNamespace(), b.GetNamespace()); c != 0 {
		return c
	}
	return strings.Compare(a.GetName(), b.GetName())
}
