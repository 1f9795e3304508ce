package prove

import (
	"fmt"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// side says what earlier tables decided of a flow.
type side int

const (
	open      side = iota
	egressOK       // the egress side is allowed, the ingress side open
	ingressOK      // the other way round
)

// due is what a device's tables must still do: judge some services like the tables
// of the policy side from one on.
type due struct {
	cases []driver.Case
	svc   packet.Services
	side  side
}

// mismatch is a pair of parts for which a device's tables do not say what they must.
type mismatch struct {
	src, dst packet.Addrs // where a pair of addresses is to be looked for
	text     string
}

func (m *mismatch) Error() string { return m.text }

// walker holds the tables of one relation and family against the policy side.
type walker struct {
	s     *stages
	e     *Expected // for timed verdicts
	cache *cache
	four  bool // the family
	pairs *int
}

// cache keeps what many relations ask alike.
type cache struct {
	joins map[*driver.Parts][]packet.Joint
	keys  map[keyed]*numbering
}

type keyed struct {
	st    *stage
	at    *int32 // the first of what the lookup sees of each part
	parts *driver.Parts
	col   bool
}

// numbering tells for what a lookup sees of an address what the table must know of
// it: -1 where no address is seen so.
type numbering struct {
	of  []int32
	rep []packet.Addrs // some addresses that are seen so
	// by lists what is seen, for each number.
	by [][]int32
}

type cut struct {
	cell *compile.Segment
	side side
	full bool
}

// split is what some services come to.
type split struct {
	svc  packet.Services
	what verdict
	side side
}

type verdict int

const (
	passes verdict = iota
	drops
	goesOn
)

func newCache() *cache {
	return &cache{joins: map[*driver.Parts][]packet.Joint{}, keys: map[keyed]*numbering{}}
}

// join meets the classes of the matrix with the parts of a table.
func (w *walker) join(p *driver.Parts) []packet.Joint {
	j, ok := w.cache.joins[p]
	if !ok {
		classes := make([]packet.Addrs, len(w.s.m.Classes))
		for i := range classes {
			classes[i] = w.s.m.Classes[i].Addrs
		}
		j = packet.Join(classes, p.Addrs)
		w.cache.joins[p] = j
	}
	return j
}

// judge checks that cases judge some services as policy does.
func (w *walker) judge(cases []driver.Case, svc packet.Services) error {
	dues := []due{{cases, svc, open}}
	for k := range w.s.list {
		var err error
		if dues, err = w.stage(k, dues); err != nil {
			return err
		}
	}
	for _, d := range dues {
		if err := w.defaults(d); err != nil {
			return err
		}
	}
	return nil
}

// stage checks one table for all that is due there, and gives what is due after it.
// Services that reach one table by several ways are judged once.
func (w *walker) stage(k int, dues []due) ([]due, error) {
	st := &w.s.list[k]
	type entrance struct {
		t    *driver.Table
		side side
	}
	need := map[entrance]packet.Services{}
	var order []entrance
	after := &collector{need: map[afterKey]packet.Services{}}
	for _, d := range dues {
		rest := d.svc
		for _, c := range d.cases {
			both := c.Services.Intersect(d.svc)
			if c.Next == nil || len(both) == 0 {
				continue
			}
			x := entrance{c.Next, d.side}
			if _, ok := need[x]; !ok {
				order = append(order, x)
			}
			need[x] = need[x].Union(both)
			rest = rest.Subtract(both)
		}
		if len(rest) > 0 && !w.empty(st) {
			return nil, &mismatch{text: fmt.Sprintf("%s are not looked up in table %d", rest[:1], k+1)}
		}
		if len(rest) > 0 { // a table of nothing need not be asked
			after.add(d.cases, rest, d.side)
		}
	}
	for _, x := range order {
		if w.empty(st) && len(x.t.Entries) > 0 {
			after.add([]driver.Case{{Services: need[x], Next: x.t}}, need[x], x.side)
			continue
		}
		if err := w.table(st, x.t, need[x], x.side, after); err != nil {
			if m, ok := err.(*mismatch); ok {
				m.text = fmt.Sprintf("table %d: %s", k+1, m.text)
			}
			return nil, err
		}
	}
	return after.dues(), nil
}

// empty reports whether a stage holds no policies.
func (w *walker) empty(st *stage) bool { return !st.whole && len(st.units) == 0 }

// collector gathers what is due next: by the table that services go to, and of those
// that go to none, what passes and what does not.
type collector struct {
	need            map[afterKey]packet.Services
	order           []afterKey
	passed, dropped [3]packet.Services // by side
}

type afterKey struct {
	next *driver.Table
	side side
}

func (c *collector) add(cases []driver.Case, svc packet.Services, s side) {
	rest := svc
	for _, x := range cases {
		both := x.Services.Intersect(svc)
		if len(both) == 0 {
			continue
		}
		rest = rest.Subtract(both)
		if x.Next == nil {
			c.passed[s] = c.passed[s].Union(both)
			continue
		}
		key := afterKey{x.Next, s}
		have, ok := c.need[key]
		if !ok {
			c.order = append(c.order, key)
		}
		c.need[key] = have.Union(both)
	}
	c.dropped[s] = c.dropped[s].Union(rest)
}

func (c *collector) dues() []due {
	var out []due
	for s := range c.passed {
		if svc := c.passed[s]; len(svc) > 0 {
			out = append(out, due{[]driver.Case{{Services: svc, Permit: true}}, svc, side(s)})
		}
		if svc := c.dropped[s]; len(svc) > 0 {
			out = append(out, due{nil, svc, side(s)})
		}
	}
	for _, k := range c.order {
		out = append(out, due{[]driver.Case{{Services: c.need[k], Next: k.next}}, c.need[k], k.side})
	}
	return out
}

// numbers tells what a lookup's rows or columns say of addresses.
func (w *walker) numbers(st *stage, p *driver.Parts, seen []int32, col bool) (*numbering, error) {
	key := keyed{st, &seen[0], p, col}
	if n, ok := w.cache.keys[key]; ok {
		return n, nil
	}
	want := func(class int) int32 {
		switch {
		case st.whole && col:
			return int32(w.s.m.Col(class))
		case st.whole:
			return int32(w.s.m.Row(class))
		case col:
			return st.col[class]
		}
		return st.row[class]
	}
	n := &numbering{}
	for _, j := range w.join(p) {
		v := int(seen[j.B])
		for len(n.of) <= v {
			n.of, n.rep = append(n.of, -1), append(n.rep, packet.Addrs{})
		}
		num := want(j.A)
		switch {
		case n.of[v] < 0:
			n.of[v], n.rep[v] = num, j.Addrs
			for len(n.by) <= int(num) {
				n.by = append(n.by, nil)
			}
			n.by[num] = append(n.by[num], int32(v))
		case n.of[v] != num:
			return nil, &mismatch{src: n.rep[v], dst: j.Addrs, text: fmt.Sprintf("it does not tell %s from %s", n.rep[v].First(), j.Addrs.First())}
		}
	}
	w.cache.keys[key] = n
	return n, nil
}

// table checks one table.
func (w *walker) table(st *stage, t *driver.Table, svc packet.Services, s side, after *collector) error {
	rows, err := w.numbers(st, t.Src, t.Row, false)
	if err != nil {
		return err
	}
	cols, err := w.numbers(st, t.Dst, t.Col, true)
	if err != nil {
		return err
	}
	seen := map[[2]int32]bool{}
	good := map[goodKey]bool{}
	check := func(r, c int32, cell compile.Cell) error {
		*w.pairs++
		o := t.Entries[[2]int32{r, c}]
		key := goodKey{o, nil}
		if len(cell) > 0 {
			key.cell = &cell[0]
		}
		if good[key] {
			return nil
		}
		if err := w.outcome(t.Outcomes[o], cell, svc, s, st.whole, after); err != nil {
			return &mismatch{src: rows.rep[r], dst: cols.rep[c], text: err.Error()}
		}
		good[key] = true
		return nil
	}
	err = w.cells(st, rows, cols, func(r, c int32, cell compile.Cell) error {
		if cell == nil {
			return nil // it may have no entry; if it has one, that is looked at below
		}
		seen[[2]int32{r, c}] = true
		return check(r, c, cell)
	})
	if err != nil {
		return err
	}
	for key := range t.Entries {
		if seen[key] || int(key[0]) >= len(rows.of) || int(key[1]) >= len(cols.of) || rows.of[key[0]] < 0 || cols.of[key[1]] < 0 {
			continue
		}
		cell := w.s.content(nil)
		if st.whole {
			cell = w.s.m.Cells[w.wholeCell(rows.of[key[0]], cols.of[key[1]])]
		}
		if err := check(key[0], key[1], cell); err != nil {
			return err
		}
	}
	// What has no entry goes on.
	if err := w.outcome(t.Outcomes[0], w.s.content(nil), svc, s, false, after); err != nil {
		return &mismatch{text: "pairs without entry: " + err.Error()}
	}
	return nil
}

type goodKey struct {
	outcome int32
	cell    *compile.Segment
}

// outcome checks that cases do with some services what a cell says, and notes what
// is due later.
func (w *walker) outcome(cases []driver.Case, cell compile.Cell, svc packet.Services, s side, full bool, after *collector) error {
	var permits, next packet.Services
	for _, c := range cases {
		if c.Permit {
			permits = permits.Union(c.Services)
		} else {
			next = next.Union(c.Services)
		}
	}
	if both := permits.Intersect(next).Intersect(svc); len(both) > 0 {
		return fmt.Errorf("%s may pass or be looked up further", both[:1])
	}
	for _, x := range w.splits(cell, s, full) {
		here := x.svc.Intersect(svc)
		if len(here) == 0 {
			continue
		}
		switch x.what {
		case passes:
			if d := here.Subtract(permits); len(d) > 0 {
				return fmt.Errorf("%s must pass", d[:1])
			}
		case drops:
			if d := here.Intersect(permits.Union(next)); len(d) > 0 {
				return fmt.Errorf("%s must not pass", d[:1])
			}
		default:
			after.add(cases, here, x.side)
		}
	}
	return nil
}

// splits sorts the services by what a cell means for them.
func (w *walker) splits(cell compile.Cell, s side, full bool) []split {
	key := cut{&cell[0], s, full}
	if out, ok := w.s.cuts[key]; ok && !full {
		return out
	}
	var out []split
	put := func(span packet.Span, what verdict, next side) {
		for i := range out {
			if out[i].what == what && out[i].side == next {
				out[i].svc = append(out[i].svc, span)
				return
			}
		}
		out = append(out, split{packet.Services{span}, what, next})
	}
	m := w.s.m
	for _, seg := range cell {
		o := &m.Outcomes[seg.Outcome]
		if full {
			if w.e.stands(o) {
				put(seg.Span, passes, open)
			} else {
				put(seg.Span, drops, open)
			}
			continue
		}
		allows := func(p int) bool { return m.Policies[p].Action == policy.Allow }
		egress, ingress := !o.EgressOpen, !o.IngressOpen
		switch {
		case egress && s != egressOK && !allows(o.Egress), ingress && s != ingressOK && !allows(o.Ingress):
			put(seg.Span, drops, open)
		case (egress || s == egressOK) && (ingress || s == ingressOK):
			put(seg.Span, passes, open)
		case egress && s == open:
			put(seg.Span, goesOn, egressOK)
		case ingress && s == open:
			put(seg.Span, goesOn, ingressOK)
		default:
			put(seg.Span, goesOn, s)
		}
	}
	for i := range out {
		out[i].svc = packet.Spans(out[i].svc)
	}
	if !full {
		w.s.cuts[key] = out
	}
	return out
}
