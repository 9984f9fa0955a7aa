// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trellis-mesh/trellis/internal/console"
)

// report is what Playwright's JSON reporter writes, as far as it is read.
type report struct {
	Suites []suite
	Errors []struct{ Message string }
}

type suite struct {
	Title  string
	Suites []suite
	Specs  []struct {
		Title string
		Tests []struct {
			Results []struct {
				Status   string
				Duration int
				Errors   []struct{ Message string }
			}
		}
	}
}

func TestBrowsersShowTheConsole(t *testing.T) {
	cache := os.Getenv("TRELLIS_CACHE")
	if cache == "" {
		cache = filepath.Join(repository, ".cache")
	}
	cache, err := filepath.Abs(cache)
	must(t, err)
	node, web := filepath.Join(cache, "node", "bin", "node"), filepath.Join(repository, "web", "console")
	for _, file := range []string{node, filepath.Join(web, "node_modules", "@playwright", "test")} {
		if _, err := os.Stat(file); err != nil || !console.Built() {
			t.Skipf("the console is not built, or its tools are not there: run make console (%v)", err)
		}
	}
	m := start(t)
	tokens := map[string]string{}
	for _, who := range []string{"developer", "platform", "security", "viewer", "stranger"} {
		tokens[who] = m.token(who)
	}
	m.answers(&http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}, tokens["security"])
	raw, err := json.Marshal(tokens)
	must(t, err)
	out := filepath.Join(t.TempDir(), "report.json")
	command := exec.CommandContext(t.Context(), node, "node_modules/@playwright/test/cli.js", "test", "--config", "browser/playwright.config.ts")
	command.Dir = web
	command.Env = append(os.Environ(), "TRELLIS_CONSOLE=https://"+m.address, "TRELLIS_TOKENS="+string(raw), "PLAYWRIGHT_JSON_OUTPUT_NAME="+out,
		"TRELLIS_KUBECTL="+filepath.Join(cache, "bin", "kubectl"), "KUBECONFIG="+m.Kubeconfig())
	// Failures are in the report, one by one; without one the command itself has failed.
	printed, failure := command.CombinedOutput()
	raw, err = os.ReadFile(out)
	if err != nil {
		t.Fatalf("running Playwright: %v\n%s", failure, printed)
	}
	var r report
	must(t, json.Unmarshal(raw, &r))
	for _, e := range r.Errors {
		t.Error(e.Message)
	}
	if ran := show(t, r.Suites); ran < 20 {
		t.Errorf("only %d tests ran\n%s", ran, printed)
	}
}

// show makes each test of the browser one of Go, and says how many there were.
func show(t *testing.T, suites []suite) int {
	ran := 0
	for i := range suites {
		s := &suites[i]
		t.Run(strings.TrimSuffix(s.Title, ".spec.ts"), func(t *testing.T) {
			ran += show(t, s.Suites)
			for _, spec := range s.Specs {
				ran++
				t.Run(spec.Title, func(t *testing.T) {
					for _, test := range spec.Tests {
						last := test.Results[len(test.Results)-1]
						switch last.Status {
						case "passed":
						case "skipped":
							t.Skip("skipped there")
						default:
							t.Errorf("%s after %s", last.Status, fmt.Sprint(last.Duration, " ms"))
							for _, e := range last.Errors {
								t.Error(e.Message)
							}
						}
					}
				})
			}
		})
	}
	return ran
}
