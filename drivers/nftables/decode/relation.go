package decode

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"

	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

// relationView serves the functions of the relations of one situation.
type relationView struct {
	v      *view
	lock   *sync.Mutex // guards the machine, which several views share
	matrix [2][]int32  // by family: the vector of each pair, or nothing
	starts [2][]state
}

// addrs lists the classes of both families on one side.
func (l *relationView) addrs(side axis) []packet.Addrs {
	out := append([]packet.Addrs(nil), l.v.classes[0][side].addrs...)
	return append(out, l.v.classes[1][side].addrs...)
}

// permit is the services that pass between two classes.
func (l *relationView) permit(i, j, vector int) packet.Services {
	l.lock.Lock()
	defer l.lock.Unlock()
	r, _, ok := l.result(i, j, vector)
	if !ok {
		return nil
	}
	return l.v.m.svc.sets[r.accept]
}

// rest is what tables decide between two classes.
func (l *relationView) rest(i, j int, c combo) []driver.Case {
	l.lock.Lock()
	defer l.lock.Unlock()
	r, fam, ok := l.result(i, j, c.vector)
	if !ok || r.open == 0 {
		return nil
	}
	return l.v.exporter(fam, c).rest(r)
}

// result is what a walk found between two classes; ok is not set for classes of
// two families, between which there are no packets.
func (l *relationView) result(i, j, vector int) (r result, fam int, ok bool) {
	srcs, dsts := len(l.v.classes[0][axisSrc].addrs), len(l.v.classes[0][axisDst].addrs)
	if i >= srcs {
		fam, i = 1, i-srcs
		if j -= dsts; j < 0 {
			return result{}, fam, false
		}
	} else if j >= dsts {
		return result{}, fam, false
	}
	m := l.v.m
	var vec int32
	if stored := l.matrix[fam]; stored != nil {
		vec = stored[i*len(l.v.classes[fam][axisDst].addrs)+j]
	} else {
		var out [1]int32
		l.v.value(fam, i, j, out[:])
		vec = out[0]
	}
	return m.results.list[m.results.pick(vec, vector)], fam, true
}

// why runs one flow and names the rule that decides it.
func (l *relationView) why(src, dst netip.Addr, service uint32, c combo) string {
	l.lock.Lock()
	defer l.lock.Unlock()
	if src.Is4() != dst.Is4() {
		return "no packet has addresses of two families"
	}
	fam := 0
	if !src.Is4() {
		fam = 1
	}
	m := l.v.m
	for _, st := range l.starts[fam] {
		if m.svc.sets[st.svc].Contains(service) {
			st.svc = m.svc.id(packet.Services{{Lo: service, Hi: service}})
			return m.trace(st, tracer{src, dst, c})
		}
	}
	return "no packet of this service occurs here"
}

// tracer answers facts for one flow.
type tracer struct {
	src, dst netip.Addr
	c        combo
}

func (t tracer) answer(m *machine, n need) int32 {
	switch n.axis {
	case axisIface:
		for id, f := range m.ifaces {
			if f.String() == t.c.in {
				return int32(id)
			}
		}
		return 0
	case axisPort:
		return m.cons[n.con].at(u128{0, uint64(t.c.ports.Lo)})
	case axisPair:
		j := m.joints[n.con]
		_, a := numberOfAddr(t.src)
		_, b := numberOfAddr(t.dst)
		return j.at(m.cons[j.a].at(a), m.cons[j.b].at(b))
	case axisSrc:
		_, k := numberOfAddr(t.src)
		return m.cons[n.con].at(k)
	}
	_, k := numberOfAddr(t.dst)
	return m.cons[n.con].at(k)
}

// trace follows one flow to its verdict. Where the way cannot be known it takes
// the first that there is, and says so.
func (m *machine) trace(st state, t tracer) string {
	marked, unsure := "", ""
	m.run.concrete = true
	defer func() { m.run.concrete = false }()
	for range maxTrace {
		c, i := m.prog.at(st.pos)
		if i == len(c.rules) {
			x := m.leave(&st, &outcome{svc: m.svc.sets[st.svc], env: st.env})
			if x.final {
				return fmt.Sprintf("chain %s policy %s%s%s", c.name, verb(x.accept), marked, unsure)
			}
			st = x.st
			continue
		}
		facts := []fact{}
		for !m.run.rule(&st, &c.rules[i], facts) {
			facts = append(facts, fact{*m.run.need, t.answer(m, *m.run.need)})
		}
		o := m.run.outs[0]
		for _, g := range m.run.outs[1:] {
			if g.env != o.env || !sameVerdict(g.verdict, o.verdict) {
				unsure = "; what else could happen is not known"
			}
		}
		where := fmt.Sprintf("chain %s %s: %s%s", c.name, ruleName(i, c.rules[i].handle), disasmRule(&c.rules[i]), o.hit.text())
		if o.env.mark != st.env.mark && o.env.mark.known() {
			marked = fmt.Sprintf("; mark 0x%08x from %s", uint32(o.env.mark), where)
		}
		x := m.transfer(&st, &o)
		if x.final {
			return where + marked + unsure
		}
		st = x.st
	}
	return "not decided within the bound on rules"
}

// maxTrace bounds the rules that one flow is followed through.
const maxTrace = 1 << 20

func verb(accept bool) string {
	if accept {
		return "accept"
	}
	return "drop"
}

// text names the element that a lookup found.
func (h hit) text() string {
	if h.elem == nil {
		return ""
	}
	if h.elem.lo == nil {
		return "; element * of @" + h.set.rs.Name
	}
	var parts []string
	for i := 0; i < len(h.elem.lo); i += 4 {
		end := min(i+4, len(h.elem.lo))
		if h.elem.lo == nil || string(h.elem.lo[i:end]) == string(h.elem.hi[i:end]) {
			parts = append(parts, fmt.Sprintf("%x", h.elem.lo[i:end]))
			continue
		}
		parts = append(parts, fmt.Sprintf("%x-%x", h.elem.lo[i:end], h.elem.hi[i:end]))
	}
	return fmt.Sprintf("; element %s of @%s", strings.Join(parts, " . "), h.set.rs.Name)
}
