package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
)

// load makes table t with map x of n addresses.
func load(t testing.TB, c *Conn, n int) []ruleset.Element {
	t.Helper()
	el := addresses(n)
	var b Batch
	b.AddTable(inet, "t", 0, nil)
	b.AddSet(inet, "t", addressMap("x", 0, uint32(n)+16))
	b.AddElements(inet, "t", "x", el)
	commit(t, c, &b)
	return el
}

func TestCountsThatOverflowOneAttribute(t *testing.T) {
	for _, n := range []int{1, 1624, 1625, 2339, 2341, 2400, 3000, 5000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			freshNS(t)
			c := open(t)
			want := load(t, c, n)
			got := read(t, c).Table(inet, "t").Set("x")
			sameElements(t, got.Elements, want)
			if got.Count != 0 && got.Count != uint32(n) {
				t.Fatalf("the kernel counts %d, want %d", got.Count, n)
			}
		})
	}
}

func sameElements(t testing.TB, got, want []ruleset.Element) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d elements, want %d", len(got), len(want))
	}
	for i := range want { // both sorted
		g, w := got[i], want[i]
		if !bytes.Equal(g.Key, w.Key) || !bytes.Equal(g.KeyEnd, w.KeyEnd) || !bytes.Equal(g.Data, w.Data) || g.Flags != w.Flags {
			t.Fatalf("element %d is %+v, want %+v", i, g, w)
		}
	}
}

func TestHundredThousandElements(t *testing.T) {
	freshNS(t)
	c := open(t)
	start := time.Now()
	want := load(t, c, 100_000)
	loaded := time.Since(start)
	start = time.Now()
	got := read(t, c).Table(inet, "t").Set("x")
	t.Logf("100,000 elements: load %v, read %v", loaded, time.Since(start))
	sameElements(t, got.Elements, want)
}

func TestStaleGeneration(t *testing.T) {
	freshNS(t)
	c := open(t)
	ctx := context.Background()
	gen, err := c.Generation(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var b Batch
	b.AddTable(inet, "mine", 0, nil)
	nft(t, "table inet other {}")
	if err := c.Commit(ctx, &b, gen); !errors.Is(err, ErrGenerationMoved) {
		t.Fatalf("commit with a stale generation: %v", err)
	}
	if read(t, c).Table(inet, "mine") != nil {
		t.Fatal("a refused batch left a table")
	}
	gen, _ = c.Generation(ctx)
	if err := c.Commit(ctx, &b, gen); err != nil { // the same batch again
		t.Fatal(err)
	}
	if read(t, c).Table(inet, "mine") == nil {
		t.Fatal("the table is absent")
	}
}

func TestFailedBatchLeavesNothing(t *testing.T) {
	freshNS(t)
	c := open(t)
	load(t, c, 10)
	before := read(t, c)
	var b Batch
	b.AddTable(inet, "new", 0, nil)
	b.AddElements(inet, "t", "x", []ruleset.Element{{Key: be(7), Data: host(7)}})
	b.AddElements(inet, "t", "x", []ruleset.Element{{Key: be(8), Data: host(7)}, {Key: be(0x0a000001), Data: host(99)}})
	err := c.Commit(context.Background(), &b, 0)
	var be1 *BatchError
	if !errors.As(err, &be1) || !errors.Is(err, unix.EEXIST) {
		t.Fatalf("got %v", err)
	}
	if want := "add 2 elements to set x of table inet t"; be1.Operation != want {
		t.Errorf("operation %q, want %q", be1.Operation, want)
	}
	if !bytes.Equal(be1.Key, be(0x0a000001)) {
		t.Errorf("key %x", be1.Key)
	}
	t.Log(err)
	after := read(t, c)
	if after.Generation != before.Generation || len(after.Tables) != 1 || len(after.Table(inet, "t").Set("x").Elements) != 10 {
		t.Fatal("a failed batch left something")
	}
}
