// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mtls_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/cli/source"
	"github.com/trellis-mesh/trellis/internal/mtls"
	"github.com/trellis-mesh/trellis/internal/xds/generator"
)

const answers = "../cli/testdata/answers/"

// TestMain has the generator be an istiod in ambient mode. Only a process of its own can.
func TestMain(m *testing.M) {
	if err := generator.Configure(generator.Flags{"PILOT_ENABLE_AMBIENT": "true"}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// ambientMesh is the one of the answers, with what Istio's CNI notes on pods.
func ambientMesh(t *testing.T) *mtls.Checker {
	t.Helper()
	text, err := os.ReadFile(answers + "workloads-that-a-ztunnel-stands-before/objects.yaml")
	if err != nil {
		t.Fatal(err)
	}
	noted := string(text)
	for _, labels := range []string{"{app: till}", "{app: vault}", "{app: counter}", "{app: kiosk, istio.io/dataplane-mode: ambient}"} {
		if !strings.Contains(noted, "labels: "+labels+"}") {
			t.Fatalf("there is no pod with %s", labels)
		}
		noted = strings.ReplaceAll(noted, "labels: "+labels+"}", "labels: "+labels+", annotations: {ambient.istio.io/redirection: enabled}}")
	}
	file := filepath.Join(t.TempDir(), "objects.yaml")
	if err := os.WriteFile(file, []byte(noted), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := mesh.Open(t.Context(), &source.Options{Files: []string{answers + "secured", file}}, nil, time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	policies, _ := m.Policies()
	return mtls.New(m.World, policies)
}

// The answers are of a generator that is no istiod in ambient mode, for which the checker
// says what one would have sidecars send. Here one says so.
func TestAnIstiodInAmbientModeHasSidecarsSendWhatIsSaidOfIt(t *testing.T) {
	c := ambientMesh(t)
	for pair, want := range map[string]string{
		"shop/cart bank/till:80":       "OK* HBONE/HTTP HBONE", // for all that its rule has DISABLE
		"shop/cart bank/vault:80":      "OK* HBONE HBONE",
		"shop/cart bank/vault:9090":    "OK* HBONE/TCP HBONE",
		"shop/cart bank/relic:80":      "OK HTTP HTTP",
		"shop/cart shop/ledger:80":     "OK mTLS mTLS",
		"shop/cart bank/counter:80":    "UNKNOWN - -",
		"web/frontend bank/till:80":    "UNKNOWN HBONE/HTTP -",
		"web/frontend legacy/kiosk:80": "OK* HBONE/HTTP HBONE",
		"legacy/batch bank/vault:80":   "CONFLICT* HBONE HTTP",
		"bank/till shop/stock:80":      "CONFLICT* mTLS HTTP",
	} {
		from, to, _ := strings.Cut(pair, " ")
		namespace, name, _ := strings.Cut(from, "/")
		client, err := c.Client(ask.WorkloadRef{Namespace: namespace, Name: name})
		if err != nil {
			t.Fatal(err)
		}
		service, port, _ := strings.Cut(to, ":")
		var number uint16
		if _, err := fmt.Sscan(port, &number); err != nil {
			t.Fatal(err)
		}
		target, err := c.Target(service, number)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range c.Check(client, target) {
			if got := row.Mark() + " " + row.Server() + " " + row.Sent(); got != want {
				t.Errorf("%s: got %q, want %q: %+v", pair, got, want, row)
			}
		}
	}
}
