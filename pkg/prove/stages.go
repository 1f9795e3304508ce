package prove

import (
	"encoding/binary"
	"fmt"
	"slices"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// A large site is not compared pair by pair: 20,000 classes have 400 million. A
// device judges it by a few tables in turn, each of which knows some of the
// policies, and so does the proof:
//
//  1. Every policy is in a table, for each pair of its groups; and a table that is
//     asked earlier holds none whose place in the order is later than that of one in
//     a later table, if the two could disagree on a flow. Then what the tables say in
//     turn is what the first match in the order of policies says. (stagesOf)
//  2. What each table looks up of an address tells which of its policies name the
//     address; and every entry says what exactly those policies decide, and a pair
//     without entry has none. (walk)
//  3. What no table decides goes by isolation. (defaults)
//
// Which policies are in which table is taken from a hint. A hint that is wrong makes
// one of the three fail, and never a device proved that is not.

// stage is the policy side of one table.
type stage struct {
	whole bool // an entry decides every service of a pair
	units []compile.Unit
	// row and col give, for each class, the number of what the table must know of it as
	// a source and as a destination; rowUnits and colUnits give the units of a number,
	// rowRep and colRep a class that has it.
	row, col           []int32
	rowUnits, colUnits []packet.Bits
	rowRep, colRep     []int32

	from, to           map[int][]int // group -> units that name it
	related            packet.Bits   // units that compare labels
	rowIndex, colIndex map[string]int32
}

// stages are the policy sides of all tables, in the order of asking.
type stages struct {
	m        *compile.Matrix
	list     []stage
	single   bool // the one table decides everything
	contents map[string]compile.Cell
	cuts     map[cut][]split // see splits
}

// maxKept bounds what stages remember of cells from one proof to the next.
const maxKept = 1 << 17

func (s *stages) trim() {
	if len(s.contents)+len(s.cuts) > maxKept {
		s.contents, s.cuts = map[string]compile.Cell{}, map[cut][]split{}
	}
}

// special reports whether a policy does what cannot be judged apart from the
// policies around it.
func special(p *policy.Policy) bool {
	return p.Action == policy.Pass || p.Mode == policy.Observe || !p.Expires.IsZero()
}

// undivided reports whether some pairs of a matrix cannot be judged by some policies at
// a time: a special policy may name them, or several machines claim an address.
func undivided(m *compile.Matrix) bool {
	for i := range m.Policies {
		if special(&m.Policies[i]) {
			return true
		}
	}
	for c := range m.Classes {
		if m.Contested(c) {
			return true
		}
	}
	return false
}

// stagesOf works the policy side out for a hint, or says why the hint is none.
func stagesOf(m *compile.Matrix, hint *compile.Layout) (*stages, error) {
	s := &stages{m: m, single: hint.Single, contents: map[string]compile.Cell{}, cuts: map[cut][]split{}}
	group := map[string]int{}
	for i := range m.Groups {
		group[m.Groups[i].Name] = i
	}
	members := make([]packet.Bits, len(m.Groups)) // group -> classes
	for g := range members {
		members[g] = packet.NewBits(len(m.Classes))
	}
	for c := range m.Classes {
		for _, g := range m.Classes[c].Groups {
			members[g].Set(c)
		}
	}
	for k := range hint.Spaces {
		sp := &hint.Spaces[k]
		if sp.Whole && k > 0 || hint.Single && (k > 0 || !sp.Whole) {
			return nil, fmt.Errorf("table %d is said to decide everything, and is not the first", k+1)
		}
		st := stage{whole: sp.Whole, units: slices.Clone(sp.Units)}
		if !sp.Whole {
			for _, u := range sp.Units {
				p := &m.Policies[u.Policy]
				if special(p) || !slices.Contains(p.From, m.Groups[u.From].Name) || !slices.Contains(p.To, m.Groups[u.To].Name) {
					return nil, fmt.Errorf("table %d is said to hold policy %q, and cannot", k+1, p.Name)
				}
			}
			slices.SortStableFunc(st.units, func(a, b compile.Unit) int { return a.Policy - b.Policy })
			s.sign(&st)
		}
		s.list = append(s.list, st)
	}
	if s.single {
		return s, nil
	}
	if (len(s.list) == 0 || !s.list[0].whole) && undivided(m) {
		// No table of the device decides these pairs: what it does with them is held
		// against policy all the same.
		s.list = append([]stage{{whole: true}}, s.list...)
	}
	if err := s.complete(group, members); err != nil {
		return nil, err
	}
	return s, s.ordered(members)
}

// complete checks that every policy is in a table for every pair of its groups.
func (s *stages) complete(group map[string]int, members []packet.Bits) error {
	have := map[compile.Unit]bool{}
	for i := range s.list {
		for _, u := range s.list[i].units {
			have[u] = true
		}
	}
	empty := make([]bool, len(members))
	for g := range members {
		empty[g] = !slices.ContainsFunc(members[g], func(w uint64) bool { return w != 0 })
	}
	for i := range s.m.Policies {
		p := &s.m.Policies[i]
		if special(p) {
			continue // judged whole, see undivided
		}
		for _, f := range p.From {
			for _, t := range p.To {
				from, okF := group[f]
				to, okT := group[t]
				if okF && okT && !empty[from] && !empty[to] && !have[compile.Unit{Policy: i, From: from, To: to}] {
					return fmt.Errorf("no table holds policy %q from %q to %q", p.Name, f, t)
				}
			}
		}
	}
	return nil
}

// ordered checks that asking the tables in turn keeps the order of policies wherever
// it matters: where a policy stands before another one that is asked earlier, both
// name some flow, both judge a side of it, and one allows what the other denies.
func (s *stages) ordered(members []packet.Bits) error {
	m := s.m
	ranges := make([]packet.Services, len(m.Policies))
	for i := range m.Policies {
		ranges[i] = packet.ServicesOf(m.Policies[i].Ranges)
	}
	met := map[[2]int]bool{}
	meet := func(a, b int) bool {
		if a == b {
			return true
		}
		key := [2]int{min(a, b), max(a, b)}
		v, ok := met[key]
		if !ok {
			for w := range members[a] {
				v = v || members[a][w]&members[b][w] != 0
			}
			met[key] = v
		}
		return v
	}
	// The units of later tables, by what they do: only others can disagree.
	var later [2][]compile.Unit
	kind := func(u compile.Unit) int {
		if m.Policies[u.Policy].Action == policy.Allow {
			return 0
		}
		return 1
	}
	for k := len(s.list) - 1; k >= 0; k-- {
		for _, u := range s.list[k].units {
			pu := &m.Policies[u.Policy]
			for _, v := range later[1-kind(u)] {
				if v.Policy > u.Policy {
					continue
				}
				pv := &m.Policies[v.Policy]
				sided := pu.Direction != policy.Both && pv.Direction != policy.Both && pu.Direction != pv.Direction
				if !sided && meet(u.From, v.From) && meet(u.To, v.To) && len(ranges[u.Policy].Intersect(ranges[v.Policy])) > 0 {
					return fmt.Errorf("policy %q stands before %q, and its table is asked later", pv.Name, pu.Name)
				}
			}
		}
		for _, u := range s.list[k].units {
			later[kind(u)] = append(later[kind(u)], u)
		}
	}
	return nil
}

// sign numbers what a table must know of each class: the units that name it, and
// its values of the labels that those compare.
func (s *stages) sign(st *stage) {
	m := s.m
	st.from, st.to = map[int][]int{}, map[int][]int{}
	for n, u := range st.units {
		st.from[u.From], st.to[u.To] = append(st.from[u.From], n), append(st.to[u.To], n)
	}
	st.related = packet.NewBits(len(st.units))
	for n, u := range st.units {
		if p := &m.Policies[u.Policy]; len(p.Same)+len(p.Differ) > 0 {
			st.related.Set(n)
		}
	}
	number := func(by map[int][]int) (of []int32, units []packet.Bits, reps []int32, index map[string]int32) {
		index = map[string]int32{}
		of = make([]int32, len(m.Classes))
		has := packet.NewBits(len(st.units))
		var key []byte
		for c := range m.Classes {
			key = st.signature(key[:0], has, by, m.Classes[c].Groups, m.Values(c))
			id, ok := index[string(key)]
			if !ok {
				id = int32(len(units))
				index[string(key)] = id
				units, reps = append(units, has.Clone()), append(reps, int32(c))
			}
			of[c] = id
		}
		return of, units, reps, index
	}
	st.row, st.rowUnits, st.rowRep, st.rowIndex = number(st.from)
	st.col, st.colUnits, st.colRep, st.colIndex = number(st.to)
}

// signature says what a table must know of addresses in some groups: the units that
// name them, into has, and their values if one of these compares any.
func (st *stage) signature(key []byte, has packet.Bits, by map[int][]int, groups []int, values packet.Bits) []byte {
	clear(has)
	for _, g := range groups {
		for _, n := range by[g] {
			has.Set(n)
		}
	}
	compares := false
	for w, word := range has {
		key = binary.LittleEndian.AppendUint64(key, word)
		compares = compares || word&st.related[w] != 0
	}
	if compares {
		for _, word := range values {
			key = binary.LittleEndian.AppendUint64(key, word)
		}
	}
	return key
}

// numberOf is the number of addresses in some groups; ok is not set where no class
// has it.
func (st *stage) numberOf(col bool, groups []int, values packet.Bits) (n int32, ok bool) {
	by, index := st.from, st.rowIndex
	if col {
		by, index = st.to, st.colIndex
	}
	n, ok = index[string(st.signature(nil, packet.NewBits(len(st.units)), by, groups, values))]
	return n, ok
}

// policies lists those of a table that name a pair of numbers, in order.
func (s *stages) policies(st *stage, row, col int32) []int {
	var out []int
	r, c := st.rowUnits[row], st.colUnits[col]
	for w := range r {
		both := r[w] & c[w]
		for n := 64 * w; both != 0; n, both = n+1, both>>1 {
			if both&1 == 0 {
				continue
			}
			p := st.units[n].Policy
			if len(out) > 0 && out[len(out)-1] == p {
				continue
			}
			if pp := &s.m.Policies[p]; len(pp.Same)+len(pp.Differ) == 0 || s.m.Relates(p, int(st.rowRep[row]), int(st.colRep[col])) {
				out = append(out, p)
			}
		}
	}
	return out
}

// content is what some policies decide.
func (s *stages) content(list []int) compile.Cell {
	key := make([]byte, 0, 4*len(list))
	for _, p := range list {
		key = binary.LittleEndian.AppendUint32(key, uint32(p))
	}
	c, ok := s.contents[string(key)]
	if !ok {
		c = s.m.Partial(list)
		s.contents[string(key)] = c
	}
	return c
}
