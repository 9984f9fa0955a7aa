// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"io/fs"
	"path"
	"regexp"
	"strings"
	"testing"
)

func read(t *testing.T, files fs.FS, name string) string {
	t.Helper()
	text, err := fs.ReadFile(files, name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestABinaryWithoutTheConsoleSaysHowToGetIt(t *testing.T) {
	if text := read(t, below(unbuilt, "unbuilt"), index); !strings.Contains(text, "make console") {
		t.Errorf("the page does not say how: %s", text)
	}
}

func TestThePlaceholderKeepsTheFolderThatIsEmbedded(t *testing.T) {
	if _, err := fs.Stat(dist, "dist/.gitkeep"); err != nil {
		t.Fatalf("go build fails in a fresh checkout without it: %v", err)
	}
}

// The server's policy for content forbids what is inline: the page would stay empty.
func TestPagesHaveNoInlineScriptsOrStyles(t *testing.T) {
	for _, files := range []fs.FS{below(unbuilt, "unbuilt"), Files()} {
		text := read(t, files, index)
		for _, inline := range []string{"<script>", "<style", " onload=", " style=", "javascript:"} {
			if strings.Contains(text, inline) {
				t.Errorf("index.html has an inline %s", inline)
			}
		}
	}
}

var reference = regexp.MustCompile(`(?:src|href)="(/[^"]+)"`)

func TestEverythingThatThePageLoadsIsEmbedded(t *testing.T) {
	if !Built() {
		t.Skip("this checkout has not run make console")
	}
	loads := reference.FindAllStringSubmatch(read(t, Files(), index), -1)
	if len(loads) < 3 {
		t.Fatalf("the page loads too little: %v", loads)
	}
	for _, one := range loads {
		if _, err := fs.Stat(Files(), path.Clean(one[1][1:])); err != nil {
			t.Errorf("%s: %v", one[1], err)
		}
	}
}
