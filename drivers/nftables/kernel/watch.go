package kernel

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"
)

// Event tells of a change of the ruleset, by whomever. Elements that expire, and
// those that rules write, make no event.
type Event struct {
	Generation
	// Lost is set where the kernel had to throw events away: everything else is 0,
	// and the ruleset must be taken for changed.
	Lost bool
	// Err ends the watch.
	Err error
}

// Watch reports every commit in the namespace from now on (NFT_MSG_NEWGEN in the
// group NFNLGRP_NFTABLES). The channel is closed when ctx ends, or after an event
// with Err. A reader that is slow loses events and is told so.
func (c *Conn) Watch(ctx context.Context) (<-chan Event, error) {
	s, err := c.dial()
	if err != nil {
		return nil, err
	}
	onlyGenerations(s)
	if err := unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, unix.NFNLGRP_NFTABLES); err != nil {
		s.close()
		return nil, explain("watch the ruleset of "+c.where(), "nf_tables", err)
	}
	out := make(chan Event, 16)
	go func() {
		defer close(out)
		defer s.close()
		for {
			events, err := s.events(ctx)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				events = append(events, Event{Err: fmt.Errorf("watch the ruleset of %s: %w", c.where(), err)})
			}
			for _, e := range events {
				select {
				case out <- e:
				case <-ctx.Done():
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	return out, nil
}

// events waits for a datagram and takes the generations from it.
func (s *socket) events(ctx context.Context) (out []Event, err error) {
	data, err := s.recv(ctx)
	if err == unix.ENOBUFS {
		return []Event{{Lost: true}}, nil
	}
	if err != nil {
		return nil, err
	}
	err = split(data, func(m message) error {
		if m.typ != nftType|unix.NFT_MSG_NEWGEN {
			return nil
		}
		g, err := decodeGen(m.payload)
		out = append(out, Event{Generation: g})
		return err
	})
	return out, err
}

// onlyGenerations makes the kernel drop all but NFT_MSG_NEWGEN before it queues
// it, so that a commit of a million elements, each of which is announced, does
// not overrun the queue. Generations come in datagrams of their own. Without the
// filter all still works.
func onlyGenerations(s *socket) {
	// nlmsg_type is in host order; BPF loads in network order.
	typ := uint32(host16(nftType | unix.NFT_MSG_NEWGEN))
	prog := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 4},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: typ, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	_ = unix.SetsockoptSockFprog(s.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]})
}
