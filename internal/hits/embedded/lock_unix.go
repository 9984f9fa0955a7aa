// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// lock keeps other processes out until the function is called, or this one ends.
func lock(dir string) (func() error, error) {
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another process has it open: %w", err), file.Close())
	}
	return file.Close, nil
}
