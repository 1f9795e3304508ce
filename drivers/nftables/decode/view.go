package decode

import (
	"slices"
	"strings"

	"bulkhead/pkg/packet"
)

// view evaluates some roots of the diagram for every pair of classes. Which
// constructs, interfaces and source ports tell packets apart is found by
// walking: what a walk meets for the first time refines the classes, and the
// walk begins again. Each round adds something, so it ends.
type view struct {
	m     *machine
	roots [2][]int32 // by family: the nodes to evaluate

	cons   [2][2][]int32 // [family][axisSrc, axisDst]: constructs met
	ports  []int32       // constructs on the source port met
	named  bool          // the interface was asked for
	grown  bool
	ifs    []int32 // interface classes in use
	nPorts int

	classes [2][2]*classes
	portCls *classes
	vals    [2][2][][]int32 // [family][axis][construct] -> value of each class
	portVal [][]int32

	pending               bool   // see pending.go
	entered               bitset // nodes behind those at which a walk stopped
	innerIface, innerPort bool   // one of them asks for it
	exporters             map[[3]int32]*exporter
	toured                map[int32]comps   // by node; see tour
	touredAll             bitset            // nodes that all components were seen to lead to
	every                 comps             // see allComps
	portSets              map[int32][]comps // by construct on the source port and value
	checked               map[int32]bool    // values inspected
	alikes                map[[2]int32]bool

	fam, i, j int
}

func domOf(fam int) uint8 {
	if fam == 0 {
		return dom4
	}
	return dom6
}

func newView(m *machine) *view { return &view{m: m} }

// addRoot adds one thing to evaluate: the packets that begin in any of some
// states, for each family.
func (v *view) addRoot(starts [2][]state) {
	for fam := range v.roots {
		exits := make([]exit, len(starts[fam]))
		for i, st := range starts[fam] {
			exits[i] = exit{st: st}
		}
		v.roots[fam] = append(v.roots[fam], v.m.join(exits))
	}
}

// walk calls visit with the values of all roots for each pair of classes of each
// family. begin is called before each round; what earlier rounds said is void.
// It stops when visit returns false.
func (v *view) walk(begin func(), visit func(fam, i, j int, vals []int32) bool) {
	for {
		v.refine()
		if v.tooMany() {
			v.pending, v.cons = true, [2][2][]int32{}
			continue
		}
		if begin != nil {
			begin()
		}
		if v.round(visit) && !v.grown {
			return
		}
	}
}

// round returns false if it must be repeated.
func (v *view) round(visit func(fam, i, j int, vals []int32) bool) bool {
	for fam := range v.roots {
		vals := make([]int32, len(v.roots[fam]))
		n, k := len(v.classes[fam][axisSrc].addrs), len(v.classes[fam][axisDst].addrs)
		for i := range n {
			for j := range k {
				v.value(fam, i, j, vals)
				if v.grown {
					return false
				}
				if !visit(fam, i, j, vals) {
					return true
				}
			}
		}
	}
	return true
}

// value evaluates all roots for one pair.
func (v *view) value(fam, i, j int, out []int32) {
	v.fam, v.i, v.j = fam, i, j
	for r, n := range v.roots[fam] {
		out[r] = v.eval(n)
		if v.grown {
			return
		}
	}
}

// refine computes the classes that what was met so far tells apart.
func (v *view) refine() {
	v.grown = false
	v.toured, v.touredAll, v.every, v.portSets, v.checked = nil, nil, nil, nil, nil // the components may be others now
	for fam := range v.roots {
		for side := range v.cons[fam] {
			slices.Sort(v.cons[fam][side])
			c := v.m.partition(domOf(fam), v.cons[fam][side])
			v.classes[fam][side] = c
			v.vals[fam][side] = v.m.spread(v.cons[fam][side], c)
		}
	}
	slices.Sort(v.ports)
	v.portCls = v.m.partition(domPort, v.ports)
	v.portVal = v.m.spread(v.ports, v.portCls)
	v.nPorts = len(v.portCls.runs)
	v.ifs = v.ifs[:0]
	other := v.m.ifaceID(iface{prefix: true})
	v.ifs = append(v.ifs, other)
	if v.named {
		for id := range v.m.ifaces {
			if int32(id) != other {
				v.ifs = append(v.ifs, int32(id))
			}
		}
	}
}

// spread arranges the values of classes by the number of the construct.
func (m *machine) spread(cons []int32, c *classes) [][]int32 {
	out := make([][]int32, len(m.cons))
	for k, id := range cons {
		out[id] = c.vals[k]
	}
	return out
}

