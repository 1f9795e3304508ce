package kernel

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
)

// smallQueue gives the connection's socket the smallest receive queue there is.
func smallQueue(t testing.TB, c *Conn) {
	t.Helper()
	if err := unix.SetsockoptInt(c.cmd.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1); err != nil {
		t.Fatal(err)
	}
}

func TestManyErrorsOverrunTheQueue(t *testing.T) {
	freshNS(t)
	c := open(t)
	load(t, c, 1)
	smallQueue(t, c)
	before, _ := c.Generation(context.Background())
	var b Batch
	b.AddChain(inet, "t", &ruleset.Chain{Name: "fine"})
	for i := range 500 {
		b.AddRule(inet, "t", fmt.Sprint("absent", i), &ruleset.Rule{})
	}
	err := c.Commit(context.Background(), &b, 0)
	var e *BatchError
	if !errors.As(err, &e) || !errors.Is(err, ErrNotFound) || e.Operation != "add a rule to chain absent0 of table inet t" {
		t.Fatalf("got %v", err)
	}
	if after, err := c.Generation(context.Background()); after != before || err != nil {
		t.Fatalf("generation %d, was %d: %v", after, before, err)
	}
	if read(t, c).Table(inet, "t").Chain("fine") != nil {
		t.Fatal("a failed batch left a chain")
	}
}

func TestLostAnswersDoNotHideACommit(t *testing.T) {
	freshNS(t)
	c := open(t)
	load(t, c, 1)
	smallQueue(t, c)
	// Announcements of our own commit overrun the queue: ENOBUFS without an error.
	if err := unix.SetsockoptInt(c.cmd.fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, unix.NFNLGRP_NFTABLES); err != nil {
		t.Fatal(err)
	}
	var b Batch
	for i := range 500 {
		b.AddChain(inet, "t", &ruleset.Chain{Name: fmt.Sprint("c", i)})
	}
	if err := c.Commit(context.Background(), &b, 0); err != nil {
		t.Fatalf("a committed batch is reported as: %v", err)
	}
	if n := len(read(t, c).Table(inet, "t").Chains); n != 500 {
		t.Fatalf("%d chains", n)
	}
}

func TestAfterLoss(t *testing.T) {
	freshNS(t)
	c := open(t)
	now, _ := c.Generation(context.Background())
	if err := c.cmd.afterLoss(now - 1); err != nil {
		t.Errorf("moved by one: %v", err)
	}
	if err := c.cmd.afterLoss(now); !errors.Is(err, unix.ENOBUFS) || errors.Is(err, ErrUncertain) {
		t.Errorf("not moved: %v", err)
	}
	if err := c.cmd.afterLoss(now - 2); !errors.Is(err, ErrUncertain) {
		t.Errorf("moved by two: %v", err)
	}
}

// dropCap drops a capability on this thread, for good.
func dropCap(t testing.TB, c int) {
	t.Helper()
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		t.Fatal(err)
	}
	data[0].Effective &^= 1 << c
	if err := unix.Capset(&hdr, &data[0]); err != nil {
		t.Fatal(err)
	}
}

func TestWithoutPrivilege(t *testing.T) {
	freshNS(t)
	c := open(t)
	dropCap(t, unix.CAP_NET_ADMIN)
	_, err := Open("")
	if !errors.Is(err, ErrPrivilege) {
		t.Errorf("open: %v", err)
	}
	t.Log(err)
	var b Batch
	b.AddTable(inet, "t", 0, nil)
	if err := c.Commit(context.Background(), &b, 0); !errors.Is(err, ErrPrivilege) {
		t.Errorf("commit: %v", err)
	}
	b.AddElements(inet, "t", "x", addresses(600_000)) // 26 MB: more than net.core.wmem_max
	err = c.Commit(context.Background(), &b, 0)
	if !errors.Is(err, ErrTooLarge) {
		t.Errorf("commit of a large batch: %v", err)
	}
	t.Log(err)
}

// TestReadIsNotTorn moves elements between two sets in one transaction each time
// while others read: every read must find each of them exactly once.
func TestReadIsNotTorn(t *testing.T) {
	freshNS(t)
	c := open(t)
	el := addresses(3000)
	var b Batch
	b.AddTable(inet, "t", 0, nil)
	b.AddSet(inet, "t", addressMap("x", 0, 4096))
	b.AddSet(inet, "t", addressMap("y", 0, 4096))
	b.AddElements(inet, "t", "x", el)
	commit(t, c, &b)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	moves := 0
	wg.Go(func() {
		from, to := "x", "y"
		for ctx.Err() == nil {
			var b Batch
			b.DelElements(inet, "t", from, el)
			b.AddElements(inet, "t", to, el)
			if err := c.Commit(context.Background(), &b, 0); err != nil {
				t.Error(err)
				return
			}
			from, to, moves = to, from, moves+1
			_ = pause(ctx, 5e6)
		}
	})
	good, unstable := 0, 0
	for range 60 {
		r, err := c.Read(context.Background(), all)
		if errors.Is(err, ErrUnstable) {
			unstable++
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		good++
		x := r.Table(inet, "t")
		if n := len(x.Set("x").Elements) + len(x.Set("y").Elements); n != len(el) {
			t.Fatalf("a torn read: %d elements, want %d", n, len(el))
		}
	}
	cancel()
	wg.Wait()
	t.Logf("%d good reads, %d refused, during %d commits", good, unstable, moves)
	if good == 0 || moves < 2 {
		t.Fatal("nothing was tested")
	}
}

func TestReadHonoursItsContext(t *testing.T) {
	freshNS(t)
	c := open(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.Read(ctx, all); !errors.Is(err, context.Canceled) {
		t.Errorf("read: %v", err)
	}
	var b Batch
	b.AddTable(inet, "t", 0, nil)
	if err := c.Commit(ctx, &b, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("commit: %v", err)
	}
	if len(read(t, c).Tables) != 0 {
		t.Error("a cancelled commit left a table")
	}
}
