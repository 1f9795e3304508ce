package ovs

import (
	"net"
	"sync"
)

// relay passes datagrams on to a server in another namespace, and its answers back. Each
// client has a connection of its own there.
type relay struct {
	front net.PacketConn
	dial  func() (net.Conn, error)
	wait  sync.WaitGroup

	mu    sync.Mutex
	ended bool
	backs map[string]net.Conn // by the client's address
}

func newRelay(front net.PacketConn, dial func() (net.Conn, error)) *relay {
	r := &relay{front: front, dial: dial, backs: map[string]net.Conn{}}
	r.wait.Go(r.forward)
	return r
}

func (r *relay) forward() {
	buf := make([]byte, 65536)
	for {
		n, client, err := r.front.ReadFrom(buf)
		if err != nil {
			return
		}
		// What cannot be passed on is lost, as datagrams may be.
		if back, err := r.back(client); err == nil {
			_, _ = back.Write(buf[:n])
		}
	}
}

// back is the connection of a client.
func (r *relay) back(client net.Addr) (net.Conn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.backs[client.String()]; c != nil {
		return c, nil
	}
	c, err := r.dial()
	if err != nil {
		return nil, err
	}
	if r.ended {
		c.Close()
		return nil, net.ErrClosed
	}
	r.backs[client.String()] = c
	r.wait.Go(func() { r.answer(c, client) })
	return c, nil
}

func (r *relay) answer(c net.Conn, client net.Addr) {
	buf := make([]byte, 65536)
	for {
		n, err := c.Read(buf)
		if err == nil {
			_, _ = r.front.WriteTo(buf[:n], client)
			continue
		}
		r.mu.Lock()
		ended := r.ended
		if !ended {
			delete(r.backs, client.String()) // the server is gone; another may come
		}
		r.mu.Unlock()
		if !ended {
			c.Close()
		}
		return
	}
}

func (r *relay) close() {
	r.front.Close()
	r.mu.Lock()
	r.ended = true
	for _, c := range r.backs {
		c.Close()
	}
	r.mu.Unlock()
	r.wait.Wait()
}
