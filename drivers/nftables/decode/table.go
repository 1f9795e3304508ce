package decode

import (
	"slices"

	"bulkhead/pkg/driver"
)

// fine is a partition of one family's addresses that some constructs are functions
// of.
type fine struct {
	parts *driver.Parts
	vals  map[int32][]int32 // construct -> value of each part; made when asked for
	cells *classes
	bases []int32
}

// fineOf partitions the addresses for all of some constructs. Masked words and
// tests of words go by the word that they come from, so that all tables of a
// ruleset share one partition.
func (m *machine) fineOf(dom uint8, cons []int32) *fine {
	var bases []int32
	for _, c := range cons {
		if d, ok := m.derived[c]; ok {
			c = d.base
		}
		bases = append(bases, c)
	}
	slices.Sort(bases)
	bases = slices.Compact(bases)
	key := string([]byte{dom}) + listKey(bases)
	if f, ok := m.fines[key]; ok {
		return f
	}
	cells := m.partition(dom, bases)
	f := &fine{parts: &driver.Parts{Addrs: cells.addrs}, vals: map[int32][]int32{}, cells: cells, bases: bases}
	m.fines[key] = f
	return f
}

// valuesOf gives a construct's value for each part.
func (m *machine) valuesOf(f *fine, con int32) []int32 {
	if v, ok := f.vals[con]; ok {
		return v
	}
	d, derived := m.derived[con]
	if !derived {
		d.base = con
	}
	vals := f.cells.vals[slices.Index(f.bases, d.base)]
	if derived {
		out := make([]int32, len(vals))
		for i, v := range vals {
			out[i] = d.by[v]
		}
		vals = out
	}
	f.vals[con] = vals
	return vals
}

// exporter makes tables of the nodes of one family, for one combination of an
// interface and source ports.
type exporter struct {
	v      *view
	iface  int32
	port   int // class of source ports
	sides  [2]*fine
	zero   [2][]int32 // what is alike for all parts
	tables map[int32]*driver.Table
	cases  map[int32][]driver.Case
}

// exporter gives the exporter of a combination. Where no node behind the entrances
// asks for the interface or the source port, all combinations share one.
func (v *view) exporter(fam int, c combo) *exporter {
	key := [3]int32{int32(fam), -1, -1}
	if v.innerIface {
		key[1] = int32(c.vector / v.nPorts)
	}
	if v.innerPort {
		key[2] = int32(c.vector % v.nPorts)
	}
	if x, ok := v.exporters[key]; ok {
		return x
	}
	x := &exporter{
		v: v, iface: v.ifs[c.vector/v.nPorts], port: c.vector % v.nPorts,
		tables: map[int32]*driver.Table{}, cases: map[int32][]driver.Case{},
	}
	var cons [2][]int32
	v.entered.each(func(n int32) {
		nd := &v.m.nodes[n]
		if nd.kind != nodeSplit || nd.st.dom != domOf(fam) {
			return
		}
		switch nd.ask.axis {
		case axisSrc, axisDst:
			cons[nd.ask.axis] = append(cons[nd.ask.axis], nd.ask.con)
		case axisPair:
			j := v.m.joints[nd.ask.con]
			cons[axisSrc], cons[axisDst] = append(cons[axisSrc], j.a), append(cons[axisDst], j.b)
		}
	})
	for side := range x.sides {
		x.sides[side] = v.m.fineOf(domOf(fam), cons[side])
		x.zero[side] = make([]int32, len(x.sides[side].parts.Addrs))
	}
	if v.exporters == nil {
		v.exporters = map[[3]int32]*exporter{}
	}
	v.exporters[key] = x
	return x
}

// resolved answers a question about the interface or the source port.
func (x *exporter) resolved(n int32) int32 {
	ask := x.v.m.nodes[n].ask
	if ask.axis == axisIface {
		return x.v.m.kid(n, x.iface)
	}
	return x.v.m.kid(n, x.v.portVal[ask.con][x.port])
}

// casesOf gives what a node does.
func (x *exporter) casesOf(n int32) []driver.Case {
	if c, ok := x.cases[n]; ok {
		return c
	}
	m := x.v.m
	nd := m.nodes[n]
	var out []driver.Case
	switch nd.kind {
	case nodeLeaf:
		if s := m.svc.sets[m.results.list[nd.res].accept]; len(s) > 0 {
			out = []driver.Case{{Services: s, Permit: true}}
		}
	case nodeUnion:
		for _, p := range nd.parts {
			out = append(out, x.casesOf(p)...)
		}
	case nodeMask:
		out = x.restrict(x.casesOf(nd.parts[0]), nd.svc)
	case nodeSplit:
		if nd.ask.axis == axisIface || nd.ask.axis == axisPort {
			out = x.restrict(x.casesOf(x.resolved(n)), nd.st.svc)
		} else {
			out = []driver.Case{{Services: m.svc.sets[nd.st.svc], Next: x.table(n)}}
		}
	}
	x.cases[n] = out
	return out
}

// restrict keeps some services of cases. The sets are interned, so that equal ones
// are one for whoever compares them.
func (x *exporter) restrict(cases []driver.Case, svc int32) []driver.Case {
	m := x.v.m
	var out []driver.Case
	for _, c := range cases {
		if s := c.Services.Intersect(m.svc.sets[svc]); len(s) > 0 {
			c.Services = m.svc.sets[m.svc.id(s)]
			out = append(out, c)
		}
	}
	return out
}

// table makes the table of a split by addresses.
func (x *exporter) table(n int32) *driver.Table {
	if t, ok := x.tables[n]; ok {
		return t
	}
	m := x.v.m
	ask := m.nodes[n].ask
	t := &driver.Table{Src: x.sides[0].parts, Dst: x.sides[1].parts, Row: x.zero[0], Col: x.zero[1]}
	x.tables[n] = t
	answers := m.answers(ask)
	t.Outcomes = make([][]driver.Case, slices.Max(answers)+1)
	for _, val := range answers {
		t.Outcomes[val] = x.casesOf(m.kid(n, val))
	}
	switch ask.axis {
	case axisSrc:
		t.SeeSrc, t.SeeDst, t.Words = x.sees(ask.con, -1)
		t.Row, t.Entries = m.valuesOf(x.sides[0], ask.con), map[[2]int32]int32{}
		for _, val := range answers {
			t.Entries[[2]int32{val, 0}] = val
		}
	case axisDst:
		t.SeeSrc, t.SeeDst, t.Words = x.sees(-1, ask.con)
		t.Col, t.Entries = m.valuesOf(x.sides[1], ask.con), map[[2]int32]int32{}
		for _, val := range answers {
			t.Entries[[2]int32{0, val}] = val
		}
	default:
		j := m.joints[ask.con]
		t.SeeSrc, t.SeeDst, t.Words = x.sees(j.a, j.b)
		t.Row, t.Col, t.Entries = m.valuesOf(x.sides[0], j.a), m.valuesOf(x.sides[1], j.b), j.found
	}
	return t
}

// rest gives what a result leaves to tables.
func (x *exporter) rest(r result) []driver.Case {
	m := x.v.m
	var out []driver.Case
	for _, e := range m.results.opens[r.open] {
		out = append(out, x.restrict(x.casesOf(e.node), e.svc)...)
	}
	return out
}
