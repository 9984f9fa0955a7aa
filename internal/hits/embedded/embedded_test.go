// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package embedded_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/hits/contract"
	"github.com/trellis-mesh/trellis/internal/hits/embedded"
)

func open(t testing.TB, dir string, options embedded.Options) *embedded.Store {
	t.Helper()
	s, err := embedded.Open(dir, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { finish(t, s) })
	return s
}

func finish(t testing.TB, s *embedded.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestContract(t *testing.T) {
	contract.Run(t, contract.Subject{New: func(t *testing.T, keys int) contract.Fixture {
		dir, options := t.TempDir(), embedded.Options{Keys: keys}
		s := open(t, dir, options)
		return contract.Fixture{Store: s, Again: func(t *testing.T) hits.Store {
			finish(t, s)
			return open(t, dir, options)
		}}
	}})
}

func minute(n int) time.Time { return contract.Start.Add(time.Duration(n) * time.Minute) }

func key(peer string) hits.Key {
	return hits.Key{Namespace: "shop", Application: "web", Place: hits.Workload, Rule: -1, Statement: "Application shop/web", Verdict: hits.Allowed, Peer: peer}
}

// add appends what was counted in the minute that ends, n of each peer.
func add(t testing.TB, s *embedded.Store, end int, n uint64, peers ...string) {
	t.Helper()
	var counts []hits.Count
	for _, peer := range peers {
		counts = append(counts, hits.Count{Key: key(peer), N: n, At: minute(end).Add(-time.Second)})
	}
	if err := s.Append(context.Background(), hits.Interval{From: minute(end - 1), To: minute(end)}, counts); err != nil {
		t.Fatal(err)
	}
}

// holds is what is there, as "PEER N", and when it ran, as "FROM-TO" in minutes.
func holds(t testing.TB, s *embedded.Store, from, to int) (sums, ran []string) {
	t.Helper()
	totals, err := s.Sum(context.Background(), hits.Filter{}, minute(from), minute(to))
	if err != nil {
		t.Fatal(err)
	}
	for _, total := range totals {
		sums = append(sums, fmt.Sprint(total.Peer, " ", total.N))
	}
	intervals, err := s.Ran(context.Background(), minute(from), minute(to))
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range intervals {
		ran = append(ran, fmt.Sprintf("%v-%v", i.From.Sub(contract.Start).Minutes(), i.To.Sub(contract.Start).Minutes()))
	}
	return sums, ran
}

func want(t testing.TB, s *embedded.Store, from, to int, sums, ran string) {
	t.Helper()
	gotSums, gotRan := holds(t, s, from, to)
	if got := strings.Join(gotSums, ", "); got != sums {
		t.Errorf("there is %q, want %q", got, sums)
	}
	if got := strings.Join(gotRan, ", "); got != ran {
		t.Errorf("it ran in %q, want %q", got, ran)
	}
}

func segments(t testing.TB, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.hits"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestARecordThatIsCutAnywhereIsLostAloneAndToldOf(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, embedded.Options{})
	add(t, s, 1, 1, "a/b", "c/d")
	before := size(t, segments(t, dir)[0])
	add(t, s, 2, 2, "a/b", "e/f")
	finish(t, s)
	file := segments(t, dir)[0]
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for length := before; length <= int64(len(content)); length++ {
		copied := t.TempDir()
		if err := os.WriteFile(filepath.Join(copied, filepath.Base(file)), content[:length], 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, copied, embedded.Options{})
		losses := s.State().Losses
		switch {
		case length == int64(len(content)):
			want(t, s, 0, 9, "a/b 3, c/d 1, e/f 2", "0-2")
		default:
			want(t, s, 0, 9, "a/b 1, c/d 1", "0-1")
		}
		if cut := length > before && length < int64(len(content)); cut != (len(losses) == 1) {
			t.Fatalf("with %d of %d bytes the losses are %+v", length, len(content), losses)
		}
		for _, l := range losses {
			if l.Bytes != length-before || !l.After.Equal(minute(1)) || l.File == "" || l.Why == "" {
				t.Errorf("the loss of %d bytes after %s is told as %+v", length-before, minute(1), l)
			}
		}
		add(t, s, 5, 8, "a/b")
		finish(t, s)
		s = open(t, copied, embedded.Options{})
		if again := s.State().Losses; len(again) > 0 {
			t.Errorf("what was cut off is found damaged once more: %+v", again)
		}
		if sums, _ := holds(t, s, 4, 9); !reflect.DeepEqual(sums, []string{"a/b 8"}) {
			t.Errorf("after a cut at %d there is %q, want what was appended since", length, sums)
		}
		finish(t, s)
	}
}

func size(t testing.TB, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func TestAByteThatChangedIsNeverCounted(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, embedded.Options{})
	add(t, s, 1, 1, "a/b")
	add(t, s, 2, 2, "a/b")
	finish(t, s)
	file := segments(t, dir)[0]
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i := range content {
		copied := t.TempDir()
		bad := append([]byte(nil), content...)
		bad[i] ^= 0x40
		if err := os.WriteFile(filepath.Join(copied, filepath.Base(file)), bad, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := embedded.Open(copied, embedded.Options{})
		if err != nil {
			continue
		}
		sums, _ := holds(t, s, 0, 9)
		if got := strings.Join(sums, ""); got != "" && got != "a/b 1" || len(s.State().Losses) != 1 {
			t.Errorf("with byte %d changed there is %q, and the losses are %+v", i, got, s.State().Losses)
		}
		finish(t, s)
	}
}

func TestAFileThatIsDamagedLaterIsAnErrorAndNoSum(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, embedded.Options{})
	add(t, s, 1, 1, "a/b")
	file := segments(t, dir)[0]
	if err := os.Truncate(file, size(t, file)-1); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sum(t.Context(), hits.Filter{}, minute(0), minute(9)); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("the error is %v, want one with the file", err)
	}
}

