// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package durable_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/trellis-mesh/trellis/internal/durable"
)

func TestAFileIsPutWholeOrNotAtAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	holds := func(want string) {
		t.Helper()
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("it holds %q, %v; want %q", got, err, want)
		}
	}
	for _, content := range []string{"a long one", "short"} {
		if there, err := durable.Put(path, []byte(content[:1]), []byte(content[1:])); !there || err != nil {
			t.Errorf("there: %t, %v", there, err)
		}
		holds(content)
	}
	if err := os.Mkdir(path+durable.Unfinished, 0o700); err != nil {
		t.Fatal(err)
	}
	if there, err := durable.Put(path, []byte("another")); there || err == nil {
		t.Errorf("there: %t, %v", there, err)
	}
	holds("short")
	if is, err := os.Stat(path); err != nil || is.Mode().Perm() != 0o600 {
		t.Errorf("its mode is %s, %v", is.Mode(), err)
	}
}
