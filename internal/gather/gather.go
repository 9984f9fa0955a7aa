// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package gather

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/apply"
	"github.com/trellis-mesh/trellis/internal/controller/openreports"
	"github.com/trellis-mesh/trellis/internal/expiry"
	"github.com/trellis-mesh/trellis/internal/inforce"
	"github.com/trellis-mesh/trellis/internal/load"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/model/delegation"
)

// Options say what to look at.
type Options struct {
	// Mesh is what is known of the mesh; Istio's own configuration wins.
	Mesh model.Mesh
	// IstiodNamespace and MeshConfigMap name Istio's mesh configuration.
	IstiodNamespace, MeshConfigMap string
	// GatewayNamespaces are where origins that are too long for an annotation may
	// be kept, besides the namespaces of all SecureIngresses.
	GatewayNamespaces []string
	// ProbeKey is the value of the probe header.
	ProbeKey string
	// Records asks for the statements that were put in force, which somebody keeps
	// where changes wait for their tests.
	Records bool
	// Reports is told of reports about policies; nil where they are of no interest.
	Reports *openreports.Keeper
	// Clock says at which moment policies are judged; required.
	Clock clock.Clock
	Log   *slog.Logger
}

// Gatherer watches a cluster. Start it once; all other methods are safe for
// concurrent use, before and after that.
type Gatherer struct {
	client  client.WithWatch
	options Options
	ledger  *apply.Ledger
	changed chan struct{}
	rewatch chan struct{}

	mu      sync.Mutex
	ctx     context.Context
	watches map[string]*watch
	// records are the namespaces in which generated ConfigMaps are looked for:
	// one that had a SecureIngress may still have what was made for it.
	records map[string]bool
}

// New makes a Gatherer that tells the ledger what its caches have come to see.
func New(c client.WithWatch, ledger *apply.Ledger, options Options) *Gatherer {
	g := &Gatherer{
		client: c, options: options, ledger: ledger,
		changed: make(chan struct{}, 1), rewatch: make(chan struct{}, 1),
		watches: map[string]*watch{}, records: map[string]bool{},
	}
	for _, namespace := range options.GatewayNamespaces {
		g.records[namespace] = true
	}
	return g
}

// Changed receives after something has changed that may change what follows from
// the cluster, and when a PolicyException has expired or a stage of a rollout of a policy
// has been tried for long enough. Several changes may be one
// signal.
func (g *Gatherer) Changed() <-chan struct{} { return g.changed }

// Start watches until the context ends.
func (g *Gatherer) Start(ctx context.Context) error {
	g.mu.Lock()
	g.ctx = ctx
	g.mu.Unlock()
	alarm := expiry.NewAlarm(g.options.Clock)
	defer alarm.Stop()
	for {
		if err := g.follow(); err != nil {
			return err
		}
		if alarm.Due(g.expiring()) {
			wake(g.changed)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-g.rewatch:
		case <-alarm.Fired():
		}
	}
}

// NeedLeaderElection is false: a standby that watches takes over at once.
func (*Gatherer) NeedLeaderElection() bool { return false }

// follow starts and stops watches as the kinds and the Secrets that matter come
// and go.
func (g *Gatherer) follow() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ctx == nil {
		return nil
	}
	wanted := g.wanted()
	for name, w := range g.watches {
		if _, ok := wanted[name]; !ok {
			w.stop()
			delete(g.watches, name)
		}
	}
	for name, s := range wanted {
		if g.watches[name] != nil {
			continue
		}
		w, err := startWatch(g.ctx, g.client, s, g.observe, g.signal, g.options.Log)
		if err != nil {
			return err
		}
		g.watches[name] = w
	}
	return nil
}

// wanted are the sources of everything that matters now.
func (g *Gatherer) wanted() map[string]source {
	wanted := map[string]source{}
	for _, s := range append(g.builtIn(), g.meshConfig()) {
		wanted[s.name] = s
	}
	if g.options.Records {
		wanted[recordsWatch] = inForce()
	}
	installed := g.installed()
	if g.options.Reports != nil && installed[openreports.CRD] {
		wanted[openreports.CRD] = policyReports()
	}
	for crd, s := range g.custom() {
		if installed[crd] {
			wanted[crd] = s
		}
	}
	for _, in := range g.ingresses() {
		if in.Spec.TLS.SecretName != "" {
			s := g.secret(in.Namespace, in.Spec.TLS.SecretName)
			wanted[s.name] = s
		}
		g.records[in.Namespace] = true
	}
	for namespace := range g.records {
		s := g.recordsIn(namespace)
		wanted[s.name] = s
	}
	for _, s := range g.delegated(installed) {
		wanted[s.name] = s
	}
	return wanted
}