func TestAFileOfAnotherFormIsRefusedAndLeftAlone(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "0000000000000001.hits")
	const content = "Trellis counts of hits, form 2\nand what it has"
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.Open(dir, embedded.Options{}); err == nil || !strings.Contains(err.Error(), "form") {
		t.Errorf("the error is %v, want one about the form", err)
	}
	if size(t, file) != int64(len(content)) {
		t.Error("the file was changed")
	}
}

func TestASecondProcessIsKeptOut(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, embedded.Options{})
	if _, err := embedded.Open(dir, embedded.Options{}); err == nil {
		t.Fatal("the store was opened twice")
	}
	finish(t, s)
	finish(t, open(t, dir, embedded.Options{}))
	if err := s.Append(t.Context(), hits.Interval{From: minute(1), To: minute(2)}, nil); !errors.Is(err, os.ErrClosed) {
		t.Errorf("appending to a closed store gave %v", err)
	}
}

func TestOldMinutesBecomeHoursWithTheSameSumsAndGaps(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, embedded.Options{Fine: time.Hour})
	for m := 1; m <= 240; m++ {
		if m != 30 {
			add(t, s, m, 1, "a/b", "c/d")
		}
	}
	if got := len(segments(t, dir)); got != 4 {
		t.Errorf("four hours are in %d segments", got)
	}
	small, large := size(t, segments(t, dir)[0]), size(t, segments(t, dir)[3])
	if small*4 > large {
		t.Errorf("an hour that was made one has %d bytes, and one that was not has %d", small, large)
	}
	for range 2 {
		want(t, s, 0, 240, "a/b 239, c/d 239", "0-29, 30-240")
		want(t, s, 0, 60, "a/b 59, c/d 59", "0-29, 30-60")
		want(t, s, 0, 45, "", "0-29, 30-45")
		want(t, s, 45, 61, "a/b 59, c/d 59", "45-61")
		want(t, s, 60, 240, "a/b 180, c/d 180", "60-240")
		totals, err := s.Sum(t.Context(), hits.Filter{}, minute(0), minute(60))
		if err != nil || !totals[0].First.Equal(minute(1).Add(-time.Second)) || !totals[0].Last.Equal(minute(60).Add(-time.Second)) {
			t.Errorf("first and last are those of %+v, %v", totals, err)
		}
		finish(t, s)
		s = open(t, dir, embedded.Options{Fine: time.Hour})
	}
}

func TestAnHourThatWasNotMadeOneToItsEndIsStillThere(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, embedded.Options{})
	add(t, s, 1, 1, "a/b")
	finish(t, s)
	half := segments(t, dir)[0] + ".unfinished"
	if err := os.WriteFile(half, []byte("Trellis"), 0o600); err != nil {
		t.Fatal(err)
	}
	want(t, open(t, dir, embedded.Options{}), 0, 9, "a/b 1", "0-1")
	if _, err := os.Stat(half); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the half of a file is still there: %v", err)
	}
}

func TestKeysThatWereThereBeforeARestartCountForTheLimit(t *testing.T) {
	dir := t.TempDir()
	options := embedded.Options{Keys: 4}
	s := open(t, dir, options)
	add(t, s, 1, 1, "a/1", "a/2", "a/3", "a/4")
	finish(t, s)
	s = open(t, dir, options)
	add(t, s, 2, 1, "a/1", "a/5", "a/6")
	want(t, s, 0, 2, "a/1 2, a/2 1, a/3 1, a/4 1, other 2", "0-2")
}

