// Package sim holds what the simulated devices of drivertest have in common: a
// memory that answers reads and takes writes one by one, and the ways in which
// the path to a real device fails.
//
// The devices built on it are simulations. They stand in for the equipment whose
// drivers come next, so that the conformance suite itself is known to work, and
// they promise nothing about what any vendor's product does.
package sim

import (
	"errors"
	"sync"
)

// Fault is one way in which a call to a device goes wrong.
type Fault string

// The faults. Each happens once, and the device works again after it.
const (
	// ReadError: the read fails and nothing comes back.
	ReadError Fault = "read fails"
	// ReadTruncated: half the data comes back, together with an error. A driver that
	// looks at the data first takes a part for the whole.
	ReadTruncated Fault = "read is cut short"
	// ReadStale: the read gives what the device held before the last write and says
	// nothing. Devices whose reads lag behind their writes do this.
	ReadStale Fault = "read is stale"
	// WriteLost: the write fails before it has had an effect.
	WriteLost Fault = "write is lost"
	// AnswerLost: the write takes effect and its answer does not arrive.
	AnswerLost Fault = "answer is lost"
	// Vanish: the write fails before it has had an effect, and so does every call
	// after it until Heal. The controller or the path to the device is gone.
	Vanish Fault = "device vanishes"
)

// Errors of the simulated path. A driver cannot tell from them whether a write
// had an effect.
var (
	ErrTimeout = errors.New("timed out waiting for the device")
	ErrCut     = errors.New("the connection was cut")
)

// Faults lists all faults.
func Faults() []Fault {
	return []Fault{ReadError, ReadTruncated, ReadStale, WriteLost, AnswerLost, Vanish}
}

// OnRead reports whether the fault concerns a read.
func (f Fault) OnRead() bool { return f == ReadError || f == ReadTruncated || f == ReadStale }

// Memory is a device's configuration of type S behind an unreliable path. Every
// successful write makes a new version.
type Memory[S any] struct {
	mu      sync.Mutex
	now     S
	before  S
	clone   func(S) S
	cut     func(S) S // half of it
	armed   Fault
	skip    int
	gone    bool
	version int
	watch   func()
}

// NewMemory makes a device that holds s. clone copies a configuration deeply, cut
// gives the half that arrives when a read is cut short.
func NewMemory[S any](s S, clone, cut func(S) S) *Memory[S] {
	return &Memory[S]{now: s, before: clone(s), clone: clone, cut: cut}
}

// Arm makes the fault happen after skip more calls of its kind went well.
func (m *Memory[S]) Arm(f Fault, skip int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.armed, m.skip = f, skip
}

// Heal disarms every fault.
func (m *Memory[S]) Heal() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.armed, m.gone = "", false
}

// Watch has f called after every write that had an effect; nil stops it.
func (m *Memory[S]) Watch(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watch = f
}

// Read answers a read. The version counts the writes that had an effect.
func (m *Memory[S]) Read() (S, int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var none S
	if m.gone {
		return none, 0, ErrTimeout
	}
	switch m.strike(true) {
	case ReadError:
		return none, 0, ErrTimeout
	case ReadTruncated:
		return m.cut(m.clone(m.now)), m.version, ErrCut
	case ReadStale:
		return m.clone(m.before), m.version - 1, nil
	}
	return m.clone(m.now), m.version, nil
}

// Write carries out one call. An error of f is the device's own refusal of the
// call, and leaves the configuration as it was.
func (m *Memory[S]) Write(f func(*S) error) error {
	watch, err := m.write(f)
	if watch != nil {
		watch()
	}
	return err
}

func (m *Memory[S]) write(f func(*S) error) (watch func(), err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.gone {
		return nil, ErrTimeout
	}
	fault := m.strike(false)
	switch fault {
	case Vanish:
		m.gone = true
		return nil, ErrTimeout
	case WriteLost:
		return nil, ErrTimeout
	}
	next := m.clone(m.now)
	if err := f(&next); err != nil {
		return nil, err
	}
	m.before, m.now = m.now, next
	m.version++
	if fault == AnswerLost {
		return m.watch, ErrTimeout
	}
	return m.watch, nil
}

// strike gives the fault of a call, if it is its turn.
func (m *Memory[S]) strike(read bool) Fault {
	if m.armed == "" || m.armed.OnRead() != read {
		return ""
	}
	if m.skip > 0 {
		m.skip--
		return ""
	}
	f := m.armed
	m.armed = ""
	return f
}

// Peek gives the truth, past every fault: for tests that hold a driver against it.
func (m *Memory[S]) Peek() S {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.clone(m.now)
}

// Poke changes the configuration behind the driver's back.
func (m *Memory[S]) Poke(f func(*S)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := m.clone(m.now)
	f(&next)
	m.before, m.now = m.now, next
	m.version++
}
