package decode

import (
	"golang.org/x/sys/unix"
)

// live is a set of variables that something which may still run will read.
// Variables that are not live are wiped from states, so that packets that will
// fare alike share one state. A variable taken for live too often costs time;
// one taken for dead would be a mistake.
type live uint8

const (
	liveMark live = 1 << iota
	livePrio
	liveCtMark
	liveCtState // ct state or direction
	liveCtEntry // whether there is an entry
	liveAll     = liveMark | livePrio | liveCtMark | liveCtState | liveCtEntry
)

// flow is the liveness before a rule as a function of what is live where the
// chain returns to: gen | thru & after. accept says that the next base chain may
// run from here.
//
// reads are the rules that look at the flow's mark and may still run before the
// chain returns, as bits; back says that it may return.
type flow struct {
	gen, thru live
	accept    bool
	reads     uint64
	back      bool
}

func (f flow) join(o flow) flow {
	return flow{f.gen | o.gen, f.thru | o.thru, f.accept || o.accept, f.reads | o.reads, f.back || o.back}
}

// before puts one piece of program in front of another.
func (f flow) before(next flow) flow {
	out := flow{f.gen | f.thru&next.gen, f.thru & next.thru, f.accept || f.thru != 0 && next.accept, f.reads, f.back && next.back}
	if f.back {
		out.reads |= next.reads
	}
	return out
}

// liveness computes flows for every position of a program.
type liveness struct {
	p     *program
	flows []flow
	done  []bool // chains
}

func newLiveness(p *program) *liveness {
	l := &liveness{p: p, flows: make([]flow, len(p.chainAt)), done: make([]bool, len(p.chains))}
	for i := range p.chains {
		l.chain(i)
	}
	return l
}

// chain computes a chain from its end backwards; what it calls comes first.
func (l *liveness) chain(i int) {
	if l.done[i] {
		return
	}
	l.done[i] = true
	c := &l.p.chains[i]
	l.flows[int(c.off)+len(c.rules)] = flow{thru: liveAll, accept: c.src.Hook != nil && c.src.Policy == codeAccept, back: true}
	for k := len(c.rules) - 1; k >= 0; k-- {
		at := int(c.off) + k
		l.flows[at] = l.rule(&c.rules[k], l.flows[at+1])
	}
}

// rule is the flow of one rule followed by the rest of its chain.
func (l *liveness) rule(r *rule, next flow) flow {
	out := next // any rule may stop and go on with the next
	for _, v := range l.p.targets(r) {
		switch v.Code {
		case codeAccept:
			out.accept = true
		case codeReturn:
			out = out.join(flow{thru: liveAll, accept: true, back: true})
		case codeJump, codeGoto:
			j, ok := l.p.byName[v.Chain]
			if !ok || l.p.loops[v.Chain] {
				continue
			}
			l.chain(j)
			target := l.flows[l.p.chains[j].off]
			if v.Code == codeJump {
				target = target.before(next)
			}
			out = out.join(target)
		}
	}
	if k, ok := l.p.markReads[r]; ok {
		out.reads |= 1 << k
	}
	use, kill := uses(r)
	out.gen = out.gen&^kill | use
	out.thru &^= kill
	// A rule that kills everything still leads on.
	out.accept = out.accept || next.accept
	return out
}

// uses lists what a rule reads before it writes it, and what it surely writes.
func uses(r *rule) (use, kill live) {
	sure := true // no expression so far can stop the rule
	for i := range r.ops {
		o := &r.ops[i]
		switch o.code {
		case opMetaLoad:
			switch o.key {
			case unix.NFT_META_MARK:
				use |= liveMark &^ kill
			case unix.NFT_META_PRIORITY:
				use |= livePrio &^ kill
			}
		case opMetaSet:
			switch {
			case sure && o.key == unix.NFT_META_MARK:
				kill |= liveMark
			case sure && o.key == unix.NFT_META_PRIORITY:
				kill |= livePrio
			}
		case opCtLoad:
			use |= liveCtEntry
			switch o.key {
			case unix.NFT_CT_STATE, unix.NFT_CT_DIRECTION:
				use |= liveCtState
			case unix.NFT_CT_MARK:
				use |= liveCtMark
			}
			sure = sure && o.key == unix.NFT_CT_STATE
		case opCtSet:
			use |= liveCtEntry
		case opNotrack:
			use |= liveCtState | liveCtEntry
		case opNop, opImmediate, opBitwise, opByteorder:
		case opUnknown:
			return use | liveAll&^kill, kill
		default:
			sure = false
		}
	}
	return use, kill
}

// at gives what is live before a position under a call stack.
func (m *machine) liveAt(pos, stack int32) live {
	key := uint64(uint32(pos))<<32 | uint64(uint32(stack))
	if v, ok := m.liveMemo[key]; ok {
		return v
	}
	f := m.live.flows[pos]
	out := f.gen
	fr := m.frames.list[stack]
	if fr.parent >= 0 {
		out |= f.thru & m.liveAt(fr.ret, fr.parent)
	}
	// An accept anywhere, however deep, goes on with the next base chain.
	if s := m.prog.steps[fr.step]; !s.last {
		next := fr.step + 1
		out |= m.liveAt(m.prog.chains[m.prog.steps[next].chain].off, m.frames.base(next)) & (f.thru | f.passed())
	}
	m.liveMemo[key] = out
	return out
}

// passed is what an accept carries on. Kills before the accept are not
// followed, so it is everything.
func (f flow) passed() live {
	if f.accept {
		return liveAll
	}
	return 0
}

// wipe forgets what is not live.
func (m *machine) wipe(st state) state {
	lv := m.liveAt(st.pos, st.stack)
	if lv&liveMark == 0 {
		st.env.mark = 0
	}
	if lv&livePrio == 0 {
		st.env.prio = 0
	}
	if lv&liveCtMark == 0 {
		st.env.ctmark = 0
	} else {
		st.env.ctmark = m.standFor(st.env.ctmark, m.readsAt(st.pos, st.stack))
	}
	st.env.ct = alikeCt(st.env.ct, lv)
	return st
}

// alikeCt gives what fares like a tracking state where only some of it is read.
func alikeCt(ct tracked, lv live) tracked {
	switch {
	case lv&liveCtState != 0:
		return ct
	case lv&liveCtEntry == 0:
		return ctDead
	case ct.entry():
		return ctSome
	}
	return ctNone
}
