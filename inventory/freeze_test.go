package inventory_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"bulkhead/inventory"
)

var (
	freezeEpoch = time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC)
	errDown     = errors.New("no route to host")
)

// reports n machines, vm-0 first.
func machines(n int) inventory.Report {
	r := inventory.Report{Source: "cloud", Trust: inventory.TrustFull, Assets: []inventory.Asset{}}
	for i := range n {
		r.Assets = append(r.Assets, inventory.Asset{ID: fmt.Sprintf("vm-%d", i), Kind: inventory.VM,
			Addresses: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}), 32)}, Labels: map[string]string{"role": "web"}})
	}
	return r
}

func hear(r inventory.Report, err error) []inventory.Heard {
	trust := r.Trust
	if trust == "" {
		trust = inventory.TrustFull
	}
	return []inventory.Heard{{Source: "cloud", Trust: trust, StaleAfter: 10 * time.Minute, Where: "bulkhead.yaml:3", Report: r, Err: err}}
}

// one run at a time after the epoch, with the default limit of 30 %.
func run(t *testing.T, heard []inventory.Heard, known map[string]inventory.Known, accept bool, after time.Duration) inventory.Standing {
	t.Helper()
	out, err := inventory.Stand(heard, known, 30, every(accept), freezeEpoch.Add(after))
	if err != nil || len(out) != 1 {
		t.Fatalf("%+v, %v", out, err)
	}
	return out[0]
}

// every accepts the losses of all sources, or none.
func every(yes bool) func(string) bool { return func(string) bool { return yes } }

func knows(k inventory.Known) map[string]inventory.Known {
	return map[string]inventory.Known{"cloud": k}
}

func good(n int) map[string]inventory.Known {
	return knows(inventory.Known{At: freezeEpoch.Add(-time.Hour), Report: machines(n)})
}

func TestStand(t *testing.T) {
	blind := machines(10)
	for i := range 4 {
		blind.Assets[i].Labels = nil
	}
	bare := machines(10)
	for i := range 4 {
		bare.Assets[i].Addresses = nil
	}
	other := machines(20)
	other.Assets = other.Assets[10:]
	evidence := machines(0)
	evidence.Trust = inventory.TrustEvidence
	for _, c := range []struct {
		name  string
		heard []inventory.Heard
		known map[string]inventory.Known
		state inventory.SourceState
		count int // entries that count
		why   string
	}{
		{"the first report", hear(machines(3), nil), nil, inventory.SourceCurrent, 3, ""},
		{"a first report of nothing", hear(machines(0), nil), nil, inventory.SourceCurrent, 0, ""},
		{"the same again", hear(machines(10), nil), good(10), inventory.SourceCurrent, 10, ""},
		{"more", hear(machines(12), nil), good(10), inventory.SourceCurrent, 12, ""},
		{"a few less", hear(machines(7), nil), good(10), inventory.SourceCurrent, 7, ""},
		{"many less", hear(machines(6), nil), good(10), inventory.SourceFrozen, 10, "lost 4 of 10 entries"},
		{"nothing", hear(machines(0), nil), good(10), inventory.SourceFrozen, 10, "reports nothing, and reported 10"},
		{"a failure", hear(inventory.Report{}, errDown), good(10), inventory.SourceFrozen, 10, "no route to host"},
		{"as many others", hear(other, nil), good(10), inventory.SourceFrozen, 10, "lost 10 of 10"},
		{"no labels", hear(blind, nil), good(10), inventory.SourceFrozen, 10, "lost 4 of 10"},
		{"no addresses", hear(bare, nil), good(10), inventory.SourceFrozen, 10, "lost 4 of 10"},
		{"evidence of nothing", hear(evidence, nil), good(10), inventory.SourceCurrent, 0, ""},
		{"nothing, after nothing", hear(machines(0), nil), good(0), inventory.SourceCurrent, 0, ""},
	} {
		s := run(t, c.heard, c.known, false, 0)
		if s.State != c.state || len(s.Report.Assets) != c.count || !strings.Contains(s.Why, c.why) || (s.Why == "") != (c.why == "") {
			t.Errorf("%s: %s, %d entries, %q", c.name, s.State, len(s.Report.Assets), s.Why)
		}
		if c.state == inventory.SourceFrozen {
			if !s.LastGood.Equal(freezeEpoch.Add(-time.Hour)) || !s.Since.IsZero() || !s.Next().Since.Equal(freezeEpoch) || !s.Until.Equal(freezeEpoch.Add(10*time.Minute)) {
				t.Errorf("%s: %+v, next %+v", c.name, s, s.Next())
			}
		} else if n := s.Next(); !n.Since.IsZero() || !n.At.Equal(freezeEpoch) || len(n.Report.Assets) != c.count {
			t.Errorf("%s: next %+v", c.name, n)
		}
		if s.Report.Trust != c.heard[0].Trust || s.Report.Source != "cloud" {
			t.Errorf("%s: the report is %q's, of trust %q", c.name, s.Report.Source, s.Report.Trust)
		}
	}
}

