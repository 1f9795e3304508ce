package kernel

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Generation asks for the ruleset's generation (NFT_MSG_GETGEN, some microseconds
// on a socket that is kept open, while a commit is under way too).
//
// It counts the commits to nf_tables of the namespace, everybody's and in every
// table, that changed something. It does not move when an element expires, when a
// rule writes an element (dynamic sets) or counts a packet, when an interface
// that a chain is hooked to goes, or for anything outside nf_tables (conntrack,
// sysctl, routes). A table whose owner ends goes without a commit too.
func (c *Conn) Generation(ctx context.Context) (uint32, error) {
	id, err := c.generation(ctx)
	if err != nil {
		return 0, explain("ask for the ruleset generation in "+c.where(), "nf_tables", err)
	}
	return id, nil
}

// Unchanged reports whether the generation still is since, and which it is now:
// the look for drift that costs next to nothing. True means that nobody committed
// anything; what moves no generation (see Generation) may be otherwise all the
// same. With an error neither value says anything.
func (c *Conn) Unchanged(ctx context.Context, since uint32) (same bool, now uint32, err error) {
	now, err = c.Generation(ctx)
	return err == nil && now == since && since != 0, now, err
}

func (c *Conn) generation(ctx context.Context) (id uint32, err error) {
	if c.mu.TryLock() { // else a commit is under way, of a million elements perhaps
		defer c.mu.Unlock()
		if c.cmd == nil {
			return 0, os.ErrClosed
		}
		return c.cmd.generation(ctx)
	}
	err = c.withSocket(func(s *socket) error {
		id, err = s.generation(ctx)
		return err
	})
	return id, err
}

// generation asks over this socket. The kernel answers at once, and always: no
// acknowledgement is asked for, which would be a second datagram.
func (s *socket) generation(ctx context.Context) (uint32, error) {
	s.seq++
	msg, at := appendHeader(s.ask[:0], nftType|unix.NFT_MSG_GETGEN, unix.NLM_F_REQUEST, s.seq, unix.AF_UNSPEC, 0)
	closeMessage(msg, at)
	if err := s.send(msg); err != nil {
		return 0, err
	}
	var id uint32
	for id == 0 {
		data, err := s.recv(ctx)
		if err != nil {
			return 0, err
		}
		err = split(data, func(m message) (err error) {
			switch {
			case m.seq != s.seq: // left from an exchange that was given up
			case m.typ == nftType|unix.NFT_MSG_NEWGEN:
				id, err = generationID(m.payload)
			case m.typ == unix.NLMSG_ERROR:
				e, err := parseError(m)
				if err == nil {
					err = e.err()
				}
				return err
			}
			return err
		})
		if err != nil {
			return 0, err
		}
	}
	return id, nil
}

// generationID takes NFTA_GEN_ID from NFT_MSG_NEWGEN. It is never 0
// (nf_tables_commit() skips it).
func generationID(payload []byte) (id uint32, err error) {
	_, _, in, err := genmsg(payload)
	if err != nil {
		return 0, err
	}
	for in.next() {
		if in.typ == unix.NFTA_GEN_ID {
			id = in.u32()
		}
	}
	if in.err == nil && id == 0 {
		return 0, fmt.Errorf("%w: generation without NFTA_GEN_ID", errMalformed)
	}
	return id, in.err
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
