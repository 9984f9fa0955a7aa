// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package certmanager runs cert-manager's own controllers beside the operator, to
// prove that the Certificates which Trellis makes become certificates that our
// gateways serve, and that a Secret changes hands between the two without a gap. It
// is a module of its own, so that nothing else links cert-manager.
package certmanager

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/cert-manager/cert-manager/pkg/apis/certmanager"
	"github.com/cert-manager/cert-manager/pkg/controller"
	"github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/approver"
	"github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/ca"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/issuing"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/keymanager"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/readiness"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/requestmanager"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/revisionmanager"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/trigger"
	"github.com/cert-manager/cert-manager/pkg/controller/issuers"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/ca" // issuers by a key of the cluster
)

// names are the controllers that a CA issuer needs, all of cert-manager's own.
var names = []string{
	approver.ControllerName, ca.CRControllerName, issuing.ControllerName, keymanager.ControllerName, readiness.ControllerName,
	requestmanager.ControllerName, revisionmanager.ControllerName, trigger.ControllerName, issuers.ControllerName,
}

// Run runs cert-manager until the context ends.
func Run(ctx context.Context, kubeconfig string) error {
	factory, err := controller.NewContextFactory(ctx, controller.ContextOptions{
		Kubeconfig: kubeconfig, IssuerOptions: controller.IssuerOptions{ClusterResourceNamespace: "cert-manager"},
		CertificateOptions: controller.CertificateOptions{
			CertificateRequestMinimumBackoffDuration: time.Hour, CertificateRequestMaximumBackoffDuration: 32 * time.Hour,
		},
	})
	if err != nil {
		return fmt.Errorf("configuring cert-manager: %w", err)
	}
	var controllers []controller.Interface
	for _, name := range names {
		constructor, ok := controller.Known()[name]
		if !ok {
			return fmt.Errorf("cert-manager has no controller %s", name)
		}
		c, err := constructor(factory)
		if err != nil {
			return fmt.Errorf("making cert-manager's controller %s: %w", name, err)
		}
		controllers = append(controllers, c)
	}
	shared, err := factory.Build("informers")
	if err != nil {
		return fmt.Errorf("configuring cert-manager: %w", err)
	}
	shared.SharedInformerFactory.Start(ctx.Done())
	shared.KubeSharedInformerFactory.Start(ctx.Done())
	errs := make(chan error, len(controllers))
	for _, c := range controllers {
		go func() { errs <- c.Run(1, ctx) }()
	}
	var failed error
	for range controllers {
		failed = errors.Join(failed, <-errs)
	}
	return failed
}

// Definitions are the manifests of cert-manager's kinds, as its release has them.
func Definitions(module string) ([][]byte, error) {
	files, err := filepath.Glob(filepath.Join(module, "deploy", "crds", "*.yaml"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("finding the definitions of %s: %d files, %w", certmanager.GroupName, len(files), err)
	}
	var out [][]byte
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading a definition: %w", err)
		}
		out = append(out, raw)
	}
	return out, nil
}
