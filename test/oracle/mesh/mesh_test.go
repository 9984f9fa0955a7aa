// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/internal/decide"
)

var (
	seedFlag = flag.Uint64("seed", 1, "seed of the random configurations and requests; 0 takes a random one")
	first    = flag.Int("first", 0, "number of the first configuration")
	worlds   = flag.Int("worlds", 20, "random configurations to play")
	requests = flag.Int("requests", 100, "requests in each of them")
	show     = flag.Bool("show", false, "print the objects of a configuration with a disagreement")
)

// play is the stage that all tests share.
var play *stage

func TestMain(m *testing.M) {
	flag.Parse()
	log.SetLogger(logr.Discard())
	os.Exit(run(m))
}

func run(m *testing.M) int {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	var err error
	play, err = openStage(ctx)
	if play != nil && play.Stack != nil {
		defer play.Stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := play.Failed(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if code != 0 {
		play.KeepFiles()
		fmt.Fprintln(os.Stderr, "logs are in", play.Logs())
	}
	return code
}

// tally counts what a run has seen.
type tally struct {
	configurations, requests, disagreements, refused, checked int
	outcomes                                                  map[decide.Outcome]int
	unknown, refusals, problems, failures                     map[string]int
	writing, installing, asking                               time.Duration
	// before are the results whose reasons are still to be compared.
	before []*result
	number uint64
}

func newTally() *tally {
	return &tally{outcomes: map[decide.Outcome]int{}, unknown: map[string]int{}, refusals: map[string]int{}, problems: map[string]int{}, failures: map[string]int{}}
}

func (c *tally) String() string {
	unknown := 0
	for _, n := range c.unknown {
		unknown += n
	}
	return fmt.Sprintf("%d configurations, %d requests, %d disagreements; %v, %d reasons compared; unknown %d (%.2f %%); %d objects refused; %.0f s installing, of which %.0f s writing, %.0f s asking",
		c.configurations, c.requests, c.disagreements, c.outcomes, c.checked, unknown, 100*float64(unknown)/float64(max(1, c.requests)), c.refused, c.installing.Seconds(), c.writing.Seconds(), c.asking.Seconds())
}

// result is one request with what was decided and what became of it.
type result struct {
	ask     *ask
	verdict decide.Verdict
	seen    *seen
	wrong   string
	// reported results are counted as wrong already.
	reported bool
}

// askAll decides and sends requests from several goroutines.
func askAll(ctx context.Context, d *dumps, asks []*ask) ([]*result, error) {
	e := decide.New(d)
	c := newClients(play)
	defer c.close()
	out := make([]*result, len(asks))
	var tasks []func() error
	for i, q := range asks {
		tasks = append(tasks, func() error {
			question, err := q.question(play, d)
			if err != nil {
				return err
			}
			question.At = time.Now()
			r := &result{ask: q, verdict: e.Decide(question), seen: c.send(ctx, q)}
			if _, is := unknown(&r.verdict); !is {
				r.wrong = play.differs(d, q, &r.verdict, r.seen)
			}
			out[i] = r
			return nil
		})
	}
	return out, parallel(tasks)
}

// reasons holds what the proxies logged to what was decided.
func reasons(ctx context.Context, count *tally, results []*result) error {
	logged := map[string]map[string][]line{}
	for name, log := range play.logs {
		lines, err := log.read()
		if err != nil {
			return err
		}
		logged[name] = lines
	}
	for _, r := range results {
		if _, is := unknown(&r.verdict); is || r.wrong != "" {
			continue
		}
		r.wrong = tellsOtherwise(r.ask, &r.verdict, func(proxy string) []line {
			count.checked++
			return logged[proxy][r.ask.id]
		})
	}
	return ctx.Err()
}

// configuration plays one configuration to its end.
func (c *tally) configuration(t *testing.T, number uint64) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	started := time.Now()
	objects := compose(number, play)
	refused, err := play.install(ctx, objects)
	if err != nil {
		t.Fatal(err)
	}
	c.writing += time.Since(started)
	c.refused += len(refused)
	for _, r := range refused {
		c.refusals[reason(r)]++
	}
	d, err := play.settle(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range d.problems() {
		c.problems[kind(p)]++
	}
	c.installing += time.Since(started)
	c.compareReasons(t)
	started = time.Now()
	var results []*result
	for try := range 3 {
		g := newInquirer(number, play, d)
		asks := make([]*ask, *requests)
		for i := range asks {
			asks[i] = g.next()
			asks[i].id = fmt.Sprintf("%d-%d-%d", number, try, i)
		}
		if results, err = askAll(ctx, d, asks); err != nil {
			t.Fatal(err)
		}
		wrong := func(r *result) bool { return r.wrong != "" }
		if !slices.ContainsFunc(results, wrong) {
			break
		}
		// The proxies may have learned of something in the meantime. Only they know.
		if d, err = play.dump(ctx); err != nil {
			t.Fatal(err)
		}
	}
	c.asking += time.Since(started)
	c.add(t, number, results)
}

// compareReasons is for the configuration before: by now the proxies have written
// what they logged of it.
func (c *tally) compareReasons(t *testing.T) {
	if err := reasons(t.Context(), c, c.before); err != nil {
		t.Fatal(err)
	}
	c.report(t, c.number, c.before)
	c.before = nil
}

// add counts results, and reports those that are wrong.
func (c *tally) add(t *testing.T, number uint64, results []*result) {
	c.configurations++
	for _, r := range results {
		c.requests++
		c.outcomes[r.verdict.Outcome]++
		if why, is := unknown(&r.verdict); is {
			c.unknown[kind(why)]++
		}
		if r.verdict.Outcome == decide.Fails {
			c.failures[kind(r.verdict.Why)]++
		}
	}
	c.report(t, number, results)
	c.before, c.number = results, number
}

func (c *tally) report(t *testing.T, number uint64, results []*result) {
	wrong := 0
	for _, r := range results {
		if r.wrong == "" || r.reported {
			continue
		}
		r.reported = true
		c.disagreements++
		if wrong++; wrong > 3 {
			continue
		}
		t.Errorf("configuration %d: %s: %s", number, play.keys.named(r.ask.String()), r.wrong)
		for _, step := range r.verdict.Steps {
			t.Logf("  %s %s [%s] %s", step.Proxy, step.Stage, step.Rule, step.Says)
		}
	}
	if wrong > 0 && *show {
		for _, o := range compose(number, play) {
			text, err := yaml.Marshal(o.content().Object)
			t.Logf("---\n%s%v", text, err)
		}
	}
}

// reason of a refused object, without names.
func reason(err error) string {
	text := err.Error()
	if at := strings.LastIndex(text, "denied the request: "); at >= 0 {
		text = text[at:]
	}
	return kind(text)
}

func TestEveryRequestEndsInTheMeshAsItIsDecided(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64N(1 << 30)
	}
	t.Logf("seed %d", seed)
	count := newTally()
	began := time.Now()
	for i := range *worlds {
		number := seed<<24 + uint64(*first+i)
		count.configuration(t, number)
		if (i+1)%20 == 0 && i+1 < *worlds {
			fmt.Fprintf(os.Stderr, "%.0f s: %s\n", time.Since(began).Seconds(), count)
		}
		if count.disagreements > 200 {
			t.Fatal("too many disagreements to go on")
		}
	}
	count.compareReasons(t)
	t.Log(count)
	for name, counts := range map[string]map[string]int{"unknown": count.unknown, "refused": count.refusals, "problem": count.problems, "fails": count.failures} {
		for _, why := range slices.Sorted(maps.Keys(counts)) {
			t.Logf("%s %d: %s", name, counts[why], why)
		}
	}
	if unknown := count.outcomes[decide.Unknown]; unknown*100 > count.requests {
		t.Errorf("%d of %d requests could not be decided", unknown, count.requests)
	}
	if count.outcomes[decide.Allow]*10 < count.requests || count.outcomes[decide.Deny]*10 < count.requests {
		t.Errorf("too few requests are allowed or denied to say anything")
	}
}
