package kernel

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
)

// TestCommitTellsItsGeneration commits what begins with each kind of operation,
// and holds the generation that it gives against the kernel's.
func TestCommitTellsItsGeneration(t *testing.T) {
	freshNS(t)
	c := open(t)
	ctx := context.Background()
	load(t, c, 1000)
	for _, step := range []struct {
		name  string
		build func(b *Batch)
		after string // "next", "same" or "unknown"
	}{
		{"table", func(b *Batch) { b.AddTable(inet, "u", 0, nil) }, "next"},
		{"the table again", func(b *Batch) { b.AddTable(inet, "u", 0, nil) }, "same"},
		{"chain", func(b *Batch) { b.AddChain(inet, "u", &ruleset.Chain{Name: "a"}) }, "next"},
		{"rule", func(b *Batch) { b.AddRule(inet, "u", "a", &ruleset.Rule{}) }, "next"},
		{"set", func(b *Batch) { b.AddSet(inet, "u", addressMap("x", 0, 9000)) }, "next"},
		{"object", func(b *Batch) {
			b.AddObject(inet, "u", &ruleset.Object{Name: "o", Type: 1, Data: appendU64(appendU64(nil, 1, 0), 2, 0)})
		}, "next"},
		{"element", func(b *Batch) { b.AddElements(inet, "u", "x", addresses(1)) }, "next"},
		{"the element again", func(b *Batch) { b.AddElements(inet, "u", "x", addresses(1)) }, "same"},
		{"more elements than are echoed", func(b *Batch) { b.AddElements(inet, "u", "x", addresses(9000)) }, "next"},
		{"element deleted", func(b *Batch) { b.DelElements(inet, "u", "x", addresses(1)) }, "next"},
		{"all elements deleted", func(b *Batch) { b.DelElements(inet, "u", "x", addresses(9000)[1:]) }, "next"},
		{"flush", func(b *Batch) { b.FlushSet(inet, "t", "x") }, "unknown"},
		{"table deleted", func(b *Batch) { b.DelTable(inet, "u") }, "unknown"},
	} {
		before, err := c.Generation(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, bound := range []uint32{before, 0} { // the second time nothing or an error
			var b Batch
			step.build(&b)
			got, err := c.CommitAt(ctx, &b, bound)
			if bound == 0 {
				if err != nil && got != 0 {
					t.Errorf("%s: generation %d with error %v", step.name, got, err)
				}
				continue
			}
			if err != nil {
				t.Fatalf("%s: %v", step.name, err)
			}
			now, err := c.Generation(ctx)
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]uint32{"next": before + 1, "same": before}[step.after]
			if got != want || (step.after != "unknown" && now != want) || (step.after == "unknown" && now != before+1) {
				t.Errorf("%s: commit says %d, the kernel %d, before %d; want %s", step.name, got, now, before, step.after)
			}
		}
	}
}

// TestSmallBatchIsRefusedWhenAnotherWrites makes a foreign change between the
// read and the commit of a single element.
func TestSmallBatchIsRefusedWhenAnotherWrites(t *testing.T) {
	freshNS(t)
	c, other := open(t), open(t)
	ctx := context.Background()
	el := load(t, c, 100)
	at, _ := c.Generation(ctx)
	for i := range 50 {
		var foreign, b Batch
		foreign.AddTable(ruleset.FamilyIPv4, fmt.Sprint("other", i), 0, nil)
		now, err := other.CommitAt(ctx, &foreign, 0)
		if err != nil {
			t.Fatal(err)
		}
		b.DelElements(inet, "t", "x", el[i:i+1])
		b.AddElements(inet, "t", "x", []ruleset.Element{{Key: el[i].Key, Data: host(uint32(i) + 5000)}})
		if got, err := c.CommitAt(ctx, &b, at); !errors.Is(err, ErrGenerationMoved) || !errors.Is(err, unix.ERESTART) || got != 0 {
			t.Fatalf("change %d on generation %d, now %d: %d, %v", i, at, now, got, err)
		}
		if at, err = c.CommitAt(ctx, &b, now); err != nil {
			t.Fatal(err)
		}
	}
	for i, e := range read(t, c).Table(inet, "t").Set("x").Elements[:50] {
		if string(e.Data) != string(host(uint32(i)+5000)) {
			t.Fatalf("element %d is %+v", i, e)
		}
	}
}

// TestCommitOnASmallQueue commits with the smallest receive queue: the echo may
// be lost, and then the generation is not known, but never wrong.
func TestCommitOnASmallQueue(t *testing.T) {
	freshNS(t)
	c := open(t)
	ctx := context.Background()
	load(t, c, 5000)
	smallQueue(t, c)
	for _, n := range []int{1, 20, echoElements, echoElements + 1, 3000} {
		el := addresses(n)
		before, _ := c.Generation(ctx)
		var b Batch
		b.DelElements(inet, "t", "x", el)
		b.AddElements(inet, "t", "x", el)
		got, err := c.CommitAt(ctx, &b, before)
		now, _ := c.Generation(ctx)
		if err != nil || now != before+1 || got != 0 && got != now {
			t.Errorf("%d elements: generation %d, the kernel's %d, before %d: %v", n, got, now, before, err)
		}
	}
}
