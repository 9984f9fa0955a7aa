// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package envoy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"

	"github.com/trellis-mesh/trellis/test/stack"
)

const (
	startTimeout = 60 * time.Second
	accessLog    = "access.log"
	flushEvery   = "20" // milliseconds
)

// Proxy is a running Envoy.
type Proxy struct {
	program   *stack.Program
	admin     string
	listeners map[string]netip.AddrPort
	log       *logReader
}

// Run starts an Envoy for one test, which ends with it. A configuration that
// Envoy refuses fails the test.
func Run(t testing.TB, bootstrap *bootstrapv3.Bootstrap) *Proxy {
	t.Helper()
	p, err := Start(t.Context(), t.TempDir(), bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

// Start starts an Envoy with its files in dir and waits until all listeners are
// there. The admin interface of bootstrap is replaced. The error of a
// configuration that Envoy refuses has its reason. The caller stops the Proxy.
func Start(ctx context.Context, dir string, bootstrap *bootstrapv3.Bootstrap) (*Proxy, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	// Envoy reads this ending as the binary form, which loses nothing.
	const config, adminAddress = "bootstrap.pb", "admin.address"
	bootstrap, _ = proto.Clone(bootstrap).(*bootstrapv3.Bootstrap)
	bootstrap.Admin = &bootstrapv3.Admin{Address: Address("127.0.0.1", 0)}
	encoded, err := proto.Marshal(bootstrap)
	if err != nil {
		return nil, fmt.Errorf("starting Envoy: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, config), encoded, 0o600); err != nil {
		return nil, fmt.Errorf("starting Envoy: %w", err)
	}
	p := &Proxy{log: newLogReader(filepath.Join(dir, accessLog))}
	p.program, err = stack.StartProgram(ctx, dir, "envoy", []string{
		"-c", config, "--admin-address-path", adminAddress, "--concurrency", "1", "--disable-hot-restart",
		"--file-flush-interval-msec", flushEvery, "--log-level", "warning", "--skip-deprecated-logs",
	}, func(ctx context.Context) error {
		text, err := os.ReadFile(filepath.Join(dir, adminAddress))
		if err != nil {
			return err
		}
		p.admin = strings.TrimSpace(string(text))
		if _, err := p.Admin(ctx, "/ready"); err != nil {
			return err
		}
		p.listeners, err = p.findListeners(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// Stop kills the Envoy.
func (p *Proxy) Stop() { p.program.Stop() }

// Log is the file with what Envoy itself prints.
func (p *Proxy) Log() string { return p.program.Log }

// Address is where a listener of the bootstrap is.
func (p *Proxy) Address(listener string) netip.AddrPort { return p.listeners[listener] }

// Admin is the answer of Envoy's admin interface to GET path, such as
// /config_dump. An answer that is not 200 is an error.
func (p *Proxy) Admin(ctx context.Context, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.admin+path, nil)
	if err != nil {
		return nil, fmt.Errorf("asking Envoy for %s: %w", path, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking Envoy for %s: %w", path, err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = errors.New(response.Status)
	}
	if err != nil {
		return nil, fmt.Errorf("asking Envoy for %s: %w", path, err)
	}
	return text, nil
}

// findListeners reads which ports the kernel gave.
func (p *Proxy) findListeners(ctx context.Context) (map[string]netip.AddrPort, error) {
	text, err := p.Admin(ctx, "/listeners?format=json")
	if err != nil {
		return nil, err
	}
	var answer struct {
		Statuses []struct {
			Name  string `json:"name"`
			Local struct {
				Socket struct {
					Address string `json:"address"`
					Port    uint16 `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return nil, fmt.Errorf("reading Envoy's listeners: %w", err)
	}
	out := map[string]netip.AddrPort{}
	for _, s := range answer.Statuses {
		address, err := netip.ParseAddr(s.Local.Socket.Address)
		if err != nil {
			return nil, fmt.Errorf("reading Envoy's listeners: %w", err)
		}
		out[s.Name] = netip.AddrPortFrom(address, s.Local.Socket.Port)
	}
	return out, nil
}

// Address is a TCP address in Envoy's terms; port 0 lets the kernel choose.
func Address(ip string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: ip, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}
