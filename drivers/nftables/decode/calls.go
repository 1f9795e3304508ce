package decode

import (
	"slices"

	"golang.org/x/sys/unix"

	"bulkhead/pkg/packet"
)

// A chain that is jumped to is a function of little: what services of a ruleset are
// given which verdict does not depend on what connection tracking says of the
// packet, nor on where the chain returns to. It is executed once for all services
// and for what it reads, and every state that comes to it takes its own services
// out of what was found. Without that, each of a dozen situations would execute
// every ruleset of every table again.
//
// Only what is known for certain is kept: chains that ask for a fact other than the
// source port, that end a packet's way, that reach what is not modelled or whose
// outcome cannot be known are executed step by step for each state, as if this were
// not here.

// callKey is a chain and what it may read.
type callKey struct {
	chain                int32
	mark, prio, ctmark   word
	ct                   tracked
	dom                  uint8
	swap, turned, before bool
}

// call is what a chain does before it returns.
type call struct {
	ok      bool
	deepest int // jumps are made from up to so many frames above the call's; -1 if none
	outs    []callOut
}

// callOut is some services that return, and the words that they carry then.
type callOut struct {
	svc        int32
	mark, prio word
	when       []fact // for which source ports
}

// errand is a state that is to be followed, for some source ports.
type errand struct {
	st   state
	when []fact
}

// calls remembers them.
type calls struct {
	known  map[callKey]*call
	fit    []fitness // by chain
	misses []int     // by chain: calls that were of no use, before the first of use
	now    *exploring
	free   []*exploring
}

// exploring is a call that is being executed.
type exploring struct {
	outer   *exploring
	bad     bool // it cannot be kept
	ends    bool // it goes on to the verdict; see tails
	mark    uint32
	asks    []question
	work    []errand
	outs    []exit // good until it is done
	deepest int
}

// fitness says whether a chain can be called, and what that depends on.
type fitness uint8

const (
	fitKnown  fitness = 1 << iota // it was looked at
	fitYes                        // it can be called
	fitFamily                     // it looks at the family
	fitSide                       // it looks at the header, which has two sides
)

// keepWord stands for a word that a chain does not read: it returns as it came.
const keepWord word = 1 << 35

// callFrame is the parent of the frame at which a call that is explored returns.
const callFrame = -2

// maxPorts is up to how many questions about the source port a call may lead to, one
// after the other.
const maxPorts = 4

// maxCall bounds the rules executed for one call, and callTrial is how many calls
// of a chain may be of no use before the chain is always executed step by step.
const (
	maxCall   = 1 << 12
	callTrial = 16
)

func newCalls(p *program) calls {
	return calls{known: map[callKey]*call{}, fit: make([]fitness, len(p.chains)), misses: make([]int, len(p.chains))}
}

// returned gives the states that come out of a chain that a state is about to
// enter. ok is not set if the chain has to be executed.
func (m *machine) returned(st *state) (exits []exit, ok bool) {
	f := m.frames.list[st.stack]
	if f.parent < 0 && f.parent != callFrame || !m.prog.begins(st.pos) {
		return nil, false
	}
	ch := m.prog.chainAt[st.pos]
	if m.fit(ch) == 0 {
		return nil, false
	}
	c := m.callOf(st, ch)
	if !c.ok {
		return nil, false
	}
	if c.deepest >= 0 {
		// The kernel gives up on a jump too deep; where that is, the states must tell.
		deepest := m.frames.depth(st.stack) + c.deepest
		if deepest >= jumpStack {
			return nil, false
		}
		if x := m.calls.now; x != nil {
			x.deepest = max(x.deepest, deepest)
		}
	}
	exits = make([]exit, 0, len(c.outs))
	for i := range c.outs {
		o := &c.outs[i]
		next := *st
		if next.svc = m.both(st.svc, o.svc); next.svc == 0 {
			continue
		}
		back := f.parent == callFrame
		if !back {
			next.pos, next.stack = f.ret, f.parent
		}
		if o.mark != keepWord {
			next.env.mark = o.mark
		}
		if o.prio != keepWord {
			next.env.prio = o.prio
		}
		exits = append(exits, exit{st: next, returned: back, when: o.when})
	}
	return exits, len(exits) > 0
}

