package prove

import (
	"encoding/binary"
	"slices"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// portwise compares relations of points that judge at ports. There are many relations, each of
// one port and a run of source ports, and each concerns few addresses at one end: what they
// have in common is worked out once.
type portwise struct {
	p         *prover
	stateless bool // the device keeps no state at the hook
	hook      string
	addrs     []packet.Addrs // as Expected's, cut by all boxes of the hook
	class     []int
	in        *within
	ports     map[string][]int // port -> parts that hang there and are protected
	attached  []bool           // part -> on some port
	group     []bool           // part -> group addresses
	starts    []int            // source ports at which an overlay changes
	expected  map[int]*Expected
	back      *Expected
	joins     map[joinKey]joints
	answers   map[answerKey]packet.Services
	asked     map[[2]int]int // pair -> what the other may open to it, by number
	number    map[string]int
}

type joinKey struct {
	at  *packet.Addrs
	len int
}

// joints are where parts of a relation meet ours: of part i those from of[i][0] to of[i][1].
type joints struct {
	list []packet.Joint
	of   [][2]int
}

type answerKey struct {
	asked   int
	t       driver.Tracking
	lo, hi  uint16
	four    bool
	reports bool // ICMP errors pass
}

func (p *prover) newPortwise(points []*compile.Point, hook string, residue []driver.Residue, stateless bool) *portwise {
	w := &portwise{p: p, stateless: stateless, hook: hook, ports: map[string][]int{}, expected: map[int]*Expected{}, joins: map[joinKey]joints{},
		answers: map[answerKey]packet.Services{}, asked: map[[2]int]int{}, number: map[string]int{}}
	var boxes []box
	for i := range residue {
		if !slices.ContainsFunc(points, func(p *compile.Point) bool { return p.Name == residue[i].Point }) {
			continue
		}
		for k := range residue[i].Flows {
			if f := &residue[i].Flows[k]; f.Hook == hook {
				boxes = append(boxes, box{f, residue[i].Wider})
			}
		}
	}
	e := NewExpected(p.m, points, driver.Situation{Hook: hook, Tracking: driver.TrackNew, SrcPortHi: 65535})
	e.refine(boxes)
	w.addrs, w.class, w.back = e.Addrs, e.class, e
	w.in = newWithin(boxes, e.Addrs)
	w.attached, w.group = make([]bool, len(w.addrs)), make([]bool, len(w.addrs))
	for i := range w.addrs {
		first := w.addrs[i].First()
		w.group[i] = compile.Multicast().Contains(first)
		for _, pt := range points {
			if pt.Mode == policy.Observe || !pt.Protects.Contains(first) {
				continue
			}
			for port, on := range pt.Ports {
				if on.Contains(first) && !slices.Contains(w.ports[port], i) {
					w.ports[port], w.attached[i] = append(w.ports[port], i), true
				}
			}
		}
	}
	w.starts = []int{0, 1 << 16}
	for _, piece := range pieces(&driver.Relation{Situation: driver.Situation{Hook: hook, SrcPortHi: 65535}}, points, nil) {
		w.starts = append(w.starts, int(piece.Situation.SrcPortLo))
	}
	slices.Sort(w.starts)
	w.starts = slices.Compact(w.starts)
	return w
}

// at gives the expectation for source ports from lo on, up to where an overlay changes. A later
// fragment has none.
func (w *portwise) at(lo uint16, t driver.Tracking) *Expected {
	if t == driver.TrackLater {
		return w.back
	}
	i, found := slices.BinarySearch(w.starts, int(lo))
	if !found {
		i--
	}
	if e := w.expected[i]; e != nil {
		return e
	}
	e := *w.back
	e.s.SrcPortLo, e.s.SrcPortHi = uint16(w.starts[i]), uint16(w.starts[i+1]-1)
	e.memo = map[[2]int]packet.Services{}
	w.expected[i] = &e
	return &e
}

// joined gives where the parts of a relation meet ours. Relations of a port share theirs.
func (w *portwise) joined(parts []packet.Addrs) joints {
	key := joinKey{len: len(parts)}
	if len(parts) > 0 {
		key.at = &parts[0]
	}
	if j, ok := w.joins[key]; ok {
		return j
	}
	j := joints{packet.Join(w.addrs, parts), make([][2]int, len(w.addrs))}
	slices.SortStableFunc(j.list, func(a, b packet.Joint) int { return a.A - b.A })
	for i, x := range j.list {
		if i == 0 || j.list[i-1].A != x.A {
			j.of[x.A][0] = i
		}
		j.of[x.A][1] = i + 1
	}
	w.joins[key] = j
	return j
}

// relation compares a relation at each port that it speaks of, and returns the first
// difference.
func (w *portwise) relation(rel *driver.Relation, ports []string, pairs *int) *Counterexample {
	srcs, dsts := w.joined(rel.Src), w.joined(rel.Dst)
	for _, port := range ports {
		own := w.ports[port]
		if w.hook == compile.HookInput {
			own = slices.Clone(own)
			for i := range w.addrs {
				if w.group[i] {
					own = append(own, i)
				}
			}
		}
		for _, o := range own {
			for k := range w.addrs {
				src, dst := o, k
				if w.hook == compile.HookInput {
					if src, dst = k, o; rel.Open && w.attached[src] {
						continue
					}
				}
				if w.addrs[src].First().Is4() != w.addrs[dst].First().Is4() || !w.p.m.Asked(w.class[src], false) || !w.p.m.Asked(w.class[dst], true) {
					continue
				}
				for _, s := range srcs.list[srcs.of[src][0]:srcs.of[src][1]] {
					for _, d := range dsts.list[dsts.of[dst][0]:dsts.of[dst][1]] {
						*pairs++
						if c := w.pair(rel, port, src, dst, s, d); c != nil || len(w.p.gaps) > 0 {
							return c
						}
					}
				}
			}
		}
	}
	return nil
}

// pair compares one pair of parts, for each run of source ports of the relation within which
// nothing that is expected changes.
func (w *portwise) pair(rel *driver.Relation, port string, src, dst int, s, d packet.Joint) *Counterexample {
	sit := rel.Situation
	got := rel.Permit(s.B, d.B)
	four := w.addrs[src].First().Is4()
	dom := domain(sit.Tracking, four)
	if rel.Domain != nil {
		dom = dom.Intersect(rel.Domain)
	}
	got = got.Intersect(dom)
	var asked packet.Services
	if w.stateless && !w.group[src] && !w.group[dst] {
		asked = w.back.Permit(dst, src)
	}
	for _, run := range w.runs(sit, src, dst, asked) {
		want := w.at(run[0], sit.Tracking).Permit(src, dst).Intersect(dom)
		answers := w.answer(sit.Tracking, asked, run, src, dst, four).Intersect(dom)
		admit := admitted(w.touching(src, dst, sit.Tracking, run), want, answers, got)
		if admit.Equal(got) {
			continue
		}
		piece := *rel
		piece.Situation.Port, piece.Situation.SrcPortLo, piece.Situation.SrcPortHi = port, run[0], run[1]
		if c := w.p.wrong(&piece, s.Addrs, d.Addrs, admit, got); c != nil || len(w.p.gaps) > 0 {
			if c != nil && !c.Passes && !want.Contains(c.Service) {
				answer(c)
			}
			return c
		}
	}
	return nil
}

// runs cuts a relation's source ports where overlays, answers or boxes tell them apart.
func (w *portwise) runs(s driver.Situation, src, dst int, asked packet.Services) [][2]uint16 {
	if s.Tracking == driver.TrackLater {
		return [][2]uint16{{s.SrcPortLo, s.SrcPortHi}}
	}
	cuts := []int{int(s.SrcPortLo), int(s.SrcPortHi) + 1}
	add := func(at int) {
		if int(s.SrcPortLo) < at && at <= int(s.SrcPortHi) {
			cuts = append(cuts, at)
		}
	}
	for _, at := range w.starts {
		add(at)
	}
	for _, span := range asked {
		if packet.HasPorts(uint8(span.Lo >> 16)) {
			add(int(span.Lo & 0xffff))
		}
		if packet.HasPorts(uint8(span.Hi >> 16)) {
			add(int(span.Hi&0xffff) + 1)
		}
	}
	w.in.each(src, dst, func(b *box) {
		add(int(b.SrcPortLo))
		add(int(b.SrcPortHi) + 1)
	})
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	out := make([][2]uint16, 0, len(cuts)-1)
	for i := range len(cuts) - 1 {
		out = append(out, [2]uint16{uint16(cuts[i]), uint16(cuts[i+1] - 1)})
	}
	return out
}

func (w *portwise) touching(src, dst int, t driver.Tracking, run [2]uint16) (out []box) {
	w.in.each(src, dst, func(b *box) {
		if (b.Tracking == "" || b.Tracking == t) && b.SrcPortLo <= run[0] && run[1] <= b.SrcPortHi {
			out = append(out, *b)
		}
	})
	return out
}

// answer is Expected.Answers, worked out once for what is asked.
func (w *portwise) answer(t driver.Tracking, asked packet.Services, run [2]uint16, src, dst int, four bool) packet.Services {
	if !w.stateless || w.group[src] || w.group[dst] {
		return nil
	}
	reports := t == driver.TrackNew && (len(asked) > 0 || len(w.back.Permit(src, dst)) > 0)
	key := answerKey{w.numberOf(src, dst, asked), t, run[0], run[1], four, reports}
	if s, ok := w.answers[key]; ok {
		return s
	}
	s := driver.Situation{Tracking: t, SrcPortLo: run[0], SrcPortHi: run[1]}
	w.answers[key] = answering(s, asked, reports, w.addrs[src].First())
	return w.answers[key]
}

// numberOf numbers what is asked by what it holds.
func (w *portwise) numberOf(src, dst int, asked packet.Services) int {
	pair := [2]int{src, dst}
	n, ok := w.asked[pair]
	if !ok {
		text := make([]byte, 0, 8*len(asked))
		for _, s := range asked {
			text = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(text, s.Lo), s.Hi)
		}
		if n, ok = w.number[string(text)]; !ok {
			n = len(w.number)
			w.number[string(text)] = n
		}
		w.asked[pair] = n
	}
	return n
}
