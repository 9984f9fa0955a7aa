// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package main

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

const operatorNamespace = "trellis-system"

// process is the operator as its own process, as in production: its memory is
// its own.
type process struct {
	command *exec.Cmd
	log     *os.File
}

// startOperator builds the operator, installs the definitions and runs it. It
// has an administrator's rights here: rights are the demo's matter.
func startOperator(ctx context.Context, s *stack.Stack, gateways []string) (*process, error) {
	dir := filepath.Dir(s.Logs())
	binary := filepath.Join(dir, "trellis-operator")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/trellis-operator").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the operator, %w: %s", err, out)
	}
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
	token, err := istiodToken(ctx, s, filepath.Join(dir, "istiod-token"))
	if err != nil {
		return nil, err
	}
	p := &process{}
	if p.log, err = os.Create(filepath.Join(s.Logs(), "trellis-operator.log")); err != nil {
		return nil, err
	}
	p.command = exec.Command(binary, "--namespace", operatorNamespace, "--gateway-namespaces", strings.Join(gateways, ","),
		"--istiod-token", token, "--health-address=", "--metrics-address=", "--webhook-address=", "--log-level=warn")
	p.command.Env = []string{"KUBECONFIG=" + s.Kubeconfig(), "POD_NAMESPACE=" + operatorNamespace, "HOME=" + dir}
	p.command.Stdout, p.command.Stderr = p.log, p.log
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.command.Start(); err != nil {
		return nil, fmt.Errorf("starting the operator, %w", err)
	}
	return p, nil
}

func istiodToken(ctx context.Context, s *stack.Stack, path string) (string, error) {
	if err := s.Namespace(ctx, operatorNamespace, nil); err != nil {
		return "", err
	}
	if _, err := s.ServiceAccountConfig(ctx, operatorNamespace, "trellis-operator"); err != nil {
		return "", err
	}
	life := int64((24 * time.Hour).Seconds())
	token := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{"istio-ca"}, ExpirationSeconds: &life}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: "trellis-operator"}}
	if err := s.Client().SubResource("token").Create(ctx, account, token); err != nil {
		return "", fmt.Errorf("asking for a token for istiod, %w", err)
	}
	return path, os.WriteFile(path, []byte(token.Status.Token), 0o600)
}

// stop ends the operator.
func (p *process) stop() {
	_ = p.command.Process.Signal(syscall.SIGTERM)
	_ = p.command.Wait()
	_ = p.log.Close()
}

// resident is the operator's resident memory in MB: now, and at its highest.
func (p *process) resident() (now, peak float64, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.command.Process.Pid))
	if err != nil {
		return 0, 0, fmt.Errorf("reading the operator's memory, %w", err)
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
