// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"sync/atomic"

	"github.com/trellis-mesh/trellis/test/demo/bookinfo"
	"github.com/trellis-mesh/trellis/test/docs"
	"github.com/trellis-mesh/trellis/test/sink"
	"github.com/trellis-mesh/trellis/test/stack"
)

const (
	exampleFolder    = "examples/bookinfo"
	operatorSpace    = "trellis-system"
	gatewaySpace     = "istio-ingress"
	gatewayName      = "istio-ingressgateway"
	applicationSpace = "bookinfo"
	host             = "bookinfo.example.com"
	issuerURL        = "https://login.example.com"
	audience         = "bookinfo"
	keysLine         = "jwksURI: https://login.example.com/keys"
	certificate      = "wildcard-example-com"
)

// demo is the state that the chapters share, in the order in which it comes to be.
type demo struct {
	view       *view
	repository string
	tools      string // the directory of the pinned programs
	dir        string // everything of this run

	stack                         *stack.Stack
	gateway                       *stack.Gateway
	authority                     *x509.CertPool
	issuer                        *stack.Issuer
	productpage, reviews, details *stack.Application
	operator, server, console     *process
	operatorPorts                 []string // of admission, health and metrics
	traffic                       *traffic
	way                           sink.Way // of access logs
	consoleURL                    string
	outside                       outside

	wrong int // answers that were not as expected
}

// stop ends everything. What was written stays when something went wrong: there
// are the logs.
func (d *demo) stop(wentWrong bool) {
	d.traffic.stop()
	d.console.stop()
	d.server.stop()
	d.operator.stop()
	d.outside.stop()
	if d.stack != nil {
		d.stack.Stop()
	}
	if wentWrong && d.stack != nil {
		d.view.note("what was logged is in %s", d.stack.Logs())
		return
	}
	_ = os.RemoveAll(d.dir)
}

// startMesh makes what a platform has before it meets Trellis: a cluster with
// Istio, a gateway with a certificate, and workloads with sidecars.
func (d *demo) startMesh(ctx context.Context) error {
	progress, end := d.view.progress()
	defer end()
	mesh, err := docs.MeshConfig(docs.Hits)
	if err != nil {
		return err
	}
	d.stack, err = stack.Start(ctx, stack.Options{
		Dir: d.dir, Out: progress,
		// What docs/concepts/hits.md asks of it, for the last chapter.
		MeshConfig: mesh,
		// What charts/trellis asks of istiod, for the condition Programmed.
		IstiodEnvironment: []string{"DEBUG_ENDPOINT_AUTH_ALLOWED_NAMESPACES=" + operatorSpace},
	})
	if err != nil {
		return err
	}
	if err := d.kubectl(ctx, nil, "apply", "-f", exampleFolder+"/platform/namespaces.yaml"); err != nil {
		return err
	}
	d.view.note("platform/gateway.yaml is what Istio's gateway chart leaves in a cluster: the stack runs that gateway itself")
	d.gateway, err = d.stack.Gateway(ctx, stack.GatewayOptions{
		Namespace: gatewaySpace, Name: gatewayName, Labels: map[string]string{"istio": "ingressgateway"},
	})
	if err != nil {
		return err
	}
	d.view.note("platform/certificate.yaml has a key that everybody knows: a new authority signs a new one instead")
	if d.authority, err = d.stack.Certificate(ctx, gatewaySpace, certificate, "example.com", "*.example.com"); err != nil {
		return err
	}
	return d.startWorkloads(ctx)
}

// startWorkloads applies what each team deploys and answers for it: there is no
// kubelet that would run the images.
func (d *demo) startWorkloads(ctx context.Context) error {
	var outgoing atomic.Pointer[http.Client]
	services := []struct {
		name    string
		app     **stack.Application
		handler http.Handler
	}{
		{"details", &d.details, bookinfo.DetailsService()},
		{"reviews", &d.reviews, bookinfo.ReviewsService()},
		{"productpage", &d.productpage, bookinfo.ProductpageService(bookinfo.Upstreams{
			Details: upstream("details"), Reviews: upstream("reviews"), Client: outgoing.Load,
		})},
	}
	d.view.note("no kubelet runs here: Go services with the same ports and paths answer for the images that the Deployments name")
	for _, s := range services {
		if err := d.kubectl(ctx, nil, "apply", "-f", exampleFolder+"/"+s.name+"/workload.yaml"); err != nil {
			return err
		}
		app, err := d.stack.Application(ctx, stack.ApplicationOptions{
			Namespace: applicationSpace, Name: s.name, Redirected: true,
			Ports: []stack.Port{{Name: "http", Port: bookinfo.Port, Handler: s.handler}},
		})
		if err != nil {
			return err
		}
		*s.app = app
	}
	outgoing.Store(d.productpage.Client())
	return nil
}

// upstream is the base URL of a service as others in the mesh call it.
func upstream(service string) string {
	return fmt.Sprintf("http://%s.%s.svc.cluster.local:%d", service, applicationSpace, bookinfo.Port)
}
