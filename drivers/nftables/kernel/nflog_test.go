package kernel

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func subscribe(t testing.TB, netns string, group uint16, snap uint32) *LogReader {
	t.Helper()
	r, err := Subscribe(context.Background(), netns, group, snap)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func TestNFLOGOfRealPackets(t *testing.T) {
	path := freshNS(t)
	run(t, "", "ip", "link", "set", "lo", "up")
	nft(t, `table inet t {
	chain out { type filter hook output priority 0; udp dport 5353 meta mark set 0x1234 log prefix "out " group 5 snaplen 64; }
	chain in { type filter hook input priority 0; udp dport 5353 log prefix "in " group 5; }
}`)
	r := subscribe(t, path, 5, 48)
	udpFlows(t, 5353)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for _, want := range []struct {
		prefix, addr string
		hook         uint8
	}{{"out ", "127.0.0.1", 3}, {"in ", "127.0.0.1", 1}, {"out ", "::1", 3}, {"in ", "::1", 1}} {
		p, err := r.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		h, err := ParsePacket(p.Payload)
		if err != nil {
			t.Fatal(err)
		}
		a := netip.MustParseAddr(want.addr)
		if p.Prefix != want.prefix || p.Hook != want.hook || h.Src != a || h.Dst != a || h.Proto != unix.IPPROTO_UDP || h.Service != 5353 || !h.HasService {
			t.Errorf("packet %+v header %+v, want %+v", p, h, want)
		}
		if want.hook == 3 && (p.Mark != 0x1234 || p.Out == 0) || want.hook == 1 && p.In == 0 || len(p.Payload) > 48 {
			t.Errorf("packet %+v", p)
		}
		if !p.Time.IsZero() && time.Since(p.Time).Abs() > time.Minute {
			t.Errorf("time %v", p.Time)
		}
	}
	if _, err := Subscribe(ctx, path, 5, 48); !errors.Is(err, unix.EBUSY) {
		t.Errorf("a second reader: %v", err)
	}
	short, stop := context.WithTimeout(ctx, 20*time.Millisecond)
	defer stop()
	if _, err := r.Next(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no packet: %v", err)
	}
	if r.Lost() != 0 {
		t.Errorf("%d lost", r.Lost())
	}
	r.Close()
	subscribe(t, path, 5, 48) // the group is free again
}

func TestNFLOGCountsWhatItLoses(t *testing.T) {
	path := freshNS(t)
	run(t, "", "ip", "link", "set", "lo", "up")
	nft(t, `table inet t {
	chain out { type filter hook output priority 0; udp dport 5001-5400 log group 6; }
}`)
	r := subscribe(t, path, 6, 64)
	if err := unix.SetsockoptInt(r.s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1); err != nil {
		t.Fatal(err)
	}
	var ports []int
	for p := 5001; p <= 5400; p++ {
		ports = append(ports, p)
	}
	udpFlows(t, ports...)
	got := drain(r)
	if r.s.setRecvQueue(logQueue); got == 800 {
		t.Fatal("nothing was lost")
	}
	udpFlows(t, 5001) // their numbers tell of the gap
	got += drain(r)
	if r.Lost() == 0 || uint64(got)+r.Lost() != 802 {
		t.Errorf("%d received and %d lost of 802", got, r.Lost())
	}
}

// drain reads until nothing comes any more.
func drain(r *LogReader) (n int) {
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 250*time.Millisecond)
		_, err := r.Next(ctx)
		cancel()
		if err != nil {
			return n
		}
		n++
	}
}

func TestWatch(t *testing.T) {
	freshNS(t)
	c := open(t)
	ctx, cancel := context.WithCancel(context.Background())
	events, err := c.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	load(t, c, 30_000) // 30,000 announcements that must not overrun the watcher
	nft(t, "table inet other {}")
	gen, _ := c.Generation(ctx)
	var last Event
	for last.ID != gen {
		select {
		case last = <-events:
			if last.Lost || last.Err != nil {
				t.Fatalf("%+v", last)
			}
		case <-time.After(3 * time.Second):
			t.Fatal("no event")
		}
	}
	if last.Process != "nft" || last.PID == 0 {
		t.Errorf("%+v", last)
	}
	cancel()
	select {
	case _, ok := <-events:
		if ok {
			t.Error("an event after the end")
		}
	case <-time.After(3 * time.Second):
		t.Fatal("the watch did not end")
	}
}

// TestWatchHearsOnlyGenerations holds the socket filter to its purpose.
func TestWatchHearsOnlyGenerations(t *testing.T) {
	freshNS(t)
	c := open(t)
	for _, filter := range []bool{false, true} {
		s, err := openSocket()
		if err != nil {
			t.Fatal(err)
		}
		defer s.close()
		if filter {
			onlyGenerations(s)
		}
		if err := unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, unix.NFNLGRP_NFTABLES); err != nil {
			t.Fatal(err)
		}
		load(t, c, 5)
		var b Batch
		b.DelTable(inet, "t")
		commit(t, c, &b)
		heard, generations := 0, 0
		for {
			data, err := s.recvNow()
			if err != nil {
				break
			}
			_ = split(data, func(m message) error {
				if heard++; m.typ == nftType|unix.NFT_MSG_NEWGEN {
					generations++
				}
				return nil
			})
		}
		if generations != 2 || filter != (heard == 2) {
			t.Errorf("filter %v: heard %d messages, %d generations", filter, heard, generations)
		}
	}
}