// Without a complete first inventory there is none, and every source that fails is
// named.
func TestStandFirst(t *testing.T) {
	heard := append(hear(inventory.Report{}, errDown), inventory.Heard{Source: "other", Err: errors.New("bad key"), Where: "bulkhead.yaml:4"})
	for _, accept := range []bool{false, true} { // a loss can be accepted, ignorance cannot
		_, err := inventory.Stand(heard, nil, 30, every(accept), freezeEpoch)
		if err == nil || !strings.Contains(err.Error(), `source "cloud" (bulkhead.yaml:3) failed`) || !strings.Contains(err.Error(), "bad key") || !errors.Is(err, errDown) {
			t.Errorf("accept %v: %v", accept, err)
		}
	}
}

// What was frozen is frozen from its first bad moment on, thaws when the source is
// well again, and is gone when its time is up.
func TestStale(t *testing.T) {
	for _, bad := range [][]inventory.Heard{hear(inventory.Report{}, errDown), hear(machines(0), nil), hear(machines(2), nil)} {
		s := run(t, bad, good(10), false, 0)
		s = run(t, bad, knows(s.Next()), false, 9*time.Minute)
		if s.State != inventory.SourceFrozen || !s.Since.Equal(freezeEpoch) || len(s.Report.Assets) != 10 {
			t.Errorf("after 9 minutes: %+v", s)
		}
		if well := run(t, hear(machines(9), nil), knows(s.Next()), false, 9*time.Minute); well.State != inventory.SourceCurrent || len(well.Report.Assets) != 9 || !well.Next().Since.IsZero() {
			t.Errorf("well again: %+v", well)
		}
		s = run(t, bad, knows(s.Next()), false, 10*time.Minute)
		if s.State != inventory.SourceStale || !s.Since.Equal(freezeEpoch) || len(s.Report.Assets) != len(bad[0].Report.Assets) {
			t.Errorf("after 10 minutes: %+v", s)
		}
		// Gone stays gone: nothing comes back that the source itself does not report.
		again := run(t, bad, knows(s.Next()), false, 11*time.Minute)
		if len(again.Report.Assets) != len(bad[0].Report.Assets) {
			t.Errorf("after 11 minutes: %+v", again)
		}
	}
}

// An accepted loss counts at once, and in the next run too, where nobody accepts it.
func TestAcceptLost(t *testing.T) {
	for _, bad := range [][]inventory.Heard{hear(inventory.Report{}, errDown), hear(machines(0), nil), hear(machines(2), nil)} {
		s := run(t, bad, good(10), true, 0)
		if s.State != inventory.SourceAccepted || len(s.Report.Assets) != len(bad[0].Report.Assets) || s.Why == "" {
			t.Errorf("accepted: %+v", s)
		}
		if s = run(t, bad, knows(s.Next()), false, time.Minute); len(s.Report.Assets) != len(bad[0].Report.Assets) {
			t.Errorf("came back: %+v", s)
		}
	}
	// Where there is nothing to accept, accepting changes nothing.
	if s := run(t, hear(machines(10), nil), good(10), true, 0); s.State != inventory.SourceCurrent {
		t.Errorf("%+v", s)
	}
}