func TestCountsGoByAge(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, embedded.Options{Keep: 3 * time.Hour, Fine: time.Hour})
	for m := 1; m <= 600; m += 10 {
		add(t, s, m, 1, fmt.Sprintf("hour/%d", m/60))
	}
	sums, ran := holds(t, s, 0, 600)
	if len(sums) > 5 || len(ran) == 0 || strings.HasPrefix(ran[0], "0-") {
		t.Errorf("there is %v in %v, want about three hours", sums, ran)
	}
	if state := s.State(); state.Keys > 5 || len(state.Losses) != 0 || state.Trouble != nil {
		t.Errorf("the state is %+v, want the keys of three hours and no loss", state)
	}
}

func TestCountsGoWhereThereAreTooManyBytesAndItSaysSo(t *testing.T) {
	dir := t.TempDir()
	const most = 20_000
	s := open(t, dir, embedded.Options{Bytes: most})
	for m := 1; m <= 600; m++ {
		add(t, s, m, 1, "a/b", fmt.Sprintf("made-up/%d", m))
		if bytes := s.State().Bytes; bytes > most {
			t.Fatalf("there are %d bytes, and may be %d", bytes, most)
		}
	}
	var sum int64
	for _, file := range segments(t, dir) {
		sum += size(t, file)
	}
	state := s.State()
	if sum != state.Bytes || sum < most/2 {
		t.Errorf("files have %d bytes and it says %d, of %d", sum, state.Bytes, most)
	}
	if len(state.Losses) == 0 || !strings.Contains(state.Losses[0].Why, "more than 20000 bytes") {
		t.Errorf("the losses are %+v", state.Losses)
	}
	if _, ran := holds(t, s, 0, 600); len(ran) != 1 || strings.HasPrefix(ran[0], "0-") {
		t.Errorf("it ran in %v, want what is left as one interval, and a gap before", ran)
	}
}

func TestTroubleWithTidyingTakesNoCountsAway(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, embedded.Options{Fine: time.Hour})
	add(t, s, 1, 1, "a/b")
	add(t, s, 2, 1, "a/b")
	// The file that the hour is written to cannot be made, even by root.
	if err := os.Mkdir(segments(t, dir)[0]+".unfinished", 0o700); err != nil {
		t.Fatal(err)
	}
	add(t, s, 200, 1, "a/b")
	if s.State().Trouble == nil {
		t.Error("the trouble is not told")
	}
	want(t, s, 0, 200, "a/b 3", "0-2, 199-200")
}

// endless is the variable that makes this program append to a directory until it is killed.
const endless = "TRELLIS_TEST_APPEND_TO"

func TestMain(m *testing.M) {
	dir := os.Getenv(endless)
	if dir == "" {
		os.Exit(m.Run())
	}
	s, err := embedded.Open(dir, embedded.Options{})
	for n := 1; err == nil; n++ {
		ran := hits.Interval{From: minute(n - 1), To: minute(n)}
		if err = s.Append(context.Background(), ran, []hits.Count{{Key: key(strings.Repeat("x", n%hits.Longest)), N: 1, At: ran.To}}); err == nil {
			fmt.Println(n)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func TestAProcessThatIsKilledHasLostNothingThatItHadAppended(t *testing.T) {
	for round := range 5 {
		dir := t.TempDir()
		command := exec.Command(os.Args[0])
		command.Env = append(os.Environ(), endless+"="+dir)
		out, err := command.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		lines, appended := bufio.NewScanner(out), 0
		for lines.Scan() {
			if appended++; appended == 50+17*round {
				_ = command.Process.Kill()
			}
		}
		_ = command.Wait()
		s := open(t, dir, embedded.Options{})
		totals, err := s.Sum(t.Context(), hits.Filter{}, minute(0), minute(10*appended))
		if err != nil {
			t.Fatal(err)
		}
		var sum int
		for _, total := range totals {
			sum += int(total.N)
		}
		if appended < 50 || sum < appended || sum > appended+1 {
			t.Errorf("it had appended %d when it was killed, and there are %d", appended, sum)
		}
		finish(t, s)
	}
}

func TestExamplesThatCannotBeWrittenLeaveTheFormerOnes(t *testing.T) {
	dir := t.TempDir()
	store, err := embedded.Open(dir, embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	former := hits.NewSample(hits.Key{Namespace: "shop", Place: hits.Gateway, Verdict: hits.Denied}, time.Unix(1, 0).UTC(), "GET", 403, "", strings.Repeat("f", 32))
	if err := store.KeepSamples([]hits.Sample{former}); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "samples.json.unfinished"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := store.KeepSamples(nil); err == nil {
		t.Error("they are said to be kept")
	}
	if got, err := store.Samples(); err != nil || len(got) != 1 || got[0] != former {
		t.Errorf("there are %+v, %v", got, err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
}
