// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"slices"
	"testing"
)

func TestBackEndsReadOddPathsInMoreThanOneWay(t *testing.T) {
	for _, test := range []struct{ target, want string }{
		{"/open/..%2fapi/x?q=1", "/api/x"},
		{"/open/..%5capi", "/api"},
		{"/open\\..\\api", "/api"},
		{"//api//x", "/api/x"},
		{"/api;a=1/x", "/api/x"},
		{"/open/..;/api", "/api"},
		{"/open/%2e%2e/api", "/api"},
		{"/open/%252e%252e%252fapi", "/api"},
		{"/api%00.html", "/api"},
		{"/a%zz", "/a%zz"},
		{"/api/", "/api/"},
		{"http://shop/api", "/api"},
	} {
		t.Run(test.target, func(t *testing.T) {
			if got := Readings(test.target); !slices.Contains(got, test.want) {
				t.Errorf("want %q among %q", test.want, got)
			}
		})
	}
}
