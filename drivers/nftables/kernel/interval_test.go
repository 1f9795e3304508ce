package kernel

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand"
	"slices"
	"testing"

	"bulkhead/drivers/nftables/ruleset"
)

// interval is lo to hi, both inclusive, of a map of addresses to marks.
type interval struct{ lo, hi, mark uint32 }

// pair gives the two elements of an interval; one if it reaches the last key.
func (v interval) pair() []ruleset.Element {
	out := []ruleset.Element{{Key: be(v.lo), Data: host(v.mark)}}
	if v.hi != 0xffffffff {
		out = append(out, ruleset.Element{Key: be(v.hi + 1), Flags: ruleset.ElemIntervalEnd})
	}
	return out
}

func pairs(vs []interval) (out []ruleset.Element) {
	for _, v := range vs {
		out = append(out, v.pair()...)
	}
	return out
}

// fromElements reads sorted elements as intervals.
func fromElements(t testing.TB, el []ruleset.Element) (out []interval) {
	t.Helper()
	for i, e := range el {
		if e.Flags&ruleset.ElemIntervalEnd != 0 {
			continue
		}
		v := interval{lo: binary.BigEndian.Uint32(e.Key), hi: 0xffffffff, mark: binary.NativeEndian.Uint32(e.Data)}
		if i+1 < len(el) {
			v.hi = binary.BigEndian.Uint32(el[i+1].Key) - 1
		}
		out = append(out, v)
	}
	return out
}

func intervalMap(t testing.TB, c *Conn, flags uint32) {
	t.Helper()
	var b Batch
	b.AddTable(inet, "t", 0, nil)
	b.AddSet(inet, "t", addressMap("x", ruleset.SetInterval|flags, 0))
	commit(t, c, &b)
}

func TestIntervalsAtTheEdges(t *testing.T) {
	freshNS(t)
	c := open(t)
	intervalMap(t, c, 0)
	want := []interval{
		{0, 0, 1},                            // the first address
		{0x0a000000, 0x0a0000ff, 2},          // adjacent ...
		{0x0a000100, 0x0a0001ff, 3},          // ... to this one
		{0x0a000200, 0x0a000200, 4},          // and a single address
		{0xff000000, 0xffffffff, 0xffffffff}, // to the last address
	}
	var b Batch
	b.AddElements(inet, "t", "x", pairs(want))
	commit(t, c, &b)
	if got := fromElements(t, read(t, c).Table(inet, "t").Set("x").Elements); !slices.Equal(got, want) {
		t.Fatalf("read %v, want %v", got, want)
	}
	// Delete and add in one batch: the middle one shrinks, its neighbour grows.
	b = Batch{}
	b.DelElements(inet, "t", "x", pairs(want[1:3]))
	want[1].hi, want[2].lo = 0x0a00007f, 0x0a000080
	b.AddElements(inet, "t", "x", pairs(want[1:3]))
	commit(t, c, &b)
	if got := fromElements(t, read(t, c).Table(inet, "t").Set("x").Elements); !slices.Equal(got, want) {
		t.Fatalf("read %v, want %v", got, want)
	}
	b = Batch{}
	b.DelElements(inet, "t", "x", want[4].pair())
	commit(t, c, &b)
	if got := fromElements(t, read(t, c).Table(inet, "t").Set("x").Elements); !slices.Equal(got, want[:4]) {
		t.Fatalf("read %v, want %v", got, want[:4])
	}
}

// flatten turns nested prefixes, the longest winning, into disjoint intervals
// over a space of 256 addresses.
func flatten(prefixes map[[2]int]uint32) (out []interval) {
	const base = 0x0a000000
	for a := 0; a < 256; a++ {
		mark, best := uint32(0), -1
		for p, m := range prefixes {
			if a>>(8-p[1]) == p[0]>>(8-p[1]) && p[1] > best {
				mark, best = m, p[1]
			}
		}
		if best < 0 {
			continue
		}
		at := uint32(base + a)
		if n := len(out); n > 0 && out[n-1].hi == at-1 && out[n-1].mark == mark {
			out[n-1].hi = at
		} else {
			out = append(out, interval{at, at, mark})
		}
	}
	return out
}

