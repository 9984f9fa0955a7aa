// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
)

// The machine holds up to maximumStacks stacks side by side. Stack i owns the
// addresses 127.(firstSubnet+i).0.0/16 and, for listeners that must be on all
// addresses, portsPerStack ports from firstPort + i*portsPerStack. The ports
// end below the range that the kernel gives to outgoing connections.
const (
	maximumStacks = 50
	firstSubnet   = 20
	firstPort     = 20000
	portsPerStack = 200
	firstProxy    = 10 // last byte of the first proxy's address
)

// network hands out the addresses and ports of one stack. Its methods may be
// called concurrently.
type network struct {
	subnet int
	lease  net.Listener // the kernel drops it with the process, whatever kills that

	mu   sync.Mutex
	host int
	port int
}

// leaseNetwork takes the first subnet that no other stack on the machine holds.
func leaseNetwork() (*network, error) {
	for i := range maximumStacks {
		n := &network{subnet: firstSubnet + i, host: firstProxy, port: firstPort + i*portsPerStack + 1}
		lease, err := net.Listen("tcp4", endpoint(n.address(1), firstPort+i*portsPerStack))
		if err == nil {
			n.lease = lease
			return n, nil
		}
	}
	return nil, fmt.Errorf("leasing loopback addresses: all %d subnets from 127.%d.0.0/16 are taken", maximumStacks, firstSubnet)
}

func (n *network) release() { _ = n.lease.Close() }

// outgoing returns the address on which a workload's own calls enter its proxy:
// another one than its pod's, since both sides listen on the same ports.
func outgoing(address string) string {
	ip := net.ParseIP(address).To4()
	return net.IPv4(ip[0], ip[1], ip[2]+1, ip[3]).String()
}

func (n *network) address(host int) string { return fmt.Sprintf("127.%d.0.%d", n.subnet, host) }

// nextAddress returns an address that nothing of this stack uses yet.
func (n *network) nextAddress() (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.host > 250 {
		return "", errors.New("leasing loopback addresses: the stack has no address left")
	}
	n.host++
	return n.address(n.host - 1), nil
}

// portOn returns preferred if something without privileges can listen there,
// else another free port. The port stays free until the caller uses it as long
// as everything in the stack asks here.
func (n *network) portOn(address string, preferred int) (int, error) {
	if preferred >= 1024 && canListen(address, preferred) {
		return preferred, nil
	}
	return n.freePort()
}

// freePort returns a port that is free on all addresses.
func (n *network) freePort() (int, error) {
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

func canListen(address string, port int) bool {
	listener, err := net.Listen("tcp4", endpoint(address, port))
	if err != nil {
		return false
	}
	return listener.Close() == nil
}

func endpoint(address string, port int) string {
	return net.JoinHostPort(address, strconv.Itoa(port))
}
