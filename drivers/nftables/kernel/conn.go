package kernel

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// Conn is a connection to the netfilter of one network namespace. It is safe for
// concurrent use. Commits go through one socket that lives as long as the Conn,
// because a table with the owner flag lives and dies with the socket that made
// it; everything else has a socket of its own meanwhile, so that a slow dump holds
// up no commit, and one given up in the middle leaves nothing behind.
type Conn struct {
	name string // the namespace as the caller named it
	ns   *os.File

	mu  sync.Mutex // guards cmd
	cmd *socket    // nil once closed

	pool pool
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
	c.pool.drop()
	return c.ns.Close()
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
