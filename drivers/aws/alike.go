package aws

import (
	"fmt"
	"slices"
	"strings"

	"bulkhead/pkg/packet"
)

// alike is all that decides how flows of a pair of parts fare, beside hook and source port:
// pairs that have it in common are judged once. Parts are as many as classes of policy, and
// pairs of them are the square of that, but what tells pairs apart is little.
type alike struct {
	src, dst         int32 // kinds of parts
	cell, say, rules int32 // what policy says, what rules would say, and what they say
}

// pairing numbers what decides.
type pairing struct {
	e     *effects
	kinds []int32 // of each part
	ids   map[string]int32
	cells map[int]int32 // by cell of the matrix
	all   []alike       // by destination and source
	skip  []bool
}

// pairs looks at every pair once.
func (e *effects) pairs() *pairing {
	w := e.w
	p := &pairing{e: e, ids: map[string]int32{}, cells: map[int]int32{}, all: make([]alike, len(w.Parts)*len(w.Parts)), skip: make([]bool, len(w.Parts)*len(w.Parts))}
	for k := range w.Parts {
		p.kinds = append(p.kinds, p.number("kind "+e.kind(k)))
	}
	for dst := range w.Parts {
		for src := range w.Parts {
			at := dst*len(w.Parts) + src
			if w.Four(src) != w.Four(dst) || src == dst && w.Parts[src].Single() {
				p.skip[at] = true // families do not meet, and an address to itself always passes
				continue
			}
			p.all[at] = alike{p.kinds[src], p.kinds[dst], p.cell(src, dst), p.services(e.say(src, dst)), p.services(e.rules(src, dst))}
		}
	}
	return p
}

// of is what decides between two parts; ok is false where there is nothing to decide.
func (p *pairing) of(src, dst int) (a alike, ok bool) {
	at := dst*len(p.kinds) + src
	return p.all[at], !p.skip[at]
}

func (p *pairing) number(k string) int32 {
	n, ok := p.ids[k]
	if !ok {
		n = int32(len(p.ids))
		p.ids[k] = n
	}
	return n
}

func (p *pairing) services(s packet.Services) int32 { return p.number(s.String()) }

func (p *pairing) cell(src, dst int) int32 {
	id := p.e.w.CellID(src, dst)
	n, ok := p.cells[id]
	if !ok {
		n = p.services(p.e.w.Cell(src, dst))
		p.cells[id] = n
	}
	return n
}

// kind is what of a part matters beside the matrix: which points see it, whose failsafe
// flows it has part in, what AWS does with it, and in which VPCs interfaces hold it. All
// of these sets cut the parts (want.NewEnds, fixedSets), so that one address stands for all.
func (e *effects) kind(part int) string {
	a := e.w.Parts[part].First()
	out := fmt.Sprint(a.Is4(), e.w.Multicast(part), provided.Contains(a), dhcp4.Contains(a), dhcp6.Contains(a))
	for _, p := range e.w.Points {
		out += fmt.Sprint(" ", p.Protects.Contains(a))
		for _, f := range p.Failsafe {
			out += fmt.Sprint(" ", f.From.Contains(a), f.To.Contains(a))
		}
	}
	for i := range e.state.VPCs {
		out += fmt.Sprint(" ", e.dns[e.state.VPCs[i].ID].Contains(a))
	}
	var vpcs []string
	for _, u := range e.hold[part] {
		vpcs = append(vpcs, u.vpc)
	}
	slices.Sort(vpcs)
	return out + " held in " + strings.Join(slices.Compact(vpcs), " ")
}
