// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"bytes"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
)

// AddWatchFlag registers -w.
func AddWatchFlag(cmd *cobra.Command, watch *bool) {
	cmd.Flags().BoolVarP(watch, "watch", "w", false, "stay, and show what changes until Ctrl-C")
}

// WatchHelp says what -w does, for the help of commands that have it.
const WatchHelp = `With --watch, the command stays and shows what changes: on a terminal, it draws
everything anew; elsewhere, it appends each line that says something new, and of
what is gone that it is Gone. With -o json, each change is an object on a line of
its own; with -o yaml, a document. Ctrl-C ends it, with the exit code of what was
there last.`

// Watch shows one frame after the other. It is not safe for concurrent use.
type Watch struct {
	streams *streams.Streams
	format  string
	// drawn is what a terminal shows.
	drawn string
	// said are the last items by section and key, and columns the widths that the
	// rows of a section had first.
	said    map[string]map[string]Item
	columns map[string]*output.Columns
	last    *Frame
}

// NewWatch shows frames in one of output.Formats.
func NewWatch(s *streams.Streams, format string) *Watch {
	return &Watch{streams: s, format: format, said: map[string]map[string]Item{}, columns: map[string]*output.Columns{}}
}

// Show shows a frame: all of it on a terminal, elsewhere what is new in it.
func (v *Watch) Show(f *Frame) error {
	v.last = f
	if v.streams.OutTerminal && v.format == "text" {
		return v.redraw(f)
	}
	changes := v.changes(f)
	for _, s := range changes.Sections {
		if len(s.Items) == 0 {
			continue
		}
		if v.format != "text" {
			return changes.appended(v.streams.Out, v.format)
		}
		if err := v.append(s); err != nil {
			return fmt.Errorf("writing what has changed: %w", err)
		}
	}
	return nil
}

// redraw replaces what the terminal shows, in one write so that it does not
// flicker, and only where it looks different.
func (v *Watch) redraw(f *Frame) error {
	var out bytes.Buffer
	if err := f.tables(&out, v.streams.OutColour); err != nil {
		return err
	}
	if out.Len() == 0 {
		out.WriteString("nothing is there yet\n")
	}
	if out.String() == v.drawn {
		return nil
	}
	v.drawn = out.String()
	const home, clear = "\x1b[H", "\x1b[2J"
	if _, err := io.WriteString(v.streams.Out, home+clear+v.drawn); err != nil {
		return fmt.Errorf("drawing what has changed: %w", err)
	}
	return nil
}

// changes are the items that say something new, and those that are gone.
func (v *Watch) changes(f *Frame) *Frame {
	out := &Frame{}
	for _, s := range f.Sections {
		before, now := v.said[s.Name], map[string]Item{}
		changed := Section{Name: s.Name, Header: s.Header}
		for _, item := range s.Items {
			now[item.Key] = item
			if old, there := before[item.Key]; !there || old.News != item.News {
				changed.Items = append(changed.Items, item)
			}
		}
		for key, old := range before {
			if _, there := now[key]; !there && old.Gone != nil {
				changed.Items = append(changed.Items, *old.Gone)
			}
		}
		v.said[s.Name] = now
		out.Sections = append(out.Sections, changed)
	}
	return out
}

// append writes rows below those of before.
func (v *Watch) append(s Section) error {
	rows := s.rows()
	if columns := v.columns[s.Name]; columns != nil {
		return columns.Rows(v.streams.Out, rows, v.streams.OutColour)
	}
	v.columns[s.Name] = output.Fit(s.Header, rows)
	return v.columns[s.Name].Table(v.streams.Out, s.Header, rows, v.streams.OutColour)
}
