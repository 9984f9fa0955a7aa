// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedcertificate

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/certificate"
	"github.com/trellis-mesh/trellis/internal/controller/managedcertificate/leftover"
)

// DirectoryAnnotation on a Secret is the directory of the authority that its
// certificate is of.
const DirectoryAnnotation = "trellis.dev/directory"

// copyName is of the copy of the certificate that was had last, formerName of the
// one before it that was of another authority.
func copyName(cert *v1alpha1.ManagedCertificate) string { return beside(cert.Spec.SecretName, "last") }

func formerName(cert *v1alpha1.ManagedCertificate) string {
	return beside(cert.Spec.SecretName, "former")
}

// known is a pair whose authority is known; that is empty where it is not.
type known struct {
	certificate.Pair
	from string
}

func (k known) secret(namespace, name string) *corev1.Secret {
	s := certificate.Secret(namespace, name, k.Pair, false)
	if k.from != "" {
		s.Annotations = with(s.Annotations, DirectoryAnnotation, k.from)
	}
	if chain, err := certificate.ParseChain(k.Chain); err == nil {
		s.Annotations = with(s.Annotations, leftover.NotAfterAnnotation, chain[0].NotAfter.UTC().Format(time.RFC3339))
	}
	return s
}

// from is the authority of what is served, as far as it is known.
func (w *work) from() string {
	if w.secret != nil && w.secret.Annotations[DirectoryAnnotation] != "" {
		return w.secret.Annotations[DirectoryAnnotation]
	}
	if w.state.Issued != nil {
		return w.state.Issued.Directory
	}
	return ""
}

// replaced reports whether somebody put another pair in the place of ours. One that
// was just issued and could not be noted yet is ours; without a note of ours, all is
// that an authority may have signed.
func (w *work) replaced(info certificate.Info) bool {
	if o := w.state.Order; o != nil && o.Key == info.KeyFingerprint {
		return false
	}
	return !w.state.Issued.Recognises(info)
}

// restore puts a copy back where it is better than what is served, although that
// could be served: it is of the authority that is wanted now, or somebody put another
// pair in the place of ours.
func (w *work) restore(ctx context.Context) error {
	info, problem := certificate.Check(w.pair, nil, w.now)
	if problem != nil || info.Placeholder || borrowed(w.secret) {
		return nil
	}
	if from := w.from(); from != "" && from != w.spec.Directory {
		return w.goBack(ctx)
	}
	if !w.replaced(info) {
		return nil
	}
	there, err := w.find(ctx, func(k known, info certificate.Info) bool {
		return w.state.Issued.Recognises(info) && (w.state.Issued != nil || covers(k, w))
	})
	if there.Empty() || err != nil {
		return err
	}
	if err := w.put(ctx, there, false); err != nil {
		return err
	}
	w.say(corev1.EventTypeWarning, eventSecretReplaced, "Restore", fmt.Sprintf("the Secret %s held a certificate that was not issued for it, "+
		"with the serial number %s; the one that was issued is there again. To serve one of your own, name its Secret in spec.tls.secretName of the SecureIngress",
		w.cert.Spec.SecretName, info.Serial))
	return nil
}

// goBack serves what the authority that is wanted now issued before.
func (w *work) goBack(ctx context.Context) error {
	there, err := w.find(ctx, func(k known, info certificate.Info) bool {
		return k.from == w.spec.Directory && info.Key == w.spec.Key.OrDefault() && covers(k, w)
	})
	if there.Empty() || err != nil {
		return err
	}
	// What was issued by the other authority is not what is served any more.
	w.state.Issued, w.state.Renewal = nil, nil
	return w.put(ctx, there, false)
}

func covers(k known, w *work) bool {
	_, err := certificate.Check(k.Pair, w.names, w.now)
	return err == nil && len(w.names) > 0
}

// find reads the copies and gives the first that is in time and fits.
func (w *work) find(ctx context.Context, fits func(known, certificate.Info) bool) (known, error) {
	for _, name := range []string{copyName(w.cert), formerName(w.cert)} {
		s, err := w.read(ctx, w.cert.Namespace, name)
		if err != nil {
			return known{}, err
		}
		if s == nil || !ours(s, w.cert) {
			continue
		}
		k := known{certificate.FromData(s.Data), s.Annotations[DirectoryAnnotation]}
		if info, err := certificate.Check(k.Pair, nil, w.now); err == nil && !info.Placeholder && fits(k, info) {
			return k, nil
		}
	}
	return known{}, nil
}

// last is a copy that will do, the best that there is: of the kind and the authority
// that are wanted, for the names at least, or in time where anything is better than
// what there is.
func (w *work) last(ctx context.Context, anyNames bool) (known, error) {
	there, err := w.find(ctx, func(k known, info certificate.Info) bool {
		return covers(k, w) && info.Key == w.spec.Key.OrDefault() && (k.from == "" || k.from == w.spec.Directory)
	})
	if err == nil && there.Empty() {
		there, err = w.find(ctx, func(k known, _ certificate.Info) bool { return anyNames || covers(k, w) })
	}
	return there, err
}

// keepCopy makes the copy what is served, so that deleting the one costs nothing. One
// of another authority is kept beside it, for who goes back there. It is read once by
// a process, and whenever there is another certificate.
func (w *work) keepCopy(ctx context.Context) error {
	is := fingerprint(w.pair)
	if w.memory.copied == is {
		return nil
	}
	there, err := w.read(ctx, w.cert.Namespace, copyName(w.cert))
	if err != nil {
		return err
	}
	served := known{w.pair, w.from()}
	if there != nil && ours(there, w.cert) {
		before := known{certificate.FromData(there.Data), there.Annotations[DirectoryAnnotation]}
		if _, err := certificate.Check(before.Pair, nil, w.now); err == nil && before.from != "" && before.from != served.from {
			if err := w.saveCopy(ctx, nil, before, formerName(w.cert)); err != nil {
				return err
			}
		}
	}
	if err := w.saveCopy(ctx, there, served, copyName(w.cert)); err != nil {
		return err
	}
	w.memory.copied = is
	return nil
}

// keepOurs does so for what is ours: what somebody put in its place is better than
// nothing, and not worth a copy.
func (w *work) keepOurs(ctx context.Context, info certificate.Info) error {
	if w.replaced(info) {
		return nil
	}
	return w.keepCopy(ctx)
}

// saveCopy writes one over what is there; nil for what has to be read.
func (w *work) saveCopy(ctx context.Context, there *corev1.Secret, k known, name string) error {
	var err error
	if there == nil {
		if there, err = w.read(ctx, w.cert.Namespace, name); err != nil {
			return err
		}
	}
	_, err = w.save(ctx, w.cert, there, k.secret(w.cert.Namespace, name))
	if foreign := (foreignError{}); errors.As(err, &foreign) {
		w.log.Warn("there will be no copy of a certificate", "certificate", w.key(), "error", err)
		err = nil
	}
	return err
}
