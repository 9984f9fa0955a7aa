// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/trellis-mesh/trellis/test/stack"
)

const (
	// contextName is the context of every kubeconfig here.
	contextName = "demo"
	// visitor is the ServiceAccount as which the story looks at what runs.
	visitor = "visitor"
	// pace is from one request of the traffic to the next.
	pace = 200 * time.Millisecond
)

// traffic asks everything again and again.
type traffic struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// observe adds trellis-server, and has requests come for it to count.
func (d *demo) observe(ctx context.Context) error {
	api, err := d.startServer(ctx)
	if err != nil {
		return err
	}
	if err := d.await(ctx, "TestsPassed", "-n", applicationSpace, "tapp/productpage", "tapp/reviews"); err != nil {
		return err
	}
	d.startTraffic(ctx)
	d.view.line("From now on everything above is asked again and again, %d requests a second.", time.Second/pace)
	if err := d.kubectl(ctx, nil, "create", "clusterrolebinding", visitor, "--clusterrole=cluster-admin", "--serviceaccount="+operatorSpace+":"+visitor); err != nil {
		return err
	}
	if err := d.writeKubeconfig(ctx, visitor, d.mount(visitor+".kubeconfig")); err != nil {
		return err
	}
	if err := d.showCounts(ctx, api); err != nil {
		return err
	}
	if err := d.showDraft(ctx, api); err != nil {
		return err
	}
	return d.openConsole(ctx, api)
}

// startServer upgrades the release and runs what it adds: trellis-server, which finds out
// what comes of the Applications' tests, and counts what proxies decide. It returns where
// its questions are answered.
func (d *demo) startServer(ctx context.Context) (api string, err error) {
	ports, err := freePorts(6)
	if err != nil {
		return "", err
	}
	admission, api, health, metrics, otlp, envoy := ports[0], ports[1], ports[2], ports[3], ports[4], ports[5]
	settings := []string{
		"server.enabled=true", "server.collector.enabled=true", "server.collector.telemetry=true", "server.hits.enabled=true",
	}
	rendered, err := d.release(ctx, append(settings, "server.url=https://"+admission)...)
	if err != nil {
		return "", err
	}
	d.operator.stop()
	if err := d.startOperator(ctx, rendered); err != nil {
		return "", err
	}
	// Of a server elsewhere the chart has no Deployment: the arguments are those of one in
	// the cluster.
	inside, err := d.run(ctx, nil, "helm", append(d.template(settings...), "--show-only", "templates/server.yaml")...)
	if err != nil {
		return "", err
	}
	d.server, err = d.startProgram(ctx, inside, "trellis-server", health, map[string]string{
		"--address": admission, "--api-address": api, "--health-address": health, "--metrics-address": metrics,
		"--collector-address": otlp, "--envoy-address": envoy, "--hits-dir": filepath.Join(d.dir, "hits"),
	}, nil)
	if err != nil {
		return "", err
	}
	d.view.note("its Service leads proxies from the cluster to it, as istiod's mesh configuration and the chart's Telemetry say")
	d.way.Lead(envoy)
	_, err = d.stack.Application(ctx, stack.ApplicationOptions{
		Namespace: operatorSpace, Name: "trellis-server", NoSidecar: true,
		Labels: map[string]string{"app.kubernetes.io/name": "trellis", "app.kubernetes.io/component": "server"},
		Ports:  []stack.Port{{Name: "grpc-als", Port: 4318, Protocol: "grpc", Conn: d.way.HandOn}},
	})
	return api, err
}

// startTraffic asks all questions in turn, with new tokens for each round.
func (d *demo) startTraffic(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	t := &traffic{cancel: cancel, done: make(chan struct{})}
	d.traffic = t
	go func() {
		defer close(t.done)
		next := time.NewTicker(pace)
		defer next.Stop()
		for {
			tokens, err := d.tokens()
			if err != nil {
				return // keys are made from nothing but randomness: it has none
			}
			for _, q := range slices.Concat(d.publicQuestions(), d.tokenQuestions(tokens), d.otherQuestions(tokens), d.meshQuestions()) {
				select {
				case <-ctx.Done():
					return
				case <-next.C:
					q.ask(ctx)
				}
			}
		}
	}()
}

func (t *traffic) stop() {
	if t != nil {
		t.cancel()
		<-t.done
	}
}

// trellis runs the CLI as the visitor, and returns what it printed, also beside an error.
func (d *demo) trellis(ctx context.Context, api string, arguments ...string) ([]byte, error) {
	command := exec.CommandContext(ctx, filepath.Join(d.repository, "bin", "trellis"), d.atServer(api, arguments...)...)
	command.Dir, command.Env = d.repository, d.asVisitor()
	var problem strings.Builder
	command.Stderr = &problem
	output, err := command.Output()
	if err != nil {
		return output, fmt.Errorf("running trellis %s: %w: %s%s", strings.Join(arguments, " "), err, output, problem.String())
	}
	return output, nil
}

