// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/test/stack"
)

// The edit of the chapter "A change": route catalogue becomes public.
const (
	closedRoute = "    authentication: {mode: Required}\n\n  - name: reviews"
	openRoute   = "    authentication: {mode: None}\n\n  - name: reviews"
)

// applyDocuments applies the platform's and the teams' documents, and waits until
// the operator says that they are enforced.
func (d *demo) applyDocuments(ctx context.Context) error {
	var err error
	if d.issuer, err = stack.NewIssuer(issuerURL); err != nil {
		return err
	}
	ingress, err := d.example("platform/secure-ingress.yaml")
	if err != nil {
		return err
	}
	// Nobody answers at login.example.com: the keys are in the document instead.
	if ingress, err = replaced(ingress, keysLine, "jwks: "+strconv.Quote(d.issuer.JWKS())); err != nil {
		return err
	}
	d.view.note("edited: %s becomes jwks, with the keys of the demo's own identity provider", keysLine)
	if err := d.kubectl(ctx, ingress, "apply", "-f", exampleFolder+"/platform/secure-ingress.yaml"); err != nil {
		return err
	}
	started := time.Now()
	for _, team := range []string{"details", "reviews", "productpage"} {
		if err := d.kubectl(ctx, nil, "apply", "-f", exampleFolder+"/"+team+"/application.yaml"); err != nil {
			return err
		}
	}
	if err := d.awaitReady(ctx); err != nil {
		return err
	}
	d.view.line("Ready, which includes seen working in the data plane, %.1f s after the first Application", time.Since(started).Seconds())
	return nil
}

// change makes a route public and private again, and measures until requests end as the
// document says: let through by the gateway and the application's own proxy, and refused
// by the one or the other.
func (d *demo) change(ctx context.Context) error {
	before, err := d.example("productpage/application.yaml")
	if err != nil {
		return err
	}
	after, err := replaced(before, closedRoute, openRoute)
	if err != nil {
		return err
	}
	d.view.line("Route catalogue is to be public:")
	d.view.difference("authentication: {mode: Required}", "authentication: {mode: None}")
	if err := d.applyAndMeasure(ctx, after, "public", 200); err != nil {
		return err
	}
	d.view.header()
	d.record(question{
		who: "anybody", request: "GET …/api/v1/products/0/reviews", credential: "-", send: d.https("GET", "/api/v1/products/0/reviews", ""),
		want: []int{401, 403}, says: "below the public path, and a route of its own: closed as before",
	}.ask(ctx))
	d.view.line("And back:")
	return d.applyAndMeasure(ctx, before, "private", 401, 403)
}

// applyAndMeasure applies productpage's document and asks for the catalogue
// without a token until the answer is one of want.
func (d *demo) applyAndMeasure(ctx context.Context, document []byte, what string, want ...int) error {
	q := question{
		who: "anybody", request: "GET …/api/v1/products", credential: "-", send: d.https("GET", "/api/v1/products", ""), want: want,
	}
	started := time.Now()
	if err := d.kubectl(ctx, document, "apply", "-f", exampleFolder+"/productpage/application.yaml"); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var last row
	err := stack.Until(limited, "route catalogue to be "+what, func(ctx context.Context) error {
		if last = q.ask(ctx); !last.right {
			return fmt.Errorf("answered %s", last.answer)
		}
		return nil
	})
	if err != nil {
		return err
	}
	d.view.line("GET …/api/v1/products without a token: %s, %.2f s after kubectl apply began", last.answer, time.Since(started).Seconds())
	return nil
}

// await waits as a pipeline would. When it waits in vain, the story shows what the operator
// has to say.
func (d *demo) await(ctx context.Context, condition string, which ...string) error {
	err := d.kubectl(ctx, nil, append([]string{"wait", "--for=condition=" + condition, "--timeout=90s"}, which...)...)
	if err == nil || ctx.Err() != nil {
		return err
	}
	return errors.Join(err, d.kubectl(ctx, nil, "get", "tapp,singress", "-A", "-o",
		`jsonpath={range .items[*]}{.kind} {.metadata.name}{range .status.conditions[*]}{"\n  "}{.type} {.status} {.reason}: {.message}{end}{"\n"}{end}`))
}

func (d *demo) awaitReady(ctx context.Context) error {
	return d.await(ctx, "Ready", "tapp,singress", "--all", "-A")
}

func (d *demo) showStatus(ctx context.Context) error {
	if err := d.awaitReady(ctx); err != nil {
		return err
	}
	if err := d.kubectl(ctx, nil, "get", "tapp,singress", "-A"); err != nil {
		return err
	}
	return d.kubectl(ctx, nil, "get", "gateways.networking.istio.io,virtualservices,authorizationpolicies,requestauthentications,peerauthentications",
		"-A", "-l", "app.kubernetes.io/managed-by=trellis")
}

// verdict says how it went.
func (d *demo) verdict() {
	d.view.print("\n")
	if d.wrong > 0 {
		d.view.line("%s", d.view.style(red, fmt.Sprintf("%d answers were not what the documents say.", d.wrong)))
		return
	}
	d.view.line("%s", d.view.style(green, "Every answer was what the documents say."))
}

// invite says what to try, with everything that it takes.
func (d *demo) invite() {
	address, port, _ := strings.Cut(d.gateway.HTTPSAddress, ":")
	url := "https://" + host + ":" + port
	v := d.view
	v.print("\n")
	v.title("The console, with live counts: " + d.consoleURL)
	v.title(url + " answers at " + address)
	if err := d.writeKeepsakes(); err != nil {
		v.line("the files for the commands below are missing: %v", err)
	}
	v.line("Try, in another terminal (the token has the scope reviews.read and is good for an hour):")
	v.print("\n")
	for _, command := range []string{
		"cd " + d.repository,
		"export KUBECONFIG=" + d.stack.Kubeconfig() + " PATH=$PWD/bin:" + d.tools + ":$PATH",
		"ask() { curl -i --cacert " + filepath.Join(d.dir, "ca.pem") + " --resolve " + host + ":" + port + ":" + address + " \"$@\"; }",
		"ask " + url + "/productpage",
		"ask " + url + "/api/v1/products/0/reviews",
		"ask -H \"Authorization: Bearer $(cat " + filepath.Join(d.dir, "token") + ")\" " + url + "/api/v1/products/0/reviews",
		"kubectl -n bookinfo edit tapp productpage",
		"kubectl -n bookinfo get authorizationpolicy trellis-application-details-deny -o yaml",
		"trellis check -f examples/bookinfo",
		"trellis render -f examples/bookinfo",
	} {
		v.print("     " + v.style(cyan, command) + "\n")
	}
	v.print("\n")
	v.line("Logs are in %s.", d.stack.Logs())
	v.line("Everything keeps running until Ctrl-C.")
}

// writeKeepsakes writes the authority and a token for the commands at the end.
func (d *demo) writeKeepsakes() error {
	secret := &corev1.Secret{}
	if err := d.stack.Client().Get(context.Background(), client.ObjectKey{Namespace: gatewaySpace, Name: certificate}, secret); err != nil {
		return fmt.Errorf("reading the certificate: %w", err)
	}
	// The chain is the leaf, then its authority.
	_, authority := pem.Decode(secret.Data[corev1.TLSCertKey])
	if err := os.WriteFile(filepath.Join(d.dir, "ca.pem"), authority, 0o600); err != nil {
		return fmt.Errorf("writing the authority: %w", err)
	}
	tokens, err := d.tokens()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(d.dir, "token"), []byte(tokens.reader), 0o600); err != nil {
		return fmt.Errorf("writing the token: %w", err)
	}
	return nil
}
