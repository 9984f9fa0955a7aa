// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package embedded

import (
	"os"
	"path/filepath"
)

// lock keeps other processes out where the system does so for open files, as Windows does
// when one is to be taken away.
func lock(dir string) (func() error, error) {
	path := filepath.Join(dir, "lock")
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	return file.Close, nil
}
