package compile

import "bulkhead/pkg/packet"

// Part is the matrix of some addresses: what Compile says of them, and nothing of any
// other. Only assets that hold one of them need be among the assets.
func Part(in Input, keep packet.Addrs) (*Matrix, error) {
	m, err := compileLazily(in)
	if err != nil {
		return nil, err
	}
	classes := m.Classes
	m.Classes, m.part = nil, make([]int32, len(classes))
	for i := range classes {
		m.part[i] = -1
		c := classes[i]
		if c.Addrs = c.Addrs.Intersect(keep); !c.Addrs.IsEmpty() {
			m.part[i] = int32(len(m.Classes))
			m.Classes = append(m.Classes, c)
		}
	}
	return m, nil
}
