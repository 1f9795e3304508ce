package lab

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Probe is one packet, or one datagram in fragments, that somebody sends.
type Probe struct {
	From string     // the host that sends
	Src  netip.Addr // source address; the zero value is the host's own, another's is spoofed
	Dst  netip.Addr
	To   string // the host that must get it; "" is the one that has Dst
	// Proto and Num are the service: destination port, or type<<8|code for ICMP and
	// ICMPv6; other protocols have no number.
	Proto     uint8
	Num       uint16
	SrcPort   uint16 // 0 is a port that differs from batch to batch
	Flags     uint8  // TCP's control bits (RFC 9293, section 3.1); 0 is a SYN
	Fragments int    // UDP, TCP or ICMP in so many fragments; 0 and 1 are whole
	Only      int    // the only one of the fragments that is sent, from 1; 0 is all of them
}

// Control bits of TCP.
const (
	FIN = 1 << iota
	SYN
	RST
	PSH
	ACK
)

// Result is what became of a probe at its receiver.
type Result struct {
	Got bool // all of it arrived, at least once
	// Part is set if some fragments arrived and others did not.
	Part  bool
	Tries int // how often it was sent
	// Src and Dst are the addresses that it arrived with; translation changes them.
	Src, Dst netip.Addr
}

// ProbeOptions say how hard a prober tries. The zero value is usable.
type ProbeOptions struct {
	// Tries is how often a probe is sent that does not arrive: a packet may be lost
	// while a neighbour is being found (default 3).
	Tries int
	// Quiet is how long nothing more must arrive before a try is over (default
	// 40ms). It doubles with every try. In a star nothing waits: a try is over when the
	// middle has handled all of it.
	Quiet time.Duration
	// Progress is called with how many packets were sent and how many will be at
	// most.
	Progress func(sent, most int)
}

// Prober sends probes and watches receivers.
type Prober struct {
	net   *Net
	taps  map[string]*tap
	raw   map[string][2]int // sockets of IPv4 and IPv6
	batch uint32
	walls map[string]*wall // senders of fences, in a star
	fence uint32           // the last one's number
	id    uint32           // of its fences

	stream *Stream // that was begun last
}

// NewProber opens taps and raw sockets on every host of a network.
func NewProber(n *Net) (*Prober, error) {
	p := &Prober{net: n, taps: map[string]*tap{}, raw: map[string][2]int{}, walls: map[string]*wall{}}
	var seed [4]byte
	rand.Read(seed[:])
	p.batch = binary.BigEndian.Uint32(seed[:])
	p.id = p.batch
	for _, host := range n.Hosts() {
		err := n.Host(host).Do(func() error {
			t, err := newTap(host)
			if err != nil {
				return err
			}
			p.taps[host] = t
			var fds [2]int
			for i, family := range []int{unix.AF_INET, unix.AF_INET6} {
				if fds[i], err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW); err != nil {
					return fmt.Errorf("open a raw socket on %q: %w", host, err)
				}
			}
			p.raw[host] = fds
			if n.star {
				p.walls[host], err = newWall(host)
			}
			return err
		})
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
	}
	return p, nil
}

// Close closes everything that the prober opened.
func (p *Prober) Close() error {
	var errs []error
	if p.stream != nil {
		p.stream.end()
	}
	for _, t := range p.taps {
		errs = append(errs, t.close())
	}
	for _, fds := range p.raw {
		errs = append(errs, unix.Close(fds[0]), unix.Close(fds[1]))
	}
	for _, w := range p.walls {
		errs = append(errs, unix.Close(w.fd))
	}
	p.taps, p.raw, p.walls = nil, nil, nil
	return errors.Join(errs...)
}

// burst is how many probes are sent before their receivers are looked at: fewer
// than a tap holds. In a star it counts packets, and is fewer than a program in the
// middle can leave lying in its socket (net.core.rmem_default).
const (
	burst     = 500
	starBurst = 48
)

// Run sends probes and says of each whether its receiver got it. Results are in
// the order of the probes. A probe that cannot be sent for lack of a route, and
// one with no receiver, are errors; one that the sender's own firewall refuses is
// simply not received.
func (p *Prober) Run(ctx context.Context, probes []Probe, opt ProbeOptions) ([]Result, error) {
	if opt.Tries == 0 {
		opt.Tries = 3
	}
	if opt.Quiet == 0 {
		opt.Quiet = 40 * time.Millisecond
	}
	p.batch++
	r := &round{p: p, probes: make([]Probe, len(probes)), results: make([]Result, len(probes)), seen: map[int]*pieces{}}
	if !p.net.star {
		return r.run(ctx, probes, opt)
	}
	var out []Result
	err := OnOneCPU(func() (err error) { // a fence must not overtake a probe
		out, err = r.run(ctx, probes, opt)
		return err
	})
	return out, err
}

func (r *round) run(ctx context.Context, probes []Probe, opt ProbeOptions) ([]Result, error) {
	p := r.p
	var open []int
	for i := range probes {
		filled, err := p.fill(probes[i])
		if err != nil {
			return nil, fmt.Errorf("probe %d: %w", i, err)
		}
		r.probes[i] = filled
		open = append(open, i)
	}
	most, sent := len(probes)*opt.Tries, 0
	r.drain() // what came before is not ours
	for _, t := range p.taps {
		if _, err := t.lost(); err != nil {
			return nil, err
		}
	}
	for try := 0; try < opt.Tries && len(open) > 0; try++ {
		for rest := open; len(rest) > 0; {
			part := r.part(rest)
			rest = rest[len(part):]
			if err := r.send(ctx, part); err != nil {
				return nil, err
			}
			sent += len(part)
			if p.net.star {
				if err := r.fence(ctx, part); err != nil {
					return nil, err
				}
			}
			r.drain()
			if opt.Progress != nil {
				opt.Progress(sent, most)
			}
		}
		if !p.net.star {
			if err := r.settle(ctx, opt.Quiet<<try); err != nil {
				return nil, err
			}
		}
		open = r.unanswered(open)
	}
	return r.results, p.complete()
}

// fill completes a probe with its defaults.
func (p *Prober) fill(q Probe) (Probe, error) {
	if p.net.Host(q.From) == nil {
		return q, fmt.Errorf("there is no host %q", q.From)
	}
	if !q.Src.IsValid() {
		if q.Src = p.net.Addr(q.From, q.Dst.Is4()); !q.Src.IsValid() {
			return q, fmt.Errorf("host %q has no address of the family of %s", q.From, q.Dst)
		}
	}
	if q.To == "" {
		q.To = p.net.Owner(q.Dst)
	}
	if p.taps[q.To] == nil {
		return q, fmt.Errorf("no host of the lab has %s, and none is named as the receiver", q.Dst)
	}
	if q.SrcPort == 0 { // far from the ports of services, and new in every batch
		q.SrcPort = uint16(32768 + (p.batch*7919)%28000)
	}
	return q, nil
}
