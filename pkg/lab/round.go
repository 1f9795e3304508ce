package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// round is one run of a prober.
type round struct {
	p       *Prober
	probes  []Probe
	results []Result
	seen    map[int]*pieces // of probes in fragments
}

// pieces are the parts of a datagram that arrived.
type pieces struct {
	parts [][2]int
	size  int // 0 until the last one arrived
}

// part is as many of the probes as are sent in one go.
func (r *round) part(list []int) []int {
	if !r.p.net.star {
		return list[:min(burst, len(list))]
	}
	packets := 0
	for n, i := range list {
		packets += max(r.probes[i].Fragments, 1)
		if packets > starBurst && n > 0 {
			return list[:n]
		}
	}
	return list
}

func (r *round) send(ctx context.Context, list []int) error {
	for _, i := range list {
		q := &r.probes[i]
		packets, err := craft(q, newToken(r.p.batch, i))
		if err != nil {
			return err
		}
		r.results[i].Tries++
		for _, b := range packets {
			if err := r.p.send(ctx, q, b); err != nil {
				return err
			}
		}
	}
	return nil
}

// send sends one packet of a probe.
func (p *Prober) send(ctx context.Context, q *Probe, b []byte) error {
	fds := p.raw[q.From]
	fd, to := fds[0], unix.Sockaddr(nil)
	if q.Dst.Is4() {
		to = &unix.SockaddrInet4{Addr: q.Dst.As4()}
	} else {
		fd, to = fds[1], &unix.SockaddrInet6{Addr: q.Dst.As16()}
	}
	for {
		err := unix.Sendto(fd, b, unix.MSG_DONTWAIT, to)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.EAGAIN):
			if err := pause(ctx, time.Millisecond); err != nil {
				return err
			}
		case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
			return nil // the sender's own firewall: the receiver will not see it
		case err != nil:
			return fmt.Errorf("send from %q to %s: %w", q.From, q.Dst, err)
		default:
			return nil
		}
	}
}

// drain takes in what has arrived, and tells whether anything of ours has.
func (r *round) drain() (any bool) {
	for host, t := range r.p.taps {
		t.drain(func(b []byte) { any = r.take(host, b) || any })
	}
	return any
}

// is reports whether a packet that a host got is a probe's. An echo's answer bears
// the same token, and so does an error that quotes the probe: what counts is the
// probe's own protocol and type at its own receiver. A later fragment has no type.
func (q *Probe) is(host string, s *sight) bool {
	if q.To != host || q.Proto != s.proto {
		return false
	}
	return (q.Proto != protoICMP && q.Proto != protoICMPv6) || q.Num == s.head || s.from > 0
}

// take holds a packet that a host got against the probes.
func (r *round) take(host string, b []byte) bool {
	s, ok := look(b)
	if !ok || binary.BigEndian.Uint32(s.token[:]) != r.p.batch {
		return false
	}
	i := int(binary.BigEndian.Uint32(s.token[4:]))
	if i >= len(r.probes) {
		return false
	}
	if !r.probes[i].is(host, &s) {
		return false
	}
	r.results[i].Src, r.results[i].Dst = s.src, s.dst
	if s.whole || r.probes[i].Only > 0 {
		r.results[i].Got, r.results[i].Part = true, false
		return true
	}
	p := r.seen[i]
	if p == nil {
		p = &pieces{}
		r.seen[i] = p
	}
	r.results[i].Got = p.add(s) || r.results[i].Got
	r.results[i].Part = !r.results[i].Got
	return true
}

// add notes a fragment and reports whether the datagram is complete.
func (p *pieces) add(s sight) bool {
	p.parts = append(p.parts, [2]int{s.from, s.to})
	if s.last {
		p.size = s.to
	}
	slices.SortFunc(p.parts, func(a, b [2]int) int { return a[0] - b[0] })
	end := 0
	for _, x := range p.parts {
		if x[0] > end {
			return false
		}
		end = max(end, x[1])
	}
	return p.size > 0 && end >= p.size
}

// settle waits until nothing has arrived for a while.
func (r *round) settle(ctx context.Context, quiet time.Duration) error {
	const step = 5 * time.Millisecond
	for left := quiet; left > 0; left -= step {
		if err := pause(ctx, step); err != nil {
			return err
		}
		if r.drain() {
			left = quiet
		}
	}
	return nil
}

func (r *round) unanswered(open []int) []int {
	var out []int
	for _, i := range open {
		if !r.results[i].Got {
			out = append(out, i)
		}
	}
	return out
}

// complete makes sure that no tap was overrun: a lost packet would pass for a
// dropped one.
func (p *Prober) complete() error {
	for _, host := range p.net.Hosts() {
		n, err := p.taps[host].lost()
		if err != nil {
			return err
		}
		if n > 0 {
			return fmt.Errorf("the tap of %q lost %d packets: the results are not reliable", host, n)
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