// callOf executes a chain for what it reads of a state, once.
func (m *machine) callOf(st *state, ch int32) *call {
	reads := m.live.flows[st.pos].gen
	key := callKey{chain: ch, mark: keepWord, prio: keepWord, ctmark: keepWord}
	if m.calls.fit[ch]&fitFamily != 0 {
		key.dom = st.dom
	}
	if m.calls.fit[ch]&fitSide != 0 {
		key.swap = st.swap
	}
	if reads&liveMark != 0 {
		key.mark = st.env.mark
	}
	if reads&livePrio != 0 {
		key.prio = st.env.prio
	}
	if reads&(liveCtMark|liveCtState|liveCtEntry) != 0 {
		key.ct, key.turned = alikeCt(st.env.ct, reads), st.turned
		key.before = m.prog.steps[m.frames.list[st.stack].step].before
	}
	if reads&liveCtMark != 0 {
		key.ctmark = st.env.ctmark
	}
	c, ok := m.calls.known[key]
	if !ok {
		c = m.explore(key, st)
		m.calls.known[key] = c
		switch {
		case c.ok:
			m.calls.misses[ch] = -1
		case m.calls.misses[ch] >= 0:
			if m.calls.misses[ch]++; m.calls.misses[ch] > callTrial {
				m.calls.fit[ch] = fitKnown
			}
		}
	}
	return c
}

// explore executes a chain until all services have returned.
func (m *machine) explore(key callKey, st *state) *call {
	all := m.svc.id(packet.AllServices())
	first := state{
		env: env{mark: key.mark, prio: key.prio, ctmark: key.ctmark, assigned: keepWord, ct: key.ct},
		pos: st.pos, stack: m.frames.id(frame{callFrame, -1, m.frames.list[st.stack].step}),
		svc: all, root: all, dom: key.dom, swap: key.swap, turned: key.turned,
	}
	x := m.calls.begin()
	defer m.calls.done(x)
	exits, ok := m.follow(first, x)
	if !ok {
		return &call{}
	}
	c := &call{ok: true, deepest: x.deepest}
	for _, e := range exits {
		c.outs = m.addOut(c.outs, callOut{e.st.svc, e.st.env.mark, e.st.env.prio, e.when})
	}
	return c
}

// begin takes up an exploration. What it works with is used again by later ones, since
// a large ruleset has tens of thousands.
func (c *calls) begin() *exploring {
	x := &exploring{}
	if n := len(c.free); n > 0 {
		x, c.free = c.free[n-1], c.free[:n-1]
	}
	*x = exploring{outer: c.now, deepest: -1, work: x.work, outs: x.outs}
	c.now = x
	return x
}

func (c *calls) done(x *exploring) {
	c.now = x.outer
	c.free = append(c.free, x)
}

// follow executes a state, of all services, until all have come to an end: they
// return from the call that it is in, or have their verdict. It returns false if not
// all do for certain, and each in one way.
func (m *machine) follow(first state, x *exploring) ([]exit, bool) {
	outs, work := x.outs[:0], append(x.work[:0], errand{st: first})
	defer func() { x.outs, x.work = outs, work }()
	for n := 0; len(work) > 0; n++ {
		when := work[len(work)-1].when
		at := m.skip(work[len(work)-1].st)
		work = work[:len(work)-1]
		exits, ok := []exit(nil), false
		// A chain that is called in its turn for all services is the same for others. If
		// it is no use, neither is this.
		if n > 0 && at.svc == first.svc && len(when) == 0 && !x.ends {
			if exits, ok = m.returned(&at); !ok && m.tried(&at) {
				return nil, false
			}
		}
		called := ok
		if !ok {
			exits, ok = m.execute(&at, when)
			for i := range exits {
				exits[i].when = when
			}
		}
		if !ok && !x.ends && m.run.need.axis == axisPort && len(when) < maxPorts {
			ask := *m.run.need
			for val := range m.cons[ask.con].n {
				work = append(work, errand{at, append(slices.Clip(when), fact{ask, val})})
			}
			continue
		}
		if !ok || x.bad || m.full || n > maxCall {
			return nil, false
		}
		if !called && !m.shared(&at, exits) {
			return nil, false
		}
		for _, e := range exits {
			switch {
			case e.st.cause != 0 || e.final != x.ends && (e.final || e.returned):
				return nil, false
			case e.final || e.returned:
				outs = append(outs, e)
			default:
				work = append(work, errand{e.st, e.when})
			}
		}
	}
	return outs, true
}

