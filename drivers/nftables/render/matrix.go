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
	sets     []ruleset.Set
}

func newMatrixSets(l *compile.Layout, ids *alloc, v *verdicts) *matrixSets {
	s := &matrixSets{layout: l, ids: ids, verdicts: v}
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

func (s *matrixSets) writePairs() {
	contents := map[int]*content{} // contents of the layout
	byText := map[string]int{}     // text -> contents that have it first
	canon := map[int]int{}
	votes := map[int]map[uint32]int{}
	type pair struct {
		src, dst uint32
		content  int
	}
	same := slices.Equal(s.fields, s.ids.fields) && slices.Equal(s.masks, s.ids.masks)
	pairs := make([][]pair, len(s.layout.Spaces))
	for k := range s.layout.Spaces {
		sp := &s.layout.Spaces[k]
		pairs[k] = make([]pair, 0, len(sp.Entries))
		for _, e := range sp.Entries {
			n := int(e.Content)
			if contents[n] == nil {
				contents[n] = s.content(s.layout.Contents[n], sp.Whole)
				text := contents[n].text()
				if _, ok := byText[text]; !ok {
					byText[text] = n
				}
				canon[n] = byText[text]
			}
			n = canon[n]
			p := pair{s.words[e.Src] & s.masks[k][0], s.words[e.Dst] & s.masks[k][1], n}
			pairs[k] = append(pairs[k], p)
			if !same {
				continue
			}
			if old, ok := s.ids.pairs[k][[2]uint32{p.src, p.dst}]; ok {
				if votes[n] == nil {
					votes[n] = map[uint32]int{}
				}
				votes[n][old]++
			}
		}
	}
	s.noteDefaults()
	ids := s.nameRulesets(contents, canon, votes)
	for k := range pairs {
		elems := make([]ruleset.Element, 0, len(pairs[k]))
		for _, p := range pairs[k] {
			elems = append(elems, ruleset.Element{Key: join(native(p.src), native(p.dst)), Data: native(ids[p.content])})
		}
		s.sets = append(s.sets, hashSet(pairSet(k), kindPair, 0, elems))
	}
	var svc, svcr, proto, rest []ruleset.Element
	for _, n := range sortedKeys(ids) {
		id, c := ids[n], contents[n]
		for _, e := range c.svc {
			svc = append(svc, ruleset.Element{Key: join(native(id), e.key), Data: native(e.verdict)})
		}
		for _, e := range c.svcRange {
			svcr = append(svcr, ruleset.Element{Key: join(big32(id), e.key), KeyEnd: join(big32(id), e.end), Data: native(e.verdict)})
		}
		for _, e := range c.proto {
			proto = append(proto, ruleset.Element{Key: join(native(id), e.key), Data: native(e.verdict)})
		}
		if c.rest != undecided {
			rest = append(rest, ruleset.Element{Key: native(id), Data: native(c.rest)})
		}
	}
	s.sets = append(s.sets, hashSet(setSvc, kindService, 0, svc),
		intervalSet(setSvcRange, kindService, svcr), hashSet(setProto, kindProto, 0, proto), hashSet(setRest, kindMarkMap, 0, rest))
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
		if freeOut && freeIn {
			s.verdicts.useDefault(true)
		}
		return
	}
	families := make([]uint8, len(v.Classes)) // asked once: there are many pairs
	for i := range v.Classes {
		families[i] = familiesOf(v.Classes[i].Addrs)
	}
	for i := range v.Classes {
		for j := range v.Classes {
			if families[i]&families[j] != 0 && v.Judged(i, j) && v.IsDefault(i, j) {
				s.verdicts.useDefault(!v.Classes[i].EgressIsolated && !v.Classes[j].IngressIsolated)
			}
		}
	}
}

// familiesOf tells which families a class has addresses of: 1 is IPv4, 2 IPv6.
// Packets between two classes need one in common.
func familiesOf(a packet.Addrs) (out uint8) {
	if len(runsOf(a, true)) > 0 {
		out |= 1
	}
	if len(runsOf(a, false)) > 0 {
		out |= 2
	}
	return out
}

// nameRulesets gives each distinct content an id: the one that has the same
// content on the device, or else the one that most of its pairs point to now, or
// else a new one.
func (s *matrixSets) nameRulesets(contents map[int]*content, canon map[int]int, votes map[int]map[uint32]int) map[int]uint32 {
	byContent := map[string]uint32{}
	used := map[uint32]bool{}
	for id, text := range s.ids.rulesets {
		used[id] = true
		if old, ok := byContent[text]; !ok || id < old {
			byContent[text] = id
		}
	}
	ids := map[int]uint32{}
	taken := map[uint32]bool{}
	var open []int
	for _, cell := range sortedKeys(contents) {
		if canon[cell] != cell {
			continue
		}
		if id, ok := byContent[contents[cell].text()]; ok && !taken[id] {
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
		if _, done := ids[v.cell]; !done && !taken[v.id] {
			ids[v.cell], taken[v.id] = v.id, true
		}
	}
	for _, cell := range open {
		if _, done := ids[cell]; !done {
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

// text is equal for equal contents; it is what recoverIDs makes of the elements
// on a device.
func (c *content) text() string {
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

func sortedKeys[V any](m map[int]V) []int {
	out := make([]int, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Ints(out)
	return out
}
