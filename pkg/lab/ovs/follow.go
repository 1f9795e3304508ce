package ovs

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"
)

// Follower puts in force on a switch what somebody else keeps as its configuration, for
// example a NETCONF server.
type Follower struct {
	s    *Switch
	read func(context.Context) ([]byte, error)

	mu    sync.Mutex
	have  bool   // something has been put in force
	force []byte // what
}

// Follow makes a follower of a configuration of RFC 8519 (FromRFC8519), which read gets
// as it is in force now. Nothing happens until Sync or Run is called.
func (s *Switch) Follow(read func(context.Context) ([]byte, error)) *Follower {
	return &Follower{s: s, read: read}
}

// Sync reads the configuration, puts it in force if it has changed, and reports whether
// it had. When it returns, packets meet it. What cannot be read or done leaves the lists
// as they are, and is an error.
func (f *Follower) Sync(ctx context.Context) (changed bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	doc, err := f.read(ctx)
	if err != nil {
		return false, fmt.Errorf("read the switch's configuration: %w", err)
	}
	if f.have && bytes.Equal(doc, f.force) {
		return false, nil
	}
	lists, err := FromRFC8519(doc)
	if err != nil {
		return false, fmt.Errorf("the switch's configuration: %w", err)
	}
	if err := f.s.SetACLs(ctx, lists); err != nil {
		return false, err
	}
	f.have, f.force = true, bytes.Clone(doc)
	return true, nil
}

// Run calls Sync at every interval until the context ends, which is no error, or Sync
// fails. It is what takes up a change that the server makes by itself, as when a
// confirmed commit is taken back.
func (f *Follower) Run(ctx context.Context, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if _, err := f.Sync(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
