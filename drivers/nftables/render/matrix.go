package render

import (
	"sort"
	"strings"

	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/packet"
)

// matrixSets writes the projected matrix: classes, pairs and rulesets.
type matrixSets struct {
	view     *compile.View
	ids      *alloc
	verdicts *verdicts
	words    []uint32 // class of the view -> word
	sets     []ruleset.Set
}

func newMatrixSets(view *compile.View, ids *alloc, v *verdicts) *matrixSets {
	s := &matrixSets{view: view, ids: ids, verdicts: v}
	s.nameClasses()
	s.writeClasses()
	s.writePairs()
	return s
}

// nameClasses gives each class a word. A class takes the number of the class on
// the device that it shares most runs of addresses with, so that few addresses
// change their word.
func (s *matrixSets) nameClasses() {
	olds := make([]uint32, 0, len(s.ids.words))
	for w := range s.ids.words {
		olds = append(olds, w)
	}
	sort.Slice(olds, func(i, j int) bool { return olds[i] < olds[j] })
	oldSets := make([]packet.Addrs, len(olds))
	used := map[uint32]bool{}
	for i, w := range olds {
		oldSets[i] = s.ids.words[w]
		used[w&classMask] = true
	}
	newSets := make([]packet.Addrs, len(s.view.Classes))
	for i := range s.view.Classes {
		newSets[i] = s.view.Classes[i].Addrs
	}
	joints := packet.Join(newSets, oldSets)
	sort.SliceStable(joints, func(i, j int) bool { return len(joints[i].Addrs.Runs()) > len(joints[j].Addrs.Runs()) })
	numbers := make([]uint32, len(newSets))
	taken := map[uint32]bool{}
	for _, j := range joints {
		if n := olds[j.B] & classMask; numbers[j.A] == 0 && !taken[n] {
			numbers[j.A] = n
			taken[n] = true
		}
	}
	for i := range numbers {
		if numbers[i] == 0 {
			numbers[i] = s.ids.take(keepClass, classMask, func(n uint32) bool { return used[n] })
			used[numbers[i]] = true
		}
		w := classBase | numbers[i]
		if s.view.Classes[i].EgressIsolated {
			w |= classEgress
		}
		if s.view.Classes[i].IngressIsolated {
			w |= classInto
		}
		s.words = append(s.words, w)
	}
}

func (s *matrixSets) writeClasses() {
	classes := make([]packet.Addrs, len(s.view.Classes))
	for i := range classes {
		classes[i] = s.view.Classes[i].Addrs
	}
	hosts4, nets4 := classElements(s.words, classes, true)
	hosts6, nets6 := classElements(s.words, classes, false)
	s.sets = append(s.sets,
		hashSet(setHost4, kindAddr4Word, 0, hosts4), hashSet(setHost6, kindAddr6Word, 0, hosts6),
		intervalSet(setNet4, kindAddr4Word, nets4), intervalSet(setNet6, kindAddr6Word, nets6))
}

// content is a cell as the elements that give one ruleset its meaning; keys lack
// the ruleset's id.
type content struct {
	svc, svcRange, proto []entry
	rest                 uint32
}

type entry struct {
	key, end []byte
	verdict  uint32
}

func (s *matrixSets) writePairs() {
	contents := map[int]*content{} // cell -> content
	byText := map[string]int{}     // content -> cell that has it first
	canon := map[int]int{}
	votes := map[int]map[uint32]int{}
	type pair struct {
		src, dst, cell int
	}
	var pairs []pair
	for i := range s.view.Classes {
		for j := range s.view.Classes {
			if !s.view.Judged(i, j) || !meet(s.view.Classes[i].Addrs, s.view.Classes[j].Addrs) {
				continue
			}
			if s.view.IsDefault(i, j) {
				s.verdicts.useDefault(!s.view.Classes[i].EgressIsolated && !s.view.Classes[j].IngressIsolated)
				continue
			}
			cell := s.view.CellID(i, j)
			if contents[cell] == nil {
				contents[cell] = s.content(s.view.Cell(i, j))
				text := contents[cell].text()
				if _, ok := byText[text]; !ok {
					byText[text] = cell
				}
				canon[cell] = byText[text]
			}
			cell = canon[cell]
			pairs = append(pairs, pair{i, j, cell})
			if old, ok := s.ids.pairs[[2]uint32{s.words[i] & classMask, s.words[j] & classMask}]; ok {
				if votes[cell] == nil {
					votes[cell] = map[uint32]int{}
				}
				votes[cell][old]++
			}
		}
	}
	ids := s.nameRulesets(contents, canon, votes)
	var elems, svc, svcr, proto, rest []ruleset.Element
	for _, p := range pairs {
		elems = append(elems, ruleset.Element{Key: join(native(s.words[p.src]), native(s.words[p.dst])), Data: native(ids[p.cell])})
	}
	for _, cell := range sortedKeys(ids) {
		id, c := ids[cell], contents[cell]
		for _, e := range c.svc {
			svc = append(svc, ruleset.Element{Key: join(native(id), e.key), Data: native(e.verdict)})
		}
		for _, e := range c.svcRange {
			svcr = append(svcr, ruleset.Element{Key: join(big32(id), e.key), KeyEnd: join(big32(id), e.end), Data: native(e.verdict)})
		}
		for _, e := range c.proto {
			proto = append(proto, ruleset.Element{Key: join(native(id), e.key), Data: native(e.verdict)})
		}
		rest = append(rest, ruleset.Element{Key: native(id), Data: native(c.rest)})
	}
	s.sets = append(s.sets,
		hashSet(setPair, kindPair, 0, elems), hashSet(setSvc, kindService, 0, svc),
		intervalSet(setSvcRange, kindService, svcr), hashSet(setProto, kindProto, 0, proto), hashSet(setRest, kindMarkMap, 0, rest))
}

// meet reports whether packets between the two classes can be: they need a family
// in common.
func meet(a, b packet.Addrs) bool {
	for _, four := range []bool{true, false} {
		if len(runsOf(a, four)) > 0 && len(runsOf(b, four)) > 0 {
			return true
		}
	}
	return false
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
func (s *matrixSets) content(c compile.Cell) *content {
	out := &content{}
	type piece struct {
		lo, hi  uint16
		verdict uint32
	}
	var perProto [256][]piece
	for _, seg := range c {
		v := s.verdicts.id(seg.Outcome)
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
	var own [256]uint32
	share := map[uint32]int{}
	for proto, pieces := range perProto {
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
