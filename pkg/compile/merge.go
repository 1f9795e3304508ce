package compile

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"bulkhead/pkg/packet"
)

// merge joins blocks to spaces, two at a time, each time the two that cost the
// fewest pairs; of all the numbers of spaces on the way it takes the best one
// within the bounds.
func (s *spacer) merge() error {
	limit := s.b.Elements
	for i := range s.order {
		s.order[i].pairs = s.countPairs(&s.order[i], limit)
	}
	reserved := len(s.l.Spaces)
	var best []node
	bestCost, least := -1, -1
	costs := map[string]int{}
	for {
		total := 0
		for i := range s.order {
			total += s.order[i].pairs
		}
		if least < 0 || total < least {
			least = total
		}
		k := len(s.order) + reserved
		if cost := total + s.b.SpaceCost*k; k <= s.b.Spaces && total <= s.b.Elements && (bestCost < 0 || cost < bestCost) {
			best, bestCost = slices.Clone(s.order), cost
		}
		a, c, merged, ok := s.cheapest(costs, limit)
		if !ok {
			break
		}
		s.join(a, c, merged)
	}
	if bestCost < 0 {
		return s.noFit(least)
	}
	s.order = best
	s.sortOrder()
	return nil
}

// cheapest finds the two spaces to join, and what they will be.
func (s *spacer) cheapest(costs map[string]int, limit int) (a, b int, merged node, ok bool) {
	reach := s.reach()
	grows := 0
	for i := range s.order {
		for j := range i {
			if s.between(reach, i, j) {
				continue
			}
			m := s.joined(i, j)
			key := m.units.Key()
			pairs, known := costs[key]
			if !known {
				if s.work > maxWork {
					continue
				}
				pairs = s.countPairs(&m, limit)
				costs[key] = pairs
			}
			if pairs > limit {
				continue
			}
			if g := pairs - s.order[i].pairs - s.order[j].pairs; !ok || g < grows {
				m.pairs = pairs
				a, b, merged, ok, grows = i, j, m, true, g
			}
		}
	}
	return a, b, merged, ok
}

func (s *spacer) joined(i, j int) node {
	x, y := &s.order[i], &s.order[j]
	m := node{rowDims: union(x.rowDims, y.rowDims), colDims: union(x.colDims, y.colDims), units: x.units.Clone(), related: x.related || y.related}
	for w := range m.units {
		m.units[w] |= y.units[w]
	}
	return m
}

// reach gives, for every node, all that must come before it.
func (s *spacer) reach() []packet.Bits {
	out := make([]packet.Bits, len(s.order))
	var visit func(i int) packet.Bits
	visit = func(i int) packet.Bits {
		if out[i] != nil {
			return out[i]
		}
		b := packet.NewBits(len(s.order))
		out[i] = b
		for _, j := range s.order[i].before {
			b.Set(j)
			for w, word := range visit(j) {
				b[w] |= word
			}
		}
		return b
	}
	for i := range s.order {
		visit(i)
	}
	return out
}

// between reports whether some third node must come after one of two nodes and
// before the other: joined, they would have to come on both sides of it.
func (s *spacer) between(reach []packet.Bits, i, j int) bool {
	for _, pair := range [][2]int{{i, j}, {j, i}} {
		for _, via := range s.order[pair[0]].before {
			if via != pair[1] && reach[via].Has(pair[1]) {
				return true
			}
		}
	}
	return false
}

// join puts the merged node in the place of two.
func (s *spacer) join(i, j int, m node) {
	keep, drop := min(i, j), max(i, j)
	for _, k := range append(slices.Clone(s.order[i].before), s.order[j].before...) {
		if k != i && k != j {
			m.before = append(m.before, k)
		}
	}
	s.order[keep] = m
	s.order = slices.Delete(s.order, drop, drop+1)
	for n := range s.order {
		list := s.order[n].before
		out := make([]int, 0, len(list))
		for _, k := range list {
			switch {
			case k == drop:
				k = keep
			case k > drop:
				k--
			}
			if k != n {
				out = append(out, k)
			}
		}
		slices.Sort(out)
		s.order[n].before = slices.Compact(out)
	}
}

// sortOrder puts the spaces into an order in which each comes after those that
// must come before it; of those that may come next, the one with most pairs,
// which most packets will find something in.
func (s *spacer) sortOrder() {
	var out []node
	done := make([]bool, len(s.order))
	for range s.order {
		next := -1
		for i := range s.order {
			ready := !done[i]
			for _, k := range s.order[i].before {
				ready = ready && done[k]
			}
			if ready && (next < 0 || s.order[i].pairs > s.order[next].pairs) {
				next = i
			}
		}
		done[next] = true
		out = append(out, s.order[next])
	}
	s.order = out
}

