// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package durable writes files that are there after a power cut, or not at all.
package durable

import (
	"errors"
	"os"
	"path/filepath"
)

// Unfinished ends the name of a file until all of it is written. One that is found when a
// process begins is of no use: what it was to replace is still there.
const Unfinished = ".unfinished"

// Put writes a file in the place of what is there, all or nothing, that its owner alone may
// read. It says whether it is there, also with an error. Of one path there may be one Put at
// a time.
func Put(path string, parts ...[]byte) (there bool, err error) {
	temporary := path + Unfinished
	file, err := os.OpenFile(temporary, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return false, err
	}
	for _, part := range parts {
		if err == nil {
			_, err = file.Write(part)
		}
	}
	if err == nil {
		err = file.Sync()
	}
	err = errors.Join(err, file.Close())
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		return false, errors.Join(err, os.Remove(temporary))
	}
	return true, SyncDir(filepath.Dir(path))
}

// SyncDir has the names in a directory on the disk when it returns.
func SyncDir(dir string) error {
	file, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}
