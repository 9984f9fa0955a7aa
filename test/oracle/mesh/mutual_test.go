// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"

	questions "github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/directory"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/mtls"
	"github.com/trellis-mesh/trellis/internal/xds"
)

var meshes = flag.Int("meshes", 12, "random configurations of mutual TLS to play")

// directory is what the stage's names mean in a configuration.
func (s *stage) directory(ctx context.Context, objects []object) (*directory.Directory, error) {
	slices := &discoveryv1.EndpointSliceList{}
	if err := s.Client().List(ctx, slices); err != nil {
		return nil, fmt.Errorf("listing endpoints: %w", err)
	}
	var all []runtime.Object
	all = append(all, s.surroundings...)
	for i := range slices.Items {
		all = append(all, &slices.Items[i])
	}
	for _, o := range objects {
		if o.kind != "ServiceEntry" {
			continue
		}
		entry := &networkingv1.ServiceEntry{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.content().Object, entry); err != nil {
			return nil, fmt.Errorf("reading %s: %w", o.key(), err)
		}
		all = append(all, entry)
	}
	return directory.New(all, ""), nil
}

// tried is a row, and what became of requests of its kind.
type tried struct {
	row  mtls.Row
	from string
	asks []*ask
	seen []*seen
}

// mutual counts what a run has seen.
type mutual struct {
	configurations, rows, requests, disagreements int
	statuses                                      map[mtls.Status]int
	secured, plain, failed                        int
	// before are those of the last configuration, whose log lines are still to come.
	before []*tried
	number uint64
}

func (m *mutual) String() string {
	return fmt.Sprintf("%d configurations, %d rows, %d requests, %d disagreements; %v; %d requests by mutual TLS, %d in plaintext, %d failed as predicted",
		m.configurations, m.rows, m.requests, m.disagreements, m.statuses, m.secured, m.plain, m.failed)
}

// pairClients of the stage send requests through their proxies; the last one has none.
var pairClients = []string{"visitor", "courier", "cart-1", "cart-2", "ledger", "door", "mainframe"}

// asksFor reports whether a client asks for a target. Of those that nothing redirects to
// their proxies one is enough to see that these have no way to a headless Service.
func asksFor(from string, to target) bool {
	switch from {
	case "courier", "door", "mainframe":
		return true
	case "visitor":
		return !to.headless || !to.raw
	}
	return !to.headless
}

// configuration checks all pairs of a configuration and sends requests of each.
func (m *mutual) configuration(t *testing.T, number uint64, objects []object) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if _, err := play.install(ctx, objects); err != nil {
		t.Fatal(err)
	}
	d, err := play.settle(ctx)
	if err != nil {
		t.Fatal(err)
	}
	m.compareLogs(t)
	for try := range 3 {
		known, err := play.directory(ctx, objects)
		if err != nil {
			t.Fatal(err)
		}
		w := &questions.World{Evaluator: decide.New(d), Proxies: d, Nodes: d.nodes, Directory: known, At: time.Now()}
		all, err := m.sendAll(ctx, mtls.New(w, nil), d, fmt.Sprintf("m%d-%d", number, try))
		if err != nil {
			t.Fatal(err)
		}
		wrong := slices.ContainsFunc(all, func(one *tried) bool { return one.differs() != "" })
		if wrong && try < 2 {
			// The proxies may have learned of something in the meantime. Only they know.
			if d, err = play.dump(ctx); err != nil {
				t.Fatal(err)
			}
			continue
		}
		m.add(t, number, all)
		return
	}
}

// sendAll sends requests for every row of every pair.
func (m *mutual) sendAll(ctx context.Context, c *mtls.Checker, d *dumps, prefix string) ([]*tried, error) {
	sender := newClients(play)
	defer sender.close()
	var out []*tried
	var tasks []func() error
	for _, from := range pairClients {
		for _, to := range targets() {
			if !asksFor(from, to) {
				continue
			}
			asks, err := play.asksOf(c, d, from, to)
			if err != nil {
				return nil, err
			}
			for _, one := range asks {
				out = append(out, one)
				for i, q := range one.asks {
					q.id = fmt.Sprintf("%s-%d-%d", prefix, len(out), i)
					tasks = append(tasks, func() error {
						one.seen[i] = sender.send(ctx, q)
						return nil
					})
				}
			}
		}
	}
	return out, parallel(tasks)
}

