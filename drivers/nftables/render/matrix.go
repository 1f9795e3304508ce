package render

import (
	"slices"
	"sort"
	"strings"

	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/packet"
)

// matrixSets writes the projected matrix: classes, pairs and rulesets.
type matrixSets struct {
	layout   *compile.Layout
	ids      *alloc
	verdicts *verdicts
	fields   []field
	masks    [][2]uint32 // of each space
	words    []uint32    // class of the layout -> word
	limit    int         // elements of a shard
	hosts4   []string    // the shards of each family's single addresses
	hosts6   []string
	nets4    []string // the shards of each family's runs of addresses
	nets6    []string
	sets     []ruleset.Set
}

func newMatrixSets(l *compile.Layout, ids *alloc, v *verdicts, limit int) *matrixSets {
	s := &matrixSets{layout: l, ids: ids, verdicts: v, limit: limit}
	s.makeWords()
	s.masks = s.masksOf()
	s.writeClasses()
	s.writePairs()
	if l.Sided {
		s.sets = append(s.sets, v.partialSets()...)
	}
	return s
}

// content is a cell as the elements that give one ruleset its meaning; keys lack
// the ruleset's id.
type content struct {
	svc, svcRange, proto []entry
	rest                 uint32
}

// undecided is the verdict of services that a later space, or the default,
// decides.
const undecided uint32 = 0

type entry struct {
	key, end []byte
	verdict  uint32
}

// noteDefaults says which defaults flows can meet.
func (s *matrixSets) noteDefaults() {
	v := s.layout.View
	if !s.layout.Single {
		// Nearly every pair is in no table: both are met where both are possible.
		var egress, ingress, freeOut, freeIn bool
		for i := range s.layout.Classes {
			c := &s.layout.Classes[i]
			egress, ingress = egress || c.EgressIsolated, ingress || c.IngressIsolated
			freeOut, freeIn = freeOut || !c.EgressIsolated, freeIn || !c.IngressIsolated
		}
		if egress || ingress {
			s.verdicts.useDefault(false)
		}
		permit := freeOut && freeIn
		for id := range s.verdicts.halves {
			// One side is allowed by policy; the default of the other one decides.
			toIn, toOut := Allows(id)
			permit = permit || toIn && freeIn || toOut && freeOut
		}
		if permit {
			s.verdicts.useDefault(true)
		}
		return
	}
	has := make([]families, len(v.Classes))
	for i := range has {
		has[i] = familiesOf(v.Classes[i].Addrs)
	}
	for i := range v.Classes {
		for j := range v.Classes {
			if v.Judged(i, j) && has[i].meet(has[j]) && v.IsDefault(i, j) {
				s.verdicts.useDefault(!v.Classes[i].EgressIsolated && !v.Classes[j].IngressIsolated)
			}
		}
	}
}

// families says of which families a class has addresses.
type families struct{ four, six bool }

func familiesOf(a packet.Addrs) families {
	return families{len(runsOf(a, true)) > 0, len(runsOf(a, false)) > 0}
}

// meet reports whether packets between two classes can be: they need a family in
// common.
func (f families) meet(g families) bool { return f.four && g.four || f.six && g.six }

// nameRulesets gives each distinct content an id: the one that has the same
// content on the device, or else the one that most of its pairs point to now, or
// else a new one.
func (s *matrixSets) nameRulesets(list []listed, votes map[int]map[uint32]int) []uint32 {
	byContent := map[string]uint32{}
	used := map[uint32]bool{}
	for id, text := range s.ids.rulesets {
		used[id] = true
		if old, ok := byContent[text]; !ok || id < old {
			byContent[text] = id
		}
	}
	ids := make([]uint32, len(list)) // 0: not named
	taken := map[uint32]bool{}
	var open []int
	for cell := range list {
		if !list[cell].named(cell) {
			continue
		}
		if id, ok := byContent[list[cell].text]; ok && !taken[id] {
			ids[cell], taken[id] = id, true
		} else {
			open = append(open, cell)
		}
	}
	type vote struct {
		cell  int
		id    uint32
		count int
	}
	var all []vote
	for _, cell := range open {
		for id, n := range votes[cell] {
			all = append(all, vote{cell, id, n})
		}
	}
	sort.Slice(all, func(i, j int) bool {
		a, b := all[i], all[j]
		if a.count != b.count {
			return a.count > b.count
		}
		if a.cell != b.cell {
			return a.cell < b.cell
		}
		return a.id < b.id
	})
	for _, v := range all {
		if ids[v.cell] == 0 && !taken[v.id] {
			ids[v.cell], taken[v.id] = v.id, true
		}
	}
	for _, cell := range open {
		if ids[cell] == 0 {
			n := s.ids.take(keepRuleset, numberMask, func(n uint32) bool { return used[rulesetBase|n] })
			used[rulesetBase|n] = true
			ids[cell] = rulesetBase | n
		}
	}
	return ids
}

