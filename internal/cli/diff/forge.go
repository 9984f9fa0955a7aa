// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package diff

import (
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/tell"
	"github.com/trellis-mesh/trellis/internal/cli/codeowners"
)

// forge is the repository that a change is proposed in: where its lines can be
// looked at, and who owns them.
type forge struct {
	// after is the folder of that side, path where it is in the repository; empty:
	// as it is written.
	after, path string
	// link is the address of the repository's root at the commit; nil: none.
	link   *url.URL
	owners *codeowners.Owners
}

func (o *Options) forge(after string) (*forge, error) {
	f := &forge{after: after, path: o.Path}
	if o.Link != "" {
		u, err := url.Parse(o.Link)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
			return nil, fmt.Errorf("reading --link: %q is no address of a repository, such as https://github.com/OWNER/REPOSITORY/blob/COMMIT/", o.Link)
		}
		f.link = u
	}
	if after == "" {
		return f, nil
	}
	var err error
	f.owners, err = codeowners.Find(after)
	return f, err
}

// after is the folder of AFTER; over a running cluster the draft is. Empty: it is no
// folder.
func (o *Options) after(args []string) string {
	switch {
	case len(args) > 1:
		return args[1]
	case len(o.Files) > 0 && o.Files[0] != "-":
		return o.Files[0]
	}
	return ""
}

// place is a line of a file of the repository.
type place struct {
	// file is as the repository has it, source as it was read.
	file, source string
	line         int
	// after: it is of the new side, and has an address.
	after bool
}

// placeOf reads FILE:LINE; false where a statement says something else of where it
// is kept.
func (f *forge) placeOf(origin ask.Origin) (place, bool) {
	at := strings.LastIndex(origin.Source, ":")
	if at < 0 {
		return place{}, false
	}
	line, err := strconv.Atoi(origin.Source[at+1:])
	if err != nil || line < 1 {
		return place{}, false
	}
	out := place{source: origin.Source[:at], line: line}
	out.file = filepath.ToSlash(filepath.Clean(out.source))
	relative, err := filepath.Rel(f.after, out.source)
	out.after = err == nil && filepath.IsLocal(relative)
	if out.after && f.path != "" {
		out.file = path.Join(f.path, filepath.ToSlash(relative))
	}
	return out, true
}

// address is where a line can be looked at; empty where it cannot.
func (f *forge) address(p place) string {
	if f.link == nil || !p.after || strings.HasPrefix(p.file, "..") || strings.HasPrefix(p.file, "/") {
		return ""
	}
	u := *f.link
	// Lines are counted from 1 by all forges.
	u = *u.JoinPath(strings.Split(p.file, "/")...)
	u.Fragment = "L" + strconv.Itoa(p.line)
	return u.String()
}

// whom says who may approve a change from one moment to another: by the statement's
// layer, and by the owners of its file.
func (f *forge) whom(before, after ask.Moment) string {
	origin, ok := deciding(before, after)
	if !ok {
		return ""
	}
	out := tell.PlaceOf(origin).Whom
	if p, ok := f.placeOf(origin); ok {
		if owners := f.owners.Of(p.source); len(owners) > 0 {
			out += ": " + strings.Join(owners, " ")
		}
	}
	return out
}
