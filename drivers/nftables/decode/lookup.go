package decode

import (
	"fmt"
	"slices"

	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/packet"
)

// match is a set of services that a lookup may find one datum for.
type match struct {
	svc    packet.Services
	elem   *element
	sure   bool
	opaque bool // the element itself may stop the rule
}

// lookup executes lookups in sets, maps and verdict maps.
func (r *run) lookup(t *track, o *op) bool {
	s := r.m.sets[o.set]
	if s == nil || s.bad != "" || o.sreg+int(s.rs.KeyLen) > regBytes {
		return r.unknownSet(t, o, s)
	}
	key := t.regs[o.sreg : o.sreg+int(s.rs.KeyLen)]
	matches, ok := r.find(t, s, key)
	if !ok {
		return false
	}
	var certain packet.Services
	for i := range matches {
		if matches[i].sure {
			certain = certain.Union(matches[i].svc)
		}
	}
	if s.catchall != nil {
		if rest := without(t.svc, certain); len(rest) > 0 {
			matches = append(matches, match{svc: rest, elem: s.catchall, sure: true, opaque: s.catchall.opaque})
			certain = t.svc
		}
	}
	r.settle(t, o, s, matches, certain)
	return true
}

// settle turns matches into tracks and stops. Services in no certain match may
// miss; services in several matches of different data may find any of them.
func (r *run) settle(t *track, o *op, s *set, matches []match, certain packet.Services) {
	miss := without(t.svc, certain)
	if o.invert {
		// nft_lookup_eval: an inverted lookup goes on where nothing is found.
		r.keepOnly(r.blame(t, overlaps(matches, miss)), miss)
		for _, x := range matches {
			r.breaks(r.blame(t, !x.sure || x.opaque), x.svc)
			if x.opaque {
				r.breaks(r.blame(t, true), x.svc)
			}
		}
		return
	}
	r.breaks(r.blame(t, overlaps(matches, miss)), miss)
	for i, x := range matches {
		u := r.blame(t, !x.sure || x.opaque || overlapsOther(matches, i))
		if u == t {
			c := *t
			u = &c
		}
		u.hit = hit{s, x.elem}
		if x.opaque {
			r.breaks(u, x.svc)
		}
		if !s.rs.IsMap() {
			r.keepOnly(u, x.svc)
			continue
		}
		d := s.data[x.elem.datum]
		switch {
		case o.oper == lookupVerdict && d.verdict != nil:
			r.verdict(u, x.svc, d.verdict)
		case o.oper == lookupVerdict:
			r.m.reach(r.st.pos, r.op, "an element holds no verdict")
			r.breaks(u, x.svc)
		case o.dreg < 0:
			r.keepOnly(u, x.svc)
		case o.dreg+len(d.data) > regBytes:
			r.m.reach(r.st.pos, r.op, "an element's data overruns the registers")
			r.breaks(u, x.svc)
		default:
			u.regs.putBytes(o.dreg, d.data)
			r.keepOnly(u, x.svc)
		}
	}
}

// blame copies a track and notes that this expression made it uncertain.
func (r *run) blame(t *track, uncertain bool) *track {
	if !uncertain {
		return t
	}
	u := *t
	u.cause = r.m.causeOf(r.st.pos, r.op)
	return &u
}

func overlaps(matches []match, svc packet.Services) bool {
	for _, x := range matches {
		if len(x.svc.Intersect(svc)) > 0 {
			return true
		}
	}
	return false
}

func overlapsOther(matches []match, i int) bool {
	if len(matches) > 64 {
		// Many disjoint matches are the rule: add up instead of comparing all pairs.
		var all packet.Services
		n := 0
		for _, x := range matches {
			all = all.Union(x.svc)
			n += count(x.svc)
		}
		if count(all) == n {
			return false
		}
	}
	for k := range matches {
		if k != i && len(matches[k].svc.Intersect(matches[i].svc)) > 0 {
			return true
		}
	}
	return false
}

