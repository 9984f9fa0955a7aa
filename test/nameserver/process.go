// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package nameserver

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	mdns "github.com/miekg/dns"
)

const (
	startTimeout = 20 * time.Second
	pollInterval = 20 * time.Millisecond
	tailBytes    = 2 << 10
)

// launch starts a program and waits until it answers for the zone. The program
// does not outlive this process.
func (s *Server) launch(ctx context.Context, cmd *exec.Cmd, dir string) error {
	logFile := filepath.Join(dir, "log")
	log, err := os.Create(logFile)
	if err != nil {
		return fmt.Errorf("starting %s: %w", s.Kind, err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error, 1), make(chan struct{})
	go func() {
		// The kernel sends the parent-death signal when the starting *thread* ends,
		// so it is kept until the program has.
		runtime.LockOSThread()
		defer func() { _ = log.Close() }()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
		close(ended)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("starting %s: %w", s.Kind, err)
	}
	s.stop = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		<-ended
		_ = os.RemoveAll(dir)
	})
	if err := s.wait(ctx, ended); err != nil {
		err = fmt.Errorf("starting %s: %w; its log ends with:\n%s", s.Kind, err, tail(logFile))
		s.stop()
		return err
	}
	return nil
}

// wait asks for the SOA until it is there.
func (s *Server) wait(ctx context.Context, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	client := mdns.Client{Net: "tcp", Timeout: time.Second}
	q := new(mdns.Msg).SetQuestion(s.Zone.FQDN(), mdns.TypeSOA)
	for {
		answer, _, err := client.ExchangeContext(ctx, q, s.Address)
		if err == nil && answer.Rcode == mdns.RcodeSuccess && len(answer.Answer) > 0 {
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("it ended")
		case <-ctx.Done():
			return fmt.Errorf("it does not answer for %s: %w", s.Zone, ctx.Err())
		case <-tick.C:
		}
	}
}

func tail(file string) []byte {
	text, err := os.ReadFile(file)
	if err != nil {
		return []byte(err.Error())
	}
	return text[max(0, len(text)-tailBytes):]
}
