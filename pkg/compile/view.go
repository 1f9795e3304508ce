package compile

import (
	"encoding/binary"

	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// View is the part of a matrix that the points of one device see together:
// classes merged where none of them can tell two apart.
type View struct {
	Matrix  *Matrix
	Classes []ViewClass
	transit bool

	layout    *Layout
	layoutErr error
	layoutFor Bounds
}

// ViewClass is a set of addresses that the device treats alike.
type ViewClass struct {
	Addrs packet.Addrs
	rep   int // a class of the matrix that stands for all merged ones
	src   bool
	dst   bool
	// EgressIsolated and IngressIsolated give what happens to flows out of and into
	// the class that no policy decides.
	EgressIsolated, IngressIsolated bool
}

// NewView projects the matrix onto points that share one device.
func NewView(m *Matrix, points []Point) *View {
	v := &View{Matrix: m}
	var protects, multicast packet.Addrs
	for i := range points {
		v.transit = v.transit || points[i].Transit
		if points[i].Endpoint && !points[i].Protects.IsEmpty() {
			protects = protects.Union(points[i].Protects)
		}
		if points[i].Endpoint {
			multicast = Multicast()
		}
	}
	if v.transit {
		v.merge()
		return v
	}
	cut := packet.PartitionAddrs([]packet.Addrs{protects, multicast})
	classes := make([]packet.Addrs, len(m.Classes))
	for i := range m.Classes {
		classes[i] = m.Classes[i].Addrs
	}
	joints := packet.Join(classes, cut)
	index := map[string]int{}
	var inner []int // classes of the matrix with addresses inside
	seen := map[int]bool{}
	for _, j := range joints {
		if src, dst := v.inside(j.Addrs, protects, multicast); (src || dst) && !seen[j.A] {
			seen[j.A] = true
			inner = append(inner, j.A)
		}
	}
	parts := [][]packet.Range{}
	for _, j := range joints {
		src, dst := v.inside(j.Addrs, protects, multicast)
		key := v.key(j.A, src, dst, inner)
		n, ok := index[key]
		if !ok {
			n = len(v.Classes)
			index[key] = n
			row, col := m.isolation(j.A)
			v.Classes = append(v.Classes, ViewClass{rep: j.A, src: src, dst: dst, EgressIsolated: row, IngressIsolated: col})
			parts = append(parts, nil)
		}
		parts[n] = append(parts[n], j.Addrs.Runs()...)
	}
	for i := range v.Classes {
		v.Classes[i].Addrs = packet.AddrRanges(parts[i])
	}
	return v
}

// merge makes the classes of a device that sees everything: those of the matrix,
// joined where no verdict tells them apart.
func (v *View) merge() {
	m := v.Matrix
	var index interner[int32]
	of := make([]int32, len(m.Classes))
	v.Classes = make([]ViewClass, 0, len(m.Classes))
	for i := range m.Classes {
		egress, ingress := m.isolation(i)
		n, isNew := index.number([]int32{int32(m.Row(i)), int32(m.Col(i)), int32(bit(egress)<<1 | bit(ingress))})
		if isNew {
			v.Classes = append(v.Classes, ViewClass{rep: i, src: true, dst: true, EgressIsolated: egress, IngressIsolated: ingress})
		}
		of[i] = n
	}
	for n, list := range listed(of, index.len()) {
		v.Classes[n].Addrs = m.addrsOf(list)
	}
}

func (v *View) inside(a, protects, multicast packet.Addrs) (src, dst bool) {
	// A group address is no source of flows, but a packet that claims so may come,
	// and its answer would be judged.
	first := a.First()
	in := protects.Contains(first) || multicast.Contains(first)
	return in, in
}

// key is equal for two classes exactly if the device cannot tell them apart.
func (v *View) key(class int, src, dst bool, inner []int) string {
	row, col := v.Matrix.isolation(class)
	key := []byte{bit(src), bit(dst), bit(row), bit(col)}
	if src || dst {
		key = binary.BigEndian.AppendUint32(key, uint32(v.Matrix.Row(class)))
		return string(binary.BigEndian.AppendUint32(key, uint32(v.Matrix.Col(class))))
	}
	for _, in := range inner {
		key = binary.BigEndian.AppendUint32(key, uint32(v.Matrix.CellID(class, in)))
		key = binary.BigEndian.AppendUint32(key, uint32(v.Matrix.CellID(in, class)))
	}
	return string(key)
}

// Judged reports whether the device judges flows between the two classes.
func (v *View) Judged(src, dst int) bool {
	return v.Classes[src].src || v.Classes[dst].dst
}

// Cell returns the verdicts between two classes of the view.
func (v *View) Cell(src, dst int) Cell { return v.Matrix.Cell(v.Classes[src].rep, v.Classes[dst].rep) }

// CellID returns the place of those verdicts in Matrix.Cells.
func (v *View) CellID(src, dst int) int {
	return v.Matrix.CellID(v.Classes[src].rep, v.Classes[dst].rep)
}

// IsDefault reports whether the cell is nothing but the default that the two
// classes' isolation gives.
func (v *View) IsDefault(src, dst int) bool {
	c := v.Cell(src, dst)
	o := &v.Matrix.Outcomes[c[0].Outcome]
	permit := !v.Classes[src].EgressIsolated && !v.Classes[dst].IngressIsolated
	return len(c) == 1 && o.plain() && o.Permit == permit
}

// plain reports whether the outcome is a default with nothing to tell.
func (o *Outcome) plain() bool {
	return o.Egress == Default && o.Ingress == Default && !o.Log && !o.Differs && o.Deadline.IsZero()
}

// isolation reports whether a class is isolated on its egress and ingress sides.
func (m *Matrix) isolation(class int) (egress, ingress bool) {
	for _, v := range m.rows[m.Classes[class].row] {
		egress = egress || v.isolated
	}
	for _, v := range m.cols[m.Classes[class].col] {
		ingress = ingress || v.isolated
	}
	return egress, ingress
}

// Label names an outcome for counters and logs: the policy that decides, or the
// default.
func (m *Matrix) Label(o *Outcome) string {
	if p := m.Decider(o); p != nil {
		return string(p.Action) + " " + p.Name
	}
	if o.Permit {
		return "default permit"
	}
	return "default deny"
}

// Decider returns the policy under which an outcome is counted: for a drop the
// one on the side that drops, for a permit the one on the egress side or else the
// ingress side; nil for a default.
func (m *Matrix) Decider(o *Outcome) *policy.Policy {
	pick := Default
	for _, i := range []int{o.Egress, o.Ingress} {
		if i == Default {
			continue
		}
		if o.Permit == (m.Policies[i].Action == policy.Allow) {
			pick = i
			break
		}
	}
	if pick == Default {
		return nil
	}
	return &m.Policies[pick]
}