// installed are the names of all CRDs.
func (g *Gatherer) installed() map[string]bool {
	out := map[string]bool{}
	if w := g.watches[crdWatch]; w != nil {
		for _, e := range w.entries() {
			out[e.Name] = true
		}
	}
	return out
}

// ingresses are all SecureIngresses that are not on their way out.
func (g *Gatherer) ingresses() []*v1alpha1.SecureIngress {
	var out []*v1alpha1.SecureIngress
	if w := g.watches["secureingresses.trellis.dev"]; w != nil {
		for _, e := range w.entries() {
			if in, ok := e.object.(*v1alpha1.SecureIngress); ok && in.DeletionTimestamp == nil {
				out = append(out, in)
			}
		}
	}
	return out
}

// observe is called with every change of a cache.
func (g *Gatherer) observe(was, is *entry) {
	news := was == nil || is == nil || was.differs(is)
	if is != nil && is.live != nil {
		g.ledger.Observe(*is.live, false)
		news = news && (!g.ledger.Expected(*is.live, false) || was != nil && reports(was, is))
	}
	if is == nil && was != nil && was.live != nil {
		news = !g.ledger.Expected(*was.live, true)
		g.ledger.Observe(*was.live, true)
	}
	if e := cmp.Or(is, was); e != nil && e.report != nil {
		news = g.options.Reports.Observe(e.Namespace, *e.report, is == nil)
	}
	if news {
		g.signal()
	}
}

// reports tells whether a controller of certificates or entries has said something
// new of one that we made: what is generated is as it was, what follows is not.
func reports(was, is *entry) bool {
	switch is.object.(type) {
	case *v1alpha1.ManagedCertificate, *v1alpha1.ManagedRecord, *delegation.Certificate, *delegation.DNSEndpoint:
		return !sameStatement(was.object, is.object)
	}
	return false
}

// signal wakes whoever waits for changes.
func (g *Gatherer) signal() {
	wake(g.rewatch)
	wake(g.changed)
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Synced is nil once everything that may be read has been read.
func (g *Gatherer) Synced() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.unread()
}

func (g *Gatherer) unread() error {
	if len(g.watches) == 0 {
		return errors.New("reading the cluster has not begun")
	}
	for _, name := range slices.Sorted(maps.Keys(g.watches)) {
		if w := g.watches[name]; !w.synced() && w.refusal() == nil {
			return fmt.Errorf("%s have not been read yet", name)
		}
	}
	return nil
}

// Blocker is a reason for which nothing can be done at all.
type Blocker struct {
	// Reason is IstioMissing or CannotRead.
	Reason, Message, Fix string
}

// State is the cluster at one moment.
type State struct {
	// Synced is false while something has not been read for the first time; then
	// nothing else is set.
	Synced bool
	// Blockers are why nothing may be compiled and applied; statuses say so.
	Blockers []Blocker
	// Input is what a Snapshot is made from.
	Input model.Input
	// Live is the inventory of the kinds that Trellis generates.
	Live []apply.Live
	// Findings are about what could not be read.
	Findings []model.Finding
	// Records are the statements that were put in force, in no order.
	Records []inforce.Record
}

