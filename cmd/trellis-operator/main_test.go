// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func parsed(t *testing.T, arguments ...string) (string, error) {
	t.Helper()
	_, _, err := parse(arguments, func(string) string { return "" }, io.Discard)
	if err == nil {
		return "", nil
	}
	return err.Error(), err
}

func TestEveryFlagOfTheChartIsKnown(t *testing.T) {
	template, err := os.ReadFile("../../charts/trellis/templates/deployment.yaml")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^\s*- (--[a-z-]+)(=?)`).FindAllStringSubmatch(string(template), -1)
	if len(found) < 10 {
		t.Fatalf("only %d flags were found in the chart", len(found))
	}
	values := map[string]string{"--istiod-selector": "app=istiod", "--istiod-port": "15012", "--open-reports": "true"}
	for _, f := range found {
		argument := f[1] + f[2]
		if f[2] != "" {
			argument += values[f[1]]
		}
		if message, err := parsed(t, argument); err != nil {
			t.Errorf("%s: %s", argument, message)
		}
	}
}

func TestFlagsBecomeOptions(t *testing.T) {
	o, l, err := parse([]string{
		"--trust-domain=corp", "--cluster=one", "--gateway-namespaces=a, b,", "--istiod-selector=app=istiod,istio.io/rev=x",
		"--istiod-port=1", "--leader-elect", "--log-format=text", "--istiod-token=/t", "--webhook-address=", "--dns-identity-namespaces=c,d", "--open-reports=false",
	}, func(name string) string { return map[string]string{"POD_NAMESPACE": "trellis-system"}[name] }, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if o.Namespace != "trellis-system" || o.Mesh.TrustDomain != "corp" || o.Mesh.Cluster != "one" || o.Mesh.RootNamespace != "istio-system" {
		t.Errorf("options %+v", o)
	}
	if !slices.Equal(o.GatewayNamespaces, []string{"a", "b"}) || len(o.Istiod.Selector) != 2 || o.Istiod.Port != 1 || o.Istiod.Token == nil {
		t.Errorf("options %+v", o)
	}
	if !slices.Equal(o.IdentityNamespaces, []string{"c", "d"}) {
		t.Errorf("the pod's identity is for %q", o.IdentityNamespaces)
	}
	if o.OpenReports {
		t.Error("there are reports where nobody wants any")
	}
	if !o.LeaderElect || l.format != "text" || o.WebhookAddress != "" {
		t.Errorf("options %+v, logging %+v", o, l)
	}
}

func TestABadCommandLineIsRefusedByName(t *testing.T) {
	for argument, want := range map[string]string{
		"--no-such-flag":         "no-such-flag",
		"serve":                  `"serve" is not a flag`,
		"--istiod-port=0":        "--istiod-port",
		"--istiod-selector=a=b=": "--istiod-selector",
	} {
		if message, err := parsed(t, argument); err == nil || !strings.Contains(message, want) {
			t.Errorf("%s: %q, want one that names %q", argument, message, want)
		}
	}
	for level, l := range map[string]logging{"--log-level": {"loud", "json"}, "--log-format": {"info", "xml"}} {
		if _, err := l.logger(io.Discard); err == nil || !strings.Contains(err.Error(), level) {
			t.Errorf("%+v: %v, want an error that names %s", l, err, level)
		}
	}
}