// partition computes classes, and remembers them: most situations are told apart
// by the same constructs.
func (m *machine) partition(dom uint8, cons []int32) *classes {
	key := string([]byte{dom}) + listKey(cons)
	if c, ok := m.parts[key]; ok {
		return c
	}
	list := make([]*construct, len(cons))
	for i, id := range cons {
		list[i] = m.cons[id].draw()
	}
	c := partition(dom, list)
	m.parts[key] = c
	return c
}

// eval gives the value of a node for the current pair of classes.
func (v *view) eval(n int32) int32 {
	for {
		nd := &v.m.nodes[n]
		switch nd.kind {
		case nodeLeaf:
			return nd.res
		case nodeUnion:
			out := v.m.results.none
			for _, p := range nd.parts {
				out = v.m.merge(out, v.eval(p))
				if v.grown {
					return out
				}
			}
			return out
		case nodeMask:
			return v.m.cut(nd.svc, v.eval(nd.parts[0]))
		}
		switch ask := nd.ask; ask.axis {
		case axisPair:
			if v.pending {
				v.enter(n)
				if v.grown {
					return v.m.results.none
				}
				return v.m.pendingAt(n)
			}
			j := v.m.joints[ask.con]
			a, okA := v.class(axisSrc, j.a)
			b, okB := v.class(axisDst, j.b)
			if !okA || !okB {
				return v.m.results.none
			}
			n = v.m.kid(n, j.at(a, b))
		case axisPort:
			return v.evalPort(n, ask.con)
		case axisIface:
			return v.evalIface(n)
		default:
			val, ok := v.class(ask.axis, ask.con)
			if !ok {
				return v.m.results.none
			}
			n = v.m.kid(n, val)
		}
	}
}

// class is the value of a construct for the current pair of classes. Where the
// classes do not tell its values apart yet, it notes that they must.
func (v *view) class(side axis, con int32) (int32, bool) {
	if v.m.cons[con].n == 1 {
		return 0, true
	}
	vals := v.vals[v.fam][side]
	if int(con) >= len(vals) || vals[con] == nil {
		if !slices.Contains(v.cons[v.fam][side], con) {
			v.cons[v.fam][side] = append(v.cons[v.fam][side], con)
		}
		v.grown = true
		return 0, false
	}
	if side == axisDst {
		return vals[con][v.j], true
	}
	return vals[con][v.i], true
}

func (v *view) evalPort(n, con int32) int32 {
	if int(con) >= len(v.portVal) || v.portVal[con] == nil {
		v.ports = append(v.ports, con)
		v.grown = true
		return v.m.results.none
	}
	values := v.m.cons[con].n
	by, done := make([]int32, values), make([]bool, values)
	return v.combine(func(_ int32, port int) int32 {
		val := v.portVal[con][port]
		if !done[val] {
			by[val], done[val] = v.eval(v.m.kid(n, val)), true
		}
		return by[val]
	})
}

func (v *view) evalIface(n int32) int32 {
	if !v.named {
		v.named, v.grown = true, true
		return v.m.results.none
	}
	before := len(v.m.ifaces)
	last, at := int32(0), int32(-1)
	out := v.combine(func(in int32, _ int) int32 {
		if in != at {
			last, at = v.eval(v.m.kid(n, in)), in
		}
		return last
	})
	v.grown = v.grown || len(v.m.ifaces) > before
	return out
}

// combine makes a vector, component by component.
func (v *view) combine(f func(in int32, port int) int32) int32 {
	same, first := true, int32(0)
	vec := make([]int32, 0, len(v.ifs)*v.nPorts)
	for k, in := range v.ifs {
		for port := range v.nPorts {
			at := k*v.nPorts + port
			x := f(in, port)
			if v.grown {
				return v.m.results.none
			}
			if at == 0 {
				first = x
			}
			same = same && x == first
			vec = append(vec, v.m.results.pick(x, at))
		}
	}
	if same {
		return first
	}
	return v.m.results.vector(vec)
}

// combo is one component of the vectors of a view.
type combo struct {
	in     string
	ports  packet.Span
	vector int
}