// unknownSet explores a hit and a miss of a set whose contents are not known.
func (r *run) unknownSet(t *track, o *op, s *set) bool {
	switch {
	case s == nil:
		r.m.reach(r.st.pos, r.op, "there is no such set")
	case s.bad == "":
		r.m.reach(r.st.pos, r.op, "the key overruns the registers")
	case o.oper == lookupVerdict:
		r.m.reach(r.st.pos, r.op, s.bad)
	case !s.rs.Dynamic():
		r.m.reach(r.st.pos, r.op, s.bad)
	}
	r.maybe(t)
	if o.dreg >= 0 {
		r.havoc(t, o.dreg, s)
	}
	r.keep(t)
	return true
}

func (r *run) havoc(t *track, at int, s *set) {
	n := regBytes
	if s != nil && s.rs.DataLen <= regBytes {
		n = (int(s.rs.DataLen) + 3) &^ 3
	}
	t.regs.putOpaque(at, n)
}

// find lists what a key may match.
func (r *run) find(t *track, s *set, key []sym) ([]match, bool) {
	if s.exact {
		var buf [regBytes]byte
		if b, ok := known(key, buf[:0]); ok {
			if i, hit := s.holds(b); hit {
				e := &s.elems[i]
				return []match{{t.svc, e, true, e.opaque}}, true
			}
			return nil, true
		}
	}
	if len(s.elems) == 0 {
		return nil, true
	}
	if s.exact {
		if n, ok := r.namedKey(key); ok {
			return r.findNamed(t, s, n), true
		}
	}
	if id, ok := r.pairOf(s, key); ok {
		return r.lookUpPair(t, id)
	}
	key, ok := r.settled(key)
	if !ok {
		return nil, false
	}
	if known, all := known(key, nil); all && s.exact {
		if i, hit := s.holds(known); hit {
			e := &s.elems[i]
			return []match{{t.svc, e, true, e.opaque}}, true
		}
		return nil, true
	}
	class, key, ok := r.nameKnown(key)
	if !ok {
		return nil, false
	}
	ix := r.m.indexFor(s, key, r.st.dom)
	var va, vb int32
	if ix.a >= 0 {
		if va, ok = r.address(ix.sideOf(key, 'a'), ix.a); !ok {
			return nil, false
		}
	}
	if ix.b >= 0 && len(ix.aLists[va]) > 0 {
		if vb, ok = r.address(ix.sideOf(key, 'b'), ix.b); !ok {
			return nil, false
		}
	}
	cands := ix.candidates(nil, s, key, va, vb)
	slices.Sort(cands)
	return r.test(t, s, ix, class, cands)
}

// sideOf gives the flow's end in an address segment of this very key.
func (ix *index) sideOf(key []sym, class byte) kind {
	for _, g := range ix.segs {
		if g.class == class {
			return key[g.off].kind
		}
	}
	return symConst
}

// nameKnown puts the name of the incoming interface into a key that holds it. A
// class of several interfaces stays symbolic.
func (r *run) nameKnown(key []sym) (iface, []sym, bool) {
	if !slices.ContainsFunc(key, func(s sym) bool { return s.kind == symIif && s.and != 0 }) {
		return iface{}, key, true
	}
	v, ok := r.fact(axisIface, -1)
	if !ok {
		return iface{}, nil, false
	}
	f := r.m.ifaces[v]
	if f.prefix {
		return f, key, true
	}
	out := slices.Clone(key)
	name := f.bytesOf()
	for i, s := range out {
		if s.kind == symIif && s.and != 0 {
			out[i] = konst(name[s.idx]&s.and ^ s.xor)
		}
	}
	return f, out, true
}

