// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package leftover is about Secrets that outlive the certificate that they were
// made for, so that it can be made again without an order, and about their end.
package leftover

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// Label is on Secrets that no certificate uses. Its value is since when, in
	// seconds of Unix time.
	Label = "trellis.dev/released"
	// NotAfterAnnotation says until when the certificate in a Secret is good
	// (RFC 3339), so that nobody has to read the key to know.
	NotAfterAnnotation = "trellis.dev/not-after"
	// Life is how long a Secret without a certificate stays: as long as authorities
	// count orders for the same names. After that, another costs nothing that counts.
	Life = 7 * 24 * time.Hour
	// every is how often there is a look.
	every = time.Hour
)

// Mark says on a Secret that it is left over since a time.
func Mark(s *corev1.Secret, now time.Time) {
	if s.Labels == nil {
		s.Labels = map[string]string{}
	}
	s.Labels[Label] = strconv.FormatInt(now.Unix(), 10)
}

// Is reports whether a Secret is left over.
func Is(s metav1.Object) bool {
	_, ok := s.GetLabels()[Label]
	return ok
}

// over reports whether a Secret that is left over is of no use any more. What
// people have made of the marks counts as no time at all.
func over(s metav1.Object, now time.Time) bool {
	since, err := strconv.ParseInt(s.GetLabels()[Label], 10, 64)
	if err != nil || now.Sub(time.Unix(since, 0)) >= Life {
		return true
	}
	end, err := time.Parse(time.RFC3339, s.GetAnnotations()[NotAfterAnnotation])
	return err == nil && !now.Before(end)
}

// Sweeper deletes what is left over and of no use. All fields are required. Safe
// for one goroutine.
type Sweeper struct {
	Client client.Client
	// Namespaces are where there are certificates.
	Namespaces []string
	Clock      clock.Clock
	Log        *slog.Logger
	// InUse reports whether there is a certificate that a Secret was made for.
	InUse func(ctx context.Context, s metav1.Object) (bool, error)
}

// Start sweeps once an hour until the context ends. A failure is told, and left to
// the next time.
func (s *Sweeper) Start(ctx context.Context) error {
	for {
		if err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.Log.Warn("copies of certificates that nobody needs stay for another hour", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.Clock.After(every):
		}
	}
}

// Sweep looks once. It reads no key: metadata alone.
func (s *Sweeper) Sweep(ctx context.Context) error {
	var errs []error
	for _, namespace := range s.Namespaces {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
		if err := s.Client.List(ctx, list, client.InNamespace(namespace), client.HasLabels{Label}); err != nil {
			errs = append(errs, fmt.Errorf("listing Secrets of %s that are left over: %w", namespace, err))
			continue
		}
		for i := range list.Items {
			errs = append(errs, s.end(ctx, &list.Items[i]))
		}
	}
	return errors.Join(errs...)
}

// end deletes a Secret whose time is over, the one that was seen and no other.
func (s *Sweeper) end(ctx context.Context, o *metav1.PartialObjectMetadata) error {
	if !over(o, s.Clock.Now()) {
		return nil
	}
	if used, err := s.InUse(ctx, o); used || err != nil {
		return err
	}
	seen := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: o.Namespace, Name: o.Name}}
	err := s.Client.Delete(ctx, seen, client.Preconditions{UID: &o.UID, ResourceVersion: &o.ResourceVersion})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting Secret %s/%s, which is left over: %w", o.Namespace, o.Name, err)
	}
	return nil
}
