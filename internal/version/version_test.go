// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package version

import (
	"os"
	"reflect"
	"runtime/debug"
	"strings"
	"testing"
)

func TestVersionIsTheMostExactThatIsKnown(t *testing.T) {
	released := &debug.BuildInfo{Main: debug.Module{Version: "v0.3.1"}}
	checkout := &debug.BuildInfo{
		Main:     debug.Module{Version: "(devel)"},
		Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef0123"}},
	}
	for _, c := range []struct {
		name, stamp string
		info        *debug.BuildInfo
		want        string
	}{
		{"stamped by make", "v0.4.0", released, "v0.4.0"},
		{"installed by go install", "", released, "v0.3.1"},
		{"built in a checkout", "", checkout, "v0.0.0-0123456789ab"},
		{"built without version control", "", &debug.BuildInfo{}, "v0.0.0-unknown"},
		{"without build information", "", nil, "v0.0.0-unknown"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := choose(c.stamp, c.info); got != c.want {
				t.Errorf("version %s, want %s", got, c.want)
			}
		})
	}
}

// The linker says nothing about a name that it does not find.
func TestMakeStampsTheVariableOfThisPackage(t *testing.T) {
	text, err := os.ReadFile("../../tools/make/version.mk")
	if err != nil {
		t.Fatalf("reading the flags: %v", err)
	}
	type marker struct{}
	flag := "-X " + reflect.TypeFor[marker]().PkgPath() + ".stamp="
	if !strings.Contains(string(text), flag) {
		t.Errorf("tools/make/version.mk does not have %q", flag)
	}
}