// Whatever a source does, what counts is a report of its own: the newest good one,
// or what it says now. And it is the same each time it is asked.
func TestStandProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		known := map[string]inventory.Known{}
		now := freezeEpoch
		badSince := time.Time{}
		for range rapid.IntRange(1, 20).Draw(t, "runs") {
			now = now.Add(time.Duration(rapid.IntRange(0, 400).Draw(t, "seconds")) * time.Second)
			heard := hear(machines(rapid.IntRange(0, 12).Draw(t, "machines")), nil)
			if rapid.IntRange(0, 3).Draw(t, "fails") == 0 {
				heard = hear(inventory.Report{}, errDown)
			}
			out, err := inventory.Stand(heard, known, 30, nil, now)
			again, _ := inventory.Stand(heard, known, 30, nil, now)
			if !reflect.DeepEqual(out, again) {
				t.Fatal("two answers to one question")
			}
			if err != nil {
				if len(known) > 0 || heard[0].Err == nil {
					t.Fatal(err)
				}
				continue
			}
			s := out[0]
			before, had := known["cloud"]
			n, was, says := len(s.Report.Assets), len(before.Report.Assets), len(heard[0].Report.Assets)
			tooFew := had && (heard[0].Err != nil || was > 0 && (says == 0 || (was-says)*100 > 30*was))
			if !tooFew {
				badSince = time.Time{}
			} else if badSince.IsZero() {
				badSince = now
			}
			switch {
			case !tooFew && n != says:
				t.Fatalf("%d entries count of a good report of %d", n, says)
			case tooFew && now.Sub(badSince) < 10*time.Minute && n != was:
				t.Fatalf("%d entries count, the last good report has %d", n, was)
			case tooFew && now.Sub(badSince) >= 10*time.Minute && n != says:
				t.Fatalf("%d entries count of a stale source that reports %d", n, says)
			}
			if s.State == inventory.SourceStale && heard[0].Err == nil {
				badSince = time.Time{} // from here on that is its last report
			}
			known["cloud"] = s.Next()
		}
	})
}

// A kept report gives the same inventory, and the same bytes whenever it was seen.
func TestKeptReport(t *testing.T) {
	r := machines(3)
	r.Assets[1].MACs = []string{"02:00:00:00:00:01"}
	r.Assets[1].Attachments = []inventory.Attachment{{Switch: "sw1", Port: "p1"}}
	r.Assets[2].Attributes = map[string]string{"os": "linux"}
	r.Assets[2].Facts = []inventory.Fact{{Field: "seen.by", Value: "x", Source: "cloud", Seen: freezeEpoch}}
	b, err := inventory.EncodeReport(&r)
	if err != nil {
		t.Fatal(err)
	}
	later := r
	later.Seen = freezeEpoch.Add(time.Hour)
	if b2, _ := inventory.EncodeReport(&later); !bytes.Equal(b, b2) {
		t.Error("a later look at the same gives other bytes")
	}
	back, err := inventory.DecodeReport(b)
	if err != nil {
		t.Fatal(err)
	}
	back.Trust = r.Trust
	hash := func(r inventory.Report) string {
		return inventory.Merge([]inventory.Report{r}, inventory.MergeOptions{Precedence: []string{"cloud"}}).Hash()
	}
	if hash(back) != hash(r) {
		t.Errorf("%+v\ncame back as\n%+v", r, back)
	}
	for _, bad := range []string{"", "null", "{}", `{"formatVersion":"9.0","assets":[]}`} {
		if _, err := inventory.DecodeReport([]byte(bad)); err == nil {
			t.Errorf("%q is a report", bad)
		}
	}
}

func TestStandingText(t *testing.T) {
	s := run(t, hear(inventory.Report{}, errors.New("bad \x1b[31m")), good(3), false, 0)
	for _, part := range []string{`source "cloud" is frozen from now on`, "it failed: bad", "2026-11-27 07:00:00 UTC stands in", "until 2026-11-27 08:10:00 UTC"} {
		if !strings.Contains(s.String(), part) || strings.Contains(s.String(), "\x1b") {
			t.Errorf("%q lacks %q", s.String(), part)
		}
	}
}
