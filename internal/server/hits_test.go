// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"strings"
	"testing"
	"time"
)

func TestOptionsOfCountsThatContradictThemselvesAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		options Options
		want    string // empty: they are good
	}{
		"nothing":                    {Options{}, ""},
		"a collector alone":          {Options{CollectorAddress: ":1"}, ""},
		"a directory":                {Options{EnvoyAddress: ":1", Hits: Hits{Dir: "/d", Keep: time.Hour, Bytes: 1}}, ""},
		"a server":                   {Options{CollectorAddress: ":1", Hits: Hits{RemoteURL: "http://p", RemoteWriteURL: "http://p/w", Collector: "me"}}, ""},
		"two stores":                 {Options{EnvoyAddress: ":1", Hits: Hits{Dir: "/d", RemoteURL: "http://p", Collector: "me"}}, "not in both"},
		"a store that nobody fills":  {Options{Hits: Hits{Dir: "/d"}}, "none come in"},
		"a server that nobody fills": {Options{Hits: Hits{RemoteURL: "http://p", Collector: "me"}}, "none come in"},
		"written and not read":       {Options{EnvoyAddress: ":1", Hits: Hits{RemoteWriteURL: "http://p/w"}}, "give --hits-remote-url"},
		"limits of nothing":          {Options{EnvoyAddress: ":1", Hits: Hits{Keep: time.Hour}}, "limits of the store in --hits-dir"},
		"limits of a server":         {Options{EnvoyAddress: ":1", Hits: Hits{RemoteURL: "http://p", Collector: "me", Bytes: 1}}, "limits of the store in --hits-dir"},
		"less than nothing":          {Options{EnvoyAddress: ":1", Hits: Hits{Dir: "/d", Bytes: -1}}, "less than nothing"},
		"a writer that has no name":  {Options{EnvoyAddress: ":1", Hits: Hits{RemoteURL: "http://p"}}, "give --hits-collector"},
	} {
		err := c.options.Check()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: the error is %v, want %q", name, err, c.want)
		}
	}
}
