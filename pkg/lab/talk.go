package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// TalkKind is how two hosts talk.
type TalkKind int

const (
	Connect TalkKind = iota // a TCP connection to a listener, a line and its echo
	Echo                    // a datagram of UDP and its echo
	Ping                    // an ICMP echo request and the kernel's reply
)

// String names a kind.
func (k TalkKind) String() string {
	return map[TalkKind]string{Connect: "connect", Echo: "echo", Ping: "ping"}[k]
}

// Talk is an exchange by the kernel's own sockets, which needs the way there and the
// way back.
type Talk struct {
	Kind TalkKind
	From string
	Src  netip.Addr // the zero value is the host's first of the family
	Dst  netip.Addr // of a host of the network
	Port uint16     // the server's; none for Ping
	// SrcPort is the client's; 0 is the kernel's choice.
	SrcPort uint16
	// Want says that it should work. One that should is given a minute, and one that
	// should not half a second: more would take long, and could only find more.
	Want bool
}

const (
	talkPatience = time.Minute
	talkRefused  = 500 * time.Millisecond
	// talkAgain is how soon a datagram is sent again.
	talkAgain = 200 * time.Millisecond
	// talkAtOnce is how many talks go on at once.
	talkAtOnce = 256
)

// Talk tries exchanges, many at once, and says of each whether it worked. An error is
// one of the lab's own.
func (n *Net) Talk(ctx context.Context, talks []Talk) ([]bool, error) {
	talks = append([]Talk(nil), talks...)
	servers := &servers{open: map[server]io.Closer{}, live: map[net.Conn]bool{}}
	defer servers.close()
	for i := range talks {
		t := &talks[i]
		if !t.Src.IsValid() && n.hosts[t.From] != nil {
			t.Src = n.Addr(t.From, t.Dst.Is4())
		}
		owner := n.Owner(t.Dst)
		if n.hosts[t.From] == nil || owner == "" || !t.Src.IsValid() {
			return nil, fmt.Errorf("talk %d from %q to %s: the network has no such ends", i, t.From, t.Dst)
		}
		if t.Kind == Ping {
			continue
		}
		if t.Port == 0 {
			return nil, fmt.Errorf("talk %d from %q to %s: a server needs a port", i, t.From, t.Dst)
		}
		if err := servers.serve(n.hosts[owner], server{t.Kind, netip.AddrPortFrom(t.Dst, t.Port)}); err != nil {
			return nil, fmt.Errorf("talk %d: %w", i, err)
		}
	}
	out, errs := make([]bool, len(talks)), make([]error, len(talks))
	slots := make(chan struct{}, talkAtOnce)
	var wait sync.WaitGroup
	for i := range talks {
		slots <- struct{}{}
		wait.Go(func() {
			out[i], errs[i] = n.talk(ctx, &talks[i], uint16(i))
			<-slots
		})
	}
	wait.Wait()
	return out, errors.Join(append(errs, ctx.Err())...)
}

// talk is one exchange; number tells echo requests apart.
func (n *Net) talk(ctx context.Context, t *Talk, number uint16) (bool, error) {
	patience := talkRefused
	if t.Want {
		patience = talkPatience
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var c net.Conn
	// The address is literal, so the dialer stays on this thread.
	err := n.hosts[t.From].Do(func() (err error) {
		c, err = dial(ctx, t)
		return err
	})
	if err != nil {
		if t.Kind == Connect && !errors.Is(err, unix.EADDRINUSE) && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return false, nil
		}
		return false, fmt.Errorf("%s from %q to %s: %w", t.Kind, t.From, t.Dst, err)
	}
	defer c.Close()
	ask, want := []byte("what the lab says\n"), []byte("what the lab says\n")
	switch t.Kind {
	case Connect:
		c.(*net.TCPConn).SetLinger(0) // leave nothing behind that is sent again
	case Ping:
		ask, want = echoRequest(t.Dst.Is4(), number)
	}
	return t.answered(ctx, c, ask, want), nil
}

func dial(ctx context.Context, t *Talk) (net.Conn, error) {
	d := net.Dialer{KeepAlive: -1}
	src, dst := netip.AddrPortFrom(t.Src, t.SrcPort), netip.AddrPortFrom(t.Dst, t.Port)
	switch t.Kind {
	case Connect:
		d.LocalAddr = net.TCPAddrFromAddrPort(src)
		return d.DialContext(ctx, "tcp", dst.String())
	case Echo:
		d.LocalAddr = net.UDPAddrFromAddrPort(src)
		return d.DialContext(ctx, "udp", dst.String())
	}
	network := "ip6:ipv6-icmp"
	if t.Dst.Is4() {
		network = "ip4:icmp"
	}
	d.LocalAddr = &net.IPAddr{IP: t.Src.AsSlice()}
	return d.DialContext(ctx, network, t.Dst.String())
}

// answered says what it has to say, more than once unless TCP sees to that, until the
// right answer comes or the context ends.
func (t *Talk) answered(ctx context.Context, c net.Conn, ask, want []byte) bool {
	defer context.AfterFunc(ctx, func() { c.Close() })()
	buf := make([]byte, 2048)
	if t.Kind == Connect {
		if _, err := c.Write(ask); err != nil {
			return false
		}
		_, err := io.ReadFull(c, buf[:len(want)])
		return err == nil && string(buf[:len(want)]) == string(want)
	}
	for ctx.Err() == nil {
		c.Write(ask) // an error of the last one may come back here
		c.SetReadDeadline(time.Now().Add(talkAgain))
		for {
			n, err := c.Read(buf)
			if err == nil && t.is(buf[:n], want) {
				return true
			}
			if ne, ok := err.(net.Error); err != nil && ok && ne.Timeout() || ctx.Err() != nil {
				break
			}
			if err != nil { // refused for now: a port unreachable, or no way there
				if pause(ctx, talkAgain/10) != nil {
					break
				}
			}
		}
	}
	return false
}

// is reports whether what was read is the answer. The kernel writes a checksum in an
// echo's reply, and shows the IPv4 header before it.
func (t *Talk) is(b, want []byte) bool {
	if t.Kind == Ping {
		if t.Dst.Is4() && len(b) > 0 && int(b[0]&15)*4 < len(b) {
			b = b[int(b[0]&15)*4:]
		}
		if len(b) < 4 {
			return false
		}
		b[2], b[3], want[2], want[3] = 0, 0, 0, 0
	}
	return string(b) == string(want)
}

// echoRequest writes an echo request and the reply that answers it.
func echoRequest(four bool, number uint16) (ask, want []byte) {
	write := func(kind uint8) []byte {
		b := make([]byte, 8, 32)
		b[0] = kind
		binary.BigEndian.PutUint16(b[4:], number)
		b = append(b, "what the lab asks"...)
		if four {
			binary.BigEndian.PutUint16(b[2:], fold(sum(b)))
		}
		return b
	}
	if four {
		return write(8), write(0)
	}
	return write(128), write(129)
}
