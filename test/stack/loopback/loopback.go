// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package loopback gives each stack of a machine addresses and ports of its own.
package loopback

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"testing"
)

// The machine holds up to maximumStacks stacks side by side. Stack i owns the
// addresses 127.(firstSubnet+i).0.0/16 and, for listeners that must be on all
// addresses, portsPerStack ports from firstPort + i*portsPerStack. The ports
// end below the range that the kernel gives to Outgoing connections.
const (
	maximumStacks = 50
	firstSubnet   = 20
	firstPort     = 20000
	portsPerStack = 200
	firstProxy    = 10 // last byte of the first proxy's address
)

// Network hands out the addresses and ports of one stack. Its methods may be
// called concurrently.
type Network struct {
	subnet int
	lease  net.Listener // the kernel drops it with the process, whatever kills that

	mu   sync.Mutex
	host int
	port int
}

// Lease takes the first subnet that no other stack on the machine holds.
func Lease() (*Network, error) {
	for i := range maximumStacks {
		n := &Network{subnet: firstSubnet + i, host: firstProxy, port: firstPort + i*portsPerStack + 1}
		lease, err := net.Listen("tcp4", Endpoint(n.Address(1), firstPort+i*portsPerStack))
		if err == nil {
			n.lease = lease
			return n, nil
		}
	}
	return nil, fmt.Errorf("leasing loopback addresses: all %d subnets from 127.%d.0.0/16 are taken", maximumStacks, firstSubnet)
}

// Release gives them back.
func (n *Network) Release() { _ = n.lease.Close() }

// Outgoing returns the address on which a workload's own calls enter its proxy:
// another one than its pod's, since both sides listen on the same ports.
func Outgoing(address string) string {
	ip := net.ParseIP(address).To4()
	return net.IPv4(ip[0], ip[1], ip[2]+1, ip[3]).String()
}

// Address is the one with a last byte.
func (n *Network) Address(host int) string { return fmt.Sprintf("127.%d.0.%d", n.subnet, host) }

// NextAddress returns an address that nothing of this stack uses yet.
func (n *Network) NextAddress() (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.host > 250 {
		return "", errors.New("leasing loopback addresses: the stack has no address left")
	}
	n.host++
	return n.Address(n.host - 1), nil
}

// PortOn returns preferred if something without privileges can listen there,
// else another free port. The port stays free until the caller uses it as long
// as everything in the stack asks here.
func (n *Network) PortOn(address string, preferred int) (int, error) {
	if preferred >= 1024 && canListen(address, preferred) {
		return preferred, nil
	}
	return n.FreePort()
}

// FreePort returns a port that is free on all addresses.
func (n *Network) FreePort() (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for end := firstPort + (n.subnet-firstSubnet+1)*portsPerStack; n.port < end; {
		n.port++
		if canListen("0.0.0.0", n.port-1) {
			return n.port - 1, nil
		}
	}
	return 0, errors.New("choosing a port: the stack has no free port left")
}

// Unused is 127.0.0.1 and a port that nothing listens on now, outside of all stacks: for a
// program of the test's own.
func Unused(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

func canListen(address string, port int) bool {
	listener, err := net.Listen("tcp4", Endpoint(address, port))
	if err != nil {
		return false
	}
	return listener.Close() == nil
}

// Endpoint is ADDRESS:PORT.
func Endpoint(address string, port int) string {
	return net.JoinHostPort(address, strconv.Itoa(port))
}
