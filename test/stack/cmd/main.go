// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Command cmd runs the local stack for people: go run ./test/stack/cmd up.
//
// It starts the stack with a gateway, two applications and an identity provider,
// prints the addresses and what to export, and stays until Ctrl-C. It is a thin front of package
// stack and has no behaviour of its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/trellis-mesh/trellis/test/stack"
)

const usage = `use: cmd up [-dir DIRECTORY] [-bare] [-istiods N]`

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	cancel()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "stack:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 || args[0] != "up" {
		return errors.New(usage)
	}
	flags := flag.NewFlagSet("up", flag.ContinueOnError)
	dir := flags.String("dir", "", "state and logs; default a directory in the cache that is removed at the end")
	bare := flags.Bool("bare", false, "the cluster and Istio only, no gateway and no applications")
	istiods := flags.Int("istiods", 1, "replicas of istiod, 1 or 2")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	s, err := stack.Start(ctx, stack.Options{Dir: *dir, Out: os.Stdout, IstiodReplicas: *istiods})
	if err != nil {
		return err
	}
	defer s.Stop()
	fmt.Printf("\nexport KUBECONFIG=%s\nlogs are in %s\n", s.Kubeconfig(), s.Logs())
	if !*bare {
		if err := populate(ctx, s); err != nil {
			return err
		}
	}
	fmt.Println("\nCtrl-C stops everything")
	return wait(ctx, s)
}

// populate starts a gateway, two applications and an identity provider.
func populate(ctx context.Context, s *stack.Stack) error {
	for _, namespace := range []string{"istio-ingress", "bookinfo"} {
		if err := s.Namespace(ctx, namespace, map[string]string{"exposure": "public"}); err != nil {
			return err
		}
	}
	gateway, err := s.Gateway(ctx, stack.GatewayOptions{Namespace: "istio-ingress", Name: "istio-ingressgateway"})
	if err != nil {
		return err
	}
	fmt.Printf("gateway istio-ingress/istio-ingressgateway: HTTPS %s, HTTP %s\n", gateway.HTTPSAddress, gateway.HTTPAddress)
	show("gateway", gateway.Proxy)
	for _, name := range []string{"productpage", "reviews"} {
		application, err := s.Application(ctx, stack.ApplicationOptions{Namespace: "bookinfo", Name: name})
		if err != nil {
			return err
		}
		fmt.Printf("application bookinfo/%s: http://%s, outgoing requests through http://%s\n",
			name, application.Host(9080), application.EgressAddress(9080))
		show(name, application.Proxy)
	}
	return identityProvider(s)
}

// identityProvider serves keys for RequestAuthentication and prints a token.
func identityProvider(s *stack.Stack) error {
	issuer, err := s.Issuer("https://issuer.example")
	if err != nil {
		return err
	}
	token, err := issuer.Token(stack.Claims{"aud": "shop", "scope": "reviews.read"})
	if err != nil {
		return err
	}
	fmt.Printf("identity provider %s: keys %s\n  a token for an hour, audience shop, scope reviews.read:\n  export TOKEN=%s\n",
		issuer.URL, issuer.KeysURL, token)
	return nil
}

func show(name string, proxy *stack.Proxy) {
	fmt.Printf("  Envoy of %s: admin http://%s, access log %s\n", name, proxy.AdminAddress, proxy.AccessLog)
}

// wait returns when ctx ends or a program of the stack does.
func wait(ctx context.Context, s *stack.Stack) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if err := s.Failed(); err != nil {
				return err
			}
		}
	}
}
