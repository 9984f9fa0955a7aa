// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedrecord

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/dns"
)

const (
	// recheck is how often a Secret is read again where nothing else happens.
	recheck = time.Minute
	// askSpread is how often a provider is asked whether its servers have a change.
	askSpread = 5 * time.Second
	// soonest bounds how fast something is tried again.
	soonest = time.Second
	// atMost ends work at a provider that hangs; what is not done then is done next
	// time.
	atMost = 5 * time.Minute
	// parallel is how many providers are worked on at once.
	parallel = 4
)

// Options are what a Reconciler works with.
type Options struct {
	// Cache has DNSProviders and ManagedRecords; it may lag behind.
	Cache client.Reader
	// Client writes, and reads past every cache: Secrets and what was raced for.
	Client   client.Client
	Recorder events.EventRecorder
	Registry prometheus.Registerer
	Clock    clock.Clock
	Log      *slog.Logger
	// Vendors make the providers; the zero value makes the real ones.
	Vendors Vendors
	// IdentityNamespaces are where DNSProviders without a Secret may use the identity
	// of the operator's pod. In all others, whoever may make a DNSProvider would
	// write to whatever zones that identity can.
	IdentityNamespaces []string
}

// Reconciler makes ManagedRecords come true, all those of one DNSProvider at a
// time. Safe for concurrent use, but for two calls about one DNSProvider.
type Reconciler struct {
	cache    client.Reader
	client   client.Client
	recorder events.EventRecorder
	clock    clock.Clock
	log      *slog.Logger
	metrics  *meters
	vendors  Vendors
	newest   *newest
	// ambient are Options.IdentityNamespaces.
	ambient []string

	mu       sync.Mutex
	engine   *dns.Engine
	accounts map[types.NamespacedName]*account
}

// New makes a Reconciler.
func New(o Options) (*Reconciler, error) {
	metrics, err := newMeters(o.Registry)
	if err != nil {
		return nil, err
	}
	return &Reconciler{
		cache: o.Cache, client: o.Client, recorder: o.Recorder, clock: o.Clock, log: o.Log, vendors: o.Vendors, metrics: metrics, ambient: o.IdentityNamespaces,
		newest: &newest{seen: map[types.UID]client.Object{}}, accounts: map[types.NamespacedName]*account{},
	}, nil
}

// SetupWithManager registers it, on the leader alone. What only changes a status
// or a finalizer is no reason to look.
func (r *Reconciler) SetupWithManager(m ctrl.Manager) error {
	unnamed := true
	err := ctrl.NewControllerManagedBy(m).Named("dns").
		WithOptions(controller.Options{MaxConcurrentReconciles: parallel, SkipNameValidation: &unnamed}).
		For(&v1alpha1.DNSProvider{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.ManagedRecord{}, handler.EnqueueRequestsFromMapFunc(ofRecord), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Complete(r)
	if err != nil {
		return fmt.Errorf("registering the controller of DNS entries: %w", err)
	}
	return nil
}

// ofRecord is the request for the provider that a ManagedRecord refers to.
func ofRecord(_ context.Context, o client.Object) []reconcile.Request {
	record, ok := o.(*v1alpha1.ManagedRecord)
	if !ok {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: record.Namespace, Name: record.Spec.ProviderRef.Name}}}
}

// round is one reconcile of one DNSProvider.
type round struct {
	*Reconciler
	key     types.NamespacedName
	now     time.Time
	records []*entry
	// provider is nil where there is none.
	provider *v1alpha1.DNSProvider
	holding  sync.Mutex
	account  *account
	options  dns.Options
	// withdrawing is why only what is deleted is worked on; nil where all is.
	withdrawing *trouble
}

// Reconcile takes everything that is wanted of a DNSProvider a step further, and
// says when to go on.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	at := &round{Reconciler: r, key: req.NamespacedName, now: r.clock.Now()}
	if err := at.load(ctx); err != nil {
		return reconcile.Result{}, err
	}
	err := at.reconcile(ctx)
	if only(err, apierrors.IsConflict) {
		// A cache is behind, or somebody wrote at the same time: look again.
		r.log.Debug("the state was raced for", "provider", req.String(), "error", err)
		return reconcile.Result{RequeueAfter: soonest}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	return reconcile.Result{RequeueAfter: at.next()}, nil
}

// only reports whether an error is one or several, all of a kind.
func only(err error, kind func(error) bool) bool {
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		return !slices.ContainsFunc(several.Unwrap(), func(err error) bool { return !only(err, kind) })
	}
	return err != nil && kind(err)
}

