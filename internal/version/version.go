// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package version knows which build this is: the version that `make build`
// stamps into the binaries, or what the Go toolchain recorded when somebody
// builds without make. It says nothing about the versions of Istio or Kubernetes.
package version

import (
	"runtime/debug"
	"strings"
)

// stamp is set by the linker; see tools/make/version.mk.
var stamp string

// unreleased is the version of a build that nothing is known of.
const unreleased = "v0.0.0-unknown"

// String returns the version with a leading v, such as v0.3.1,
// v0.3.1-4-gabcdef012345-dirty or v0.0.0-abcdef012345. It is never empty.
func String() string {
	info, _ := debug.ReadBuildInfo()
	return choose(stamp, info)
}

// choose prefers the stamp, then the version of `go install MODULE@VERSION`, then
// the commit of a plain `go build` in a checkout.
func choose(stamp string, info *debug.BuildInfo) string {
	switch {
	case stamp != "":
		return stamp
	case info == nil:
		return unreleased
	case strings.HasPrefix(info.Main.Version, "v"):
		return info.Main.Version
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" && len(setting.Value) >= 12 {
			return "v0.0.0-" + setting.Value[:12]
		}
	}
	return unreleased
}
