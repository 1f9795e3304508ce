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
	trail
}

// trail is what a walk went by: if it comes to its end, that is what was shown, and
// what single addresses are held against afterwards (Standing).
type trail struct {
	numbered []*numbering
	sorts    []asDefault
	ends     []endOf
}

// commit notes that a walk came to its end.
func (w *walker) commit() {
	for _, n := range w.numbered {
		n.shown = true
	}
	w.cache.defaults, w.cache.ends = append(w.cache.defaults, w.trail.sorts...), append(w.cache.ends, w.ends...)
}

// cache keeps what many relations ask alike.
type cache struct {
	joins    map[*driver.Parts][]packet.Joint
	keys     map[keyed]*numbering
	pairings map[pairingKey]*pairing
	// defaults are the looks at what no table decided; see Standing.
	defaults []asDefault
	// surveys are those that were made; surveyed are those that showed something.
	surveys, surveyed []*survey
	// ends are the numbers that tables which were not asked were checked for.
	ends []endOf
}

// endOf is one end of a table.
type endOf struct {
	st   *stage
	col  bool
	four bool
	n    *numbering
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

	// shown is set if a proof that succeeded went by it.
	shown bool
	four  bool // the family
	see   func(word uint32) (int32, bool)
	// words names the native maps that the lookup has the word from.
	words []string
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
	return &cache{joins: map[*driver.Parts][]packet.Joint{}, keys: map[keyed]*numbering{}, pairings: map[pairingKey]*pairing{}}
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
	return w.from(0, []due{{cases, svc, open}})
}

// from checks what is due from one table on.
func (w *walker) from(k int, dues []due) error {
	if k == len(w.s.list) {
		for _, d := range dues {
			if err := w.defaults(d); err != nil {
				return err
			}
		}
		return nil
	}
	if st := &w.s.list[k]; !st.whole && len(st.units) == 0 {
		return w.from(k+1, dues) // no device asks a table of nothing
	}
	// Of a table that knows nothing of either end a device needs no look: what it says
	// stands in the cases, or it is asked like any other.
	if cell, ok := w.only(&w.s.list[k]); ok {
		after, before := newCollector(), w.trail
		err := w.inline(&w.s.list[k], cell, dues, after)
		if err == nil {
			err = w.from(k+1, after.dues())
		}
		if err == nil {
			return nil
		}
		w.trail = before
	}
	dues, err := w.stage(k, dues)
	if err != nil {
		return err
	}
	return w.from(k+1, dues)
}

// only gives what a table says of every pair, if that is one thing.
func (w *walker) only(st *stage) (compile.Cell, bool) {
	if st.whole || len(st.rowUnits) != 1 || len(st.colUnits) != 1 || len(st.units) == 0 {
		return nil, false
	}
	return w.s.content(w.s.policies(st, 0, 0)), true
}

