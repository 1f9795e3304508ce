package decode

import (
	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/packet"
)

// axis is a dimension of the packet that splits on demand.
type axis uint8

const (
	axisSrc axis = iota
	axisDst
	axisPort
	axisIface
)

// need says what must be known to execute a rule further.
type need struct {
	axis axis
	con  int32 // construct; -1 for the interface, whose value is its class
}

// fact is a need with its answer.
type fact struct {
	need
	val int32
}

// track is the packets that have come through a rule alike so far.
type track struct {
	svc   packet.Services
	regs  registers
	env   env
	cause int32
	hit   hit
}

// hit remembers which element a packet's last lookup found, for Why.
type hit struct {
	set  *set
	elem *element
}

// outcome is what a rule does with some of the packets: a verdict, or nil for
// going on with the next rule.
type outcome struct {
	svc     packet.Services
	env     env
	verdict *ruleset.Verdict
	cause   int32
	hit     hit
}

// run executes one rule on one state.
type run struct {
	m      *machine
	st     *state
	facts  []fact
	op     int
	tracks []track // before the expression
	next   []track // after it
	outs   []outcome
	need   *need   // set when execution cannot go on without a fact
	slots  []int32 // functions of addresses that are in registers
	// concrete is set to follow one flow: words are numbers then.
	concrete bool
}

// rule executes a rule on all packets of a state. It returns false if a fact is
// missing (in r.need).
func (r *run) rule(st *state, ru *rule, facts []fact) bool {
	r.st, r.facts, r.need = st, facts, nil
	r.outs, r.tracks = r.outs[:0], append(r.tracks[:0], track{svc: r.m.svc.sets[st.svc], env: st.env})
	r.slots = r.slots[:0]
	if ru.over != nil && r.runOverlay(st, ru.over) {
		return true
	}
	r.tracks[0].regs.reset()
	for i := range ru.ops {
		r.op = i
		r.next = r.next[:0]
		for k := range r.tracks {
			if !r.exec(&r.tracks[k], &ru.ops[i]) {
				return false
			}
		}
		r.tracks, r.next = r.next, r.tracks
		if len(r.tracks) == 0 {
			break
		}
	}
	for k := range r.tracks {
		r.stop(&r.tracks[k], r.tracks[k].svc, nil)
	}
	return true
}

// exec executes one expression on one track. It returns false if a fact is
// missing.
func (r *run) exec(t *track, o *op) bool {
	switch o.code {
	case opNop:
		r.keep(t)
	case opImmediate:
		if o.verdict != nil {
			r.verdict(t, t.svc, o.verdict)
			return true
		}
		t.regs.putBytes(o.dreg, o.data)
		r.keep(t)
	case opCmp:
		return r.compare(t, o)
	case opRange:
		return r.between(t, o)
	case opBitwise:
		return r.bitwise(t, o)
	case opByteorder:
		byteorder(&t.regs, o)
		r.keep(t)
	case opPayload:
		r.payload(t, o)
	case opMetaLoad:
		return r.metaLoad(t, o)
	case opMetaSet, opCtSet, opNotrack:
		return r.store(t, o)
	case opCtLoad:
		r.ctLoad(t, o)
	case opLookup:
		return r.lookup(t, o)
	case opMaybe:
		r.maybe(t)
		r.keep(t)
	case opLoadAny:
		r.maybe(t)
		if o.dreg >= 0 {
			t.regs.putOpaque(o.dreg, o.n)
		} else {
			t.regs.putOpaque(0, regBytes)
		}
		r.keep(t)
	case opReject:
		r.stop(t, t.svc, &ruleset.Verdict{Code: codeDrop})
	default:
		r.m.reach(r.st.pos, r.op, o.note)
		r.maybe(t)
		t.regs.putOpaque(0, regBytes)
		r.keep(t)
	}
	return true
}

// store executes what changes the packet's environment. It returns false if a
// fact is missing.
func (r *run) store(t *track, o *op) bool {
	switch {
	case o.code == opNotrack:
		// Only before tracking: an entry stays (nft_notrack_eval).
		if r.here().before {
			t.env.bare = t.env.bare || t.env.ct != ctUntracked
			t.env.ct = ctUntracked
		}
	case o.code == opCtSet:
		// Without an entry the rule goes on and writes nothing (nft_ct_set_eval).
		if o.key == unix.NFT_CT_MARK && r.entry(t) {
			if n, ok := r.namedKey(t.regs[o.sreg : o.sreg+4]); ok {
				t.env.ctmark = r.m.nameWord(n)
			} else if r.settleRegs(t, o.sreg, 4) {
				t.env.ctmark = t.regs.word(o.sreg)
			} else {
				return false
			}
			t.env.assigned = t.env.ctmark
		}
	case o.key == unix.NFT_META_MARK, o.key == unix.NFT_META_PRIORITY:
		w, ok := r.wordAt(t, o.sreg)
		if !ok {
			return false
		}
		if o.key == unix.NFT_META_MARK {
			t.env.mark = w
		} else {
			t.env.prio = w
		}
	}
	r.keep(t)
	return true
}

// here is the base chain that runs.
func (r *run) here() *step { return &r.m.prog.steps[r.m.frames.list[r.st.stack].step] }

// entry reports whether the packet has its connection tracking entry here.
func (r *run) entry(t *track) bool { return !r.here().before && t.env.ct.entry() }

// keep lets a track go on to the next expression.
func (r *run) keep(t *track) {
	if len(t.svc) > 0 {
		r.next = append(r.next, *t)
	}
}

// keepOnly lets a part of a track's services go on.
func (r *run) keepOnly(t *track, svc packet.Services) {
	if len(svc) > 0 {
		r.next = append(r.next, *t)
		r.next[len(r.next)-1].svc = svc
	}
}

// stop ends the rule for some of a track's services.
func (r *run) stop(t *track, svc packet.Services, v *ruleset.Verdict) {
	if len(svc) > 0 {
		r.outs = append(r.outs, outcome{svc: svc, env: t.env, verdict: v, cause: t.cause, hit: t.hit})
	}
}

// breaks is a stop without a verdict (NFT_BREAK).
func (r *run) breaks(t *track, svc packet.Services) { r.stop(t, svc, nil) }

// maybe explores that the rule stops here, and goes on too: which of both
// happens cannot be known.
func (r *run) maybe(t *track) {
	t.cause = r.m.causeOf(r.st.pos, r.op)
	r.breaks(t, t.svc)
}

// verdict applies a verdict of an immediate or an element.
func (r *run) verdict(t *track, svc packet.Services, v *ruleset.Verdict) {
	switch v.Code {
	case codeContinue:
		r.keepOnly(t, svc)
	case codeBreak:
		r.breaks(t, svc)
	default:
		r.stop(t, svc, v)
	}
}

// fact answers a question about an axis, or notes that it is open.
func (r *run) fact(ax axis, con int32) (int32, bool) {
	for _, f := range r.facts {
		if f.axis == ax && f.con == con {
			return f.val, true
		}
	}
	r.need = &need{ax, con}
	return 0, false
}

// address asks for the value of a construct on one of the flow's addresses.
func (r *run) address(side kind, con int32) (int32, bool) {
	ax := axisSrc
	if side == symDst {
		ax = axisDst
	}
	return r.fact(ax, con)
}
