package compile

import (
	"encoding/binary"
	"fmt"
	"slices"

	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// spacer works out a layout of several spaces.
//
// A feature is something that an address has or has not: a group that a policy
// names, a value of a compared label, being claimed by several machines. Classes
// are told apart by their features and isolation alone.
type spacer struct {
	v     *View
	m     *Matrix
	b     Bounds
	l     *Layout
	has   []packet.Bits // class -> features
	count []int         // feature -> classes that have it
	dimOf []int         // feature -> dimension, -1 where no class has it
	units []Unit
	rows  []packet.Bits // class -> units whose source it is
	cols  []packet.Bits // class -> units whose destination it is
	order []node
	work  int
	keys  map[string]*keySet
}

// maxWork bounds the search for a layout, in steps of some nanoseconds each, so
// that a hostile or unlucky site ends in a refusal and not in a dead controller.
const maxWork = 1 << 32

func classSpaces(v *View, b Bounds) (*Layout, error) {
	s := &spacer{v: v, m: v.Matrix, b: b, l: &Layout{View: v}, keys: map[string]*keySet{}}
	s.regroup()
	if err := s.dimensions(); err != nil {
		return nil, err
	}
	s.l.Contents = nil
	s.listUnits()
	if err := s.whole(); err != nil {
		return nil, err
	}
	if err := s.blocks(); err != nil {
		return nil, err
	}
	if err := s.merge(); err != nil {
		return nil, err
	}
	return s.l, s.emit()
}

// special reports whether a policy's effect cannot be told by "allows", "denies"
// or "says nothing" for each side: pairs that it concerns are judged whole.
func special(p *policy.Policy) bool {
	return p.Action == policy.Pass || p.Mode == policy.Observe || !p.Expires.IsZero()
}

// features: groups first, then values of labels, then contested addresses.
func (s *spacer) labelFeature(value int) int { return len(s.m.Groups) + value }

// regroup makes the classes: all addresses with the same features and isolation.
func (s *spacer) regroup() {
	m := s.m
	used := make([]bool, len(m.Groups))
	for i := range m.Policies {
		for _, list := range [][]string{m.Policies[i].From, m.Policies[i].To} {
			for _, name := range list {
				if g, ok := m.b.groups[name]; ok {
					used[g] = true
				}
			}
		}
	}
	contestedFrom := len(m.Groups) + len(m.b.labels.sets)
	features := contestedFrom
	contested := map[int]int{}
	for i := range m.Classes {
		if len(m.rows[m.Classes[i].row]) > 1 {
			contested[i] = features
			features++
		}
	}
	index := map[string]int{}
	var runs [][]packet.Range
	for i := range m.Classes {
		c := &m.Classes[i]
		has := packet.NewBits(features)
		for _, g := range c.Groups {
			if used[g] {
				has.Set(g)
			}
		}
		c.values.Each(func(v int) { has.Set(s.labelFeature(v)) })
		if f, ok := contested[i]; ok {
			has.Set(f)
		}
		egress, ingress := m.isolation(i)
		key := has.Key() + string([]byte{bit(egress), bit(ingress)})
		n, ok := index[key]
		if !ok {
			n = len(s.l.Classes)
			index[key] = n
			s.l.Classes = append(s.l.Classes, LayoutClass{EgressIsolated: egress, IngressIsolated: ingress, rep: i})
			s.has = append(s.has, has)
			runs = append(runs, nil)
		}
		runs[n] = append(runs[n], c.Addrs.Runs()...)
	}
	for n := range runs {
		s.l.Classes[n].Addrs = packet.AddrRanges(runs[n])
	}
	s.count = make([]int, features)
	for _, has := range s.has {
		has.Each(func(f int) { s.count[f]++ })
	}
}

// listUnits lists the policies by their groups and says which classes are the
// ends of each.
func (s *spacer) listUnits() {
	m := s.m
	fromUnits := map[int][]int{}
	toUnits := map[int][]int{}
	for p := range m.Policies {
		if special(&m.Policies[p]) {
			continue
		}
		for _, f := range m.Policies[p].From {
			from, ok := m.b.groups[f]
			if !ok || s.count[from] == 0 {
				continue
			}
			for _, t := range m.Policies[p].To {
				to, ok := m.b.groups[t]
				if !ok || s.count[to] == 0 {
					continue
				}
				fromUnits[from] = append(fromUnits[from], len(s.units))
				toUnits[to] = append(toUnits[to], len(s.units))
				s.units = append(s.units, Unit{p, from, to})
			}
		}
	}
	ends := func(of map[int][]int) []packet.Bits {
		out := make([]packet.Bits, len(s.has))
		for c, has := range s.has {
			out[c] = packet.NewBits(len(s.units))
			has.Each(func(f int) {
				for _, u := range of[f] {
					out[c].Set(u)
				}
			})
		}
		return out
	}
	s.rows, s.cols = ends(fromUnits), ends(toUnits)
}

// keySet numbers the tuples of values that classes have in some dimensions.
type keySet struct {
	of   []int32 // class -> key
	reps []int32 // key -> a class that has it
}

func (s *spacer) keySet(dims []int) *keySet {
	name := fmt.Sprint(dims)
	if k, ok := s.keys[name]; ok {
		return k
	}
	k := &keySet{of: make([]int32, len(s.l.Classes))}
	index := make(map[uint64]int32, 1024)
	wide := map[string]int32{}
	// Tuples are packed into one number while they fit.
	bits := 0
	for _, d := range dims {
		bits += width(s.l.Dims[d].Values)
	}
	for c := range s.l.Classes {
		var n int32
		var ok bool
		if bits <= 64 {
			var key uint64
			for _, d := range dims {
				key = key<<width(s.l.Dims[d].Values) | uint64(s.l.Classes[c].Values[d])
			}
			if n, ok = index[key]; !ok {
				n = int32(len(k.reps))
				index[key] = n
			}
		} else {
			key := s.l.Classes[c].key(dims, false)
			if n, ok = wide[key]; !ok {
				n = int32(len(k.reps))
				wide[key] = n
			}
		}
		if !ok {
			k.reps = append(k.reps, int32(c))
		}
		k.of[c] = n
	}
	s.keys[name] = k
	s.work += len(s.l.Classes)
	return k
}

// width gives the bits that n values need.
func width(n int) int {
	w := 0
	for 1<<w < n {
		w++
	}
	return w
}

// whole collects the pairs that are judged whole, in a space of their own that
// comes before all others: those that a special policy concerns, and those of an
// address that several machines claim.
func (s *spacer) whole() error {
	m := s.m
	to := map[int]packet.Bits{} // special policy -> classes at its far end
	var specials []int
	for p := range m.Policies {
		if special(&m.Policies[p]) {
			specials = append(specials, p)
			to[p] = packet.NewBits(len(s.l.Classes))
		}
	}
	contested := packet.NewBits(len(s.l.Classes))
	anyContested := false
	for j := range s.l.Classes {
		col := m.cols[m.Classes[s.l.Classes[j].rep].col]
		if len(col) > 1 {
			contested.Set(j)
			anyContested = true
		}
		for _, view := range col {
			for _, p := range specials {
				if view.policies.Has(p) {
					to[p].Set(j)
				}
			}
		}
	}
	if len(specials) == 0 && !anyContested {
		return nil
	}
	families := familiesOf(s.l.Classes)
	contents := map[int]int32{}
	space := Space{Whole: true}
	for d := range s.l.Dims {
		space.RowDims = append(space.RowDims, d)
	}
	space.ColDims = space.RowDims
	cols := packet.NewBits(len(s.l.Classes))
	for i := range s.l.Classes {
		row := m.rows[m.Classes[s.l.Classes[i].rep].row]
		copy(cols, contested)
		if len(row) > 1 {
			for j := range s.l.Classes {
				cols.Set(j)
			}
		}
		for _, view := range row {
			for _, p := range specials {
				if view.policies.Has(p) {
					for w := range cols {
						cols[w] |= to[p][w]
					}
				}
			}
		}
		full := false
		cols.Each(func(j int) {
			if full || families[i]&families[j] == 0 {
				return
			}
			cell := m.CellID(s.l.Classes[i].rep, s.l.Classes[j].rep)
			id, ok := contents[cell]
			if !ok {
				id = int32(len(s.l.Contents))
				contents[cell] = id
				s.l.Contents = append(s.l.Contents, m.Cells[cell])
			}
			space.Entries = append(space.Entries, Entry{int32(i), int32(j), id})
			full = len(space.Entries) > s.b.Elements
		})
		if full {
			return &Refusal{Reason: fmt.Sprintf("policies that pass, observe or expire, and addresses that several machines claim, concern more than %d pairs of classes", s.b.Elements),
				Advice: fmt.Sprintf("let %s name fewer groups, or resolve the claims that `bulkhead assets` lists", s.specialNames(specials))}
		}
	}
	if len(space.Entries) > 0 {
		s.l.Spaces = append(s.l.Spaces, space)
	}
	return nil
}

func (s *spacer) specialNames(list []int) string {
	var names []string
	for i, p := range list {
		if i == 4 {
			names = append(names, fmt.Sprintf("and %d more", len(list)-i))
			break
		}
		names = append(names, fmt.Sprintf("%q", s.m.Policies[p].Name))
	}
	if len(names) == 0 {
		return "policies"
	}
	return "policies " + joinWords(names)
}

// emit writes the entries and contents of every space.
func (s *spacer) emit() error {
	families := familiesOf(s.l.Classes)
	byList := map[string]int32{}
	byCell := map[string]int32{}
	for i, c := range s.l.Contents {
		byCell[cellKey(c)] = int32(i)
	}
	total := 0
	for n := range s.order {
		nd := &s.order[n]
		space := Space{RowDims: nd.rowDims, ColDims: nd.colDims}
		nd.units.Each(func(u int) { space.Units = append(space.Units, s.units[u]) })
		err := s.eachPair(nd, func(src, dst int32, units packet.Bits) error {
			if families[src]&families[dst] == 0 && !s.meetSomewhere(nd, src, dst, families) {
				return nil
			}
			if total++; total > s.b.Elements {
				return s.tooMany(nd)
			}
			list := s.policiesOf(units)
			if len(list) == 0 {
				return nil
			}
			key := listKey(list)
			id, ok := byList[key]
			if !ok {
				cell := s.m.b.walker.partial(list)
				text := cellKey(cell)
				if id, ok = byCell[text]; !ok {
					id = int32(len(s.l.Contents))
					s.l.Contents = append(s.l.Contents, cell)
					byCell[text] = id
				}
				byList[key] = id
				for _, seg := range cell {
					o := &s.m.Outcomes[seg.Outcome]
					s.l.Sided = s.l.Sided || o.EgressOpen != o.IngressOpen
				}
			}
			space.Entries = append(space.Entries, Entry{src, dst, id})
			return nil
		})
		if err != nil {
			return err
		}
		s.l.Spaces = append(s.l.Spaces, space)
	}
	s.l.Sided = s.l.Sided || s.sidedPolicies()
	return nil
}

// sidedPolicies reports whether some plain policy judges one side only. Then a
// space can decide a side against which a later one decides.
func (s *spacer) sidedPolicies() bool {
	return slices.ContainsFunc(s.units, func(u Unit) bool { return s.m.Policies[u.Policy].Direction != policy.Both })
}

// meetSomewhere reports whether any two classes with these keys have a family in
// common: representatives alone may not.
func (s *spacer) meetSomewhere(nd *node, src, dst int32, families []uint8) bool {
	if nd.rowFam == nil {
		nd.rowFam, nd.colFam = s.keyFamilies(nd.rowDims, families), s.keyFamilies(nd.colDims, families)
	}
	return nd.rowFam[s.keySet(nd.rowDims).of[src]]&nd.colFam[s.keySet(nd.colDims).of[dst]] != 0
}

func (s *spacer) keyFamilies(dims []int, families []uint8) []uint8 {
	k := s.keySet(dims)
	out := make([]uint8, len(k.reps))
	for c, key := range k.of {
		out[key] |= families[c]
	}
	return out
}

// policiesOf lists the policies of some units, in order.
func (s *spacer) policiesOf(units packet.Bits) []int {
	var out []int
	units.Each(func(u int) {
		if p := s.units[u].Policy; len(out) == 0 || out[len(out)-1] != p {
			out = append(out, p)
		}
	})
	return out
}

func listKey(list []int) string {
	b := make([]byte, 0, 4*len(list))
	for _, n := range list {
		b = binary.LittleEndian.AppendUint32(b, uint32(n))
	}
	return string(b)
}

func cellKey(c Cell) string {
	var b []byte
	for _, s := range c {
		b = binary.BigEndian.AppendUint32(b, s.Span.Lo)
		b = binary.BigEndian.AppendUint32(b, uint32(s.Outcome))
	}
	return string(b)
}
