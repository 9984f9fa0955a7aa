// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package console holds the files of the web console. They are built from web/console by
// `make console` into dist, and embedded from there, so that a server needs nothing but
// itself. Without that step the package builds all the same, and its only file is a page
// that says what is missing.
//
// The files hold no data: what the pages show, they ask of the API with the token of who
// looks at them.
package console

import (
	"embed"
	"io/fs"
)

//go:embed all:dist
var dist embed.FS

//go:embed unbuilt/index.html
var unbuilt embed.FS

// index is the one page; the browser's part of it decides by the address what to show.
const index = "index.html"

// Files returns the files that are to be served at the root of a host: index.html for
// every address that is no other file, and assets/, whose names change with what is in
// them.
func Files() fs.FS {
	if Built() {
		return below(dist, "dist")
	}
	return below(unbuilt, "unbuilt")
}

// Built reports whether the console was built before this binary was.
func Built() bool {
	_, err := fs.Stat(dist, "dist/"+index)
	return err == nil
}

func below(files embed.FS, folder string) fs.FS {
	out, err := fs.Sub(files, folder)
	if err != nil {
		panic(err) // both names are valid, which is all that Sub looks at
	}
	return out
}
