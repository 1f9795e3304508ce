package kernel

import (
	"bytes"
	"context"
	"errors"
	"math/rand"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
)

// TestElementsByKey asks for present and absent keys in random mixtures, in sets
// of every kind, and compares with a dump.
func TestElementsByKey(t *testing.T) {
	freshNS(t)
	c := open(t)
	ctx := context.Background()
	r := rand.New(rand.NewSource(4))
	x := randomTable(r)
	commitTable(t, c, x)
	load(t, c, 3000)
	for _, table := range []string{"p", "t"} {
		for _, set := range read(t, c).Table(inet, table).Sets {
			if set.Flags&ruleset.SetInterval != 0 && set.Flags&ruleset.SetConcat == 0 {
				continue // TestElementsByKeyOfIntervals
			}
			var keys []ruleset.Element
			var want []*ruleset.Element
			for range 4000 {
				if n := len(set.Elements); n > 0 && r.Intn(3) > 0 {
					e := &set.Elements[r.Intn(n)]
					keys, want = append(keys, ruleset.Element{Key: e.Key, KeyEnd: e.KeyEnd, Flags: e.Flags}), append(want, e)
					continue
				}
				k := bytes.Repeat([]byte{0xf7}, int(set.KeyLen))
				k[0] = byte(r.Intn(256))
				if slices.ContainsFunc(set.Elements, func(e ruleset.Element) bool { return bytes.Equal(e.Key, k) }) {
					continue
				}
				keys, want = append(keys, ruleset.Element{Key: k}), append(want, nil)
			}
			got, err := c.ElementsByKey(ctx, inet, table, set.Name, keys)
			if err != nil {
				t.Fatalf("set %s: %v", set.Name, err)
			}
			for i := range got {
				if got[i].Found != (want[i] != nil) || got[i].Found && !sameTimed(&got[i].Element, want[i]) {
					t.Fatalf("set %s, key %+v: %+v, want %+v", set.Name, keys[i], got[i], want[i])
				}
			}
		}
	}
}

// sameTimed is sameElement of what is read at different moments.
func sameTimed(a, b *ruleset.Element) bool {
	x := *a
	if d := x.Expiration - b.Expiration; d > -time.Minute && d < time.Minute {
		x.Expiration = b.Expiration
	}
	return sameElement(&x, b)
}

func TestElementsByKeyOfIntervals(t *testing.T) {
	freshNS(t)
	c := open(t)
	intervalMap(t, c, 0)
	var b Batch
	b.AddElements(inet, "t", "x", pairs([]interval{{0x0a000000, 0x0a0000ff, 2}, {0x0a000200, 0x0a000200, 4}}))
	commit(t, c, &b)
	got, err := c.ElementsByKey(context.Background(), inet, "t", "x", []ruleset.Element{
		{Key: be(0x0a000000)}, {Key: be(0x0a000100), Flags: ruleset.ElemIntervalEnd}, {Key: be(0x0a000150)}, {Key: be(0x0a000200)}, {Key: be(0x09000000)}})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, true, false, true, false} {
		if got[i].Found != want {
			t.Errorf("key %d: %+v", i, got[i])
		}
	}
	if !bytes.Equal(got[0].Element.Data, host(2)) || !bytes.Equal(got[3].Element.Data, host(4)) {
		t.Errorf("%+v", got)
	}
}

// TestAbsentAndErrorDiffer asks of sets that do not exist, that vanish meanwhile,
// with keys that no set has, and after Close.
func TestAbsentAndErrorDiffer(t *testing.T) {
	freshNS(t)
	c := open(t)
	ctx := context.Background()
	load(t, c, 10)
	one := addresses(1)
	for name, f := range map[string]func() ([]Lookup, error){
		"no table":  func() ([]Lookup, error) { return c.ElementsByKey(ctx, inet, "absent", "x", one) },
		"no set":    func() ([]Lookup, error) { return c.ElementsByKey(ctx, inet, "t", "absent", one) },
		"no family": func() ([]Lookup, error) { return c.ElementsByKey(ctx, ruleset.FamilyIPv6, "t", "x", one) },
	} {
		if got, err := f(); got != nil || !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	long := []ruleset.Element{{Key: make([]byte, 5)}, one[0]}
	if got, err := c.ElementsByKey(ctx, inet, "t", "x", long); got != nil || err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("key of another length: %+v, %v", got, err)
	}
	if got, err := c.ElementsByKey(ctx, inet, "t", "x", []ruleset.Element{{}}); got != nil || err == nil {
		t.Errorf("key of 0 bytes: %+v, %v", got, err)
	}
	ctx2, cancel := context.WithCancel(ctx)
	cancel()
	if got, err := c.ElementsByKey(ctx2, inet, "t", "x", one); got != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %+v, %v", got, err)
	}
	if got, err := c.ElementsByKey(ctx, inet, "t", "x", one); err != nil || !got[0].Found { // and the Conn still works
		t.Errorf("%+v, %v", got, err)
	}
	c.Close()
	if got, err := c.ElementsByKey(ctx, inet, "t", "x", one); got != nil || err == nil {
		t.Errorf("after Close: %+v, %v", got, err)
	}
}

// TestSetReplacedDuringLookup replaces the set while its keys are asked for: every
// answer must be the element or an error, never "absent".
func TestSetReplacedDuringLookup(t *testing.T) {
	freshNS(t)
	c, other := open(t), open(t)
	ctx := context.Background()
	el := load(t, c, 500)
	done := make(chan error)
	stop := make(chan bool)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			var b Batch
			b.DelSet(inet, "t", "x")
			if err := other.Commit(ctx, &b, 0); err != nil {
				done <- err
				return
			}
			b.Reset()
			b.AddSet(inet, "t", addressMap("x", 0, 1000))
			b.AddElements(inet, "t", "x", el)
			if err := other.Commit(ctx, &b, 0); err != nil {
				done <- err
				return
			}
		}
	}()
	good, refused := 0, 0
	for range 400 {
		got, err := c.ElementsByKey(ctx, inet, "t", "x", el)
		if err != nil {
			refused++
			continue
		}
		good++
		for i := range got {
			if !got[i].Found {
				t.Fatalf("element %d is said to be absent", i)
			}
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Logf("%d good, %d refused", good, refused)
	if good == 0 {
		t.Fatal("nothing was tested")
	}
}

// TestLookupFitsASmallQueue reads many keys with the queue that a process without
// privilege has on a stock host (net.core.rmem_max 212,992).
func TestLookupFitsASmallQueue(t *testing.T) {
	freshNS(t)
	c := open(t)
	el := load(t, c, 5000)
	for _, room := range []int{1, 4096, 65536, 212992} {
		s, err := c.dial()
		if err != nil {
			t.Fatal(err)
		}
		defer s.close()
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, room); err != nil {
			t.Fatal(err)
		}
		q := keyQuestion{family: inet, table: "t", set: "x", keys: el, out: make([]Lookup, len(el))}
		if err := s.lookUp(context.Background(), &q); err != nil {
			t.Fatalf("queue of %d: %v", room, err)
		}
		for i := range q.out {
			if !q.out[i].Found || !bytes.Equal(q.out[i].Element.Data, el[i].Data) {
				t.Fatalf("queue of %d: element %d: %+v", room, i, q.out[i])
			}
		}
	}
}
