// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/mtls/signature"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Admin are answers of an Envoy's admin interface.
type Admin struct {
	Node xds.Node
	// Stats is the answer to GET /stats, and Clusters that to GET /clusters?format=json.
	Stats, Clusters []byte
}

// counted is what one counter says of one service, or of the proxy itself.
type counted struct {
	// cluster is Envoy's name; empty: it is about what the proxy receives.
	cluster, stat string
	value         uint64
	endpoints     []netip.AddrPort
}

// Sources of the names: Envoy "cluster manager statistics", "TLS statistics" and
// "listener statistics"; of those of an endpoint, the protocol buffer HostStatus.
const (
	connectFailed = "upstream_cx_connect_fail"
	hostFailed    = "cx_connect_fail"
	hostErrors    = "rq_error"
	noChain       = "no_filter_chain_match"
	tlsError      = "ssl.connection_error"
	noCertificate = "ssl.fail_verify_no_cert"
	notVerified   = "ssl.fail_verify_error"
	otherName     = "ssl.fail_verify_san"
	otherHash     = "ssl.fail_verify_cert_hash"
)

var (
	ofClusters  = []string{otherName, notVerified, noCertificate, otherHash, tlsError, connectFailed}
	ofListeners = []string{noChain, otherName, notVerified, noCertificate, otherHash, tlsError}
)

// Count says what the counters of a proxy show, and whether it has any for clusters:
// Istio lets a proxy count few things only, unless it is told otherwise
// (proxyStatsMatcher).
func Count(a Admin, mesh *Mesh) (failures []*Failure, counts bool, err error) {
	all, counts, err := parseStats(a.Stats)
	if err != nil {
		return nil, false, err
	}
	hosts, err := parseClusters(a.Clusters)
	if err != nil {
		return nil, false, err
	}
	find := newFinder(mesh)
	for _, c := range specific(append(all, hosts...)) {
		f := &Failure{
			Details: c.stat, Count: int(min(c.value, 1<<31-1)), Candidates: c.candidates(a.Node.Type == xds.Router),
			counter: true, about: parties{endpoints: c.endpoints},
		}
		if to, ok := parseSent(&accesslog.Entry{Cluster: c.cluster}); ok {
			f.Client, f.Service, f.Subset = a.Node.Namespace+"/"+workload(a.Node.Name), fmt.Sprintf("%s:%d", to.host, to.port), to.subset
			f.about.target = find.target(to.host, to.port)
			if mesh != nil {
				f.about.sender = find.find(origin{writer: accesslog.Writer{Namespace: a.Node.Namespace, Pod: a.Node.Name}})
			}
			if f.about.sender != nil {
				f.Client = f.about.sender.String()
			}
			f.about.client, f.about.service, f.about.subset = f.Client, f.Service, f.Subset
			find.compare(&f.about)
		} else if f.Service = c.cluster; c.cluster == "" {
			f.Service = a.Node.Namespace + "/" + workload(a.Node.Name)
		}
		f.judge(mesh)
		failures = append(failures, f)
	}
	slices.SortStableFunc(failures, func(a, b *Failure) int { return b.Count - a.Count })
	return failures, counts, nil
}

// parseStats reads the counters that are known and not zero.
func parseStats(raw []byte) (out []counted, clusters bool, err error) {
	listeners := map[string]uint64{}
	lines := bufio.NewScanner(bytes.NewReader(raw))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, text, ok := strings.Cut(lines.Text(), ": ")
		value, err := strconv.ParseUint(text, 10, 64)
		if !ok || err != nil {
			continue
		}
		if rest, ok := strings.CutPrefix(name, "cluster."); ok {
			cluster, stat, ok := counter(rest, ofClusters)
			clusters = clusters || ok && strings.HasPrefix(cluster, "outbound|")
			if ok && value > 0 {
				out = append(out, counted{cluster: cluster, stat: stat, value: value})
			}
		} else if rest, ok := strings.CutPrefix(name, "listener."); ok {
			if listener, stat, ok := counter(rest, ofListeners); ok && !strings.HasPrefix(listener, "admin") {
				listeners[stat] += value
			}
		}
	}
	for _, stat := range slices.Sorted(maps.Keys(listeners)) {
		if listeners[stat] > 0 {
			out = append(out, counted{stat: stat, value: listeners[stat]})
		}
	}
	return out, clusters, lines.Err()
}

// counter takes a name apart. Istio ends the names of clusters with a semicolon.
func counter(name string, known []string) (of, stat string, ok bool) {
	for _, stat := range known {
		if of, ok := strings.CutSuffix(name, "."+stat); ok {
			return strings.TrimSuffix(of, ";"), stat, true
		}
	}
	return "", "", false
}

// clusterStatuses are envoy.admin.v3.Clusters, as far as it is read.
type clusterStatuses struct {
	Clusters []struct {
		Name  string `json:"name"`
		Hosts []struct {
			Address struct {
				Socket struct {
					Address string `json:"address"`
					Port    uint16 `json:"port_value"`
				} `json:"socket_address"`
			} `json:"address"`
			Stats []struct {
				Name string `json:"name"`
				// Value is a uint64, which JSON of protocol buffers has as text.
				Value string `json:"value"`
			} `json:"stats"`
		} `json:"host_statuses"`
	} `json:"cluster_statuses"`
}

