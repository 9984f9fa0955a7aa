// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// page is what the checks need of a Markdown file.
type page struct {
	blocks  []block
	links   []link
	anchors map[string]bool
}

// block is a fenced code block.
type block struct {
	line int // of its opening fence
	info string
	text string
}

// link is the target of a link or image.
type link struct {
	line   int
	target string
}

var (
	linkPattern    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	headingPattern = regexp.MustCompile(`^#{1,6} +(.*)$`)
	codeSpan       = regexp.MustCompile("`[^`]*`")
	notInAnchor    = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// readPage reads fenced blocks, links and headings of a file.
func readPage(path string) (*page, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading a page: %w", err)
	}
	p := &page{anchors: map[string]bool{}}
	var open *block
	for i, line := range strings.Split(string(text), "\n") {
		info, fence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case fence && open == nil:
			open = &block{line: i + 1, info: strings.TrimSpace(info)}
		case fence:
			p.blocks = append(p.blocks, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		default:
			p.prose(i+1, line)
		}
	}
	if open != nil {
		return nil, fmt.Errorf("reading %s: the block of line %d has no end", path, open.line)
	}
	return p, nil
}

func (p *page) prose(number int, line string) {
	if heading := headingPattern.FindStringSubmatch(line); heading != nil {
		p.anchors[anchor(heading[1])] = true
	}
	for _, match := range linkPattern.FindAllStringSubmatch(codeSpan.ReplaceAllString(line, ""), -1) {
		p.links = append(p.links, link{number, match[1]})
	}
}

// anchor is what code hosts make of a heading.
func anchor(heading string) string {
	return strings.ReplaceAll(notInAnchor.ReplaceAllString(strings.ToLower(heading), ""), " ", "-")
}
