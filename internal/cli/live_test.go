// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestContradictingFlagsAreRefused says what contradicts, before anything is asked.
func TestContradictingFlagsAreRefused(t *testing.T) {
	inRepository(t)
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	dump := filepath.Join(t.TempDir(), "dump.json")
	if err := os.WriteFile(dump, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	question := []string{"can", "https://bookinfo.example.com/"}
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"nothing to ask":             {nil, "name files or directories with -f, or - for standard input; or a running cluster with --context"},
		"a cluster and dumps":        {[]string{"--context", "a", "--config-dump", dump}, "give one of them"},
		"istiod and dumps":           {[]string{"--istiod", "10.0.0.1:15012", "--config-dump", dump}, "give one of them"},
		"two sources":                {[]string{"--source", "generator", "--config-dump", dump}, "give one of them"},
		"no such source":             {[]string{"--source", "envoy"}, `"envoy" is none of istiod, generator`},
		"istiod for the generator":   {[]string{"--context", "a", "--source", "generator", "--istiod", "10.0.0.1:15012"}, "not asked anything"},
		"a draft for istiod":         {[]string{"-f", bookinfo, "--source", "istiod"}, "knows nothing of a draft"},
		"a draft in plain text":      {[]string{"-f", bookinfo, "--istiod-plaintext"}, "knows nothing of a draft"},
		"no address":                 {[]string{"--istiod", "10.0.0.1"}, "is not HOST:PORT"},
		"no port":                    {[]string{"--istiod", "10.0.0.1:http"}, "is not HOST:PORT"},
		"no kubeconfig":              {[]string{"--source", "istiod"}, "there is no kubeconfig"},
		"a context that is not":      {[]string{"--context", "nowhere"}, `context "nowhere" does not exist`},
		"a kubeconfig that is not":   {[]string{"--kubeconfig", "/nowhere/config"}, "/nowhere/config"},
		"a dump that is not":         {[]string{"--config-dump", "/nowhere/dump.json"}, "reading a configuration dump: open /nowhere/dump.json"},
		"a dump of something else":   {[]string{"--config-dump", dump}, `it has no "configs"`},
		"a token and claims at once": {[]string{"-f", bookinfo, "--token", "a", "--claims", "{}"}, "give one of them"},
	} {
		t.Run(name, func(t *testing.T) {
			got := trellis(t, "", append(question, c.args...)...)
			if got.code != 1 || got.out != "" || !strings.Contains(got.err, c.says) {
				t.Errorf("%+v", got)
			}
		})
	}
	for _, args := range [][]string{{"diff", "--context", "a", bookinfo, bookinfo}, {"diff", "--context", "a"}, {"exposed", "--config-dump", dump}} {
		if got := trellis(t, "", args...); got.code != 1 || got.out != "" {
			t.Errorf("%q: %+v", args, got)
		}
	}
}

// TestAClusterWithoutAMeshSaysSo asks an API server that knows none of Istio's kinds.
func TestAClusterWithoutAMeshSaysSo(t *testing.T) {
	cluster(t)
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"no istiod":          {[]string{"can", "https://a.example.com/", "--source", "istiod"}, "no pod with the label app=istiod runs in namespace istio-system"},
		"no proxies":         {[]string{"exposed", "--istiod-plaintext", "--istiod", strings.TrimPrefix(apiServer.Config().Host, "https://")}, "no pod and no WorkloadEntry has a proxy"},
		"no gateway to test": {[]string{"can", "https://a.example.com/", "--source", "generator"}, "no gateway has port 443"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := trellis(t, "", c.args...); got.code != 1 || got.out != "" || !strings.Contains(got.err, c.says) {
				t.Errorf("%+v", got)
			}
		})
	}
}
