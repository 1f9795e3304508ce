package compile

import "bulkhead/pkg/packet"

// Part is the matrix of what some addresses may open to some others: what Compile says
// of flows from src to dst, and nothing of any other. Only assets that hold one of the
// addresses need be among the assets.
func Part(in Input, src, dst packet.Addrs) (*Matrix, error) {
	m, err := compileLazily(in)
	if err != nil {
		return nil, err
	}
	both := src.Intersect(dst)
	ends := []packet.Addrs{src.Subtract(both), dst.Subtract(both), both}
	asked := [][2]bool{{true, false}, {false, true}, {true, true}}
	classes := make([]packet.Addrs, len(m.Classes))
	for i := range classes {
		classes[i] = m.Classes[i].Addrs
	}
	all := m.Classes
	m.Classes, m.asked, m.places = nil, [][2]bool{}, nil
	for _, j := range packet.Join(classes, ends) {
		c := all[j.A]
		c.Addrs = j.Addrs
		m.Classes, m.asked = append(m.Classes, c), append(m.asked, asked[j.B])
	}
	return m, nil
}

// Asked reports whether the matrix says what a class may open, or with dst what may be
// opened to it.
func (m *Matrix) Asked(class int, dst bool) bool {
	return m.asked == nil || m.asked[class][bit(dst)]
}

// AskedOf reports whether the matrix says anything of flows of a family.
func (m *Matrix) AskedOf(four bool) bool {
	if m.asked == nil {
		return true
	}
	family := uint8(2)
	if four {
		family = 1
	}
	src, dst := false, false
	for c := range m.Classes {
		if familyBits(m.Classes[c].Addrs)&family != 0 {
			src, dst = src || m.asked[c][0], dst || m.asked[c][1]
		}
	}
	return src && dst
}

// Partly reports whether the matrix is a part: its addresses stand for others too.
func (m *Matrix) Partly() bool { return m.asked != nil }
