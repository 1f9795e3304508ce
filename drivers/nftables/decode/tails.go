package decode

import (
	"encoding/binary"

	"bulkhead/pkg/packet"
)

// What follows a verdict id is nearly the same for all of them: a few sets are asked
// whether they hold it, and it is written to the flow. A site has thousands, and each
// would be followed to the end of the path again for every set of services and in
// every situation.
//
// So the way from a state to its end is followed once with the packet's mark under a
// name, and what was asked of the mark is written down. A state with another mark
// that gives the same answers goes the same way, with its own mark where the name
// stands. As with calls (see there), only what is certain is kept.

// axisNamed is the axis of words that stand for the mark that a followed state came
// with; con numbers what was done with it.
const axisNamed axis = 5

// naming is a function of the mark: its bits under and, then exclusive or.
type naming struct{ and, xor uint32 }

func (n naming) of(mark uint32) uint32 { return mark&n.and ^ n.xor }

// question is what was asked of a mark, and the answer: whether bits under a mask have
// a value, or what a set gives.
type question struct {
	naming
	mask, val uint32
	holds     bool
	set       *set
	found     int32 // datum+1, or 0
	opaque    bool
}

func (q *question) asked(mark uint32) bool {
	v := q.of(mark)
	if q.set == nil {
		return (v&q.mask == q.val) == q.holds
	}
	found, opaque := q.set.gives(v)
	return found == q.found && opaque == q.opaque
}

// gives is what a set of single words gives for one.
func (s *set) gives(v uint32) (found int32, opaque bool) {
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], v)
	if i, ok := s.holds(b[:]); ok {
		return s.elems[i].datum + 1, s.elems[i].opaque
	}
	return 0, false
}

// tail is what is known of the ways from one state, for any mark.
type tail struct {
	ways []*way
	of   map[uint32]*way // by mark
}

// way is a way to the end.
type way struct {
	ok   bool // it can be used
	asks []question
	ends []tailEnd
}

// tailEnd is a verdict for some services.
type tailEnd struct {
	svc          int32
	accept, bare bool
	assigned     word
}

// tailStat counts what following the states of a position is worth.
type tailStat struct{ followed, used int }

// tailTrial is after how many ways that were of little use the states of a position
// are no longer followed; maxWays bounds the ways from one state.
const (
	tailTrial = 64
	maxWays   = 64
)

type tails struct {
	known map[state]*tail
	stat  []tailStat // by position
	names []naming
	index map[naming]word
}

func newTails(p *program) tails {
	return tails{known: map[state]*tail{}, stat: make([]tailStat, len(p.chainAt)), index: map[naming]word{}}
}

// nameWord gives the word of a function of the mark.
func (m *machine) nameWord(n naming) word {
	if n.and == 0 {
		return word(n.xor)
	}
	w, ok := m.tails.index[n]
	if !ok {
		w = fnWord | word(len(m.fns))
		m.fns = append(m.fns, wordFn{axisNamed, int32(len(m.tails.names))})
		m.tails.names = append(m.tails.names, n)
		m.tails.index[n] = w
	}
	return w
}

// namingOf is the reverse.
func (m *machine) namingOf(w word) (naming, bool) {
	if id, ok := w.fn(); ok && m.fns[id].axis == axisNamed {
		return m.tails.names[m.fns[id].con], true
	}
	return naming{}, false
}

// finish gives the results of a state whose mark is known. ok is not set if it has to
// be executed.
func (m *machine) finish(st state) (results []int32, ok bool) {
	if !st.env.mark.known() || st.cause != 0 {
		return nil, false
	}
	st = m.wipe(m.skip(st))
	stat := &m.tails.stat[st.pos]
	if stat.followed > tailTrial && stat.used < 4*stat.followed {
		return nil, false
	}
	mark, svc := uint32(st.env.mark), st.svc
	st.env.mark, st.svc, st.root = 0, 0, 0
	t := m.tails.known[st]
	if t == nil {
		t = &tail{of: map[uint32]*way{}}
		m.tails.known[st] = t
	}
	w := m.wayOf(t, st, mark)
	if w == nil || !w.ok {
		return nil, false
	}
	stat.used++
	for _, e := range w.ends {
		both := m.both(svc, e.svc)
		if both == 0 {
			continue
		}
		r := result{drop: both}
		if e.accept {
			r = result{accept: both}
			assigned := e.assigned
			if n, ok := m.namingOf(assigned); ok {
				assigned = word(n.of(mark))
			}
			if assigned != noWord {
				r.marks = m.results.markOne(assigned)
			}
			if e.bare {
				r.bare = both
			}
		}
		results = append(results, m.results.id(r))
	}
	return results, true
}

// wayOf finds the way of a mark, and follows it if none is known.
func (m *machine) wayOf(t *tail, st state, mark uint32) *way {
	if w, ok := t.of[mark]; ok {
		return w
	}
	w := t.find(mark)
	if w == nil && len(t.ways) < maxWays {
		m.tails.stat[st.pos].followed++
		w = m.followAll(st, mark)
		t.ways = append(t.ways, w)
	}
	t.of[mark] = w
	return w
}

func (t *tail) find(mark uint32) *way {
next:
	for _, w := range t.ways {
		for i := range w.asks {
			if !w.asks[i].asked(mark) {
				continue next
			}
		}
		return w
	}
	return nil
}

// followAll follows a state to its ends for all services.
func (m *machine) followAll(st state, mark uint32) *way {
	st.svc = m.svc.id(packet.AllServices())
	st.root = st.svc
	st.env.mark = m.nameWord(naming{and: ^uint32(0)})
	x := m.calls.begin()
	defer m.calls.done(x)
	x.ends, x.mark = true, mark
	exits, ok := m.follow(st, x)
	w := &way{ok: ok, asks: x.asks}
	for _, e := range exits {
		w.ends = append(w.ends, tailEnd{e.st.svc, e.accept, e.st.env.bare, e.st.env.assigned})
	}
	return w
}

// ask writes down a question about the mark and answers it.
func (m *machine) ask(q question) question {
	x := m.calls.now
	v := q.of(x.mark)
	if q.set == nil {
		q.holds = v&q.mask == q.val
	} else {
		q.found, q.opaque = q.set.gives(v)
	}
	x.asks = append(x.asks, q)
	return q
}

// reveal asks for bits of a named word.
func (m *machine) reveal(n naming, mask uint32) uint32 {
	v := n.of(m.calls.now.mark) & mask
	m.ask(question{naming: n, mask: mask, val: v})
	return v
}

// namedKey recognises a key that is a named word.
func (r *run) namedKey(key []sym) (naming, bool) {
	if len(key) != 4 {
		return naming{}, false
	}
	k, and, xor, ok := wholeWord(key)
	if !ok {
		return naming{}, false
	}
	f := r.fnOf(k)
	if f.axis != axisNamed {
		return naming{}, false
	}
	n := r.m.tails.names[f.con]
	return naming{n.and & and, n.xor&and ^ xor}, true
}

// findNamed looks a named word up.
func (r *run) findNamed(t *track, s *set, n naming) []match {
	q := r.m.ask(question{naming: n, set: s})
	if q.found == 0 {
		return nil
	}
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], q.of(r.m.calls.now.mark))
	i, _ := s.holds(b[:])
	return []match{{t.svc, &s.elems[i], true, q.opaque}}
}
