// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package main

// tool is one pinned thing under the cache directory. Exactly one of pkg and
// fetch says how it is made.
type tool struct {
	name   string
	module string // directory of the pin, from the repository's root
	pkg    string // main package, built inside that module
	tags   string // of the build, with commas
	static bool   // without C, though there is a compiler
	stamp  string // linker flags besides the stripping that every binary gets
	fetch  func(*builder, tool) error
	files  []string // what it makes, from the cache directory; default bin/<name>
	byName bool     // made only when asked for by name
}

const leashPackage = "github.com/trellis-mesh/trellis/tools/envoy/leash"

// kubernetesVersion is linked into the API server and kubectl, which otherwise
// report v0.0.0-master and confuse clients that compare versions.
const kubernetesVersion = "-X k8s.io/component-base/version.gitVersion=v1.36.3"

// tools lists everything this program makes, fast ones first so that an error
// in the set-up shows early.
func tools() []tool {
	return []tool{
		{name: "envoy", module: "tools/envoy", fetch: fetchEnvoy},
		{
			name: "node", module: "tools/node", fetch: fetchNode, byName: true,
			files: []string{"node/bin/node", "node/npm/bin/npm-cli.js"},
		},
		{name: "leash", module: "tools/envoy", pkg: leashPackage},
		{name: "etcd", module: "tools/kubernetes", pkg: "go.etcd.io/etcd/server/v3"},
		{name: "kube-apiserver", module: "tools/kubernetes", pkg: "k8s.io/kubernetes/cmd/kube-apiserver", stamp: kubernetesVersion},
		{name: "kubectl", module: "tools/kubernetes", pkg: "k8s.io/kubernetes/cmd/kubectl", stamp: kubernetesVersion},
		{name: "pilot-discovery", module: "tools/istio", pkg: "istio.io/istio/pilot/cmd/pilot-discovery"},
		{name: "pilot-agent", module: "tools/istio", pkg: "istio.io/istio/pilot/cmd/pilot-agent"},
		{
			name: "istio-manifests", module: "tools/istio", fetch: copyIstioFiles,
			files: []string{"istio/crd-all.gen.yaml", "istio/envoy_bootstrap.json"},
		},
		{
			name: "prometheus", module: "tools/prometheus", pkg: "github.com/prometheus/prometheus/cmd/prometheus",
			tags: "remove_all_sd", static: true, byName: true, // no service discovery of clouds
		},
		{
			name: "promtool", module: "tools/prometheus", pkg: "github.com/prometheus/prometheus/cmd/promtool",
			tags: "remove_all_sd", static: true, byName: true,
		},
		{
			name: "victoria-metrics", module: "tools/victoriametrics",
			pkg: "github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-metrics", static: true, byName: true,
		},
		{name: "helm", module: "tools/helm", pkg: "helm.sh/helm/v4/cmd/helm"},
		{
			name: "golangci-lint", module: "tools/lint",
			pkg: "github.com/golangci/golangci-lint/v2/cmd/golangci-lint", byName: true,
		},
		{
			name: "controller-gen", module: "tools/codegen",
			pkg: "sigs.k8s.io/controller-tools/cmd/controller-gen", byName: true,
		},
	}
}

// choose returns the tools of those names in the table's order, or the default
// set when names is empty.
func choose(all []tool, names []string) ([]tool, error) {
	wanted := make(map[string]bool, len(names))
	for _, name := range names {
		wanted[name] = true
	}
	var chosen []tool
	for _, t := range all {
		if wanted[t.name] || len(names) == 0 && !t.byName {
			chosen = append(chosen, t)
		}
		delete(wanted, t.name)
	}
	for _, name := range names {
		if wanted[name] {
			return nil, &unknownToolError{name: name, all: all}
		}
	}
	return chosen, nil
}
