// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package replay_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/ask/directory"
	"github.com/trellis-mesh/trellis/internal/ask/replay"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// nowhere has no proxies: every question about it has an error or is unknown.
type nowhere struct{}

func (nowhere) At(netip.Addr) []xds.Node             { return nil }
func (nowhere) Node(xds.Key) (xds.Node, bool)        { return xds.Node{}, false }
func (nowhere) Config(xds.Node) (*xds.Config, error) { return nil, fmt.Errorf("there is none") }

func empty() *ask.World {
	return &ask.World{Evaluator: decide.New(nowhere{}), Proxies: nowhere{}, Directory: directory.New(nil, ""), Origins: ask.NewOrigins(nil, nil)}
}

func line(path, host string) string {
	return fmt.Sprintf(`{"method":"GET","path":%q,"authority":%q,"response_code":200,"response_code_details":"via_upstream","requested_server_name":"a"}`, path, host)
}

func TestEveryLineIsCountedOnceAndNothingIsFatal(t *testing.T) {
	r := replay.New(empty(), replay.Options{})
	lines := []string{
		line("/", "a.example.com"), "", "garbage", `{"method":`, line("/x", "a.example.com"), strings.Repeat("x", accesslog.MaxLine+1),
		`{"url":"https://a.example.com/","was":"Perhaps"}`, `{"url":"https://a.example.com/","was":"Allow"}`, `{"response_code":0,"response_flags":"NR"}`,
	}
	for i, l := range lines {
		r.Line(i+1, l)
	}
	got := r.Report()
	if got.Lines != 8 || got.UnreadCount != 4 || got.Unknown != 4 || got.Same+got.Changed+got.Depends != 0 {
		t.Errorf("%+v", got)
	}
	if got.Unread[0].Line != 3 || !strings.Contains(got.Unread[3].Why, "none of Allow") {
		t.Errorf("%+v", got.Unread)
	}
	for _, g := range got.Groups {
		if g.Class != replay.Unknown || g.Why == "" || g.Line == 0 {
			t.Errorf("%+v", g)
		}
	}
}

func TestALogOfAnyLengthTakesTheSameMemory(t *testing.T) {
	r := replay.New(empty(), replay.Options{})
	const lines = 30_000
	for i := range lines {
		r.Line(i, line("/", fmt.Sprintf("h%d.example.com", i)))
		r.Line(i, "garbage")
	}
	got := r.Report()
	if len(got.Groups) > 1000 || got.Ungrouped != lines-1000 || got.Unknown != lines || len(got.Unread) > 20 || got.UnreadCount != lines {
		t.Errorf("%d groups, %d beyond them, %d unknown, %d of %d unread", len(got.Groups), got.Ungrouped, got.Unknown, len(got.Unread), got.UnreadCount)
	}
}

func FuzzLine(f *testing.F) {
	for _, seed := range []string{line("/", "a"), `{"url":"https://a/","was":"Allow","claims":{"iss":1},"headers":{"a":"b"}}`, `{"url":"http://[::1","was":"Deny"}`, "{", `{"url":"tcp://a:1","was":"Deny","from":"a/b"}`} {
		f.Add(seed)
	}
	world := empty()
	f.Fuzz(func(t *testing.T, text string) {
		r := replay.New(world, replay.Options{})
		r.Line(1, text)
		got := r.Report()
		if sum := got.Same + got.Changed + got.Depends + got.Unknown + got.UnreadCount; sum != got.Lines || got.Lines > 1 {
			t.Fatalf("%+v", got)
		}
	})
}
