package neighbor

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// pace is how events are collected into one.
type pace struct {
	settle time.Duration // an interface that comes up changes a table many times
	gap    time.Duration // between two
	most   time.Duration // between two where it does not end: a segment that is scanned, or a large one at any time
}

var usual = pace{200 * time.Millisecond, 2 * time.Second, time.Minute}

// buffer of a socket, in bytes: a full one loses events.
const buffer = 1 << 20

// Watch calls changed when Read would tell something else than before: another MAC for
// an address, one that answers or answers no more, a route, an address of the machine;
// and once at the beginning. The kernel also tells, all the time, that entries are probed
// and confirmed: that is left out. Changes are collected, and told of at most every two
// seconds, and less and less often while they do not end. Watch ends with ctx, or with an error where it cannot hear any more or has
// missed something (a burst that the socket could not hold): then it is time to Read.
func Watch(ctx context.Context, ns string, what What, changed func()) error {
	return listen(ctx, ns, what, usual, changed)
}

func listen(ctx context.Context, ns string, what What, p pace, changed func()) error {
	w := &watch{pace: p, seen: map[entry]string{}, moved: make(chan struct{}, 1), failed: make(chan error, 1)}
	done := make(chan struct{})
	defer w.readers.Wait()
	defer close(done)
	err := w.subscribe(ns, what, done)
	if err == nil {
		w.touch()
		err = w.tell(ctx, changed)
	}
	if err != nil && ns != "" && ctx.Err() == nil {
		err = fmt.Errorf("in network namespace %q: %w", ns, err)
	}
	return err
}

// watch is one subscription.
type watch struct {
	pace
	seen    map[entry]string // who answers for an address: its MAC
	moved   chan struct{}
	failed  chan error
	readers sync.WaitGroup
}

// entry is a line of a neighbour table.
type entry struct {
	link int
	addr netip.Addr
}

func (w *watch) subscribe(ns string, what What, done <-chan struct{}) error {
	at := netns.None()
	if ns != "" {
		h, err := handleOf(ns)
		if err != nil {
			return err
		}
		defer h.Close()
		at = h
	}
	if what.Neighbours {
		ch := make(chan netlink.NeighUpdate, 64)
		// The table itself comes first, so that there is something to compare with.
		err := netlink.NeighSubscribeWithOptions(ch, done, netlink.NeighSubscribeOptions{Namespace: &at, ErrorCallback: w.fail, ReceiveBufferSize: buffer, ListExisting: true})
		if err != nil {
			return fmt.Errorf("hear of neighbours: %w", err)
		}
		w.readers.Go(func() {
			for u := range ch {
				if w.neighbour(&u) {
					w.touch()
				}
			}
		})
	}
	if !what.Routes {
		return nil
	}
	routes := make(chan netlink.RouteUpdate, 64)
	err := netlink.RouteSubscribeWithOptions(routes, done, netlink.RouteSubscribeOptions{Namespace: &at, ErrorCallback: w.fail, ReceiveBufferSize: buffer})
	if err != nil {
		return fmt.Errorf("hear of routes: %w", err)
	}
	w.readers.Go(func() {
		for u := range routes {
			if u.Table != unix.RT_TABLE_LOCAL && u.Route.Type == unix.RTN_UNICAST {
				w.touch()
			}
		}
	})
	addrs := make(chan netlink.AddrUpdate, 64)
	err = netlink.AddrSubscribeWithOptions(addrs, done, netlink.AddrSubscribeOptions{Namespace: &at, ErrorCallback: w.fail, ReceiveBufferSize: buffer})
	if err != nil {
		return fmt.Errorf("hear of addresses: %w", err)
	}
	w.readers.Go(func() {
		for range addrs {
			w.touch()
		}
	})
	return nil
}

// fail ends the watch; the first that fails does.
func (w *watch) fail(err error) {
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		return // of the table at the beginning: the changes that interrupted it follow
	}
	select {
	case w.failed <- err:
	default:
	}
}

func (w *watch) touch() {
	select {
	case w.moved <- struct{}{}:
	default: // it is said already
	}
}

// neighbour reports whether an event changes who answers for an address. One goroutine
// calls it.
func (w *watch) neighbour(u *netlink.NeighUpdate) bool {
	addr, ok := netip.AddrFromSlice(u.IP)
	if !ok {
		return false // a bridge's forwarding entry has none
	}
	at, mac := entry{u.LinkIndex, addr.Unmap()}, ""
	if u.Type == unix.RTM_NEWNEIGH && stateOf(u.State).Known() && len(u.HardwareAddr) == 6 {
		mac = u.HardwareAddr.String()
	}
	old := w.seen[at]
	if mac == "" {
		delete(w.seen, at)
	} else {
		w.seen[at] = mac
	}
	return old != mac
}

// tell calls changed for what has moved, not at once and not all the time.
func (w *watch) tell(ctx context.Context, changed func()) error {
	var last time.Time
	pause := w.gap
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-w.failed:
			return err
		case <-w.moved:
		}
		wait := pause - time.Since(last)
		switch {
		case wait > 0: // again so soon
			pause = min(2*pause, w.most)
		case wait < -pause: // it was quiet for a while
			pause = w.gap
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-w.failed:
			return err
		case <-time.After(max(w.settle, wait)):
		}
		select { // what came meanwhile is told of by the same call
		case <-w.moved:
		default:
		}
		last = time.Now()
		changed()
	}
}