// shared reports whether every service of a state has one of some ways out.
func (m *machine) shared(st *state, exits []exit) bool {
	if len(exits) == 1 {
		return exits[0].st.svc == st.svc
	}
	total := 0
	for i := range exits {
		total += count(m.svc.sets[exits[i].st.svc])
	}
	return total == count(m.svc.sets[st.svc])
}

// addOut puts services that return alike together.
func (m *machine) addOut(outs []callOut, o callOut) []callOut {
	for i := range outs {
		if outs[i].mark == o.mark && outs[i].prio == o.prio && slices.Equal(outs[i].when, o.when) {
			outs[i].svc = m.svc.id(m.svc.sets[outs[i].svc].Union(m.svc.sets[o.svc]))
			return outs
		}
	}
	return append(outs, o)
}

// both numbers the services that are in two sets.
func (m *machine) both(a, b int32) int32 {
	if a == b {
		return a
	}
	key := [2]int32{min(a, b), max(a, b)}
	id, ok := m.bothMemo[key]
	if !ok {
		id = m.svc.id(m.svc.sets[a].Intersect(m.svc.sets[b]))
		m.bothMemo[key] = id
	}
	return id
}

// tried reports whether a state is at the beginning of a chain that was called in
// vain.
func (m *machine) tried(st *state) bool {
	f := m.frames.list[st.stack]
	return (f.parent >= 0 || f.parent == callFrame) && m.prog.begins(st.pos) && m.fit(m.prog.chainAt[st.pos]) != 0
}

// fit tells whether what a chain does depends on nothing but what is in a call's
// key, and changes nothing but the mark and the priority. It is 0 if not.
func (m *machine) fit(ch int32) fitness {
	if m.calls.fit[ch]&fitKnown == 0 {
		m.calls.fit[ch] = fitKnown // a chain that leads back to itself
		m.calls.fit[ch] = m.fits(ch) | fitKnown
	}
	if f := m.calls.fit[ch]; f&fitYes != 0 {
		return f
	}
	return 0
}

func (m *machine) fits(ch int32) fitness {
	c := &m.prog.chains[ch]
	if c.src.Hook != nil || m.prog.loops[c.name] {
		return 0
	}
	out := fitYes
	for i := range c.rules {
		if c.rules[i].only != 0 {
			out |= fitFamily
		}
		for k := range c.rules[i].ops {
			f := callable(&c.rules[i].ops[k])
			if f == 0 {
				return 0
			}
			out |= f
		}
		for _, v := range m.prog.targets(&c.rules[i]) {
			if v.Code != codeJump && v.Code != codeGoto {
				continue
			}
			j, ok := m.prog.byName[v.Chain]
			if !ok {
				return 0
			}
			f := m.fit(int32(j))
			if f == 0 {
				return 0
			}
			out |= f
		}
	}
	return out
}

// callable tells the same of an expression.
func callable(o *op) fitness {
	switch o.code {
	case opNop, opImmediate, opCmp, opRange, opBitwise, opByteorder, opLookup, opMaybe, opLoadAny, opReject, opMetaSet:
		return fitYes
	case opPayload:
		if o.base == unix.NFT_PAYLOAD_TRANSPORT_HEADER {
			return fitYes | fitSide
		}
		return fitYes | fitSide | fitFamily
	case opCtLoad:
		if o.key == unix.NFT_CT_STATE || o.key == unix.NFT_CT_DIRECTION || o.key == unix.NFT_CT_MARK ||
			o.key == unix.NFT_CT_PROTO_SRC || o.key == unix.NFT_CT_PROTO_DST {
			return fitYes
		}
		return fitYes | fitFamily
	case opMetaLoad:
		switch o.key {
		case unix.NFT_META_MARK, unix.NFT_META_PRIORITY, unix.NFT_META_L4PROTO:
			return fitYes
		case unix.NFT_META_IIFNAME, unix.NFT_META_OIFNAME, unix.NFT_META_IIF, unix.NFT_META_OIF:
			return 0 // what these give depends on the hook
		}
		return fitYes | fitFamily
	}
	return 0
}
