// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package console is the verb "console": a way to the console of a running cluster, for a
// browser on this machine.
package console

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/trellis-mesh/trellis/internal/cli/live"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
)

// Options are the flags.
type Options struct {
	live.Options
	Serving live.ServerOptions
	Port    uint16
	Open    bool
}

// New is the command.
func New(s *streams.Streams) *cobra.Command {
	o := &Options{}
	cmd := &cobra.Command{
		Use:   "console",
		Short: "Open a way to the console of a running cluster",
		Long: `console makes an address of this machine lead to the console of trellis-server, by a
port that is forwarded through the API server, and adds the token of your kubeconfig to
what your browser asks: you see there what you may read. It works until it is ended.

The address is for your browser alone: it has a key, which is good for this run, and
without it nothing is answered to others on this machine. On Linux other users are
refused with it, too: the key can be seen in the list of processes.

You need the rights to list pods and to create pods/portforward in the namespace of
trellis-server, and a kubeconfig with a token: a client certificate is for the API
server alone.

Exit code 0: it was ended. 1: wrong usage, a cluster that cannot be asked, or a fault of
Trellis.`,
		Example: `  # The console of a cluster, in your browser
  trellis console --context prod --open`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), s) },
	}
	o.Cluster.AddContextFlags(cmd)
	o.Serving.AddFlags(cmd)
	cmd.Flags().Uint16Var(&o.Port, "port", 0, "port of this machine; 0: any that is free")
	cmd.Flags().BoolVar(&o.Open, "open", false, "open it in the browser")
	return cmd
}

func (o *Options) run(ctx context.Context, s *streams.Streams) (err error) {
	server, err := o.Server(ctx, s, o.Serving)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	// What is wrong is said before somebody looks at a page that says so.
	var me struct {
		User string `json:"user"`
	}
	if err := server.Get(ctx, "me", nil, &me); err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(o.Port))))
	if err != nil {
		return fmt.Errorf("listening on this machine: %w", err)
	}
	door := newDoor(server.Address(), server.Transport(), listener.Addr().String(), rand.Text())
	for _, note := range server.Notes {
		if _, err := fmt.Fprintf(s.Err, "note: %s\n", output.Printable(note)); err != nil {
			return fmt.Errorf("writing a note: %w", err)
		}
	}
	if _, err := fmt.Fprintf(s.Out, "%s\nYou are %s. Ctrl-C ends it.\n", door.address(), output.Printable(me.User)); err != nil {
		return fmt.Errorf("writing the address: %w", err)
	}
	if o.Open {
		if err := browse(ctx, door.address()); err != nil {
			return err
		}
	}
	var once sync.Once
	return serve(ctx, newOwn(listener, func(user int) {
		once.Do(func() {
			fmt.Fprintf(s.Err, "note: another user of this machine, %d, came to the address and is refused\n", user)
		})
	}), door)
}

// serve answers until ctx ends.
func serve(ctx context.Context, listener net.Listener, door http.Handler) error {
	server := &http.Server{Handler: door, ReadHeaderTimeout: 5 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	select {
	case err := <-done:
		return fmt.Errorf("answering the browser: %w", err)
	case <-ctx.Done():
	}
	// Pages that follow changes do not end by themselves.
	if err := server.Close(); err != nil {
		return fmt.Errorf("ending: %w", err)
	}
	return nil
}

// browse opens an address in the browser.
func browse(ctx context.Context, address string) error {
	name, arguments := "xdg-open", []string{address}
	switch runtime.GOOS {
	case "darwin":
		name = "open"
	case "windows":
		name, arguments = "rundll32", []string{"url.dll,FileProtocolHandler", address}
	}
	if err := exec.CommandContext(ctx, name, arguments...).Start(); err != nil {
		return fmt.Errorf("opening the browser: %w; open the address yourself, without --open", err)
	}
	return nil
}