// asksOf are the rows of a pair with requests of each: several where endpoints differ.
func (s *stage) asksOf(c *mtls.Checker, d *dumps, from string, to target) ([]*tried, error) {
	ref := questions.WorkloadRef{Namespace: s.apps["mainframe"].Namespace, Name: s.apps["mainframe"].Service}
	if node, ok := s.nodes[from]; ok {
		ref = questions.WorkloadRef{Namespace: node.Namespace, Name: node.Name}
	}
	client, err := c.Client(ref)
	if err != nil {
		return nil, err
	}
	about, err := c.Target(to.host, uint16(to.port))
	if err != nil {
		return nil, err
	}
	var out []*tried
	for _, row := range c.Check(client, about) {
		one := &tried{row: row, from: from}
		out = append(out, one)
		switch {
		case to.raw && (from == "door" || row.Subset != ""):
			// The gateway has no port for it, and bytes name no subset.
		case row.Subset != "" && !leads(d.configs[client.Node.Key()], xds.OutboundCluster(row.Port, row.Subset, row.Host)):
			// A Sidecar may leave out the VirtualService that leads to subsets.
		case client.Node == nil:
			for _, at := range s.workloads(about.Service, to) {
				one.add(s.pastProxies(at, to))
			}
		case from == "courier":
			for _, meant := range s.meant(about.Service, to, d.configs[client.Node.Key()], row.Subset) {
				one.add(s.redirected(from, to, row.Subset, meant))
			}
		default:
			for range 1 + 3*min(1, len(row.Endpoints)) {
				one.add(s.ofPair(from, to, row.Subset))
			}
		}
	}
	return out, nil
}

// workloads are where a client finds those of a service without its proxy's help: at a
// headless Service's port on each pod, where nothing translates it.
func (s *stage) workloads(service *directory.Service, to target) []netip.AddrPort {
	var out []netip.AddrPort
	port, _ := service.Port(uint16(to.port))
	number := port.Target
	if to.headless {
		number = port.Number
	}
	for _, address := range service.Endpoints {
		out = append(out, netip.AddrPortFrom(address, number))
	}
	return out
}

// meant are the addresses that a client's connections mean to go to: those of pods
// where the Service is headless, or else its own.
func (s *stage) meant(service *directory.Service, to target, config *xds.Config, subset string) []netip.AddrPort {
	cluster, _ := config.Cluster(xds.OutboundCluster(uint16(to.port), subset, to.host))
	switch {
	case to.headless:
		return s.workloads(service, to)
	case cluster.GetType() != clusterv3.Cluster_ORIGINAL_DST:
		return []netip.AddrPort{netip.AddrPortFrom(service.Addresses[0], uint16(to.port))}
	case to.raw:
		// Only for the Service's own address is there a listener, and nothing here makes
		// of that a pod's, as kube-proxy would behind the client's proxy.
		return nil
	}
	return s.workloads(service, to)
}

// leads reports whether a proxy has a route to a cluster.
func leads(config *xds.Config, cluster string) bool {
	for _, r := range config.Resources().Routes {
		for _, v := range r.GetVirtualHosts() {
			if slices.ContainsFunc(v.GetRoutes(), func(r *routev3.Route) bool { return r.GetRoute().GetCluster() == cluster }) {
				return true
			}
		}
	}
	return false
}

func (o *tried) add(q *ask) { o.asks, o.seen = append(o.asks, q), append(o.seen, nil) }

// pastProxies is a request of a client without a proxy to a workload.
func (s *stage) pastProxies(at netip.AddrPort, to target) *ask {
	return get(func(q *ask) { q.raw, q.host, q.alone, q.to = to.raw, to.String(), true, at })
}

// redirected is a request of a client whose connections are redirected.
func (s *stage) redirected(from string, to target, subset string, meant netip.AddrPort) *ask {
	return get(func(q *ask) {
		q.raw, q.through, q.host, q.meant = to.raw, from, to.String(), meant
		q.to = netip.MustParseAddrPort(s.apps[from].RedirectAddress())
		if subset != "" {
			q.fields = append(q.fields, [2]string{headerSubset, subset})
		}
	})
}

// ofPair is a request of one client to a target.
func (s *stage) ofPair(from string, to target, subset string) *ask {
	return get(func(q *ask) {
		q.raw = to.raw
		if from == "door" {
			q.from, q.to, q.host = netip.MustParseAddr("127.9.0.7"), netip.MustParseAddrPort(s.gateway.HTTPAddress), "any.test"
			q.fields = append(q.fields, [2]string{headerTarget, to.String()})
		} else {
			q.through, q.host, q.to = from, to.String(), netip.MustParseAddrPort(s.apps[from].EgressAddress(to.port))
		}
		if subset != "" {
			q.fields = append(q.fields, [2]string{headerSubset, subset})
		}
	})
}

// differs says how an answer is none that the row predicts.
func (o *tried) differs() string {
	for i := range o.asks {
		if why := o.differsFrom(i); why != "" {
			return why
		}
	}
	return ""
}

func (o *tried) differsFrom(i int) string {
	s, q := o.seen[i], o.asks[i]
	// Without a proxy of the client's, and without HTTP, nobody answers in the server's place.
	silent := q.raw || q.through == "" && o.from != "door"
	status, code := o.predicted(q)
	switch status {
	case mtls.Unknown:
		if code == 0 {
			return ""
		}
	case mtls.Partial:
		if s.reached != "" {
			return ""
		}
	case mtls.OK:
		if s.reached == "" {
			return fmt.Sprintf("predicted that it succeeds; and it was %s", s)
		}
		return ""
	case mtls.Conflict:
	}
	switch {
	case s.reached != "":
		return fmt.Sprintf("predicted that it fails; and it was %s", s)
	case silent:
		return ""
	case s.failure != nil:
		return "no answer: " + s.failure.Error()
	case s.status != code:
		return fmt.Sprintf("predicted status %d; and it was %s", code, s)
	}
	return ""
}

