package compile

import "bulkhead/pkg/packet"

// What follows is what a proof asks of a matrix besides its cells: what classes are
// made of, and what some policies by themselves say.

// Isolation reports whether a class is isolated on its egress and on its ingress
// side.
func (m *Matrix) Isolation(class int) (egress, ingress bool) { return m.isolation(class) }

// Contested reports whether several machines claim the addresses of a class.
func (m *Matrix) Contested(class int) bool {
	c := &m.Classes[class]
	return len(m.rows[c.row]) > 1 || len(m.cols[c.col]) > 1
}

// Values are the values of compared labels that a class carries, as numbers that
// mean something within this matrix only.
func (m *Matrix) Values(class int) packet.Bits { return m.Classes[class].values }

// Relates reports whether a policy's `same` and `differ` hold between two classes.
func (m *Matrix) Relates(policy, src, dst int) bool {
	return m.b.labels.relates(&m.Policies[policy], m.Classes[src].values, m.Classes[dst].values)
}

// Partial is what some policies, given in walking order, decide by themselves: a
// side that none of them decides is open. None of them may pass, observe or expire.
// It is not safe for use by several goroutines.
func (m *Matrix) Partial(policies []int) Cell { return m.b.walker.partial(policies) }

// Layouts are those that were worked out for views of the matrix, the newest first.
// A proof takes them for hints: which policies a device may have put into which
// table.
func (m *Matrix) Layouts() []*Layout { return m.layouts }

// Hint takes over the layouts of another matrix of the same groups and policies, of
// other assets: a device may still have its tables by those.
func (m *Matrix) Hint(from *Matrix) { m.layouts = append(m.layouts, from.layouts...) }

// keepLayout remembers a layout as a hint.
func (m *Matrix) keepLayout(l *Layout) {
	const devices = 8 // more are asked for again
	m.layouts = append([]*Layout{l}, m.layouts[:min(len(m.layouts), devices-1)]...)
}

// CellOf returns the place in Cells of the verdicts of a row towards a column.
func (m *Matrix) CellOf(row, col int) int {
	if m.cells != nil {
		return int(m.cells[row*len(m.cols)+col])
	}
	return int(m.b.cell(m.rows[row], m.cols[col]))
}

// RowPolicies gives the policies that name the sources of a row, and whether
// several machines claim them.
func (m *Matrix) RowPolicies(row int) (policies packet.Bits, contested bool) {
	return m.policiesOf(m.rows[row])
}

// ColPolicies gives the policies that name the destinations of a column.
func (m *Matrix) ColPolicies(col int) (policies packet.Bits, contested bool) {
	return m.policiesOf(m.cols[col])
}

func (m *Matrix) policiesOf(p profile) (packet.Bits, bool) {
	if len(p) == 1 {
		return p[0].policies, false
	}
	out := packet.NewBits(len(m.Policies))
	for _, v := range p {
		for w := range out {
			out[w] |= v.policies[w]
		}
	}
	return out, true
}

// Hits lists the policies that name a pair, of an address that several machines
// claim those that name it as one of them.
func (m *Matrix) Hits(row, col int) []int {
	hit := packet.NewBits(len(m.Policies))
	for _, src := range m.rows[row] {
		for _, dst := range m.cols[col] {
			for w := range hit {
				both := src.policies[w] & dst.policies[w] &^ hit[w]
				for n := 64 * w; both != 0; n, both = n+1, both>>1 {
					if both&1 == 0 {
						continue
					}
					p := &m.Policies[n]
					if len(p.Same)+len(p.Differ) == 0 || m.b.labels.relates(p, src.values, dst.values) {
						hit.Set(n)
					}
				}
			}
		}
	}
	var out []int
	hit.Each(func(p int) { out = append(out, p) })
	return out
}

// LeftToIsolation reports whether nothing but isolation decides between a row and a
// column, with nothing to log or to end.
func (m *Matrix) LeftToIsolation(row, col int) bool {
	c := m.Cells[m.CellOf(row, col)]
	if len(c) != 1 || !m.Outcomes[c[0].Outcome].plain() {
		return false
	}
	egress, ingress := false, false
	for _, v := range m.rows[row] {
		egress = egress || v.isolated
	}
	for _, v := range m.cols[col] {
		ingress = ingress || v.isolated
	}
	return m.Outcomes[c[0].Outcome].Permit == (!egress && !ingress)
}

// Compared lists the labels that policies compare.
func (m *Matrix) Compared() []string { return m.b.labels.names }

// ValueBits gives values of compared labels as the numbers that Values gives; ok is
// not set if no class carries one of them.
func (m *Matrix) ValueBits(carried map[string][]string) (out packet.Bits, ok bool) {
	out = packet.NewBits(len(m.b.labels.sets))
	for label, values := range carried {
		for _, v := range values {
			n, known := m.b.labels.value[[2]string{label, v}]
			if !known {
				return out, false
			}
			out.Set(n)
		}
	}
	return out, true
}

// Profile gives the row and the column of addresses in these groups, given by
// their places in Groups, that carry these values and that one machine claims at
// most; -1 where no class has such.
func (m *Matrix) Profile(groups []int, values packet.Bits) (row, col int) {
	r, c := m.b.views(groups, values)
	return m.b.rows.find(&r), m.b.cols.find(&c)
}
