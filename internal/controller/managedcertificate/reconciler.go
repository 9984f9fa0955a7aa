// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedcertificate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/acme"
	"github.com/trellis-mesh/trellis/internal/acme/caa"
	"github.com/trellis-mesh/trellis/internal/controller/managedcertificate/leftover"
)

const (
	// Finalizer keeps a ManagedCertificate until what was made for it is gone.
	Finalizer = "trellis.dev/certificate"
	// fieldOwner is not that of what the compiler generates: challenges must not
	// look like generated objects that nothing asks for any more.
	fieldOwner = client.FieldOwner("trellis-certificates")
	// statusOwner writes the status.
	statusOwner = client.FieldOwner("trellis")
	// parallel is how many certificates are worked on at once. Each waits for its
	// CA most of the time.
	parallel = 8
)

// How often a certificate is looked at where nothing else asks for it: often
// enough to bring a deleted Secret back soon, and no more than looksPerSecond of
// all certificates together.
const (
	minLook        = time.Minute
	maxLook        = 10 * time.Minute
	looksPerSecond = 20
)

// Options are what a Reconciler works with. Client, Namespace, Recorder, Registry,
// Clock and Log are required.
type Options struct {
	// Client writes.
	Client client.Client
	// Reader reads past every cache; Client where nil.
	Reader client.Reader
	// Namespace is the operator's own: account keys and the budget are there.
	Namespace string
	// Namespaces are where there are certificates, to sweep what they left behind.
	Namespaces []string
	// Transport reaches certificate authorities; http.DefaultTransport where nil.
	Transport http.RoundTripper
	// Random gives numbers of at least 0 and below 1; nil for real ones.
	Random func() float64
	// UserAgent is what certificate authorities see (RFC 8555 §6.1).
	UserAgent string
	// CAA looks up records to warn of; nil leaves that to the authorities.
	CAA caa.Resolver
	// Check is the look at an HTTP challenge before the authority's; NewCheck(nil)
	// where nil.
	Check    Check
	Recorder events.EventRecorder
	Registry prometheus.Registerer
	Clock    clock.Clock
	Log      *slog.Logger
}

// Reconciler gets and renews certificates. Make one with New. It is for one
// process at a time, the leader, and safe for concurrent use in it by different
// certificates.
type Reconciler struct {
	options Options
	client  client.Client
	reader  client.Reader
	metrics *meters
	clock   clock.Clock
	log     *slog.Logger

	mu     sync.Mutex
	engine *acme.Engine
	budget *budget
	// memories are of the certificates that were seen, accounts the keys of
	// accounts by where their Secret holds them.
	memories map[types.NamespacedName]*memory
	accounts map[string][]byte
	// rotations are of the keys of accounts, by the same.
	rotations map[string]*rotation
}

// memory is what this process knows of one certificate besides what is stored.
// Losing it costs nothing but a few reads, and an order whose answer could not be
// stored.
type memory struct {
	uid types.UID
	// unsaved is a step whose outcome could not be stored.
	unsaved *outcome
	// copied is the fingerprint of the certificate in the copy, where known.
	copied string
	// tidy: nothing is left over of earlier orders.
	tidy bool
	// rotations are the tries to change the account's key that failed, rotateAt is
	// when the next may be, and rotating what was told of it.
	rotations int
	rotateAt  time.Time
	rotating  string
}

// New makes a Reconciler. It makes no call.
func New(o Options) (*Reconciler, error) {
	metrics, err := newMeters(o.Registry)
	if err != nil {
		return nil, err
	}
	if o.Reader == nil {
		o.Reader = o.Client
	}
	if o.Check == nil {
		o.Check = NewCheck(nil)
	}
	return &Reconciler{
		options: o, client: o.Client, reader: o.Reader, metrics: metrics, clock: o.Clock, log: o.Log,
		memories: map[types.NamespacedName]*memory{}, accounts: map[string][]byte{}, rotations: map[string]*rotation{},
	}, nil
}

// SetupWithManager registers the controller. Changes of the status alone wake
// nobody: they are our own.
func (r *Reconciler) SetupWithManager(m ctrl.Manager) error {
	unnamed := true
	err := ctrl.NewControllerManagedBy(m).Named("managedcertificate").
		For(&v1alpha1.ManagedCertificate{}, builder.WithPredicates(
			predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}))).
		Owns(&v1alpha1.ManagedRecord{}).
		WithOptions(controller.Options{MaxConcurrentReconciles: parallel, SkipNameValidation: &unnamed}).
		Complete(r)
	if err == nil {
		err = m.Add(r.Sweeper())
	}
	if err != nil {
		return fmt.Errorf("registering the controller of certificates: %w", err)
	}
	return nil
}

