// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedcertificate

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/acme/limit"
	"github.com/trellis-mesh/trellis/internal/load"
)

const (
	// LedgerName is the ConfigMap with the budget, in the operator's namespace.
	LedgerName = "trellis-acme-ledger"
	ledgerKey  = "ledger"
)

// budget is the ledger with where it is stored. One process has it.
type budget struct {
	ledger *limit.Ledger
	client client.Client
	reader client.Reader
	key    client.ObjectKey
	// asked counts who wants the ledger stored, and stored how many of them a write
	// has served: those that wait for one write share the next.
	asked atomic.Int64
	// mu keeps writes one after the other, so that none is older than the last.
	mu     sync.Mutex
	stored int64
}

// readBudget begins anew where the text makes no sense: certificates matter more,
// and the authorities count for themselves.
func readBudget(ctx context.Context, r *Reconciler) (*budget, error) {
	b := &budget{client: r.client, reader: r.reader, key: client.ObjectKey{Namespace: r.options.Namespace, Name: LedgerName}}
	stored := &corev1.ConfigMap{}
	err := r.reader.Get(ctx, b.key, stored)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("reading the budget from ConfigMap %s: %w", b.key, err)
	}
	b.ledger = limit.NewLedger(limit.LetsEncrypt)
	if text := stored.Data[ledgerKey]; text != "" {
		if read, err := limit.Decode(limit.LetsEncrypt, []byte(text)); err != nil {
			r.log.Error("the budget of orders begins anew", "configMap", b.key.String(), "error", err)
		} else {
			b.ledger = read
		}
	}
	return b, nil
}

// store writes the ledger. Who writes is the only one that does, so that what is
// there is replaced.
func (b *budget) store(ctx context.Context, now time.Time) error {
	turn := b.asked.Add(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stored >= turn {
		return nil
	}
	served := b.asked.Load()
	text, err := b.ledger.Encode(now)
	if err != nil {
		return err
	}
	err = retry.OnError(retry.DefaultBackoff, lost, func() error { return b.write(ctx, string(text)) })
	if err != nil {
		return fmt.Errorf("writing the budget to ConfigMap %s: %w", b.key, err)
	}
	b.stored = served
	return nil
}

// lost is true where somebody else wrote between our reading and writing.
func lost(err error) bool { return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) }

func (b *budget) write(ctx context.Context, text string) error {
	stored := &corev1.ConfigMap{}
	err := b.reader.Get(ctx, b.key, stored)
	if apierrors.IsNotFound(err) {
		return b.client.Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: b.key.Namespace, Name: b.key.Name, Labels: map[string]string{load.ManagedByLabel: load.ManagedBy},
			},
			Data: map[string]string{ledgerKey: text},
		}, fieldOwner)
	}
	if err != nil || stored.Data[ledgerKey] == text {
		return err
	}
	if stored.Data == nil {
		stored.Data = map[string]string{}
	}
	stored.Data[ledgerKey] = text
	return b.client.Update(ctx, stored, fieldOwner)
}