// countPairs counts the pairs of keys that a space needs, up to a limit.
func (s *spacer) countPairs(nd *node, limit int) int {
	n := 0
	err := s.each(nd, func(_ int32, cols packet.Bits, _ packet.Bits) error {
		n += onesCount(cols)
		if n > limit {
			return errStop
		}
		return nil
	})
	if err != nil {
		return limit + 1
	}
	return n
}

// each calls f for every key of the source with the keys of the destination that
// some unit relates it to.
func (s *spacer) each(nd *node, f func(row int32, cols, units packet.Bits) error) error {
	rows, cols := s.keySet(nd.rowDims), s.keySet(nd.colDims)
	to := s.colKeys(nd, cols)
	cache := map[string]packet.Bits{}
	for _, rep := range rows.reps {
		units := s.rows[rep].Clone()
		any := false
		for w := range units {
			units[w] &= nd.units[w]
			any = any || units[w] != 0
		}
		if !any {
			continue
		}
		key := ""
		if !nd.related {
			key = units.Key()
			if hit, ok := cache[key]; ok {
				if err := f(rep, hit, units); err != nil {
					return err
				}
				continue
			}
		}
		out := packet.NewBits(len(cols.reps))
		units.Each(func(u int) {
			s.work += len(out)
			p := &s.m.Policies[s.units[u].Policy]
			if len(p.Same)+len(p.Differ) == 0 {
				for w := range out {
					out[w] |= to[u][w]
				}
				return
			}
			to[u].Each(func(c int) {
				if s.m.b.labels.relates(p, s.valuesOf(rep), s.valuesOf(cols.reps[c])) {
					out.Set(c)
				}
			})
		})
		if !nd.related {
			cache[key] = out
		}
		if err := f(rep, out, units); err != nil {
			return err
		}
	}
	return nil
}

// colKeys gives, for every unit of a node, the keys of the destination that it
// concerns.
func (s *spacer) colKeys(nd *node, cols *keySet) map[int]packet.Bits {
	to := map[int]packet.Bits{}
	nd.units.Each(func(u int) { to[u] = packet.NewBits(len(cols.reps)) })
	for c, rep := range cols.reps {
		for w, word := range s.cols[rep] {
			if word &= nd.units[w]; word != 0 {
				packet.Bits{word}.Each(func(i int) { to[w*64+i].Set(c) })
			}
		}
	}
	return to
}

// eachPair calls f for every pair of keys with the units that judge it.
func (s *spacer) eachPair(nd *node, f func(src, dst int32, units packet.Bits) error) error {
	cols := s.keySet(nd.colDims)
	both := packet.NewBits(len(s.units))
	return s.each(nd, func(row int32, at, units packet.Bits) error {
		var err error
		at.Each(func(c int) {
			if err != nil {
				return
			}
			col := cols.reps[c]
			for w := range both {
				both[w] = units[w] & s.cols[col][w]
			}
			if nd.related {
				both.Each(func(u int) {
					p := &s.m.Policies[s.units[u].Policy]
					if len(p.Same)+len(p.Differ) > 0 && !s.m.b.labels.relates(p, s.valuesOf(row), s.valuesOf(col)) {
						both.Clear(u)
					}
				})
			}
			err = f(row, col, both)
		})
		return err
	})
}

// noFit refuses a site for which no number of spaces is within the bounds.
func (s *spacer) noFit(least int) error {
	if least > s.b.Elements {
		wide := 0
		for i := range s.order {
			if s.order[i].pairs > s.order[wide].pairs {
				wide = i
			}
		}
		return s.tooMany(&s.order[wide])
	}
	level, before, err := s.levels()
	if err != nil {
		return err
	}
	return s.interleaved(level, before)
}

// tooMany refuses a site that needs more pairs than there may be.
func (s *spacer) tooMany(nd *node) error {
	row, col := s.widest(nd.rowDims), s.widest(nd.colDims)
	return &Refusal{
		Reason: fmt.Sprintf("policies between the %d sets that the groups %s make and the %d that %s make need more than %d pairs",
			s.keys2(nd.rowDims), s.dimText(row), s.keys2(nd.colDims), s.dimText(col), s.b.Elements),
		Advice: "let fewer of these groups overlap, let policies name fewer of them, or raise the point's budget for elements",
	}
}

func (s *spacer) keys2(dims []int) int { return len(s.keySet(dims).reps) }

func (s *spacer) widest(dims []int) int {
	best := -1
	for _, d := range dims {
		if best < 0 || s.l.Dims[d].Values > s.l.Dims[best].Values {
			best = d
		}
	}
	return best
}

func (s *spacer) dimText(d int) string {
	if d < 0 {
		return "\"any\""
	}
	return s.l.DimNames(d)
}

// errStop ends a count that is over its limit.
var errStop = errors.New("over the limit")

func onesCount(b packet.Bits) int {
	n := 0
	for _, word := range b {
		n += bits.OnesCount64(word)
	}
	return n
}
