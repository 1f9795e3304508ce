package netconftest

import (
	"net"
	"sync"
)

// gate stops everything that goes through it while it is shut.
type gate struct {
	mu    sync.Mutex
	cond  *sync.Cond
	stop  bool
	ended bool
}

func (g *gate) init() { g.cond = sync.NewCond(&g.mu) }

func (g *gate) set(f func()) {
	g.mu.Lock()
	f()
	g.mu.Unlock()
	g.cond.Broadcast()
}

func (g *gate) shut() { g.set(func() { g.stop = true }) }
func (g *gate) open() { g.set(func() { g.stop = false }) }
func (g *gate) end()  { g.set(func() { g.ended = true }) }

// pass waits until the gate is open, or for good.
func (g *gate) pass(gone func() bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.stop && !g.ended && !gone() {
		g.cond.Wait()
	}
}

// gated is a connection behind a gate.
type gated struct {
	net.Conn
	gate   *gate
	closed bool // under the gate's mutex
}

func (c *gated) gone() bool { return c.closed }

// Read reads; what has come while the gate was shut waits for it.
func (c *gated) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.gate.pass(c.gone)
	return n, err
}

// Write writes once the gate is open.
func (c *gated) Write(b []byte) (int, error) {
	c.gate.pass(c.gone)
	return c.Conn.Write(b)
}

// Close closes at once.
func (c *gated) Close() error {
	c.gate.set(func() { c.closed = true })
	return c.Conn.Close()
}
