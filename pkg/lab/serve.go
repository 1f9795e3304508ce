package lab

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
)

// server is a place where somebody answers.
type server struct {
	kind TalkKind
	at   netip.AddrPort
}

// servers echo what they are told.
type servers struct {
	open map[server]io.Closer
	wait sync.WaitGroup

	mu    sync.Mutex
	ended bool
	live  map[net.Conn]bool // connections
}

// serve sees to it that somebody answers at a place.
func (s *servers) serve(ns *Namespace, at server) error {
	if s.open[at] != nil {
		return nil
	}
	err := ns.Do(func() error {
		if at.kind == Connect {
			l, err := net.Listen("tcp", at.at.String())
			if err != nil {
				return err
			}
			s.open[at] = l
			s.wait.Go(func() { s.accept(l) })
			return nil
		}
		c, err := net.ListenPacket("udp", at.at.String())
		if err != nil {
			return err
		}
		s.open[at] = c
		s.wait.Go(func() { echoPackets(c) })
		return nil
	})
	if err != nil {
		return fmt.Errorf("listen in %q: %w", ns.Name, err)
	}
	return nil
}

func (s *servers) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		if !s.keep(c) {
			c.Close()
			return
		}
		s.wait.Go(func() {
			_, _ = io.Copy(c, c) // ends with the connection
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
			s.mu.Lock()
			delete(s.live, c)
			s.mu.Unlock()
		})
	}
}

// keep notes a connection, unless all have ended: what nobody notes nobody would close.
func (s *servers) keep(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.live[c] = true
	}
	return !s.ended
}

// echoPackets sends back what comes, from the address that it came to.
func echoPackets(c net.PacketConn) {
	buf := make([]byte, 2048)
	for {
		n, peer, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = c.WriteTo(buf[:n], peer) // no answer is an answer too
	}
}

// close ends all of them.
func (s *servers) close() {
	for _, c := range s.open {
		c.Close()
	}
	s.mu.Lock()
	s.ended = true
	for c := range s.live {
		c.Close()
	}
	s.mu.Unlock()
	s.wait.Wait()
}
