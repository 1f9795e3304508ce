package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"bulkhead/drivers/nftables"
	"bulkhead/pkg/apply"
)

// many is a site of several points, each on a device of its own.
func many(t *testing.T, n int) *bench {
	f := files()
	var points strings.Builder
	for i := range n {
		fmt.Fprintf(&points, "  gw-%d: {driver: fake, zones: {a: {interfaces: [eth1], prefixes: [10.0.1.0/24]}, b: {interfaces: [eth2], prefixes: [10.0.2.0/24]}}}\n", i)
	}
	head, tail, _ := strings.Cut(siteText, "points:\n")
	_, tail, _ = strings.Cut(tail, "observe_learn")
	f["bulkhead.yaml"] = head + "points:\n" + points.String() + "observe_learn" + tail
	return newBench(t, f)
}

// clean fails if a device holds anything of ours.
func (b *bench) clean(t *testing.T) {
	t.Helper()
	for name, f := range b.fakes {
		if f.state.(*nftables.State).Table() != nil {
			t.Errorf("%s still holds our table", name)
		}
	}
}

// The others begin only when the first one is done, proved, and nobody minds; then no
// more than so many are changed at once, and more than one.
func TestCanaryComesFirst(t *testing.T) {
	b := many(t, 8)
	jobs := b.plan(t).Jobs
	var mu sync.Mutex
	first, checked, now, most := "", 0, 0, 0
	for name, f := range b.fakes {
		f.onApply = func() {
			mu.Lock()
			if first == "" {
				first = name
			} else if checked == 0 {
				t.Errorf("%s is changed before anybody has looked at the canary", name)
			}
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(5 * time.Millisecond)
			mu.Lock()
			now--
			mu.Unlock()
		}
	}
	x := apply.Executor{AtOnce: 3, Check: func(context.Context) error {
		mu.Lock()
		defer mu.Unlock()
		if checked++; checked == 1 {
			for name, f := range b.fakes {
				if f.applied > 0 != (name == first) {
					t.Errorf("at the first check %s was applied to %d times, and the canary is %s", name, f.applied, first)
				}
			}
		}
		return nil
	}}
	out, err := x.Run(context.Background(), jobs)
	if err != nil || len(out) != 8 || checked != 2 || most > 3 || most < 2 {
		t.Errorf("%d outcomes, %d checks, %d at once: %v", len(out), checked, most, err)
	}
	for i := range out {
		if out[i].Device != jobs[i].Device || !out[i].Applied {
			t.Errorf("outcome %d: %+v", i, out[i])
		}
	}
}

// A canary that fails, or a check after it, leaves the others untouched.
func TestCanaryStopsTheRest(t *testing.T) {
	for name, spoil := range map[string]func(b *bench, x *apply.Executor){
		"the canary lies": func(b *bench, _ *apply.Executor) { b.fakes["gw-0"].lie = without(t, "svc") },
		"a check fails": func(_ *bench, x *apply.Executor) {
			x.Check = func(context.Context) error { return errors.New("no answer") }
		},
	} {
		b := many(t, 4)
		x := &apply.Executor{}
		spoil(b, x)
		out, err := x.Run(context.Background(), b.plan(t).Jobs)
		if err == nil || len(out) != 1 || !out[0].Undone {
			t.Errorf("%s: %+v %v", name, out, err)
		}
		for i := 1; i < 4; i++ {
			if n := b.fakes[fmt.Sprint("gw-", i)].applied; n != 0 {
				t.Errorf("%s: gw-%d was applied to %d times", name, i, n)
			}
		}
		b.clean(t)
	}
}

// What fails later takes the change back on all: on a device, or in the check after
// them.
func TestOneFailureTakesAllBack(t *testing.T) {
	for _, at := range []int{1, 5} {
		b := many(t, 6)
		b.fakes[fmt.Sprint("gw-", at)].lie = without(t, "svc")
		out, err := (&apply.Executor{AtOnce: 2}).Run(context.Background(), b.plan(t).Jobs)
		if !errors.Is(err, apply.ErrNotProved) || !strings.Contains(err.Error(), fmt.Sprintf("device device of gw-%d: ", at)) {
			t.Errorf("gw-%d lies: %v", at, err)
		}
		for i := range out {
			if out[i].Applied || out[i].Unknown {
				t.Errorf("gw-%d lies: %+v", at, out[i])
			}
		}
		b.clean(t)
	}
	b := many(t, 3)
	asked := 0
	x := apply.Executor{Check: func(context.Context) error {
		if asked++; asked == 2 {
			return errors.New("no answer")
		}
		return nil
	}}
	if out, err := x.Run(context.Background(), b.plan(t).Jobs); !errors.Is(err, apply.ErrCheck) || len(out) != 3 {
		t.Errorf("%+v %v", out, err)
	}
	b.clean(t)
}
