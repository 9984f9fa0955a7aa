// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package security

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/decide/hcm"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
	"github.com/trellis-mesh/trellis/internal/xds"
	"github.com/trellis-mesh/trellis/internal/xds/configdump"
	"github.com/trellis-mesh/trellis/test/oracle"
)

var (
	decideWorlds   = flag.Int("decide.worlds", 4, "random worlds in which requests are decided and sent")
	decideRequests = flag.Int("decide.requests", 300, "requests in each of them")
)

// dumps are the configurations that the proxies of the mesh have right now.
type dumps struct {
	nodes   []xds.Node
	configs map[xds.Key]*xds.Config
}

// takeDumps asks every proxy of the mesh.
func takeDumps(ctx context.Context) (*dumps, error) {
	d := &dumps{configs: map[xds.Key]*xds.Config{}}
	var mu sync.Mutex
	var wait sync.WaitGroup
	var failures []error
	for name, proxy := range world.proxies {
		wait.Go(func() {
			var config *xds.Config
			text, err := proxy.Admin(ctx, "/config_dump?include_eds")
			if err == nil {
				config, err = configdump.Read(bytes.NewReader(text), configdump.Options{Name: name})
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failures = append(failures, err)
				return
			}
			d.nodes = append(d.nodes, config.Node())
			d.configs[config.Node().Key()] = config
		})
	}
	wait.Wait()
	return d, errors.Join(failures...)
}

func (d *dumps) At(address netip.Addr) []xds.Node {
	var out []xds.Node
	for _, n := range d.nodes {
		for _, a := range n.Addresses {
			if a == address {
				out = append(out, n)
			}
		}
	}
	return out
}

func (d *dumps) Node(key xds.Key) (xds.Node, bool) {
	c, ok := d.configs[key]
	if !ok {
		return xds.Node{}, false
	}
	return c.Node(), true
}

func (d *dumps) Config(node xds.Node) (*xds.Config, error) {
	c, ok := d.configs[node.Key()]
	if !ok {
		return nil, fmt.Errorf("%s gave no dump", node)
	}
	return c, nil
}

// question is the request that send sends.
func (j *judge) question(d *dumps, r *oracle.Request) (*decide.Question, error) {
	headers := r.Headers()
	if text, ok := j.bearer[r.Token.Name]; ok {
		headers["Authorization"] = []string{"Bearer " + text}
	}
	q := &decide.Question{At: time.Now(), From: decide.Source{Address: netip.MustParseAddrPort("127.0.0.1:50000")}}
	host := r.Authority
	address := ""
	switch {
	case r.Ingress != nil:
		gateway := world.public
		if r.Ingress.Namespace == "edge" {
			gateway = world.edge
		}
		address = gateway.HTTPSAddress
		q.TLS = &stream.TLS{ServerName: r.Host}
	default:
		to := world.apps[r.To.Name]
		number := map[string]int{"web": 9080, "extra": 9084}[r.Port]
		host = to.Host(number)
		address = to.PortAddress(r.Port)
		if r.Caller.ServiceAccount != "" {
			caller := world.apps[r.Caller.Name]
			address = caller.EgressAddress(number)
			nodes := d.At(netip.MustParseAddr(caller.Address))
			if len(nodes) != 1 {
				return nil, fmt.Errorf("%d proxies are at the address of %s", len(nodes), r.Caller.Name)
			}
			key := nodes[0].Key()
			q.From.Workload = &key
		}
	}
	var err error
	if q.To, err = netip.ParseAddrPort(address); err != nil {
		return nil, err
	}
	// As stack.Send writes it.
	q.Request = &hcm.Request{Method: r.Method, Target: cmp.Or(r.Target, "/")}
	var fields []stream.Header
	if host != "" {
		fields = append(fields, stream.Header{Name: "host", Value: host})
	}
	fields = append(fields, stream.Header{Name: "connection", Value: "close"})
	for name, values := range headers {
		for _, value := range values {
			fields = append(fields, stream.Header{Name: name, Value: value})
		}
	}
	q.Request.Headers = stream.Raw(fields...)
	return q, nil
}

