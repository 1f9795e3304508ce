package kernel

import (
	"fmt"
	"os"
	"sync"
)

// idleSockets is how many sockets a Conn keeps for the next question.
const idleSockets = 4

// pool holds the sockets of a Conn that wait for the next question. To open one in
// another namespace takes a thread that enters it, many times as long as most
// questions take.
type pool struct {
	mu     sync.Mutex
	idle   []*socket
	closed bool
}

// withSocket runs f with a socket of its own. One whose exchange failed is not
// used again: the rest of the answers may be in its queue.
func (c *Conn) withSocket(f func(s *socket) error) error {
	s, err := c.take()
	if err != nil {
		return err
	}
	if err := f(s); err != nil {
		s.close()
		return err
	}
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	if c.pool.closed || len(c.pool.idle) == idleSockets {
		s.close()
		return nil
	}
	c.pool.idle = append(c.pool.idle, s)
	return nil
}

// take gives a socket that waits, or a new one.
func (c *Conn) take() (*socket, error) {
	c.pool.mu.Lock()
	if n := len(c.pool.idle); n > 0 {
		s := c.pool.idle[n-1]
		c.pool.idle = c.pool.idle[:n-1]
		c.pool.mu.Unlock()
		return s, nil
	}
	c.pool.mu.Unlock()
	return c.dial()
}

// dial opens another socket in the namespace.
func (c *Conn) dial() (s *socket, err error) {
	c.pool.mu.Lock()
	closed := c.pool.closed
	c.pool.mu.Unlock()
	if closed {
		return nil, fmt.Errorf("connection to %s: %w", c.where(), os.ErrClosed)
	}
	err = within(c.ns, func() error {
		s, err = openSocket()
		return err
	})
	return s, err
}

// drop closes the sockets that wait; no more are opened.
func (p *pool) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.idle {
		s.close()
	}
	p.idle, p.closed = nil, true
}