// inline checks services for which a table's word stands in the cases themselves.
func (w *walker) inline(st *stage, cell compile.Cell, dues []due, after *collector) error {
	for _, d := range dues {
		*w.pairs++
		if err := w.outcome(d.cases, cell, d.svc, d.side, st.whole, after); err != nil {
			return &mismatch{text: err.Error()}
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
	after := newCollector()
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
		switch {
		case len(rest) == 0:
		default:
			if err := w.unasked(st, d.cases, rest, d.side, after); err != nil {
				err.text = fmt.Sprintf("table %d: %s", k+1, err.text)
				return nil, err
			}
		}
	}
	for _, x := range order {
		if err := w.table(st, x.t, need[x], x.side, after); err != nil {
			if m, ok := err.(*mismatch); ok {
				m.text = fmt.Sprintf("table %d: %s", k+1, m.text)
			}
			return nil, err
		}
	}
	return after.dues(), nil
}

// unasked checks services for which a device does not ask a table: whatever the
// table would say must be what the device does. So it is where all that follows
// denies, and what nothing decides is denied too.
func (w *walker) unasked(st *stage, cases []driver.Case, svc packet.Services, s side, after *collector) *mismatch {
	rows, cols := w.identity(st, false), w.identity(st, true)
	w.ends = append(w.ends, endOf{st, false, w.four, rows}, endOf{st, true, w.four, cols})
	good := map[*compile.Segment]bool{}
	check := func(r, c int32, cell compile.Cell) error {
		if cell == nil {
			return nil // left to isolation: looked at as what nothing decides
		}
		*w.pairs++
		if good[&cell[0]] {
			return nil
		}
		if err := w.outcome(cases, cell, svc, s, st.whole, after); err != nil {
			return &mismatch{src: rows.rep[r], dst: cols.rep[c], text: "not asked, and " + err.Error()}
		}
		good[&cell[0]] = true
		return nil
	}
	if err := w.cells(st, rows, cols, check); err != nil {
		if m, ok := err.(*mismatch); ok {
			return m
		}
		return &mismatch{text: err.Error()}
	}
	if err := w.outcome(cases, w.s.content(nil), svc, s, false, after); err != nil {
		return &mismatch{text: "not asked, and of pairs that it says nothing of: " + err.Error()}
	}
	return nil
}

// identity numbers what a table must know of classes by itself, as if a lookup saw
// just that.
func (w *walker) identity(st *stage, col bool) *numbering {
	n := &numbering{four: w.four}
	for c := range w.s.m.Classes {
		addrs := w.s.m.Classes[c].Addrs
		runs := addrs.Runs()
		if !w.s.m.Asked(c, col) {
			continue
		}
		if w.four && !runs[0].From.Is4() || !w.four && runs[len(runs)-1].From.Is4() {
			continue
		}
		num := w.wants(st, c, col)
		for len(n.of) <= int(num) {
			n.of, n.rep, n.by = append(n.of, -1), append(n.rep, packet.Addrs{}), append(n.by, nil)
		}
		if n.of[num] < 0 {
			n.of[num], n.rep[num], n.by[num] = num, addrs.OfFamily(w.four), []int32{num}
		}
	}
	return n
}

// wants is the number of what a table must know of a class at one end.
func (w *walker) wants(st *stage, class int, col bool) int32 {
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

func newCollector() *collector { return &collector{need: map[afterKey]packet.Services{}} }

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
func (w *walker) numbers(st *stage, p *driver.Parts, seen []int32, col bool, see func(uint32) (int32, bool), words []string) (*numbering, error) {
	key := keyed{st, &seen[0], p, col}
	if n, ok := w.cache.keys[key]; ok {
		w.numbered = append(w.numbered, n)
		return n, nil
	}
	n := &numbering{four: w.four, see: see, words: words}
	for _, j := range w.join(p) {
		if !w.s.m.Asked(j.A, col) {
			continue
		}
		v := int(seen[j.B])
		for len(n.of) <= v {
			n.of, n.rep = append(n.of, -1), append(n.rep, packet.Addrs{})
		}
		num := w.wants(st, j.A, col)
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
	w.numbered = append(w.numbered, n)
	return n, nil
}

// table checks one table.
func (w *walker) table(st *stage, t *driver.Table, svc packet.Services, s side, after *collector) error {
	rows, err := w.numbers(st, t.Src, t.Row, false, t.SeeSrc, t.Words)
	if err != nil {
		return err
	}
	cols, err := w.numbers(st, t.Dst, t.Col, true, t.SeeDst, t.Words)
	if err != nil {
		return err
	}
	p, err := w.pairing(st, t, rows, cols)
	if err != nil {
		return err
	}
	*w.pairs += p.pairs
	for i := range p.met {
		x := &p.met[i]
		if err := w.outcome(t.Outcomes[x.outcome], x.cell, svc, s, st.whole, after); err != nil {
			return &mismatch{src: rows.rep[x.r], dst: cols.rep[x.c], text: err.Error()}
		}
	}
	if p.full {
		return nil // a question about one end: its first outcome is an answer like others
	}
	// What has no entry goes on.
	if err := w.outcome(t.Outcomes[0], w.s.content(nil), svc, s, false, after); err != nil {
		return &mismatch{text: "pairs without entry: " + err.Error()}
	}
	return nil
}

// count is how many different things a lookup sees.
func (n *numbering) count() int {
	count := 0
	for _, num := range n.of {
		if num >= 0 {
			count++
		}
	}
	return count
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