// atServer adds the way to the server: no kubelet forwards ports here.
func (d *demo) atServer(api string, arguments ...string) []string {
	return append(arguments, "--context", contextName, "--server-address", api)
}

func (d *demo) asVisitor() []string {
	return []string{"KUBECONFIG=" + d.mount(visitor+".kubeconfig"), "HOME=" + d.dir}
}

// countedRow is a row of trellis hits -o json.
type countedRow struct {
	Application     string
	Allowed, Denied uint64
}

// showCounts waits until what every Application allows and denies has been counted.
func (d *demo) showCounts(ctx context.Context, api string) error {
	hits := []string{"hits", "--since", "1h", "--by"}
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err := stack.Until(limited, "requests to be counted", func(ctx context.Context) error {
		raw, err := d.trellis(ctx, api, slices.Concat(hits, []string{"application", "-o", "json"})...)
		if err != nil {
			return err
		}
		var counted struct{ Rows []countedRow }
		if err := json.Unmarshal(raw, &counted); err != nil {
			return fmt.Errorf("reading the counts: %w", err)
		}
		for _, name := range []string{"productpage", "details"} {
			if !slices.ContainsFunc(counted.Rows, func(r countedRow) bool {
				return r.Application == applicationSpace+"/"+name && r.Allowed > 0 && r.Denied > 0
			}) {
				return fmt.Errorf("of %s not both yet: %+v", name, counted.Rows)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, arguments := range [][]string{append(slices.Clone(hits), "application"), append(slices.Clone(hits), "rule"), {"hits", "--since", "1h", "--samples"}} {
		d.view.command("trellis " + strings.Join(d.atServer(api, arguments...), " "))
		text, err := d.trellis(ctx, api, arguments...)
		if err != nil {
			return err
		}
		d.view.block(string(text))
	}
	return nil
}

// foundSomething is the exit code of commands that found what somebody should know.
const foundSomething = 2

// showDraft asks which of the requests that were counted a draft would let end in another
// way: one that takes away the only caller of an Application.
func (d *demo) showDraft(ctx context.Context, api string) error {
	const was, is = "name: productpage, namespace: bookinfo", "name: reviews, namespace: bookinfo"
	text, err := d.example("details/application.yaml")
	if err != nil {
		return err
	}
	if text, err = replaced(text, was, is); err != nil {
		return err
	}
	draft := filepath.Join(d.dir, "draft.yaml")
	if err := os.WriteFile(draft, text, 0o600); err != nil {
		return fmt.Errorf("writing a draft: %w", err)
	}
	d.view.line("Before a change is applied, the counts say whom it would break. A draft has other callers of details:")
	d.view.difference(was, is)
	arguments := []string{"replay", "-f", draft, "--since", "1h"}
	d.view.command("trellis " + strings.Join(d.atServer(api, arguments...), " "))
	output, err := d.trellis(ctx, api, arguments...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != foundSomething {
		return fmt.Errorf("asking what a draft would break: %w: %s", err, output)
	}
	d.view.block(string(output))
	if !strings.Contains(string(output), "changed: Allow -> Deny") {
		return errors.New("asking what a draft would break: no request would be refused")
	}
	return nil
}

// keyed is the address of the console, with its key.
var keyed = regexp.MustCompile(`http://127\.0\.0\.1:\d+/\?key=\S+`)

// openConsole runs trellis console, and looks whether it shows something.
func (d *demo) openConsole(ctx context.Context, api string) error {
	var err error
	if d.console, err = d.startProcess("trellis", d.atServer(api, "console"), d.asVisitor()); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	return stack.Until(limited, "the console to answer", func(ctx context.Context) error {
		if err := d.console.failed(); err != nil {
			return err
		}
		text, err := os.ReadFile(d.console.log.Name())
		if err != nil {
			return fmt.Errorf("reading what trellis console says: %w", err)
		}
		if d.consoleURL = keyed.FindString(string(text)); d.consoleURL == "" {
			return errors.New("it has not said its address yet")
		}
		return shows(ctx, d.consoleURL)
	})
}

// shows is an error where an address with a key does not lead to the console.
func shows(ctx context.Context, address string) error {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return fmt.Errorf("opening the console: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return fmt.Errorf("opening the console: %w", err)
	}
	answer, err := (&http.Client{Jar: jar, Timeout: patience}).Do(request)
	if err != nil {
		return fmt.Errorf("opening the console: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	page, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK || !strings.Contains(string(page), `id="root"`) {
		return fmt.Errorf("opening the console: answered %s: %s", answer.Status, page)
	}
	return nil
}
