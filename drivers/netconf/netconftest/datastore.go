package netconftest

import (
	"errors"
	"fmt"
	"strings"
)

// pending is a confirmed commit that waits.
type pending struct {
	owner    int
	persist  string
	timeout  int // seconds
	rollback *Node
}

// Pending is a confirmed commit that waits for its confirmation.
type Pending struct {
	Session int // that asked for it
	Persist string
	Timeout int // seconds
}

func first(errs []Error) error {
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("%s at %s: %s", errs[0].Tag, errs[0].Path, errs[0].Message)
}

func (s *Server) editor() *editor {
	return &editor{keys: s.o.Keys, spaces: s.o.Namespaces, blind: s.o.LikeNetconfd}
}

// become changes running, and tells whom it concerns.
func (s *Server) become(next *Node, session int, user string) {
	if s.running.equal(next) {
		return
	}
	clean := s.dirty == 0
	s.stale, s.staleReads = s.running, s.faults.lag
	s.running = next
	if clean {
		s.candidate = next.clone()
	}
	if s.o.Follow != nil {
		s.o.Follow(next.clone())
	}
	s.notify(session, user)
}

// save writes what a restart begins with, unless that is a datastore of its own.
func (s *Server) save() {
	if !s.o.Startup {
		s.startup = s.running.clone()
	}
}

// edit changes a datastore that is no longer shared, as a whole or not at all.
func (s *Server) edit(store **Node, in *Node, op string, session int) []Error {
	next := (*store).clone()
	e := s.editor()
	if e.edit(next, in, op); len(e.errs) > 0 {
		return e.errs
	}
	if store == &s.candidate && !next.equal(s.candidate) {
		s.dirty = session
	}
	*store = next
	return nil
}

func (s *Server) validate(config *Node) []Error {
	if s.o.Validate == nil {
		return nil
	}
	return s.o.Validate(config.clone())
}

func (s *Server) discard() {
	s.candidate, s.dirty = s.running.clone(), 0
}

// lockedByOther reports whether one of the datastores is locked by another session.
func (s *Server) lockedByOther(session int, targets ...string) bool {
	for _, t := range targets {
		if holder, held := s.locks[t]; held && holder != session {
			return true
		}
	}
	return false
}

func (s *Server) lockStore(session int, target string) []Error {
	if holder, held := s.locks[target]; held {
		return lockDenied(holder)
	}
	if target == "candidate" && s.dirty != 0 {
		return []Error{{Type: "protocol", Tag: "resource-denied", AppTag: "no-access", Message: "candidate cannot be locked, discard-changes needed"}}
	}
	if (target == "running" || s.o.LikeNetconfd && target == "candidate") && s.pending != nil && s.pending.owner != session {
		return outstanding()
	}
	s.locks[target] = session
	return nil
}

func (s *Server) unlockStore(session int, target string) []Error {
	switch holder, held := s.locks[target]; {
	case !held:
		return protocolError("operation-failed", "", "nobody holds the lock")
	case holder != session:
		return inUse()
	}
	delete(s.locks, target)
	if target == "candidate" {
		s.discard() // RFC 6241 section 8.3.5.2
	}
	return nil
}

// commit is the operation of that name.
type commit struct {
	confirmed bool
	timeout   int
	persist   string
	persistID string
}

// mayEnd says whether a session may confirm, follow or cancel the pending commit.
func (s *Server) mayEnd(session int, persistID string) []Error {
	switch p := s.pending; {
	case persistID != "" && p == nil:
		return protocolError("operation-failed", "", "no confirmed commit that has a name waits")
	case persistID != "" && p.persist != persistID:
		return protocolError("invalid-value", "persist-id", "no confirmed commit has that name")
	case p == nil:
	case p.owner != session && persistID == "":
		return outstanding()
	case p.persist != "" && persistID == "": // netconfd takes it from the session that named it
		return protocolError("invalid-value", "persist-id", "the confirmed commit that waits has a name")
	}
	return nil
}

func (s *Server) commit(session int, user string, c commit) []Error {
	if s.lockedByOther(session, "candidate", "running") {
		return inUse()
	}
	if errs := s.mayEnd(session, c.persistID); errs != nil {
		return errs
	}
	if errs := s.validate(s.candidate); errs != nil {
		return errs
	}
	if s.validated {
		s.validated = false
		return nil
	}
	before := s.running
	next := s.candidate.clone()
	s.dirty = 0
	s.become(next, session, user)
	if !c.confirmed {
		s.pending = nil
		s.save()
		return nil
	}
	if s.pending == nil {
		s.pending = &pending{rollback: before}
	}
	s.pending.owner, s.pending.timeout, s.pending.persist = session, c.timeout, c.persist
	return nil
}

// rollback takes the pending commit back. It fails while somebody holds running, as
// netconfd's does, and then the change stays for good.
func (s *Server) rollback() error {
	p := s.pending
	if p == nil {
		return errors.New("no confirmed commit waits")
	}
	s.pending = nil
	if _, held := s.locks["running"]; held {
		return errors.New("restore running config failed (config locked)")
	}
	s.become(p.rollback, 0, "server")
	return nil
}

// left is what happens when a session ends (RFC 6241 sections 7.5 and 8.4.1).
func (s *Server) left(session int) {
	for target, holder := range s.locks {
		if holder == session {
			delete(s.locks, target)
			if target == "candidate" {
				s.discard()
			}
		}
	}
	if p := s.pending; p != nil && p.owner == session && p.persist == "" {
		s.rollback()
	}
}

// Expire lets the time of a confirmed commit be up. It is an error if none waits, or if
// running is locked: then it cannot go back, and stays.
func (s *Server) Expire() error {
	defer s.lock()()
	return s.rollback()
}

// Pending is the confirmed commit that waits; false if none does.
func (s *Server) Pending() (Pending, bool) {
	defer s.lock()()
	p := s.pending
	if p == nil {
		return Pending{}, false
	}
	return Pending{Session: p.owner, Persist: p.persist, Timeout: p.timeout}, true
}

// Reboot ends every session at once and starts from what was saved: a confirmed commit
// that waits was not.
func (s *Server) Reboot() {
	defer s.lock()()
	for c := range s.conns {
		c.dead = true
		c.nc.Close()
	}
	s.locks, s.pending, s.stale, s.staleReads = map[string]int{}, nil, nil, 0
	s.dirty = 0
	s.become(s.startup.clone(), 0, "server")
	s.discard()
}

// Running returns what runs.
func (s *Server) Running() *Node { defer s.lock()(); return s.running.clone() }

// Candidate returns the candidate.
func (s *Server) Candidate() *Node { defer s.lock()(); return s.candidate.clone() }

// Saved returns what a restart begins with.
func (s *Server) Saved() *Node { defer s.lock()(); return s.startup.clone() }

// Locks returns which session holds which datastore.
func (s *Server) Locks() map[string]int {
	defer s.lock()()
	out := map[string]int{}
	for k, v := range s.locks {
		out[k] = v
	}
	return out
}

// read is a datastore as get-config sees it.
func (s *Server) read(source string) *Node {
	switch source {
	case "candidate":
		return s.candidate
	case "startup":
		return s.startup
	}
	if s.staleReads > 0 && s.stale != nil {
		s.staleReads--
		return s.stale
	}
	return s.running
}

// has reports whether the server offers a capability, by the end of its name:
// "candidate:1.0".
func (s *Server) has(name string) bool {
	for _, c := range s.capabilities {
		if strings.HasSuffix(c, ":"+name) {
			return true
		}
	}
	return false
}