// Gather reads the caches. It is cheap and makes no call.
func (g *Gatherer) Gather() (State, error) {
	if err := g.follow(); err != nil {
		return State{}, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.unread() != nil {
		return State{}, nil
	}
	reports := g.watches[openreports.CRD]
	g.options.Reports.Readable(reports != nil, reports.refusal())
	state := State{Synced: true, Blockers: g.blockers()}
	state.Input, state.Findings = g.input()
	for _, w := range g.watches {
		for _, e := range w.entries() {
			if e.live != nil {
				state.Live = append(state.Live, *e.live)
			}
			if e.record != nil {
				state.Records = append(state.Records, *e.record)
			}
		}
	}
	state.Live = g.ledger.Merge(state.Live)
	return state, nil
}

// Input is what a Snapshot is made from at this moment, and an error as long as
// something has not been read.
func (g *Gatherer) Input() (model.Input, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.unread(); err != nil {
		return model.Input{}, err
	}
	in, _ := g.input()
	return in, nil
}

func (g *Gatherer) input() (model.Input, []model.Finding) {
	b := load.NewBuilder(g.options.Mesh)
	var certificates []model.Certificate
	var issuers []*delegation.Issuer
	for _, name := range slices.Sorted(maps.Keys(g.watches)) {
		for _, e := range g.watches[name].entries() {
			if e.object != nil && !leaving(e) {
				b.Add(e.object)
			}
			if e.certificate != nil {
				certificates = append(certificates, *e.certificate)
			}
			if e.issuer != nil {
				issuers = append(issuers, e.issuer)
			}
		}
	}
	in := b.Input()
	in.ProbeKey, in.At = g.options.ProbeKey, g.options.Clock.Now()
	in.Certificates = certificates
	in.Delegated.Issuers, in.Delegated.IssuersKnown = issuers, g.issuersKnown()
	in.Delegated.Missing = g.missing()
	return in, append(g.unreadable(&in), g.undelegated(in.Mesh.Cluster)...)
}

// leaving reports whether an object of Trellis's own kinds is being deleted; it
// states nothing any more, whatever keeps it from going. Policies do until they are
// gone: what lets go ends first, and what refuses last.
func leaving(e *entry) bool {
	switch o := e.object.(type) {
	case *v1alpha1.Application:
		return o.DeletionTimestamp != nil
	case *v1alpha1.SecureIngress:
		return o.DeletionTimestamp != nil
	case *v1alpha1.PolicyException:
		return o.DeletionTimestamp != nil
	}
	return false
}

// blockers lists kinds that do not exist and kinds that may not be read.
func (g *Gatherer) blockers() []Blocker {
	installed := g.installed()
	var missing []string
	for crd := range g.custom() {
		if !installed[crd] && crd != workloadEntries {
			missing = append(missing, crd)
		}
	}
	var out []Blocker
	if len(missing) > 0 {
		slices.Sort(missing)
		fix := "install Istio (its CustomResourceDefinitions are enough for this to go on); nothing has to be restarted"
		if slices.ContainsFunc(missing, own) {
			fix = "apply the CustomResourceDefinitions of the chart trellis of this version, and install Istio where its own are missing; nothing has to be restarted"
		}
		out = append(out, Blocker{"IstioMissing",
			fmt.Sprintf("the cluster has no %s, so nothing can be generated and nothing is served", strings.Join(missing, ", ")), fix})
	}
	for _, name := range slices.Sorted(maps.Keys(g.watches)) {
		w := g.watches[name]
		if err := w.refusal(); err != nil && w.source.namespace == "" && !w.source.optional {
			out = append(out, Blocker{"CannotRead",
				fmt.Sprintf("the operator may not read %s: %v", name, err),
				"give its ServiceAccount the ClusterRole of the chart trellis"})
		}
	}
	return out
}

// own reports whether a definition is one of Trellis's.
func own(crd string) bool { return strings.HasSuffix(crd, "."+v1alpha1.GroupName) }

// unreadable says which Secrets may not be read, and makes them known as such,
// so that they are not taken for missing.
func (g *Gatherer) unreadable(in *model.Input) []model.Finding {
	var findings []model.Finding
	for _, ingress := range g.ingresses() {
		namespace, secret := ingress.Namespace, ingress.Spec.TLS.SecretName
		if secret == "" {
			continue
		}
		w := g.watches[g.secret(namespace, secret).name]
		if w == nil || w.refusal() == nil {
			continue
		}
		in.Certificates = append(in.Certificates, model.Certificate{
			Ref:     model.Reference{Cluster: in.Mesh.Cluster, Kind: "Secret", Namespace: namespace, Name: secret},
			Problem: "the operator may not read it",
		})
		findings = append(findings, model.Finding{
			Severity: model.SeverityError,
			Object:   model.Reference{Cluster: in.Mesh.Cluster, Group: v1alpha1.GroupName, Kind: "SecureIngress", Namespace: namespace, Name: ingress.Name},
			Field:    "spec.tls.secretName",
			Reason:   "SecretUnreadable",
			Message: fmt.Sprintf("the operator may not read Secrets in namespace %s, so it cannot check the certificate; every host of this ingress is closed",
				namespace),
			Owner: "the operator's rights in namespace " + namespace,
			Fix:   fmt.Sprintf("add %s to the value gatewayNamespaces of the chart trellis and upgrade it", namespace),
		})
	}
	return findings
}
