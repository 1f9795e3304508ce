package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// Conn is a connection to the netfilter of one network namespace. It is safe for
// concurrent use. Commits go through one socket that lives as long as the Conn,
// because a table with the owner flag lives and dies with the socket that made
// it; every dump has a socket of its own, so that a dump given up in the middle
// leaves nothing behind and a slow one holds up no commit.
type Conn struct {
	name string // the namespace as the caller named it
	ns   *os.File

	mu     sync.Mutex // guards what follows
	cmd    *socket    // nil once closed
	closed bool
}

// Open connects to the namespace netns: "" is the calling thread's own, a name
// is one of `ip netns` (/run/netns/NAME), anything with a slash a path. It wraps
// ErrNoNamespace, ErrPrivilege or ErrUnsupported.
func Open(netns string) (*Conn, error) {
	c := &Conn{name: netns}
	if netns == "" { // stay on the thread whose namespace is meant
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	ns, err := openNamespace(netns)
	if err != nil {
		return nil, err
	}
	c.ns = ns
	c.cmd, err = c.dial()
	if err == nil {
		err = c.probe()
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close closes the connection. Tables that it owns vanish, unless they persist.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd != nil {
		c.cmd.close()
		c.cmd = nil
	}
	c.closed = true
	return c.ns.Close()
}

// dial opens another socket in the namespace.
func (c *Conn) dial() (s *socket, err error) {
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if closed {
		return nil, fmt.Errorf("connection to %s: %w", c.where(), os.ErrClosed)
	}
	err = within(c.ns, func() error {
		s, err = openSocket()
		return err
	})
	return s, err
}

// where names the namespace in error messages.
func (c *Conn) where() string {
	if c.name == "" {
		return "this network namespace"
	}
	return "network namespace " + c.name
}

// probe finds out once, at the start, whether we may and can talk to nf_tables.
func (c *Conn) probe() error {
	_, err := c.generation(context.Background())
	switch errnoOf(err) {
	case 0:
		return err
	case unix.EINVAL, unix.EOPNOTSUPP: // nfnetlink_rcv_msg() without the subsystem
		return fmt.Errorf("open nf_tables in %s: %w: %w (modprobe nf_tables)", c.where(), ErrUnsupported, err)
	}
	return explain("open nf_tables in "+c.where(), "nf_tables", err)
}

// Generation asks for the ruleset's generation (NFT_MSG_GETGEN, some microseconds).
func (c *Conn) Generation(ctx context.Context) (uint32, error) {
	id, err := c.generation(ctx)
	if err != nil {
		return 0, explain("ask for the ruleset generation in "+c.where(), "nf_tables", err)
	}
	return id, nil
}

func (c *Conn) generation(ctx context.Context) (uint32, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd == nil {
		return 0, os.ErrClosed
	}
	return c.cmd.generation(ctx)
}

// generation asks over this socket.
func (s *socket) generation(ctx context.Context) (uint32, error) {
	var g Generation
	seen := false
	err := s.request(ctx, nftType|unix.NFT_MSG_GETGEN, 0, unix.AF_UNSPEC, 0, nil, func(m message) (err error) {
		g, err = decodeGen(m.payload)
		seen = true
		return err
	})
	if err == nil && !seen {
		err = errors.New("the kernel acknowledged and did not answer")
	}
	return g.ID, err
}

// Generation is a generation of the ruleset (NFT_MSG_NEWGEN): who made it is
// known only where it was announced as a change.
type Generation struct {
	ID      uint32
	PID     uint32 // process that committed
	Process string // its name (comm), as it calls itself: escape before showing
}

// decodeGen decodes NFT_MSG_NEWGEN.
func decodeGen(payload []byte) (Generation, error) {
	var g Generation
	_, _, in, err := genmsg(payload)
	if err != nil {
		return g, err
	}
	seen := false
	for in.next() {
		switch in.typ {
		case unix.NFTA_GEN_ID:
			g.ID, seen = in.u32(), true
		case unix.NFTA_GEN_PROC_PID:
			g.PID = in.u32()
		case unix.NFTA_GEN_PROC_NAME:
			g.Process = in.str()
		}
	}
	if in.err == nil && !seen {
		return g, fmt.Errorf("%w: generation without NFTA_GEN_ID", errMalformed)
	}
	return g, in.err
}