// difference gives what is in a and not in b.
func difference(a, b []interval) (out []interval) {
	for _, v := range a {
		if !slices.Contains(b, v) {
			out = append(out, v)
		}
	}
	return out
}

func TestNestedPrefixesAgainstAModel(t *testing.T) {
	freshNS(t)
	c := open(t)
	intervalMap(t, c, 0)
	r := rand.New(rand.NewSource(3))
	prefixes := map[[2]int]uint32{}
	var have []interval
	for step := range 120 {
		for range 1 + r.Intn(4) {
			n := r.Intn(9)
			p := [2]int{r.Intn(256) >> (8 - n) << (8 - n), n}
			if _, ok := prefixes[p]; ok {
				delete(prefixes, p)
			} else {
				prefixes[p] = uint32(1 + r.Intn(6))
			}
		}
		want := flatten(prefixes)
		var b Batch
		b.DelElements(inet, "t", "x", pairs(difference(have, want)))
		b.AddElements(inet, "t", "x", pairs(difference(want, have)))
		if err := c.Commit(context.Background(), &b, 0); err != nil {
			t.Fatalf("step %d: %v\nhave %v\nwant %v", step, err, have, want)
		}
		el, err := c.Elements(context.Background(), inet, "t", "x")
		if err != nil {
			t.Fatal(err)
		}
		if got := fromElements(t, el); !slices.Equal(got, want) {
			t.Fatalf("step %d: read %v, want %v", step, got, want)
		}
		have = want
	}
}

func TestConcatenatedIntervals(t *testing.T) {
	freshNS(t)
	c := open(t)
	s := kinds()[4].set // class . protocol . ports : mark
	s.Name = "x"
	var b Batch
	b.AddTable(inet, "t", 0, nil)
	b.AddSet(inet, "t", &s)
	model := map[string]ruleset.Element{}
	commit(t, c, &b)
	r := rand.New(rand.NewSource(5))
	for step := range 60 {
		b = Batch{}
		for k, e := range model {
			if r.Intn(3) == 0 {
				b.DelElements(inet, "t", "x", []ruleset.Element{e})
				delete(model, k)
			}
		}
		for range r.Intn(10) {
			lo := r.Intn(100) * 600
			class := be(uint32(r.Intn(3)))
			e := ruleset.Element{Key: pad(class, []byte{6}, be2(lo)), KeyEnd: pad(class, []byte{6}, be2(lo+1+r.Intn(500))), Data: host(r.Uint32())}
			if _, ok := model[string(e.Key)]; !ok {
				model[string(e.Key)] = e
				b.AddElements(inet, "t", "x", []ruleset.Element{e})
			}
		}
		if err := c.Commit(context.Background(), &b, 0); err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
		got := read(t, c).Table(inet, "t").Set("x").Elements
		if len(got) != len(model) {
			t.Fatalf("step %d: %d elements, want %d", step, len(got), len(model))
		}
		for _, e := range got {
			if w := model[string(e.Key)]; !bytes.Equal(e.KeyEnd, w.KeyEnd) || !bytes.Equal(e.Data, w.Data) {
				t.Fatalf("step %d: element %+v, want %+v", step, e, w)
			}
		}
	}
}

func TestSplitIntervalAcrossMessages(t *testing.T) {
	freshNS(t)
	c := open(t)
	intervalMap(t, c, 0)
	var want []interval
	for i := range uint32(6000) { // more than one message holds
		want = append(want, interval{i * 16, i*16 + 7, i})
	}
	var b Batch
	b.AddElements(inet, "t", "x", pairs(want))
	if b.Messages() < 2 {
		t.Fatal(fmt.Sprint("only messages: ", b.Messages()))
	}
	commit(t, c, &b)
	if got := fromElements(t, read(t, c).Table(inet, "t").Set("x").Elements); !slices.Equal(got, want) {
		t.Fatalf("%d intervals, want %d", len(got), len(want))
	}
}
