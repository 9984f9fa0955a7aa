// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/test/stack/pki"

	"github.com/trellis-mesh/trellis/test/stack/loopback"
)

// Options describe a stack. The zero value is a cluster with one istiod.
type Options struct {
	// Dir holds state, logs and one directory for each proxy. Default: a new
	// directory under the cache's run/ that a successful Stop removes.
	Dir string
	// Out gets a line per step with the time it took. Default: nothing.
	Out io.Writer
	// WithoutIstio leaves out the Istio CRDs and istiod until InstallIstio.
	WithoutIstio bool
	// IstiodReplicas is 1 or 2; default 1. Proxies connect to them in turn.
	IstiodReplicas int
	// MeshConfig is merged over the top level of the mesh configuration.
	MeshConfig map[string]any
	// IstiodEnvironment has more NAME=VALUE settings for istiod; a later one
	// wins over the stack's own.
	IstiodEnvironment []string
	// OwnAddresses lets sidecars connect from the address that stands for their pod's, as
	// in a cluster, so that logs and policies of others see it. Otherwise it is
	// 127.0.0.1.
	OwnAddresses bool
	// AuditedUser is whose requests Audited returns; default: nobody's.
	AuditedUser string
}

// Stack is a running local mesh. Its methods may be called concurrently.
type Stack struct {
	options   Options
	dir       string
	ownDir    bool
	cache     cache
	network   *loopback.Network
	processes *processes
	authority *pki.Authority // of the API server's certificate

	etcd       string // its URL
	apiServer  string // host:port
	adminToken string
	config     *rest.Config
	client     client.Client
	clientset  kubernetes.Interface

	mu       sync.Mutex
	istiods  []*Istiod
	installs int
	proxies  int
	closers  []io.Closer // in-process listeners
	stop     sync.Once
}

// Etcd returns the URL of the API server's storage.
func (s *Stack) Etcd() string { return s.etcd }

// Start starts etcd, an API server and, unless asked otherwise, istiod, and
// returns when all are ready. ctx bounds only the start; the stack runs until
// Stop or the end of this process, however that ends. When something fails,
// what was started is stopped, its logs are kept and the error shows the end of
// the failing program's log.
func Start(ctx context.Context, options Options) (*Stack, error) {
	s := &Stack{options: options}
	if s.options.Out == nil {
		s.options.Out = io.Discard
	}
	if n := s.options.IstiodReplicas; n < 0 || n > 2 {
		return nil, fmt.Errorf("starting the stack: %d istiod replicas asked for, 1 or 2 are possible", n)
	}
	s.options.IstiodReplicas = max(1, s.options.IstiodReplicas)
	if err := s.prepare(); err != nil {
		return nil, fmt.Errorf("starting the stack: %w", err)
	}
	err := s.step("etcd and API server", func() error { return s.startKubernetes(ctx) })
	if err == nil && !options.WithoutIstio {
		err = s.InstallIstio(ctx)
	}
	if err != nil {
		s.KeepFiles()
		s.Stop()
		return nil, fmt.Errorf("starting the stack: %w", err)
	}
	return s, nil
}

func (s *Stack) prepare() error {
	var err error
	if s.cache, err = findCache(); err != nil {
		return err
	}
	if s.dir, err = s.makeDirectory(); err != nil {
		return err
	}
	if err := os.MkdirAll(s.Logs(), 0o755); err != nil {
		return fmt.Errorf("making the log directory: %w", err)
	}
	if s.network, err = loopback.Lease(); err != nil {
		return err
	}
	s.processes = newProcesses(s.Logs())
	return nil
}

func (s *Stack) makeDirectory() (string, error) {
	if s.options.Dir != "" {
		return filepath.Abs(s.options.Dir)
	}
	s.ownDir = true
	parent := filepath.Join(string(s.cache), "run")
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", fmt.Errorf("making a directory for the stack: %w", err)
	}
	removeOld(parent)
	dir, err := os.MkdirTemp(parent, "stack-")
	if err != nil {
		return "", fmt.Errorf("making a directory for the stack: %w", err)
	}
	return dir, nil
}

// removeOld removes what stacks that were killed or failed have left, once it
// is so old that nobody reads it any more and no stack runs so long.
func removeOld(parent string) {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err == nil && time.Since(info.ModTime()) > tokenLife {
			_ = os.RemoveAll(filepath.Join(parent, entry.Name()))
		}
	}
}

// KeepFiles makes Stop leave the state and the logs where they are; without it
// a default directory is removed. A failing test calls it.
func (s *Stack) KeepFiles() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ownDir = false
}

// Stop ends every program and listener of the stack and waits for it. Further
// calls do nothing.
func (s *Stack) Stop() {
	s.stop.Do(func() {
		s.mu.Lock()
		closers, remove := s.closers, s.ownDir
		s.mu.Unlock()
		for _, closer := range closers {
			_ = closer.Close()
		}
		s.processes.stop()
		s.network.Release()
		if remove {
			_ = os.RemoveAll(s.dir)
		}
	})
}

// Config returns a copy of the administrator's client configuration.
func (s *Stack) Config() *rest.Config { return rest.CopyConfig(s.config) }

// Client returns an administrator's client that knows the kinds of Kubernetes
// and Istio. It reads from the API server, never from a cache.
func (s *Stack) Client() client.Client { return s.client }

// Kubeconfig returns the path of the administrator's kubeconfig.
func (s *Stack) Kubeconfig() string { return filepath.Join(s.dir, "kubeconfig") }

// Logs returns the directory with one log file for each program.
func (s *Stack) Logs() string { return filepath.Join(s.dir, "logs") }

// Failed returns an error for every program that has ended without being asked
// to, or nil.
func (s *Stack) Failed() error {
	s.processes.mu.Lock()
	defer s.processes.mu.Unlock()
	var failures []error
	for _, p := range s.processes.all {
		select {
		case <-p.done:
			if !p.stopped.Load() {
				failures = append(failures, fmt.Errorf("%s has ended: %w\nthe end of %s:\n%s", p.name, p.err, p.log, tail(p.log)))
			}
		default:
		}
	}
	return errors.Join(failures...)
}

func (s *Stack) step(what string, do func() error) error {
	started := time.Now()
	if err := do(); err != nil {
		return err
	}
	fmt.Fprintf(s.options.Out, "%s: ready in %.1f s\n", what, time.Since(started).Seconds())
	return nil
}

// own makes Stop close c.
func (s *Stack) own(c io.Closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closers = append(s.closers, c)
}
