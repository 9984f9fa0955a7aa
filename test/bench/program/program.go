// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package program runs what users run as processes of their own, as in production: their
// memory and their time are their own.
package program

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/test/stack"
)

// Namespace is that of the operator and of the server.
const Namespace = "trellis-system"

// Process is a program that runs. Its methods are for one goroutine.
type Process struct {
	command *exec.Cmd
	log     *os.File
}

// Operator installs the definitions and runs the operator, with more flags. It has an
// administrator's rights here: rights are the demo's matter.
func Operator(ctx context.Context, s *stack.Stack, gateways []string, more ...string) (*Process, error) {
	definitions, err := filepath.Glob("config/crd/*.yaml")
	if err != nil {
		return nil, err
	}
	for _, name := range definitions {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if !bytes.Contains(data, []byte("kind: CustomResourceDefinition")) {
			continue
		}
		if err := s.InstallCRDs(ctx, data); err != nil {
			return nil, err
		}
	}
	token, err := istiodToken(ctx, s, filepath.Join(filepath.Dir(s.Logs()), "istiod-token"))
	if err != nil {
		return nil, err
	}
	return Start(ctx, s, "trellis-operator", append([]string{
		"--namespace", Namespace, "--gateway-namespaces", strings.Join(gateways, ","),
		"--istiod-token", token, "--health-address=", "--metrics-address=", "--webhook-address=", "--log-level=warn",
	}, more...)...)
}

// Start builds a program of cmd and runs it.
func Start(ctx context.Context, s *stack.Stack, name string, arguments ...string) (*Process, error) {
	dir := filepath.Dir(s.Logs())
	binary := filepath.Join(dir, name)
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/"+name).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building %s, %w: %s", name, err, out)
	}
	p := &Process{}
	var err error
	if p.log, err = os.Create(filepath.Join(s.Logs(), name+".log")); err != nil {
		return nil, err
	}
	p.command = exec.Command(binary, arguments...)
	p.command.Env = []string{"KUBECONFIG=" + s.Kubeconfig(), "POD_NAMESPACE=" + Namespace, "HOME=" + dir}
	p.command.Stdout, p.command.Stderr = p.log, p.log
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.command.Start(); err != nil {
		return nil, fmt.Errorf("starting %s, %w", name, err)
	}
	return p, nil
}

func istiodToken(ctx context.Context, s *stack.Stack, path string) (string, error) {
	if err := s.Namespace(ctx, Namespace, nil); err != nil {
		return "", err
	}
	if _, err := s.ServiceAccountConfig(ctx, Namespace, "trellis-operator"); err != nil {
		return "", err
	}
	life := int64((24 * time.Hour).Seconds())
	token := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{"istio-ca"}, ExpirationSeconds: &life}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "trellis-operator"}}
	if err := s.Client().SubResource("token").Create(ctx, account, token); err != nil {
		return "", fmt.Errorf("asking for a token for istiod, %w", err)
	}
	return path, os.WriteFile(path, []byte(token.Status.Token), 0o600)
}

// Stop ends it; of nil there is nothing to end.
func (p *Process) Stop() {
	if p == nil {
		return
	}
	_ = p.command.Process.Signal(syscall.SIGTERM)
	_ = p.command.Wait()
	_ = p.log.Close()
}

// Resident is its resident memory in MB: now, and at its highest.
func (p *Process) Resident() (now, peak float64, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.command.Process.Pid))
	if err != nil {
		return 0, 0, fmt.Errorf("reading the memory of a process, %w", err)
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		kilobytes, _ := strconv.ParseFloat(fields[1], 64)
		switch fields[0] {
		case "VmRSS:":
			now = kilobytes / 1000
		case "VmHWM:":
			peak = kilobytes / 1000
		}
	}
	return now, peak, nil
}

// Processor is how much time of a processor it has used.
func (p *Process) Processor() (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.command.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("reading the time of a process, %w", err)
	}
	// Fields begin behind the name, which may have anything in it: user and system time
	// are the 12th and 13th then, in hundredths of a second (proc(5)).
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("reading the time of a process: %q", data)
	}
	var sum time.Duration
	for _, text := range fields[11:13] {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading the time of a process, %w", err)
		}
		sum += time.Duration(n) * 10 * time.Millisecond
	}
	return sum, nil
}
