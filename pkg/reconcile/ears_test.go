package reconcile_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"bulkhead/inventory"
	"bulkhead/pkg/config"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/policy/policytest"
	"bulkhead/pkg/reconcile"
)

// hands is a clock that a test turns.
type hands struct{ at atomic.Int64 }

func (h *hands) now() time.Time       { return policytest.Epoch.Add(time.Duration(h.at.Load())) }
func (h *hands) turn(d time.Duration) { h.at.Add(int64(d)) }

func source(t *testing.T, c *cloud) *config.Source {
	t.Helper()
	s, _, err := reconcile.LoadWith(context.Background(), c.dir, policytest.Epoch, []driver.Kind{}, reconcile.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return &s.Config.Settings.Sources[0]
}

func assets(list []inventory.Heard) (n int) {
	for _, h := range list {
		n += len(h.Report.Assets)
	}
	return n
}

func told(t *testing.T, news chan string) {
	t.Helper()
	select {
	case <-news:
	case <-time.After(10 * time.Second):
		t.Fatal("nobody was told")
	}
}

// Ears give what was said last, ask again when that is old, and tell of what is new.
func TestEars(t *testing.T) {
	c := newCloud(t, "")
	src := source(t, c)
	clock, news := &hands{}, make(chan string, 8)
	ears := reconcile.NewEars(clock.now, func(s string) { news <- s })
	defer ears.Close()
	c.add(c.one, 2)
	first := ears.Hear(t.Context(), src)
	if len(first) != 2 || assets(first) != 2 || !first[0].At.Equal(policytest.Epoch) {
		t.Fatalf("%+v", first)
	}
	told(t, news) // of the first, too: who would not wait for it hears of it so
	ears.Opened()
	c.add(c.one, 1)
	calls := len(c.w.Calls())
	for range 5 {
		clock.turn(10 * time.Second)
		if got := ears.Hear(t.Context(), src); assets(got) != 2 {
			t.Errorf("%d assets", assets(got))
		}
	}
	if len(c.w.Calls()) != calls {
		t.Error("it was asked again before its time")
	}
	clock.turn(10 * time.Second)
	if got := ears.Hear(t.Context(), src); assets(got) != 2 {
		t.Errorf("%d assets, where nobody has waited", assets(got))
	}
	told(t, news)
	if got := ears.Hear(t.Context(), src); assets(got) != 3 || !got[0].At.Equal(policytest.Epoch.Add(time.Minute)) {
		t.Errorf("%d assets of %s", assets(got), got[0].At)
	}
	// A failure is news, and said until it is over.
	c.account.Disable("eu-west-1")
	clock.turn(time.Minute)
	ears.Hear(t.Context(), src)
	told(t, news)
	if got := ears.Hear(t.Context(), src); got[0].Err != nil || got[1].Err == nil {
		t.Errorf("%v, %v", got[0].Err, got[1].Err)
	}
	// The same once more is no news. (Who is not let in leaves no trace in the list of calls.)
	clock.turn(time.Minute)
	calls = len(c.w.Calls())
	ears.Hear(t.Context(), src)
	for end := time.Now().Add(10 * time.Second); len(c.w.Calls()) < calls+3 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	ears.Close()
	if len(news) > 0 {
		t.Error("somebody was told of nothing new")
	}
}

// A source that does not answer with its new settings is not waited for: that it has not
// said anything is what is known of it, in all its parts.
func TestEarsDoNotWait(t *testing.T) {
	c := newCloud(t, "")
	c.add(c.one, 1)
	src := source(t, c)
	ears := reconcile.NewEars(time.Now, func(string) {})
	if got := ears.Hear(t.Context(), src); assets(got) != 1 {
		t.Fatalf("%+v", got)
	}
	ears.Opened()
	ears.SetPatience(10 * time.Millisecond)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // it takes calls, and answers none
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	other := *src
	other.Settings = map[string]config.Setting{"regions": src.Settings["regions"], "endpoint": {Text: "http://" + silent.Addr().String()}}
	began := time.Now()
	got := ears.Hear(t.Context(), &other)
	if len(got) != 2 || got[0].Source != "cloud/eu-central-1" || got[1].Source != "cloud/eu-west-1" || got[0].Of != "cloud" || got[0].Err == nil || got[1].Err == nil {
		t.Errorf("%+v", got)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it waited for %s", took)
	}
	known := map[string]inventory.Known{}
	for _, h := range got {
		known[h.Source] = inventory.Known{At: policytest.Epoch, Report: inventory.Report{Source: "cloud", Assets: []inventory.Asset{{ID: "i-1", Kind: inventory.Instance}}}}
	}
	if list, err := inventory.Stand(got, known, 30, nil, policytest.Epoch); err != nil || list[0].State != inventory.SourceFrozen || len(list[0].Report.Assets) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	ears.Close() // what is under way ends with it
}
