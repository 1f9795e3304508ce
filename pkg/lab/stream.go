package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Stream sends packets of a few kinds all the time, while other things happen to the
// network. Each packet is a flow of its own: what a gateway lets through because it
// knows the flow already says nothing of its rules.
type Stream struct {
	p     *Prober
	kinds []Probe
	every time.Duration
	sent  [][]Packet
	stop  context.CancelFunc
	done  chan struct{}
	err   error
}

// Packet is one packet of a stream.
type Packet struct {
	At  time.Time // when it was sent
	Got bool      // its receiver got it
}

// The source ports of a stream, used in turn. At a packet each 2ms they begin again
// after 100 seconds, when connection tracking has long forgotten a flow that nobody
// answered (net.netfilter.nf_conntrack_udp_timeout is 30).
const (
	streamPort  = 10000
	streamPorts = 50000
)

// Stream begins to send one packet of each kind at every interval. The prober does
// nothing else until Stop.
func (p *Prober) Stream(kinds []Probe, every time.Duration) (*Stream, error) {
	p.batch++
	s := &Stream{p: p, every: every, sent: make([][]Packet, len(kinds)), done: make(chan struct{})}
	for i, q := range kinds {
		if q.Fragments > 1 || q.SrcPort != 0 {
			return nil, fmt.Errorf("kind %d: a stream's packets are whole, and from ports of its own", i)
		}
		filled, err := p.fill(q)
		if err != nil {
			return nil, fmt.Errorf("kind %d: %w", i, err)
		}
		s.kinds = append(s.kinds, filled)
	}
	s.drain() // what came before is not ours
	for _, t := range p.taps {
		if _, err := t.lost(); err != nil {
			return nil, err
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop, p.stream = stop, s
	go func() {
		defer close(s.done)
		s.err = s.run(ctx)
	}()
	return s, nil
}

func (s *Stream) run(ctx context.Context) error {
	for n := 0; ctx.Err() == nil; n++ {
		for k := range s.kinds {
			q := s.kinds[k]
			q.SrcPort = uint16(streamPort + n%streamPorts)
			packets, err := craft(&q, newToken(s.p.batch, n*len(s.kinds)+k))
			if err != nil {
				return err
			}
			s.sent[k] = append(s.sent[k], Packet{At: time.Now()})
			// A packet that is begun is sent, so that none is missing for our own stop.
			if err := s.p.send(context.Background(), &q, packets[0]); err != nil {
				return err
			}
		}
		s.drain()
		_ = pause(ctx, s.every)
	}
	return nil
}

// drain notes what has arrived, and tells whether anything of ours has.
func (s *Stream) drain() (any bool) {
	for host, t := range s.p.taps {
		t.drain(func(b []byte) {
			x, ok := look(b)
			if !ok || binary.BigEndian.Uint32(x.token[:]) != s.p.batch {
				return
			}
			i := int(binary.BigEndian.Uint32(x.token[4:]))
			k, n := i%len(s.kinds), i/len(s.kinds)
			if n < len(s.sent[k]) && s.kinds[k].is(host, &x) {
				s.sent[k][n].Got, any = true, true
			}
		})
	}
	return any
}

// Stop ends the stream, waits for what is on its way, and gives the packets of each
// kind in the order they were sent.
func (s *Stream) Stop() ([][]Packet, error) {
	s.end()
	if s.p.net.star {
		if err := s.p.fenceOff(context.Background(), s.kinds, func() { s.drain() }); err != nil {
			return nil, errors.Join(s.err, err)
		}
	}
	for quiet := 0; quiet < 10; quiet++ {
		time.Sleep(5 * time.Millisecond)
		if s.drain() {
			quiet = 0
		}
	}
	return s.sent, errors.Join(s.err, s.p.complete())
}

func (s *Stream) end() {
	s.stop()
	<-s.done
}
