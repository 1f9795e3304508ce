// Package meaning turns lists of matches into packet sets. The decoders of
// drivertest's simulated devices stand on it; their renderers must not import it.
package meaning

import (
	"fmt"
	"net/netip"
	"slices"

	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

// Match is one native rule: what it matches and what it does then. An empty set
// matches nothing.
type Match struct {
	Src, Dst             packet.Addrs
	Services             packet.Services
	SrcPortLo, SrcPortHi uint16
	Permit               bool
	Name                 string
}

// Table is a list in which the first match decides.
type Table struct {
	Point, Hook string
	Matches     []Match
	// Otherwise is what happens to packets that nothing matches, and Name says what
	// that is on the device.
	Otherwise bool
	Name      string
}

// Relations gives the table's meaning for first packets: one relation for each
// run of source ports that the matches tell apart.
func (t *Table) Relations() []driver.Relation {
	var out []driver.Relation
	for _, run := range t.runs() {
		out = append(out, t.relation(run[0], run[1]))
	}
	return out
}

func (t *Table) runs() [][2]uint16 {
	starts := []int{0}
	for i := range t.Matches {
		starts = append(starts, int(t.Matches[i].SrcPortLo), int(t.Matches[i].SrcPortHi)+1)
	}
	slices.Sort(starts)
	starts = slices.Compact(starts)
	var out [][2]uint16
	for i, lo := range starts {
		hi := 65535
		if i+1 < len(starts) {
			hi = starts[i+1] - 1
		}
		if lo <= 65535 {
			out = append(out, [2]uint16{uint16(lo), uint16(min(hi, 65535))})
		}
	}
	return out
}

// index is the matches that can match in one run of source ports, with the parts
// of the address space that they tell apart.
type index struct {
	matches  []*Match
	src, dst side
}

func (t *Table) relation(lo, hi uint16) driver.Relation {
	ix := &index{}
	for i := range t.Matches {
		if m := &t.Matches[i]; m.SrcPortLo <= lo && hi <= m.SrcPortHi {
			ix.matches = append(ix.matches, m)
		}
	}
	ix.src = newSide(ix.matches, func(m *Match) packet.Addrs { return m.Src })
	ix.dst = newSide(ix.matches, func(m *Match) packet.Addrs { return m.Dst })
	memo := map[[2]int]packet.Services{}
	s := driver.Situation{Point: t.Point, Hook: t.Hook, Tracking: driver.TrackNew, SrcPortLo: lo, SrcPortHi: hi}
	return driver.Relation{Situation: s, Src: ix.src.parts, Dst: ix.dst.parts,
		Permit: func(i, j int) packet.Services {
			key := [2]int{i, j}
			if p, ok := memo[key]; ok {
				return p
			}
			memo[key] = t.permit(ix, i, j)
			return memo[key]
		},
		Why: func(src, dst netip.Addr, service uint32) string { return t.why(ix, src, dst, service) },
	}
}

// permit walks the list for one pair of parts with all services at once.
func (t *Table) permit(ix *index, i, j int) packet.Services {
	var out packet.Services
	left := packet.AllServices()
	for k, m := range ix.matches {
		if !ix.src.has(i, k) || !ix.dst.has(j, k) {
			continue
		}
		if m.Permit {
			out = out.Union(left.Intersect(m.Services))
		}
		if left = left.Subtract(m.Services); left.IsEmpty() {
			return out
		}
	}
	if t.Otherwise {
		out = out.Union(left)
	}
	return out
}

func (t *Table) why(ix *index, src, dst netip.Addr, service uint32) string {
	for _, m := range ix.matches {
		if m.Src.Contains(src) && m.Dst.Contains(dst) && m.Services.Contains(service) {
			return m.Name
		}
	}
	return fmt.Sprintf("%s of %s", t.Name, t.Hook)
}

// side is one end's parts of the address space, and which match holds which part.
type side struct {
	parts []packet.Addrs
	in    []packet.Bits // part -> sets
	set   []int         // match -> its set; matches share equal sets
}

func newSide(ms []*Match, of func(*Match) packet.Addrs) side {
	s := side{set: make([]int, len(ms))}
	index := map[string]int{}
	var sets []packet.Addrs
	for k, m := range ms {
		key := key(of(m))
		n, ok := index[key]
		if !ok {
			n = len(sets)
			index[key] = n
			sets = append(sets, of(m))
		}
		s.set[k] = n
	}
	for _, c := range packet.Partition(sets) {
		s.parts, s.in = append(s.parts, c.Addrs), append(s.in, c.In)
	}
	return s
}

func (s *side) has(part, match int) bool { return s.in[part].Has(s.set[match]) }

// key is equal for equal sets.
func key(a packet.Addrs) string {
	var out []byte
	for _, r := range a.Runs() {
		from, to := r.From.As16(), r.To.As16()
		out = append(append(out, from[:]...), to[:]...)
	}
	return string(out)
}