// Sweeper deletes what certificates left behind and nobody took up again.
func (r *Reconciler) Sweeper() *leftover.Sweeper {
	return &leftover.Sweeper{Client: r.client, Namespaces: r.options.Namespaces, Clock: r.clock, Log: r.log, InUse: r.inUse}
}

// begin reads the budget, once.
func (r *Reconciler) begin(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.engine != nil {
		return nil
	}
	b, err := readBudget(ctx, r)
	if err != nil {
		return err
	}
	r.budget = b
	r.engine = acme.New(acme.Options{
		Ledger: b.ledger, Transport: r.options.Transport, Now: r.clock.Now, Random: r.options.Random,
		UserAgent: r.options.UserAgent, CAA: r.options.CAA,
	})
	return nil
}

func (r *Reconciler) remember(cert *v1alpha1.ManagedCertificate) *memory {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := client.ObjectKeyFromObject(cert)
	m := r.memories[key]
	if m == nil || m.uid != cert.UID {
		m = &memory{uid: cert.UID}
		r.memories[key] = m
	}
	return m
}

func (r *Reconciler) forget(key types.NamespacedName) {
	r.mu.Lock()
	delete(r.memories, key)
	r.mu.Unlock()
	r.metrics.forget(key)
}

// look is when to look again where nothing is awaited.
func (r *Reconciler) look() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return min(max(time.Duration(len(r.memories))*time.Second/looksPerSecond, minLook), maxLook)
}

// Reconcile brings one certificate as far as it can get now.
func (r *Reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	cert := &v1alpha1.ManagedCertificate{}
	err := r.reader.Get(ctx, request.NamespacedName, cert)
	if apierrors.IsNotFound(err) {
		r.forget(request.NamespacedName)
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("reading ManagedCertificate %s: %w", request.NamespacedName, err)
	}
	if !cert.DeletionTimestamp.IsZero() {
		return reconcile.Result{}, r.release(ctx, cert)
	}
	if err := r.begin(ctx); err != nil {
		return reconcile.Result{}, err
	}
	again, err := time.Duration(0), r.hold(ctx, cert)
	if err == nil {
		again, err = r.newWork(cert).run(ctx)
	}
	switch {
	case errors.Is(err, errStale), apierrors.IsConflict(err):
		// Somebody else was first: what was done is begun again from what is there.
		return reconcile.Result{RequeueAfter: soon}, nil
	case err != nil:
		return reconcile.Result{}, fmt.Errorf("keeping ManagedCertificate %s: %w", request.NamespacedName, err)
	}
	return reconcile.Result{RequeueAfter: min(max(again, soon), r.look())}, nil
}

// soon is when to go on where there is no reason to wait.
const soon = 10 * time.Millisecond

// errStale: what was read is not what is there any more.
var errStale = errors.New("it has changed meanwhile")

// hold adds the finalizer before anything is made that it is to take away.
func (r *Reconciler) hold(ctx context.Context, cert *v1alpha1.ManagedCertificate) error {
	base := cert.DeepCopy()
	if !controllerutil.AddFinalizer(cert, Finalizer) {
		return nil
	}
	if err := r.patch(ctx, cert, base); err != nil {
		return fmt.Errorf("adding the finalizer to ManagedCertificate %s/%s: %w", cert.Namespace, cert.Name, err)
	}
	return nil
}

func (r *Reconciler) patch(ctx context.Context, cert, base *v1alpha1.ManagedCertificate) error {
	return r.client.Patch(ctx, cert, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}), fieldOwner)
}

// release takes away what was made for a certificate, but a Secret that is still in
// use, and the copies: the certificate may be made again, and the limits of authorities
// are for weeks. The account's key stays: it belongs to all certificates of that
// authority, also those to come.
func (r *Reconciler) release(ctx context.Context, cert *v1alpha1.ManagedCertificate) error {
	base := cert.DeepCopy()
	if !controllerutil.RemoveFinalizer(cert, Finalizer) {
		return nil
	}
	gone, left := []string{orderKeyName(base)}, []string{copyName(base), formerName(base)}
	use, err := r.useOf(ctx, base)
	switch {
	case err != nil:
		left = nil
	case use == handedOver:
		gone, left, err = append(gone, left...), nil, r.leave(ctx, base)
	case use == wanted:
		left = append(left, base.Spec.SecretName)
	default:
		gone = append(gone, base.Spec.SecretName)
	}
	for _, name := range left {
		err = errors.Join(err, r.abandon(ctx, base, name))
	}
	err = errors.Join(err, r.withdraw(ctx, base, nil))
	for _, name := range gone {
		err = errors.Join(err, r.drop(ctx, base, name))
	}
	if err == nil {
		err = client.IgnoreNotFound(r.patch(ctx, cert, base))
	}
	if err != nil {
		return fmt.Errorf("taking away what was made for ManagedCertificate %s/%s: %w", base.Namespace, base.Name, err)
	}
	r.forget(client.ObjectKeyFromObject(base))
	return nil
}
