package kernel

import (
	"context"
	"testing"
	"time"

	"bulkhead/drivers/nftables/ruleset"
)

// TestCountsOfEveryKindOfSet holds the kernel's counts against a dump.
func TestCountsOfEveryKindOfSet(t *testing.T) {
	freshNS(t)
	c := open(t)
	ctx := context.Background()
	load(t, c, 3000)
	nft(t, `table inet k {
	set empty { type ipv4_addr; }
	set growing { type ipv4_addr; elements = { 1.1.1.1, 1.1.1.2 }; }
	set spans { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 11.0.0.0/8, 20.0.0.1-20.0.0.9 }; }
	set ranges { type ipv4_addr . inet_service; flags interval; elements = { 10.0.0.0/8 . 1-9, 11.0.0.1 . 80 }; }
	set timed { type ipv4_addr; flags timeout; elements = { 1.1.1.1 timeout 1h }; }
	map other { type ipv4_addr : mark; size 8; elements = { * : 1, 1.1.1.1 : 2 }; }
}`)
	for _, table := range []string{"t", "k"} {
		counts, err := c.Counts(ctx, inet, table)
		if err != nil {
			t.Fatal(err)
		}
		for _, set := range read(t, c).Table(inet, table).Sets {
			n, ok := counts[set.Name]
			if !ok {
				t.Fatalf("set %s of table %s is not counted", set.Name, table)
			}
			delete(counts, set.Name)
			if !n.Known { // before Linux 6.16
				if n.Elements != 0 {
					t.Errorf("set %s: %+v", set.Name, n)
				}
				continue
			}
			want := uint32(0)
			for i := range set.Elements {
				if set.Elements[i].Flags&ruleset.ElemCatchAll == 0 {
					want++
				}
			}
			if set.Name == "spans" {
				want /= 2 // nft_rbtree_usize()
			}
			if n.Elements != want {
				t.Errorf("set %s: count %d, want %d", set.Name, n.Elements, want)
			}
		}
		if len(counts) > 0 {
			t.Errorf("sets of no table: %v", counts)
		}
	}
	if _, err := c.Counts(ctx, inet, "absent"); err == nil {
		t.Error("counts of no such table")
	}
}

// TestWhatMovesTheGeneration holds the description of Generation against the
// kernel.
func TestWhatMovesTheGeneration(t *testing.T) {
	freshNS(t)
	run(t, "", "ip", "link", "set", "lo", "up")
	run(t, "", "ip", "link", "add", "d0", "type", "veth", "peer", "name", "d1")
	nft(t, `table inet t {
	set short { type ipv4_addr; flags timeout; elements = { 1.1.1.1 timeout 200ms }; }
	set seen { type ipv4_addr . inet_service; size 128; flags dynamic,timeout; timeout 1h; }
	chain out { type filter hook output priority 0; add @seen { ip daddr . udp dport } counter; }
}
table netdev d {
	chain in { type filter hook ingress device d0 priority 0; }
}`)
	c := open(t)
	ctx := context.Background()
	at, err := c.Generation(ctx)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, want bool) {
		t.Helper()
		same, now, err := c.Unchanged(ctx, at)
		if err != nil {
			t.Fatal(err)
		}
		if same != want {
			t.Errorf("%s: unchanged is %v, want %v (%d, was %d)", what, same, want, now, at)
		}
		at = now
	}
	check("nothing", true)
	time.Sleep(300 * time.Millisecond)
	check("an element expires", true)
	udpFlows(t, 5001)
	check("a rule writes an element", true)
	nft(t, "add element inet t seen { 1.2.3.4 . 5 }")
	check("somebody writes an element", false)
	nft(t, "add element inet t seen { 1.2.3.4 . 5 }")
	same, now, err := c.Unchanged(ctx, at)
	t.Logf("an element that is there is added: unchanged %v, %v", same, err)
	at = now
	run(t, "", "ip", "link", "del", "d0")
	same, now, err = c.Unchanged(ctx, at)
	t.Logf("the interface of a chain goes: unchanged %v, %v", same, err)
	at = now
	owner := open(t)
	var b Batch
	b.AddTable(inet, "owned", ruleset.TableOwner, nil)
	commit(t, owner, &b)
	check("a table is added", false)
	owner.Close()
	time.Sleep(50 * time.Millisecond)
	if read(t, c).Table(inet, "owned") != nil {
		t.Error("the table outlived its owner")
	}
	same, _, err = c.Unchanged(ctx, at)
	t.Logf("the owner of a table goes: unchanged %v, %v", same, err)
	if same, _, err := c.Unchanged(ctx, 0); same || err != nil {
		t.Errorf("a generation that nobody has is unchanged: %v", err)
	}
	c.Close()
	if same, _, err := c.Unchanged(ctx, at); same || err == nil {
		t.Errorf("after Close: %v, %v", same, err)
	}
}

// TestGenerationDuringACommit asks while a large commit holds the socket.
func TestGenerationDuringACommit(t *testing.T) {
	freshNS(t)
	c := open(t)
	ctx := context.Background()
	load(t, c, 10)
	c.mu.Lock() // as a commit does
	defer c.mu.Unlock()
	for range 3 {
		if id, err := c.generation(ctx); err != nil || id == 0 {
			t.Fatal(id, err)
		}
	}
}
