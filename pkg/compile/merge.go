package compile

import (
	"cmp"
	"fmt"
	"slices"

	"bulkhead/pkg/packet"
)

// merge joins blocks to spaces, two at a time, each time the two that cost the
// fewest pairs; of all the numbers of spaces on the way it takes the best one
// within the bounds.
func (s *spacer) merge() error {
	limit := s.b.Elements
	for i := range s.order {
		s.order[i].id = i
		s.order[i].pairs = s.countPairs(&s.order[i], limit)
	}
	next := len(s.order) // the identity of the next node
	reserved := len(s.l.Spaces)
	var best []node
	bestCost, least := -1, -1
	known := map[[2]int]*joint{}
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
		c, ok := s.cheapest(known, limit)
		if !ok {
			break
		}
		m := s.joined(c.i, c.j)
		m.pairs, m.id = c.lo, next
		next++
		s.join(c.i, c.j, m)
	}
	if bestCost < 0 {
		return s.noFit(least)
	}
	s.order = best
	s.sortOrder()
	return nil
}

// joint says how many pairs two nodes will have as one: lo at least, hi at most.
type joint struct{ lo, hi int }

// candidate is a joint of two nodes that may be joined.
type candidate struct {
	*joint
	i, j, place int
	before      int // the pairs that both have now
}

// cheapest finds the two spaces whose pairs grow least if they are joined. Most
// joints are hopeless, and their bounds say so: those are never counted.
func (s *spacer) cheapest(known map[[2]int]*joint, limit int) (best candidate, ok bool) {
	beyond := s.beyond()
	var list []candidate
	for i := range s.order {
		for j := range i {
			// A third node that comes after one of two and before the other would
			// have to come on both sides of them once they are joined.
			if beyond[i].Has(j) || beyond[j].Has(i) {
				continue
			}
			x, y := &s.order[i], &s.order[j]
			key := [2]int{x.id, y.id}
			n := known[key]
			if n == nil {
				if s.work > maxWork {
					continue
				}
				n = s.bounds(x, y, limit)
				known[key] = n
			}
			if n.lo <= limit {
				list = append(list, candidate{joint: n, i: i, j: j, place: len(list), before: x.pairs + y.pairs})
			}
		}
	}
	slices.SortFunc(list, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.lo-a.before, b.lo-b.before), cmp.Compare(a.place, b.place))
	})
	for _, c := range list {
		if ok && c.lo-c.before > best.lo-best.before {
			break // and so are all that follow
		}
		if c.lo < c.hi {
			if s.work > maxWork {
				continue
			}
			m := s.joined(c.i, c.j)
			n := s.countPairs(&m, limit)
			c.lo, c.hi = n, n
		}
		if c.lo <= limit && (!ok || c.better(best)) {
			best, ok = c, true
		}
	}
	return best, ok
}

// better compares two that are counted: of equal ones the first is better, so that
// the order of counting does not show.
func (c candidate) better(than candidate) bool {
	return cmp.Or(cmp.Compare(c.lo-c.before, than.lo-than.before), cmp.Compare(c.place, than.place)) < 0
}

// bounds bounds the pairs of two nodes as one. Both have the keys of both then:
// each alone would need so many pairs of those, and together they need no more
// than the sum.
func (s *spacer) bounds(x, y *node, limit int) *joint {
	rows, cols := s.keySet(union(x.rowDims, y.rowDims)), s.keySet(union(x.colDims, y.colDims))
	a, b := s.spread(x, rows, cols, limit), s.spread(y, rows, cols, limit)
	return &joint{lo: max(a, b), hi: a + b}
}

func (s *spacer) joined(i, j int) node {
	x, y := &s.order[i], &s.order[j]
	m := node{rowDims: union(x.rowDims, y.rowDims), colDims: union(x.colDims, y.colDims), related: x.related || y.related}
	m.list = make([]int32, 0, len(x.list)+len(y.list))
	m.list = append(append(m.list, x.list...), y.list...)
	slices.Sort(m.list)
	return m
}

// beyond gives, for every node, all that must come before some node that itself
// must come before it. Orders have no cycles.
func (s *spacer) beyond() []packet.Bits {
	earlier := make([]packet.Bits, len(s.order)) // all that must come before
	out := make([]packet.Bits, len(s.order))
	var visit func(i int) packet.Bits
	visit = func(i int) packet.Bits {
		if earlier[i] != nil {
			return earlier[i]
		}
		earlier[i], out[i] = packet.NewBits(len(s.order)), packet.NewBits(len(s.order))
		for _, j := range s.order[i].before {
			for w, word := range visit(j) {
				out[i][w] |= word
			}
			earlier[i].Set(j)
		}
		for w, word := range out[i] {
			earlier[i][w] |= word
		}
		return earlier[i]
	}
	for i := range s.order {
		visit(i)
	}
	return out
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