var errClusters = errors.New("reading the answer of /clusters: it is not the JSON of an Envoy")

// parseClusters adds up what is counted for endpoints, which each proxy does.
func parseClusters(raw []byte) ([]counted, error) {
	var read clusterStatuses
	if json.Unmarshal(raw, &read) != nil {
		return nil, errClusters
	}
	var out []counted
	for _, c := range read.Clusters {
		sums := map[string]*counted{}
		for _, h := range c.Hosts {
			for _, s := range h.Stats {
				value, err := strconv.ParseUint(s.Value, 10, 64)
				if err != nil || value == 0 || s.Name != hostFailed && s.Name != hostErrors {
					continue
				}
				if sums[s.Name] == nil {
					sums[s.Name] = &counted{cluster: c.Name, stat: s.Name}
				}
				sums[s.Name].value += value
				if address, err := netip.ParseAddr(h.Address.Socket.Address); err == nil {
					sums[s.Name].endpoints = append(sums[s.Name].endpoints, netip.AddrPortFrom(address, h.Address.Socket.Port))
				}
			}
		}
		for _, stat := range slices.Sorted(maps.Keys(sums)) {
			out = append(out, *sums[stat])
		}
	}
	return out, nil
}

// specific leaves out of the counters of a cluster those of which others say more: a
// connection that failed by its certificate is one that failed, and a request on it an
// error. Istio's own clusters are not those of requests.
func specific(all []counted) []counted {
	level := func(stat string) int {
		switch stat {
		case hostErrors:
			return 0
		case connectFailed:
			return 1
		case hostFailed:
			return 2
		}
		return 3
	}
	best := map[string]int{}
	for _, c := range all {
		best[c.cluster] = max(best[c.cluster], level(c.stat))
	}
	return slices.DeleteFunc(all, func(c counted) bool {
		own := c.cluster != "" && !strings.HasPrefix(c.cluster, "outbound|") && !strings.HasPrefix(c.cluster, "inbound|")
		return own || level(c.stat) < best[c.cluster]
	})
}

// sign is a cause that a counter speaks for.
type sign struct {
	cause signature.Cause
	sure  signature.Certainty
}

// signs are those of counters. What a gateway receives, and any other proxy, are under
// names of their own where it makes a difference.
var signs = map[string][]sign{
	otherName:     {{signature.NameMismatch, signature.Certain}},
	noCertificate: {{signature.NoCertificate, signature.Certain}},
	otherHash:     {{signature.CertificateUntrusted, signature.Certain}},
	notVerified:   {{signature.CertificateUntrusted, signature.Likely}, {signature.CertificateExpired, signature.Possible}},
	tlsError:      {{signature.MutualTLSToPlaintext, signature.Possible}, {signature.HandshakeRefused, signature.Possible}},
	hostErrors: {
		{signature.ApplicationError, signature.Possible}, {signature.ApplicationReset, signature.Possible}, {signature.PlaintextToStrict, signature.Possible},
	},
	connectFailed: {
		{signature.ConnectionRefused, signature.Possible}, {signature.Unreachable, signature.Possible},
		{signature.MutualTLSToPlaintext, signature.Possible}, {signature.HandshakeRefused, signature.Possible},
	},

	"application " + connectFailed: {{signature.ConnectionRefused, signature.Possible}, {signature.Unreachable, signature.Possible}},
	"application " + hostErrors:    {{signature.ApplicationError, signature.Possible}, {signature.ApplicationReset, signature.Possible}},

	"gateway " + noChain:  {{signature.HostNotServed, signature.Likely}, {signature.ProtocolError, signature.Possible}},
	"sidecar " + noChain:  {{signature.PlaintextToStrict, signature.Likely}, {signature.HandshakeRefused, signature.Possible}},
	"gateway " + tlsError: {{signature.HandshakeRefused, signature.Possible}, {signature.ProtocolError, signature.Possible}},
	"sidecar " + tlsError: {{signature.HandshakeRefused, signature.Possible}, {signature.PlaintextToStrict, signature.Possible}},
}

// held are the causes that are about a certificate of one side.
var held = []signature.Cause{signature.NameMismatch, signature.NoCertificate, signature.CertificateUntrusted, signature.CertificateExpired}

// candidates are the causes that a counter speaks for.
func (c *counted) candidates(gateway bool) []signature.Candidate {
	stat, holder, prefix := c.stat, signature.Server, ""
	if stat == hostFailed {
		stat = connectFailed
	}
	switch {
	case c.cluster == "" && gateway:
		holder, prefix = signature.Client, "gateway "
	case c.cluster == "":
		holder, prefix = signature.Client, "sidecar "
	case strings.HasPrefix(c.cluster, "inbound|"):
		prefix = "application "
	}
	found, ok := signs[prefix+stat]
	if !ok {
		found = signs[stat]
	}
	var out []signature.Candidate
	for _, s := range found {
		one := signature.Candidate{Cause: s.cause, Certainty: s.sure, Why: fmt.Sprintf("the proxy counts %d of %s", c.value, c.stat)}
		if s.sure != signature.Certain {
			one.Needs = "a line of the access log at which the counter rises"
		}
		if slices.Contains(held, s.cause) {
			one.Holder = holder
		}
		out = append(out, one)
	}
	return out
}
