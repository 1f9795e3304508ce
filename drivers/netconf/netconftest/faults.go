package netconftest

// Fault is what goes wrong with one rpc; Next says with which.
type Fault struct {
	kind   faultKind
	errors []Error
	size   int
}

type faultKind int

const (
	refuse faultKind = iota + 1
	warn
	pretend
	ignore
	noReply
	cutBefore
	cutAfter
	cutMid
	wrongID
	twice
	malformed
	oversized
	deep
	bare
)

// Refuse answers with errors, and does nothing.
func Refuse(errs ...Error) Fault { return Fault{kind: refuse, errors: errs} }

// Warn does it, and answers with warnings.
func Warn(warnings ...Error) Fault {
	f := Fault{kind: warn}
	for _, w := range warnings {
		w.Severity = "warning"
		f.errors = append(f.errors, w)
	}
	return f
}

// Pretend answers ok, and does nothing.
func Pretend() Fault { return Fault{kind: pretend} }

// Ignore neither does it nor answers.
func Ignore() Fault { return Fault{kind: ignore} }

// NoReply does it, and never answers.
func NoReply() Fault { return Fault{kind: noReply} }

// CutBefore closes the connection and does nothing.
func CutBefore() Fault { return Fault{kind: cutBefore} }

// CutAfter does it and closes the connection without an answer. A client cannot tell it
// from CutBefore.
func CutAfter() Fault { return Fault{kind: cutAfter} }

// CutMid does it and closes the connection in the middle of the answer.
func CutMid() Fault { return Fault{kind: cutMid} }

// WrongID does it, and answers something else than was asked.
func WrongID() Fault { return Fault{kind: wrongID} }

// Twice does it, and answers twice.
func Twice() Fault { return Fault{kind: twice} }

// Malformed does it, and answers with what is not XML.
func Malformed() Fault { return Fault{kind: malformed} }

// Oversized does it, and answers with so many bytes and a few more.
func Oversized(bytes int) Fault { return Fault{kind: oversized, size: bytes} }

// Deep does it, and answers with XML of so many levels.
func Deep(levels int) Fault { return Fault{kind: deep, size: levels} }

// Bare does it, and answers with an rpc-reply that is empty.
func Bare() Fault { return Fault{kind: bare} }

// faults are what goes wrong, and a test's own code.
type faults struct {
	next          map[string][]Fault
	before, after map[string]func()
	counts        map[string]int // rpcs so far
	hang          bool
	loseFirst     int // sessions to come whose first rpc is lost
	byByte        bool
	mergeEvents   bool
	keysLast      bool
	lag           int // reads of running that do not see a commit yet
}

func (f *faults) init() {
	f.next, f.before, f.after, f.counts = map[string][]Fault{}, map[string]func(){}, map[string]func(){}, map[string]int{}
}

// take is the fault of an rpc, which is used up; operations before any.
func (f *faults) take(op string) Fault {
	for _, name := range []string{op, ""} {
		if q := f.next[name]; len(q) > 0 {
			f.next[name] = q[1:]
			return q[0]
		}
	}
	return Fault{}
}

// Next lets the next rpcs of an operation ("commit"; "" is any) go wrong, one for each
// fault.
func (s *Server) Next(op string, f ...Fault) {
	defer s.lock()()
	s.faults.next[op] = append(s.faults.next[op], f...)
}

// Heal takes every fault away that Next, Lag and LoseFirst armed and that has not happened.
func (s *Server) Heal() {
	defer s.lock()()
	clear(s.faults.next)
	s.faults.lag, s.faults.loseFirst = 0, 0
}

// Before runs a function before each rpc of an operation is done, nil none. It may call
// the server.
func (s *Server) Before(op string, f func()) {
	defer s.lock()()
	s.faults.before[op] = f
}

// After runs a function after each rpc of an operation was done, before it is answered.
func (s *Server) After(op string, f func()) {
	defer s.lock()()
	s.faults.after[op] = f
}

// Count is how many rpcs of an operation came so far; "" is all of them.
func (s *Server) Count(op string) int {
	defer s.lock()()
	if op != "" {
		return s.faults.counts[op]
	}
	n := 0
	for _, c := range s.faults.counts {
		n += c
	}
	return n
}

// Hang lets the server take rpcs and neither do nor answer them. SSH goes on.
func (s *Server) Hang(on bool) {
	defer s.lock()()
	s.faults.hang = on
}

// LoseFirst lets the first rpc of the next n sessions be lost, as netconfd does with one
// that it reads together with the hello.
func (s *Server) LoseFirst(n int) {
	defer s.lock()()
	s.faults.loseFirst = n
}

// ByteByByte sends every byte in a packet of its own.
func (s *Server) ByteByByte(on bool) {
	defer s.lock()()
	s.faults.byByte = on
}

// MergeEvents holds notifications back until the next reply, and sends both in one packet.
func (s *Server) MergeEvents(on bool) {
	defer s.lock()()
	s.faults.mergeEvents = on
}

// KeysLast puts leafs after elements in answers, keys among them, as netconfd may.
func (s *Server) KeysLast(on bool) {
	defer s.lock()()
	s.faults.keysLast = on
}

// Lag lets the first n reads of running after each commit see what was before it.
func (s *Server) Lag(n int) {
	defer s.lock()()
	s.faults.lag = n
}

// Freeze stops the server as SIGSTOP would: the kernel still takes bytes, and nobody reads
// them. Thaw ends it.
func (s *Server) Freeze() { s.gate.shut() }

// Thaw ends Freeze.
func (s *Server) Thaw() { s.gate.open() }

// HoldLock locks a datastore for a session that does not exist; 0 is somebody who is no
// NETCONF session. ReleaseLock ends it.
func (s *Server) HoldLock(target string, session int) {
	defer s.lock()()
	s.locks[target] = session
}

// ReleaseLock takes a lock away from whoever has it.
func (s *Server) ReleaseLock(target string) {
	defer s.lock()()
	delete(s.locks, target)
}

// DirtyCandidate edits the candidate as somebody else, who does not lock.
func (s *Server) DirtyCandidate(config string) error {
	defer s.lock()()
	in, err := parseConfig(config)
	if err != nil {
		return err
	}
	return first(s.edit(&s.candidate, in, "merge", stranger))
}

// ForeignCommit edits running as somebody else. What waits for its confirmation stays.
func (s *Server) ForeignCommit(config string) error {
	defer s.lock()()
	in, err := parseConfig(config)
	if err != nil {
		return err
	}
	next := s.running.clone()
	e := s.editor()
	if e.edit(next, in, "merge"); len(e.errs) > 0 {
		return first(e.errs)
	}
	s.become(next, stranger, "somebody else")
	if s.pending == nil {
		s.save()
	}
	return nil
}

// stranger is the session that nobody sees.
const stranger = 4294967295