// test asks each candidate for the services that its other parts allow. Matches
// that give the same are one.
func (r *run) test(t *track, s *set, ix *index, class iface, cands []int32) ([]match, bool) {
	var out []match
	type group struct {
		datum        int32
		sure, opaque bool
	}
	at := map[group]int{}
	// What the services rule out need not be asked of the other axes, which would be
	// told apart for nothing.
	var svcs []packet.Services
	cands = slices.DeleteFunc(cands, func(i int32) bool {
		svc := r.m.boxOf(ix, s, i).within(t.svc)
		if len(svc) > 0 {
			svcs = append(svcs, svc)
		}
		return len(svc) == 0
	})
	inPort, ok := r.portsOf(s, ix, cands)
	if !ok {
		return nil, false
	}
	for k, i := range cands {
		e := &s.elems[i]
		if inPort != nil && !slices.Contains(inPort, int32(k)) {
			continue
		}
		svc := svcs[k]
		holds, sure := r.others(ix, e, class)
		if !holds {
			continue
		}
		k := group{e.datum, sure, e.opaque}
		if n, ok := at[k]; ok {
			out[n].svc = out[n].svc.Union(svc)
		} else {
			at[k] = len(out)
			out = append(out, match{svc, e, sure, e.opaque})
		}
	}
	return out, true
}

// portsOf tells which of some elements the source port is in, by their places in
// the list; nil if the keys hold no source port. It is one question for all of
// them: questions for each could be answered in ways that no port gives.
func (r *run) portsOf(s *set, ix *index, cands []int32) ([]int32, bool) {
	var parts []part
	asked := false
	key := []byte{'l'}
	for k, i := range cands {
		e := &s.elems[i]
		var spans []packet.Span
		found := false
		for _, g := range ix.segs {
			if g.class != 's' {
				continue
			}
			in := r.m.numsBetween(g.desc, e.lo[g.off:g.off+g.n], e.hi[g.off:g.off+g.n])
			if found {
				in = packet.Services(in).Intersect(spans)
			}
			spans, found = in, true
		}
		if !found {
			return nil, true
		}
		for _, sp := range spans {
			asked = asked || sp != packet.Span{Lo: 0, Hi: 0xffff}
			parts = append(parts, part{lo: u128{0, uint64(sp.Lo)}, hi: u128{0, uint64(sp.Hi)}, id: int32(k)})
			key = append(key, byte(sp.Lo), byte(sp.Lo>>8), byte(sp.Hi), byte(sp.Hi>>8), byte(k), byte(k>>8), byte(k>>16))
		}
		asked = asked || len(spans) == 0
	}
	if len(cands) == 0 || !asked {
		return nil, true
	}
	con := r.m.construct(string(key), func() *construct {
		c, lists := cells(domPort, parts)
		r.m.portLists[int32(len(r.m.cons))] = lists
		return c
	})
	lists := r.m.portLists[con]
	if len(lists) == 1 {
		return []int32{}, true
	}
	v, ok := r.fact(axisPort, con)
	if !ok {
		return nil, false
	}
	if lists[v] == nil {
		return []int32{}, true
	}
	return lists[v], true
}

// others asks an element's key for the interface.
func (r *run) others(ix *index, e *element, class iface) (holds, sure bool) {
	sure = true
	for _, g := range ix.segs {
		lo, hi := e.lo[g.off:g.off+g.n], e.hi[g.off:g.off+g.n]
		switch g.class {
		case 'i':
			if !r.m.segmentName(class, g, lo, hi, &sure) {
				return false, true
			}
		case '?':
			sure = false
		}
	}
	return true, sure
}

// segmentName compares a class of interfaces with an element.
func (m *machine) segmentName(f iface, g segment, lo, hi []byte, sure *bool) bool {
	for i := range g.desc {
		if int(g.desc[i]) != i {
			*sure = false
			return true
		}
	}
	return m.between(f, lo, hi)
}

// verdictText names a verdict.
func verdictText(v *ruleset.Verdict) string {
	switch v.Code {
	case codeDrop:
		return "drop"
	case codeAccept:
		return "accept"
	case codeContinue:
		return "continue"
	case codeBreak:
		return "break"
	case codeJump:
		return "jump " + v.Chain
	case codeGoto:
		return "goto " + v.Chain
	case codeReturn:
		return "return"
	}
	return fmt.Sprintf("verdict %d", v.Code)
}