// load reads the provider and what refers to it.
func (at *round) load(ctx context.Context) error {
	provider := &v1alpha1.DNSProvider{}
	err := at.cache.Get(ctx, at.key, provider)
	switch {
	case apierrors.IsNotFound(err):
	case err != nil:
		return fmt.Errorf("reading the DNSProvider %s: %w", at.key, err)
	default:
		at.provider = newestOf(at.newest, provider)
	}
	list := &v1alpha1.ManagedRecordList{}
	// What is listed is not changed, so that there need be no copy of all.
	if err := at.cache.List(ctx, list, client.InNamespace(at.key.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("listing the ManagedRecords in %s: %w", at.key.Namespace, err)
	}
	for i := range list.Items {
		record := newestOf(at.newest, &list.Items[i])
		if record.Spec.ProviderRef.Name == at.key.Name {
			at.records = append(at.records, &entry{record: record, generation: record.Generation, heir: heirOf(record, list.Items)})
		}
	}
	at.newest.keep(at.key.Namespace, list.Items)
	slices.SortFunc(at.records, func(a, b *entry) int { return cmp.Compare(a.record.Name, b.record.Name) })
	return nil
}

// reconcile finds out what became of each entry, and writes it down.
func (at *round) reconcile(ctx context.Context) error {
	if at.provider == nil {
		at.close(at.known())
		at.failAll(at.missing())
		return at.finish(ctx)
	}
	engine, err := at.identity(ctx)
	if err != nil {
		return err
	}
	if len(at.dependents()) > 0 {
		if err := at.hold(ctx); err != nil {
			return err
		}
	}
	t, err := at.open(ctx, engine)
	if err != nil {
		return err
	}
	var zones []dns.Zone
	switch {
	case t == nil:
		zones, t = at.work(ctx, engine)
	case at.withdrawing != nil:
		at.work(ctx, engine)
	default:
		at.failAll(t)
	}
	return errors.Join(at.finish(ctx), at.finishProvider(ctx, zones, t))
}

// work does all that needs the provider.
func (at *round) work(ctx context.Context, engine *dns.Engine) ([]dns.Zone, *trouble) {
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	at.options = at.settings(ctx)
	zones, err := engine.Zones(ctx, at.account.provider, at.options)
	at.ask(ctx, engine)
	at.askSpread(ctx)
	if err != nil {
		return nil, at.problem(err)
	}
	return zones, at.refused()
}

// known is the engine, if there was ever need of one.
func (r *Reconciler) known() *dns.Engine {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.engine
}

// identity is the engine, once it is known which cluster this is.
func (r *Reconciler) identity(ctx context.Context) (*dns.Engine, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.engine != nil {
		return r.engine, nil
	}
	system := &corev1.Namespace{}
	if err := r.client.Get(ctx, types.NamespacedName{Name: metav1.NamespaceSystem}, system); err != nil {
		return nil, fmt.Errorf("reading the namespace %s, whose UID is the owner id in DNS: %w", metav1.NamespaceSystem, err)
	}
	r.engine = &dns.Engine{Owner: string(system.UID), Clock: r.clock.Now}
	return r.engine, nil
}

// ask gives all wishes to the engine, and hands its answers out.
func (at *round) ask(ctx context.Context, engine *dns.Engine) {
	others := at.sharedTexts()
	var wanted []dns.Wanted
	for _, e := range at.records {
		if e.first = len(wanted); !e.gone() {
			e.trouble = at.refuse(e, engine.Owner, others)
			wanted = append(wanted, e.wishes...)
		}
	}
	outcomes := engine.Reconcile(ctx, &careful{Provider: at.account.provider, at: at}, wanted, at.options)
	for _, e := range at.records {
		e.outcomes = outcomes[e.first : e.first+len(e.wishes)]
	}
}

// next is when to look again, unless something is heard before: never where there
// is no provider.
func (at *round) next() time.Duration {
	if at.provider == nil {
		return 0
	}
	wait := recheck
	for _, e := range at.records {
		for _, o := range e.outcomes {
			// What came true is looked at now and then, with whatever else is due.
			if o.Err != nil && !o.NextTry.IsZero() {
				wait = min(wait, o.NextTry.Sub(at.now))
			}
		}
		if e.awaitsSpread() || e.awaitsHeir() {
			wait = min(wait, askSpread)
		}
	}
	return max(wait, soonest)
}

// dependents are the names of the ManagedRecords that may have entries.
func (at *round) dependents() []string {
	var out []string
	for _, e := range at.records {
		if !e.released && controllerutil.ContainsFinalizer(e.record, Finalizer) {
			out = append(out, e.record.Name)
		}
	}
	return out
}