// predicted is what the row says of a request: of the endpoint that it goes to, where
// the client chose that.
func (o *tried) predicted(q *ask) (mtls.Status, int) {
	at := q.meant
	if q.through == "" && o.from != "door" {
		at = q.to
	}
	for _, e := range o.row.Endpoints {
		if slices.Contains(e.Addresses, at.String()) {
			return e.Status, e.Code
		}
	}
	return o.row.Status, o.row.Code
}

// add counts rows and reports those that are wrong.
func (m *mutual) add(t *testing.T, number uint64, all []*tried) {
	m.configurations++
	for _, one := range all {
		m.rows++
		m.requests += len(one.seen)
		m.statuses[one.row.Status]++
		if why := one.differs(); why != "" {
			m.report(t, number, one, why)
		}
	}
	m.before, m.number = all, number
}

func (m *mutual) report(t *testing.T, number uint64, one *tried, why string) {
	m.disagreements++
	t.Errorf("configuration %d: %s to %s: %s %s %s: %s", number, one.from, one.row.Address(), one.row.Status, one.row.Server(), one.row.Sent(), why)
	t.Logf("%+v", one.row)
}

// compareLogs holds what the proxies logged of the last configuration to its rows: by
// now they have written it.
func (m *mutual) compareLogs(t *testing.T) {
	logged := map[string]map[string][]line{}
	for name, log := range play.logs {
		lines, err := log.read()
		if err != nil {
			t.Fatal(err)
		}
		logged[name] = lines
	}
	for _, one := range m.before {
		if one.row.Status == mtls.Unknown && one.row.Code == 0 || one.differs() != "" {
			continue
		}
		for i, q := range one.asks {
			if q.raw {
				// What is no HTTP has no place for the name of a case.
				continue
			}
			if why := m.compareLog(one, one.seen[i], q.id, logged); why != "" {
				m.report(t, m.number, one, why)
				break
			}
		}
	}
	m.before = nil
}

// compareLog is about one request: by the server's log it came by mutual TLS or not, and
// the client's has the flags.
func (m *mutual) compareLog(one *tried, s *seen, id string, logged map[string]map[string][]line) string {
	if s.reached == "" {
		for _, l := range logged[one.from][id] {
			predicted := one.flags()
			if !slices.ContainsFunc(predicted, func(flag string) bool { return slices.Contains(strings.Split(l.flags, ","), flag) }) {
				return fmt.Sprintf("predicted one of the flags %v; and its proxy logged %+v", predicted, l)
			}
			m.failed++
		}
		return ""
	}
	name, _, _ := strings.Cut(s.reached, " ")
	if _, ok := play.proxies[name]; !ok {
		// The server has no proxy, and nobody but the client's says how it was sent.
		m.plain++
		return ""
	}
	lines := logged[name][id]
	if len(lines) == 0 {
		return ""
	}
	secured := slices.ContainsFunc(lines, func(l line) bool { return l.peer != "-" })
	if secured {
		m.secured++
	} else {
		m.plain++
	}
	if by := one.sends(name); secured != (by == decide.MutualTLS) {
		return fmt.Sprintf("predicted that %s is sent %s; and its proxy logged %+v", name, by, lines)
	}
	return ""
}

// flags are those that the client's proxy may log: which endpoint it takes is chance.
func (o *tried) flags() []string {
	out := slices.Clone(o.row.Flags)
	for _, e := range o.row.Endpoints {
		out = append(out, e.Flags...)
	}
	return out
}

// sends is how a row says that requests come to a workload.
func (o *tried) sends(name string) decide.Transport {
	for _, e := range o.row.Endpoints {
		for _, w := range e.Workloads {
			if strings.HasSuffix(w, "/"+name) {
				return e.Sends
			}
		}
	}
	return o.row.Sends[0]
}

func TestEveryPairIsSecuredInTheMeshAsItIsChecked(t *testing.T) {
	count := &mutual{statuses: map[mtls.Status]int{}}
	for i := range *meshes {
		number := *seedFlag<<24 + uint64(*first+i)
		count.configuration(t, number, composeMutual(number, play))
		if (i+1)%20 == 0 && i+1 < *meshes {
			fmt.Fprintln(os.Stderr, count)
		}
		if count.disagreements > 100 {
			t.Fatal("too many disagreements to go on")
		}
	}
	if _, err := play.settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	count.compareLogs(t)
	t.Log(count)
	if count.statuses[mtls.Unknown]*5 > count.rows {
		t.Errorf("of %d rows %d are unknown", count.rows, count.statuses[mtls.Unknown])
	}
	if count.secured == 0 || count.plain == 0 || count.failed == 0 {
		t.Error("too little happened to say anything")
	}
}