// combos lists the combinations of an interface and a run of source ports.
// Neighbouring runs between which none of some values differs are one.
func (v *view) combos(values map[int32]bool) []combo {
	var out []combo
	for k, in := range v.ifs {
		var list []combo
		for p, runs := range v.portCls.runs {
			for _, r := range runs {
				list = append(list, combo{
					in:     v.m.ifaces[in].String(),
					ports:  packet.Span{Lo: uint32(r.lo.lo), Hi: uint32(r.hi.lo)},
					vector: k*v.nPorts + p,
				})
			}
		}
		slices.SortFunc(list, func(a, b combo) int { return int(int64(a.ports.Lo) - int64(b.ports.Lo)) })
		for i, c := range list {
			if n := len(out); i > 0 && v.sameColumn(values, out[n-1].vector, c.vector) {
				out[n-1].ports.Hi = c.ports.Hi
				continue
			}
			out = append(out, c)
		}
	}
	slices.SortStableFunc(out, func(a, b combo) int { return strings.Compare(a.in, b.in) })
	return out
}

// sameColumn reports whether values accept the same in two components.
func (v *view) sameColumn(values map[int32]bool, a, b int) bool {
	for val := range values {
		x, y := v.m.results.list[v.m.results.pick(val, a)], v.m.results.list[v.m.results.pick(val, b)]
		if x.accept != y.accept || x.open != y.open {
			return false
		}
	}
	return !v.innerPort
}

// alike compares two roots without walking all pairs. It may miss that they are
// alike, never that they differ. It looks at packets that exist only.
func (v *view) alike(a, b int) bool {
	for {
		v.refine()
		v.alikes = map[[2]int32]bool{}
		same := true
		for fam := range v.roots {
			v.fam = fam
			same = same && v.same(v.roots[fam][a], v.roots[fam][b], [2][]int32{
				upTo(len(v.classes[fam][axisSrc].addrs)), upTo(len(v.classes[fam][axisDst].addrs)),
			})
		}
		if !v.grown {
			return same
		}
	}
}

func upTo(n int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(i)
	}
	return out
}

// same compares two nodes for some classes of sources and destinations.
func (v *view) same(a, b int32, in [2][]int32) bool {
	if a == b {
		return true
	}
	x, y := v.m.nodes[a], v.m.nodes[b]
	if x.kind != y.kind || v.grown {
		return false
	}
	switch x.kind {
	case nodeUnion:
		if len(x.parts) != len(y.parts) {
			return false
		}
		for i := range x.parts {
			if !v.same(x.parts[i], y.parts[i], in) {
				return false
			}
		}
		return true
	case nodeSplit:
		return x.ask == y.ask && v.sameKids(a, b, x.ask, in)
	case nodeMask:
		return x.svc == y.svc && v.same(x.parts[0], y.parts[0], in)
	}
	return false
}

// samePairs compares two lookups of pairs for every class: tables that follow each
// other would be compared again and again for ever fewer classes otherwise.
func (v *view) samePairs(a, b int32, id int32) bool {
	key := [2]int32{a, b}
	if out, ok := v.alikes[key]; ok {
		return out
	}
	all := [2][]int32{upTo(len(v.classes[v.fam][axisSrc].addrs)), upTo(len(v.classes[v.fam][axisDst].addrs))}
	out := v.same(v.m.kid(a, 0), v.m.kid(b, 0), all)
	for _, val := range v.m.joints[id].data {
		out = out && v.same(v.m.kid(a, val), v.m.kid(b, val), all)
	}
	if v.grown {
		return false
	}
	v.alikes[key] = out
	return out
}

func (v *view) sameKids(a, b int32, ask need, in [2][]int32) bool {
	switch ask.axis {
	case axisPair:
		return v.samePairs(a, b, ask.con)
	case axisIface:
		if !v.named {
			v.named, v.grown = true, true
			return false
		}
		before := len(v.m.ifaces)
		for _, f := range v.ifs {
			if !v.same(v.m.kid(a, f), v.m.kid(b, f), in) {
				return false
			}
		}
		v.grown = v.grown || len(v.m.ifaces) > before
		return true
	case axisPort:
		for val := range v.m.cons[ask.con].n {
			if !v.same(v.m.kid(a, val), v.m.kid(b, val), in) {
				return false
			}
		}
		return true
	}
	vals := v.vals[v.fam][ask.axis]
	if int(ask.con) >= len(vals) || vals[ask.con] == nil {
		v.cons[v.fam][ask.axis] = append(v.cons[v.fam][ask.axis], ask.con)
		v.grown = true
		return false
	}
	groups := map[int32][]int32{}
	var order []int32
	for _, c := range in[ask.axis] {
		val := vals[ask.con][c]
		if groups[val] == nil {
			order = append(order, val)
		}
		groups[val] = append(groups[val], c)
	}
	for _, val := range order {
		sub := in
		sub[ask.axis] = groups[val]
		if !v.same(v.m.kid(a, val), v.m.kid(b, val), sub) {
			return false
		}
	}
	return true
}
