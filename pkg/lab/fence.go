package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// FenceType is the Ethernet type of fences: the first that IEEE 802 leaves to
// experiments.
//
// A fence is a broadcast frame that the middle of a star hands to every other port. It
// is behind all that its sender sent before; where it has arrived, what has not arrived
// was dropped. So a verdict takes as long as the middle needs, however busy the machine
// is, and no longer.
const FenceType = 0x88b5

// fence is what such a frame says.
type fence struct {
	prober uint32 // whose it is
	number uint32
	from   string
}

// fenceLen is the size of a fence's frame: the least that Ethernet carries.
const fenceLen = 60

// fenceName is where the sender's name begins: behind the header and two numbers. A byte
// says how long it is.
const fenceName = 14 + 8

func writeFence(f fence) []byte {
	b := make([]byte, fenceLen)
	copy(b, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, 0})
	binary.BigEndian.PutUint16(b[12:], FenceType)
	binary.BigEndian.PutUint32(b[14:], f.prober)
	binary.BigEndian.PutUint32(b[18:], f.number)
	b[fenceName] = uint8(len(f.from))
	copy(b[fenceName+1:], f.from)
	return b
}

// readFence reads what a tap shows of a fence: all but the Ethernet header. Of what is
// none it returns one that nobody waits for.
func readFence(b []byte) fence {
	const name = fenceName - 14
	if len(b) < fenceLen-14 || int(b[name]) > len(b)-name-1 {
		return fence{}
	}
	return fence{
		prober: binary.BigEndian.Uint32(b), number: binary.BigEndian.Uint32(b[4:]),
		from: string(b[name+1:][:b[name]]),
	}
}

// wall sends the fences of a host.
type wall struct {
	fd int
	to unix.SockaddrLinklayer
}

// newWall makes one in the calling thread's namespace.
func newWall(host string) (*wall, error) {
	if len(host) > fenceLen-fenceName-1 {
		return nil, fmt.Errorf("the name of host %q is too long for a fence: it may have %d bytes", host, fenceLen-fenceName-1)
	}
	card, err := net.InterfaceByName("eth0")
	if err != nil {
		return nil, fmt.Errorf("find the interface of %q: %w", host, err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open a packet socket on %q: %w", host, err)
	}
	return &wall{fd: fd, to: unix.SockaddrLinklayer{Ifindex: card.Index, Halen: 6, Addr: [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}}, nil
}

// fence waits until what was sent of some probes has arrived, or has been dropped.
func (r *round) fence(ctx context.Context, list []int) error {
	probes := make([]Probe, len(list))
	for n, i := range list {
		probes[n] = r.probes[i]
	}
	return r.p.fenceOff(ctx, probes, func() { r.drain() })
}

// fencePatience is how long a fence may take: the machine may have other things to do.
const fencePatience = time.Minute

// fenceOff sends fences the way of some probes and waits for them, and calls drain
// meanwhile.
//
// It does so twice. What takes up packets by the dozen may send them on in another
// order, but not before it is done with the dozen before; the second fence is in another
// one than all that was sent ahead of the first.
func (p *Prober) fenceOff(ctx context.Context, probes []Probe, drain func()) error {
	for range 2 {
		if err := p.oneFence(ctx, probes, drain); err != nil {
			return err
		}
	}
	return nil
}

// way is from a sender to a receiver.
type way struct{ from, to string }

func (p *Prober) oneFence(ctx context.Context, probes []Probe, drain func()) error {
	var first = p.fence + 1
	missing := map[way]bool{}
	for i := range probes {
		if probes[i].From != probes[i].To {
			missing[way{probes[i].From, probes[i].To}] = true
		}
	}
	limit := time.Now().Add(fencePatience)
	for again := 10 * time.Millisecond; ; again = min(2*again, time.Second) {
		if err := p.dropUnlinked(missing); err != nil {
			return err
		}
		if len(missing) == 0 {
			return nil
		}
		if time.Now().After(limit) {
			return fmt.Errorf("what joins the hosts carries nothing from %q to %q, not even a fence, for %s", anyWay(missing).from, anyWay(missing).to, fencePatience)
		}
		p.fence++
		if err := p.sendFences(missing); err != nil {
			return err
		}
		for until := time.Now().Add(again); len(missing) > 0 && time.Now().Before(until); {
			if err := pause(ctx, 200*time.Microsecond); err != nil {
				return err
			}
			drain()
			p.heard(missing, first)
		}
	}
}

// dropUnlinked forgets the ways on which nothing can arrive: a port is down.
func (p *Prober) dropUnlinked(missing map[way]bool) error {
	linked := map[string]bool{}
	for w := range missing {
		for _, host := range []string{w.from, w.to} {
			if _, known := linked[host]; known {
				continue
			}
			up, err := p.net.linked(host)
			if err != nil {
				return err
			}
			linked[host] = up
		}
	}
	for w := range missing {
		if !linked[w.from] || !linked[w.to] {
			delete(missing, w)
		}
	}
	return nil
}

func (p *Prober) sendFences(missing map[way]bool) error {
	done := map[string]bool{}
	for w := range missing {
		if done[w.from] {
			continue
		}
		done[w.from] = true
		wall := p.walls[w.from]
		err := unix.Sendto(wall.fd, writeFence(fence{prober: p.id, number: p.fence, from: w.from}), unix.MSG_DONTWAIT, &wall.to)
		// What finds no room is sent again, and so is what meets a link that just changes.
		if err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ENETDOWN) {
			return fmt.Errorf("send a fence from %q: %w", w.from, err)
		}
	}
	return nil
}

// heard takes away the ways of fences that have arrived, from the one with number first.
func (p *Prober) heard(missing map[way]bool, first uint32) {
	for host, t := range p.taps {
		for _, f := range t.fences {
			if f.prober == p.id && f.number-first < 1<<31 {
				delete(missing, way{f.from, host})
			}
		}
		t.fences = t.fences[:0]
	}
}

func anyWay(m map[way]bool) way {
	var all []way
	for w := range m {
		all = append(all, w)
	}
	return slices.MinFunc(all, func(a, b way) int { return slices.Compare([]string{a.from, a.to}, []string{b.from, b.to}) })
}
