// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package route_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// dice are the random choices of one run.
type dice struct{ *rand.Rand }

// roll begins a run: with TRELLIS_SEED if that is given, else with a new seed,
// which is printed.
func roll(t *testing.T) dice {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if given, err := strconv.ParseUint(os.Getenv("TRELLIS_SEED"), 10, 64); err == nil {
		seed = given
	}
	t.Logf("TRELLIS_SEED=%d repeats this run", seed)
	return dice{rand.New(rand.NewPCG(seed, 7))}
}

// rounds is how often a test repeats itself: n times what TRELLIS_ROUNDS says.
func rounds(n int) int {
	if times, err := strconv.Atoi(os.Getenv("TRELLIS_ROUNDS")); err == nil && times > 0 {
		return n * times
	}
	return n
}

func (d dice) one(of ...string) string { return of[d.IntN(len(of))] }

func (d dice) maybe(percent int) bool { return d.IntN(100) < percent }

// path is a request path with every trick that proxies and servers read
// differently.
func (d dice) path() string {
	var b strings.Builder
	b.WriteString("/")
	for range d.IntN(9) {
		b.WriteString(d.one("/", "/", "a", "b", "api", "API", "x", ".", "..", "./", "../", "/./", "/../", "%2e", "%2E", "%2e%2e/",
			"%2f", "%2F", "%5c", "%5C", `\`, "//", ";", ";a=1", "..;/", ".;x/", "%", "%2", "%zz", "%%", "%25", "%252e", "%252f", "%41", "%7e",
			"%20", "%C3%A4", "%c3", "+", "~", "-", "_", "@", ":", "=", "&", "$", "!", "*", "'", "(", ")", ",", `"`, "<", ">", "^", "`", "{", "|",
			"}", "[", "]", "4", "1", "%3", "%6", "e", "f", "A", "2"))
	}
	if d.maybe(1) {
		b.WriteString("%00")
	}
	if d.maybe(1) {
		b.WriteString("#f")
	}
	if d.maybe(25) {
		b.WriteString("?")
		for range d.IntN(4) {
			b.WriteString(d.one("a", "b", "=", "&", "1", "%2f", "/../", "//", "?", ";", "x=y", "a=1&", "%"))
		}
	}
	return b.String()
}