// errNone stands for no error in what disagreements say.
var errNone = errors.New("no error")

// agree sends a request and holds the verdict to what happened.
func (j *judge) agree(ctx context.Context, e *decide.Evaluator, d *dumps, r *oracle.Request) (decide.Verdict, error) {
	q, err := j.question(d, r)
	if err != nil {
		return decide.Verdict{}, err
	}
	v := e.Decide(q)
	answer, err := j.send(ctx, r)
	reached := ""
	status := 0
	if err == nil {
		status, reached = answer.Status, answer.Header.Get(oracle.HeaderApplication)
	}
	// The back ends' HTTP server refuses some targets itself; it is reached then.
	itself := err == nil && status == http.StatusBadRequest && (r.Method == http.MethodHead || bytes.HasPrefix(answer.Body, []byte("400 Bad Request")))
	switch {
	case v.Outcome == decide.Unknown, itself && v.Outcome == decide.Allow:
		return v, nil
	case (v.Outcome == decide.Allow) != (reached != ""):
		return v, fmt.Errorf("decided %s and it reached %q (status %d, %w)", v.Outcome, reached, status, cmp.Or(err, errNone))
	case v.Outcome == decide.Allow && !strings.Contains(v.Reached.Workload.Name, reached):
		return v, fmt.Errorf("decided that it reaches %s and it reached %s", v.Reached.Workload.Name, reached)
	case v.Outcome != decide.Allow && (v.Reply == nil || v.Reply.Code != status):
		return v, fmt.Errorf("decided %s %+v and the status is %d (%w)", v.Outcome, v.Reply, status, cmp.Or(err, errNone))
	case v.Outcome == decide.Answered && v.Reply.Code/100 == 3:
		location, _ := v.Reply.Headers.Get("location")
		if location != answer.Header.Get("Location") {
			return v, fmt.Errorf("decided on location %q and it is %q", location, answer.Header.Get("Location"))
		}
	}
	return v, nil
}

func TestEveryRequestIsDecidedAsTheEnvoysDo(t *testing.T) {
	seed := *oracleSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	j := newJudge(t)
	outcomes := map[decide.Outcome]int{}
	reasons := map[string]int{}
	total := 0
	for i := range *decideWorlds {
		worldSeed := seed<<20 + uint64(i)
		t.Run(fmt.Sprintf("world %d", i), func(t *testing.T) {
			j.install(t, worldSeed)
			d, err := takeDumps(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			e := decide.New(d)
			requests := oracle.NewRequests(worldSeed, j.World, everybody, j.tokens)
			wrong := 0
			for range *decideRequests {
				r := requests.Next()
				v, err := j.agree(t.Context(), e, d, r)
				outcomes[v.Outcome]++
				total++
				if v.Outcome == decide.Unknown {
					reasons[v.Why]++
				}
				if err == nil {
					continue
				}
				if wrong++; wrong <= 3 {
					t.Errorf("%s: %v", r, err)
					for _, step := range v.Steps {
						t.Logf("  %s %s [%s] %s", step.Proxy, step.Stage, step.Rule, step.Says)
					}
				}
			}
			if wrong > 0 {
				t.Errorf("%d disagreements", wrong)
			}
		})
	}
	t.Logf("%d requests: %v", total, outcomes)
	for why, n := range reasons {
		t.Logf("%d unknown: %s", n, why)
	}
	if unknown := outcomes[decide.Unknown]; unknown*100 > total {
		t.Errorf("%d of %d requests could not be decided", unknown, total)
	}
	if outcomes[decide.Allow]*10 < total || outcomes[decide.Deny]*10 < total {
		t.Errorf("too few requests are allowed or denied to say anything")
	}
}
