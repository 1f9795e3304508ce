package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// FlowSpec says what live flow to open.
type FlowSpec struct {
	Client, Server string // hosts
	Addr           netip.Addr
	Port           uint16 // the server's
	// Listen is where the server listens, if the network translates Addr and Port.
	Listen netip.AddrPort
	UDP    bool // TCP otherwise
	// FromClient lets the client push and the server stay silent; else it is the
	// other way round.
	FromClient bool
	Every      time.Duration // between pushes (default 20ms)
}

// Flow is a live connection over which one end pushes data and the other says
// nothing. For UDP the client sends one datagram to begin with.
type Flow struct {
	spec     FlowSpec
	received atomic.Int64
	stop     context.CancelFunc
	wait     sync.WaitGroup
	closers  []io.Closer
}

// openTimeout bounds how long a flow may take to come up.
const openTimeout = 3 * time.Second

// chunk is what one push carries.
const chunk = 64

// OpenFlow opens a flow. It fails where the first packets do not get through. A
// zero Addr is the server's first address of IPv4.
func (n *Net) OpenFlow(ctx context.Context, spec FlowSpec) (*Flow, error) {
	if spec.Every == 0 {
		spec.Every = 20 * time.Millisecond
	}
	if !spec.Addr.IsValid() {
		spec.Addr = n.Addr(spec.Server, true)
	}
	if n.Host(spec.Client) == nil || n.Host(spec.Server) == nil {
		return nil, fmt.Errorf("open a flow from %q to %q: no such hosts", spec.Client, spec.Server)
	}
	run, stop := context.WithCancel(ctx)
	f := &Flow{spec: spec, stop: stop}
	open := f.openTCP
	if spec.UDP {
		open = f.openUDP
	}
	client, server, err := open(ctx, n)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open a flow from %q to %q (%s): %w", spec.Client, spec.Server, netip.AddrPortFrom(spec.Addr, spec.Port), err)
	}
	from, to := server, client
	if spec.FromClient {
		from, to = client, server
	}
	f.wait.Go(func() { f.push(run, from) })
	f.wait.Go(func() { f.count(to) })
	return f, nil
}

func (f *Flow) address() string { return netip.AddrPortFrom(f.spec.Addr, f.spec.Port).String() }

func (f *Flow) listen() string {
	if f.spec.Listen.IsValid() {
		return f.spec.Listen.String()
	}
	return f.address()
}

func (f *Flow) openTCP(ctx context.Context, n *Net) (client, server net.Conn, err error) {
	var l net.Listener
	err = n.Host(f.spec.Server).Do(func() (err error) {
		l, err = (&net.ListenConfig{}).Listen(ctx, "tcp", f.listen())
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, _ := l.Accept() // ends when the listener closes
		accepted <- c
	}()
	// The address is literal, so the dialer stays on this thread.
	err = n.Host(f.spec.Client).Do(func() (err error) {
		d := net.Dialer{Timeout: openTimeout, KeepAlive: -1}
		client, err = d.DialContext(ctx, "tcp", f.address())
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	f.closers = append(f.closers, client)
	select {
	case server = <-accepted:
	case <-time.After(openTimeout):
	}
	if server == nil {
		return nil, nil, fmt.Errorf("the server accepted nothing within %s", openTimeout)
	}
	f.closers = append(f.closers, server)
	for _, c := range []net.Conn{client, server} {
		c.(*net.TCPConn).SetLinger(0) // leave nothing behind that is sent again
	}
	return client, server, nil
}

func (f *Flow) openUDP(ctx context.Context, n *Net) (client, server net.Conn, err error) {
	var pc net.PacketConn
	err = n.Host(f.spec.Server).Do(func() (err error) {
		pc, err = (&net.ListenConfig{}).ListenPacket(ctx, "udp", f.listen())
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	f.closers = append(f.closers, pc)
	err = n.Host(f.spec.Client).Do(func() (err error) {
		d := net.Dialer{Timeout: openTimeout}
		client, err = d.DialContext(ctx, "udp", f.address())
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	f.closers = append(f.closers, client)
	buf := make([]byte, chunk)
	deadline := time.Now().Add(openTimeout)
	for time.Now().Before(deadline) {
		if _, err := client.Write([]byte("hello")); err != nil {
			return nil, nil, err
		}
		pc.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if _, peer, err := pc.ReadFrom(buf); err == nil {
			pc.SetReadDeadline(time.Time{})
			return client, &packetEnd{pc.(*net.UDPConn), peer}, nil
		}
	}
	return nil, nil, fmt.Errorf("the server heard nothing within %s", openTimeout)
}

// packetEnd is the server's end of a UDP flow.
type packetEnd struct {
	*net.UDPConn
	peer net.Addr
}

// Write sends a datagram to the client.
func (e *packetEnd) Write(b []byte) (int, error) { return e.WriteTo(b, e.peer) }

// push sends until the flow is closed. A cut TCP flow blocks it once the queue is
// full; a cut UDP flow swallows what it sends.
func (f *Flow) push(ctx context.Context, c net.Conn) {
	tick := time.NewTicker(f.spec.Every)
	defer tick.Stop()
	data := make([]byte, chunk)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		c.SetWriteDeadline(time.Now().Add(time.Second))
		if _, err := c.Write(data); err != nil && !temporary(err) {
			return
		}
	}
}

// temporary reports errors after which a flow may still go on.
func temporary(err error) bool {
	ne, ok := err.(net.Error)
	return ok && (ne.Timeout() || ne.(*net.OpError) != nil && ne.(*net.OpError).Net == "udp")
}

func (f *Flow) count(c net.Conn) {
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		f.received.Add(int64(n))
		if err != nil && (!f.spec.UDP || f.closed(err)) {
			return
		}
	}
}

func (f *Flow) closed(err error) bool {
	op, ok := err.(*net.OpError)
	return !ok || op.Err == net.ErrClosed || op.Err.Error() == net.ErrClosed.Error()
}

// Close ends the flow.
func (f *Flow) Close() {
	f.stop()
	for _, c := range f.closers {
		c.Close()
	}
	f.wait.Wait()
}

// Received tells how many bytes have arrived at the silent end.
func (f *Flow) Received() int64 { return f.received.Load() }

// During tells how many bytes arrive in the next d.
func (f *Flow) During(ctx context.Context, d time.Duration) (int64, error) {
	before := f.Received()
	err := pause(ctx, d)
	return f.Received() - before, err
}

// Stopped waits for the flow to fall silent for quiet, at most for max in all, and
// reports whether it did. Quiet must be longer than TCP waits between the first
// few repeats of a lost segment, some 400ms.
func (f *Flow) Stopped(ctx context.Context, quiet, max time.Duration) (bool, error) {
	const step = 10 * time.Millisecond
	last, silent := f.Received(), time.Duration(0)
	for begin := time.Now(); time.Since(begin) < max; {
		since := time.Now()
		if err := pause(ctx, step); err != nil {
			return false, err
		}
		if now := f.Received(); now != last {
			last, silent = now, 0
		} else if silent += time.Since(since); silent >= quiet {
			return true, nil
		}
	}
	return false, nil
}
