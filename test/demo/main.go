// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// onceVariable set to anything makes the demo end after the last request.
const onceVariable = "DEMO_ONCE"

// errDiffers is the end of a demo that ran and found a wrong answer.
var errDiffers = errors.New("at least one answer differs from what the documents say")

func main() {
	log.SetLogger(logr.Discard()) // what it would tell, stories tell
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, newView(os.Stdout), os.Getenv(onceVariable) != "")
	stopped := ctx.Err() != nil
	cancel()
	switch {
	case err == nil:
	case stopped && !errors.Is(err, errDiffers):
		fmt.Fprintln(os.Stderr, "demo: stopped before its end")
		os.Exit(130)
	default:
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run tells the whole story; each chapter is a method of demo.
func run(ctx context.Context, v *view, once bool) (err error) {
	v.title("Trellis: what a team and a platform state becomes a secured HTTPS endpoint")
	d := &demo{view: v}
	defer func() { d.stop(err != nil && ctx.Err() == nil) }()
	chapters := []struct {
		title string
		tell  func(context.Context) error
	}{
		{"Build what runs here (minutes the first time, nothing after)", d.build},
		{"Start a real mesh on loopback addresses", d.startMesh},
		{"Install Trellis as a user would", d.install},
		{"The platform and three teams apply their documents", d.applyDocuments},
		{"Ask the data plane", d.askDataPlane},
		{"From a refusal to the line that states it", d.explain},
		{"A change by the productpage team", d.change},
		{"A mistake by the productpage team", d.mistake},
		{"Somebody takes a rule away by hand", d.handEdit},
		{"What the API server says", d.showStatus},
		{"DNS and certificates", d.obtain},
		{"See it run", d.observe},
	}
	for i, chapter := range chapters {
		v.chapter(i+1, chapter.title)
		if err := chapter.tell(ctx); err != nil {
			return err
		}
	}
	d.verdict()
	if !once {
		d.invite()
		if err := d.wait(ctx); err != nil {
			return err
		}
	}
	if d.wrong > 0 {
		return errDiffers
	}
	return nil
}

// wait returns when ctx ends, or with an error when a program of the stack does.
func (d *demo) wait(ctx context.Context) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if err := errors.Join(d.stack.Failed(), d.operator.failed(), d.server.failed(), d.console.failed()); err != nil {
				return err
			}
		}
	}
}
