package decode

import (
	"slices"

	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/packet"
)

// execute runs the rule of a state and groups what comes out. A single way out is
// good until the next call.
func (m *machine) execute(st *state, facts []fact) ([]exit, bool) {
	if m.steps++; m.steps > m.limit {
		m.full = true
		return []exit{{st: *st, final: true}}, true
	}
	c, i := m.prog.at(st.pos)
	if i == len(c.rules) {
		m.only[0] = m.leave(st, &outcome{svc: m.svc.sets[st.svc], env: st.env, cause: st.cause})
		return m.only[:], true
	}
	if !m.run.rule(st, &c.rules[i], facts) {
		return nil, false
	}
	groups := m.group(st)
	if len(groups) == 1 {
		m.only[0] = m.transfer(st, &groups[0])
		return m.only[:], true
	}
	exits := make([]exit, len(groups))
	for k := range groups {
		exits[k] = m.transfer(st, &groups[k])
	}
	return exits, true
}

// group merges what a rule does alike, and settles who is to blame where the
// same packets may fare differently. The groups are good until the next call.
func (m *machine) group(st *state) []outcome {
	if outs := m.run.outs; len(outs) == 1 {
		outs[0].cause = st.cause
		return outs
	}
	groups := m.groups[:0]
	defer func() { m.groups = groups }()
	for _, o := range m.run.outs {
		if k := slices.IndexFunc(groups, func(g outcome) bool {
			return g.env == o.env && sameVerdict(g.verdict, o.verdict)
		}); k >= 0 {
			groups[k].svc = groups[k].svc.Union(o.svc)
			if o.cause != 0 {
				groups[k].cause = o.cause
			}
			continue
		}
		groups = append(groups, o)
	}
	total := 0
	for _, g := range groups {
		total += count(g.svc)
	}
	if len(groups) == 1 || total == count(m.svc.sets[st.svc]) {
		for k := range groups {
			groups[k].cause = st.cause
		}
		return groups
	}
	for k := range groups {
		if groups[k].cause == 0 {
			groups[k].cause = st.cause
		}
	}
	return groups
}

// svcOf numbers the services of an outcome, which are mostly all of the state's.
func (m *machine) svcOf(st *state, svc packet.Services) int32 {
	if all := m.svc.sets[st.svc]; len(svc) > 0 && len(svc) == len(all) && &svc[0] == &all[0] {
		return st.svc
	}
	return m.svc.id(svc)
}

func sameVerdict(a, b *ruleset.Verdict) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// transfer turns the outcome of a rule into the next state (nft_do_chain).
func (m *machine) transfer(st *state, o *outcome) exit {
	next := *st
	next.env, next.cause, next.svc = o.env, o.cause, m.svcOf(st, o.svc)
	if o.verdict == nil {
		next.pos++
		return exit{st: next}
	}
	switch code := o.verdict.Code; code {
	case codeReturn:
		return m.leave(st, o)
	case codeJump, codeGoto:
		j, ok := m.prog.byName[o.verdict.Chain]
		if !ok || m.prog.loops[o.verdict.Chain] {
			m.reach(st.pos, -1, "there is no chain "+o.verdict.Chain+", or it leads back to itself")
			return exit{st: next, final: true}
		}
		if code == codeJump {
			// The kernel gives up on a jump too deep (nft_do_chain warns and drops).
			depth := m.frames.depth(st.stack)
			if x := m.calls.now; x != nil {
				x.deepest = max(x.deepest, depth)
			}
			if depth >= jumpStack {
				m.reach(st.pos, -1, "jumps nest too deep")
				return exit{st: next, final: true}
			}
			next.stack = m.frames.push(st.stack, st.pos+1)
		}
		next.pos = m.prog.chains[j].off
		return exit{st: next}
	case codeAccept:
		return m.accepted(next)
	case codeDrop:
		return exit{st: next, final: true}
	default:
		// The low byte is the verdict: NF_DROP may carry an errno, NF_QUEUE a number.
		if code > 0 && code&0xff == codeDrop {
			return exit{st: next, final: true}
		}
		m.reach(st.pos, -1, verdictText(o.verdict)+" is not modelled")
		return exit{st: next, final: true}
	}
}

// leave returns from a chain: to the caller, or with the base chain's policy.
func (m *machine) leave(st *state, o *outcome) exit {
	next := *st
	next.env, next.cause, next.svc = o.env, o.cause, m.svcOf(st, o.svc)
	f := m.frames.list[st.stack]
	if f.parent >= 0 {
		next.pos, next.stack = f.ret, f.parent
		return exit{st: next}
	}
	if f.parent == callFrame {
		return exit{st: next, returned: true}
	}
	if m.prog.steps[f.step].drop {
		return exit{st: next, final: true}
	}
	return m.accepted(next)
}

// accepted goes on with the next base chain of the path.
func (m *machine) accepted(next state) exit {
	if m.calls.now != nil && !m.calls.now.ends { // what follows is not the call's
		m.calls.now.bad = true
		return exit{st: next, final: true}
	}
	f := m.frames.list[next.stack]
	if m.prog.steps[f.step].last {
		return exit{st: next, final: true, accept: true}
	}
	step := f.step + 1
	next.stack = m.frames.base(step)
	next.pos = m.prog.chains[m.prog.steps[step].chain].off
	return exit{st: next}
}

// start is the state of packets that enter a hook path.
func (m *machine) start(hook string, dom uint8, swap bool, svc packet.Services, t tracked, ctmark word) state {
	step := m.prog.starts[hook]
	return state{
		env: env{mark: anyWord, prio: anyWord, ctmark: ctmark, assigned: noWord, ct: t},
		pos: m.prog.chains[m.prog.steps[step].chain].off, stack: m.frames.base(step),
		svc: m.svc.id(svc), root: m.svc.id(svc), dom: dom, swap: swap,
	}
}