// content turns a cell into elements. For each protocol the verdict that costs
// most to spell out becomes the protocol's own, and the verdict that most
// protocols share becomes the rest.
//
// In a space that is not whole a service may be undecided. That is said by
// silence: no element, and so undecided is never spelt out where something else
// is the rest or a protocol's own.
func (s *matrixSets) content(c compile.Cell, whole bool) *content {
	out := &content{}
	type piece struct {
		lo, hi  uint16
		verdict uint32
	}
	var perProto [256][]piece
	for _, seg := range c {
		v := undecided
		if o := &s.layout.View.Matrix.Outcomes[seg.Outcome]; whole || !o.Open() {
			v = s.verdicts.id(seg.Outcome)
		}
		for lo := seg.Span.Lo; ; {
			hi := min(seg.Span.Hi, lo|0xffff)
			p := &perProto[lo>>16]
			if n := len(*p); n > 0 && (*p)[n-1].verdict == v {
				(*p)[n-1].hi = uint16(hi)
			} else {
				*p = append(*p, piece{uint16(lo), uint16(hi), v})
			}
			if hi >= seg.Span.Hi {
				break
			}
			lo = hi + 1
		}
	}
	open := slices.ContainsFunc(c, func(seg compile.Segment) bool { return !whole && s.layout.View.Matrix.Outcomes[seg.Outcome].Open() })
	var own [256]uint32
	share := map[uint32]int{}
	for proto, pieces := range perProto {
		if open && slices.ContainsFunc(pieces, func(p piece) bool { return p.verdict == undecided }) {
			own[proto] = undecided
			share[undecided]++
			continue
		}
		count, width := map[uint32]int{}, map[uint32]int{}
		best := pieces[0].verdict
		for _, p := range pieces {
			count[p.verdict]++
			width[p.verdict] += int(p.hi) - int(p.lo) + 1
		}
		for _, p := range pieces {
			v := p.verdict
			if count[v] > count[best] || count[v] == count[best] && (width[v] > width[best] || width[v] == width[best] && v < best) {
				best = v
			}
		}
		own[proto] = best
		share[best]++
	}
	for v, n := range share {
		if open {
			break // the rest is undecided
		}
		if out.rest == 0 || n > share[out.rest] || n == share[out.rest] && v < out.rest {
			out.rest = v
		}
	}
	for proto, pieces := range perProto {
		if own[proto] != out.rest {
			out.proto = append(out.proto, entry{key: byte4(uint8(proto)), verdict: own[proto]})
		}
		for _, p := range pieces {
			switch {
			case p.verdict == own[proto]:
			case p.lo == p.hi:
				out.svc = append(out.svc, entry{key: join(byte4(uint8(proto)), big16(p.lo)), verdict: p.verdict})
			default:
				out.svcRange = append(out.svcRange, entry{key: join(byte4(uint8(proto)), big16(p.lo)), end: join(byte4(uint8(proto)), big16(p.hi)), verdict: p.verdict})
			}
		}
	}
	return out
}

// lines is equal for equal contents; it is what recoverIDs makes of the elements
// on a device.
func (c *content) lines() string {
	var lines []string
	add := func(set string, es []entry) {
		for _, e := range es {
			el := ruleset.Element{Key: join(native(0), e.key), Data: native(e.verdict)}
			if e.end != nil {
				el.KeyEnd = join(native(0), e.end)
			}
			lines = append(lines, contentLine(set, el))
		}
	}
	add(setSvc, c.svc)
	add(setSvcRange, c.svcRange)
	add(setProto, c.proto)
	if c.rest == undecided {
		sort.Strings(lines)
		return strings.Join(lines, "\n")
	}
	lines = append(lines, contentLine(setRest, ruleset.Element{Key: native(0), Data: native(c.rest)}))
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}
