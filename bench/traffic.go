package main

import (
	"fmt"
	"net/netip"
	"slices"

	"bulkhead/bench/estate"
	"bulkhead/bench/harness"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/packet"
)

// traffic is the flows that are sent: all from the left half of the addresses to
// the right one, so that anti-spoofing has two sides to tell apart.
type traffic struct {
	middle4, middle6 netip.Addr
	masks            [2][]netip.Prefix // what lies to the left, and to the right
	flows            []estate.Flow     // permitted, a fifth of them IPv6
	denied           []estate.Flow
	sampled          int
}

func newTraffic(e *estate.Estate, n packetSize) (*traffic, error) {
	t := &traffic{sampled: n.sampled}
	var all [2][]netip.Addr // in order, by family
	for i := range e.Assets {
		a := e.Assets[i].Addresses[0].Addr()
		f := 0
		if a.Is6() {
			f = 1
		}
		all[f] = append(all[f], a)
	}
	t.middle4, t.middle6 = all[0][len(all[0])/2], all[1][len(all[1])/2]
	for f, m := range []netip.Addr{t.middle4, t.middle6} {
		first, last := all[f][0], all[f][len(all[f])-1]
		for side, run := range []packet.Range{{From: first, To: m.Prev()}, {From: m, To: last}} {
			t.masks[side] = append(t.masks[side], packet.AddrRanges([]packet.Range{run}).Prefixes()...)
		}
	}
	for _, ipv6 := range []bool{false, true} {
		want := n.flows * 4 / 5
		if ipv6 {
			want = n.flows / 5
		}
		flows, err := t.across(e.Permitted, max(want, n.sampled), ipv6)
		if err != nil {
			return nil, err
		}
		denied, err := t.across(e.Denied, n.sampled, ipv6)
		if err != nil {
			return nil, err
		}
		t.flows, t.denied = append(t.flows, flows...), append(t.denied, denied...)
	}
	return t, nil
}

// across draws flows from the left to the right: about every fourth is one.
func (t *traffic) across(draw func(int, bool) ([]estate.Flow, error), n int, ipv6 bool) ([]estate.Flow, error) {
	list, err := draw(6*n, ipv6)
	if err != nil {
		return nil, err
	}
	var out []estate.Flow
	for _, f := range list {
		if t.left(f.Src) && !t.left(f.Dst) && len(out) < n {
			out = append(out, f)
		}
	}
	if len(out) < n {
		return nil, fmt.Errorf("of %d flows only %d go from the left to the right, not %d", len(list), len(out), n)
	}
	return out, nil
}

// sample takes some flows of each family.
func (t *traffic) sample(list []estate.Flow) []estate.Flow {
	var out []estate.Flow
	for _, six := range []bool{false, true} {
		n := 0
		for _, f := range list {
			if f.Src.Is6() == six && n < t.sampled {
				out, n = append(out, f), n+1
			}
		}
	}
	return out
}

// tablesAsked counts for each flow the tables of pairs that its first packet is
// looked up in.
func (t *traffic) tablesAsked(r *harness.Recorder, s *site) {
	l, _ := s.layout() // there is one: it was prepared
	w := newWalker(l)
	var asked []float64
	right := true
	for _, f := range t.flows {
		n, permit := w.walk(f.Src, f.Dst, 17<<16|uint32(f.Port))
		asked, right = append(asked, float64(n)), right && permit
	}
	r.Check(right, "the layout permits the flows that are sent")
	r.Spread("tables of pairs asked by a new flow", harness.Count, asked)
	spaces := len(l.Spaces)
	r.Value("tables of pairs there are", harness.Count, float64(spaces))
	// Four for the two addresses, in single addresses and in runs; for each table the
	// pair itself and up to four for the service; and two for the source once more
	// before the next table.
	r.Value("lookups of a new packet at worst", harness.Count, float64(4+5*spaces+2*(spaces-1)))
}

// walker asks a layout as a device does.
type walker struct {
	l      *compile.Layout
	runs   []classRun
	tables []map[string]int32
}

type classRun struct {
	packet.Range
	class int
}

func newWalker(l *compile.Layout) *walker {
	w := &walker{l: l}
	for i := range l.Classes {
		for _, r := range l.Classes[i].Addrs.Runs() {
			w.runs = append(w.runs, classRun{r, i})
		}
	}
	slices.SortFunc(w.runs, func(a, b classRun) int { return a.From.Compare(b.From) })
	for i := range l.Spaces {
		sp := &l.Spaces[i]
		table := make(map[string]int32, len(sp.Entries))
		for _, e := range sp.Entries {
			table[sp.SrcKey(&l.Classes[e.Src])+"|"+sp.DstKey(&l.Classes[e.Dst])] = e.Content
		}
		w.tables = append(w.tables, table)
	}
	return w
}

func (w *walker) class(a netip.Addr) *compile.LayoutClass {
	i, found := slices.BinarySearchFunc(w.runs, a, func(r classRun, a netip.Addr) int { return r.From.Compare(a) })
	if !found {
		i--
	}
	return &w.l.Classes[w.runs[i].class]
}

// walk counts the tables asked, and tells whether one of them permits the flow.
func (w *walker) walk(src, dst netip.Addr, service uint32) (asked int, permit bool) {
	a, b := w.class(src), w.class(dst)
	for i := range w.l.Spaces {
		sp := &w.l.Spaces[i]
		asked++
		content, ok := w.tables[i][sp.SrcKey(a)+"|"+sp.DstKey(b)]
		if !ok {
			continue
		}
		o := &w.l.View.Matrix.Outcomes[w.l.Contents[content].At(service)]
		if sp.Whole || !o.Open() {
			return asked, o.Permit
		}
	}
	return asked, false
}
