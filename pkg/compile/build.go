package compile

import (
	"encoding/binary"
	"fmt"

	"bulkhead/pkg/packet"
)

// profile is all that a verdict can depend on at one end of a flow: the policies
// that name a group of the address at that end, the values of compared labels,
// and whether the end is isolated. An address that several machines claim has
// one view for each; all others have one in all.
type profile []view

type view struct {
	policies packet.Bits
	values   packet.Bits
	isolated bool
}

func (p profile) key() string {
	var out []byte
	for _, v := range p {
		k := v.policies.Key() + v.values.Key()
		out = binary.BigEndian.AppendUint32(out, uint32(len(k)))
		out = append(out, k...)
		if v.isolated {
			out = append(out, 1)
		} else {
			out = append(out, 0)
		}
	}
	return string(out)
}

// builder fills a matrix.
type builder struct {
	m      *Matrix
	in     *Input
	labels *labelSpace
	from   []packet.Bits // group -> policies that have it in From
	to     []packet.Bits // group -> policies that have it in To
	rows   map[string]int
	cols   map[string]int
	groups map[string]int

	walker   *walker
	contents map[string]int32 // pair of views -> cell
	cellKeys map[string]int32
	hit      packet.Bits
}

func newBuilder(m *Matrix, in *Input, groups []GroupSet, labels *labelSpace) *builder {
	b := &builder{m: m, in: in, labels: labels, rows: map[string]int{}, cols: map[string]int{},
		groups: map[string]int{}, contents: map[string]int32{}, cellKeys: map[string]int32{}}
	b.from = make([]packet.Bits, len(groups))
	b.to = make([]packet.Bits, len(groups))
	for i, g := range groups {
		b.groups[g.Name] = i
		b.from[i] = packet.NewBits(len(m.Policies))
		b.to[i] = packet.NewBits(len(m.Policies))
	}
	for i, p := range m.Policies {
		for _, g := range p.From {
			if n, ok := b.groups[g]; ok {
				b.from[n].Set(i)
			}
		}
		for _, g := range p.To {
			if n, ok := b.groups[g]; ok {
				b.to[n].Set(i)
			}
		}
	}
	b.walker = newWalker(m)
	b.hit = packet.NewBits(len(m.Policies))
	return b
}

// addClass makes a class of one cell of the partition.
func (b *builder) addClass(c packet.Cell, groupsAndLabels int, contested []packet.Addrs) error {
	values := packet.NewBits(len(b.labels.sets))
	class := Class{Addrs: c.Addrs, values: values}
	contest := -1
	c.In.Each(func(i int) {
		switch {
		case i < len(b.m.Groups):
			class.Groups = append(class.Groups, i)
		case i < groupsAndLabels:
			values.Set(i - len(b.m.Groups))
		default:
			contest = i - groupsAndLabels
		}
	})
	row, col := b.views(class.Groups, values)
	rows, cols := profile{row}, profile{col}
	if contest >= 0 {
		var err error
		if rows, cols, err = b.contestedViews(contested[contest]); err != nil {
			return err
		}
	}
	class.row = intern(b.rows, &b.m.rows, rows)
	class.col = intern(b.cols, &b.m.cols, cols)
	b.m.Classes = append(b.m.Classes, class)
	return nil
}

func (b *builder) views(groups []int, values packet.Bits) (row, col view) {
	row = view{policies: packet.NewBits(len(b.m.Policies)), values: values}
	col = view{policies: packet.NewBits(len(b.m.Policies)), values: values}
	for _, g := range groups {
		for w := range row.policies {
			row.policies[w] |= b.from[g][w]
			col.policies[w] |= b.to[g][w]
		}
		row.isolated = row.isolated || b.m.Groups[g].Isolate.Egress()
		col.isolated = col.isolated || b.m.Groups[g].Isolate.Ingress()
	}
	return row, col
}

// contestedViews resolves the groups of a contested address once for each
// machine that claims it, as if the others did not.
func (b *builder) contestedViews(addr packet.Addrs) (rows, cols profile, err error) {
	names := claimants(b.in.Assets, addr)
	for i := range names {
		without := map[string]bool{}
		for j, other := range names {
			if j != i {
				without[other] = true
			}
		}
		groups, err := newResolver(b.in, without).groups()
		if err != nil {
			return nil, nil, fmt.Errorf("cannot resolve groups of %s: %w", addr, err)
		}
		var member []int
		for g := range groups {
			if groups[g].Addrs.Contains(addr.First()) {
				member = append(member, g)
			}
		}
		row, col := b.views(member, b.contestedValues(addr, without))
		rows, cols = append(rows, row), append(cols, col)
	}
	return rows, cols, nil
}

func (b *builder) contestedValues(addr packet.Addrs, without map[string]bool) packet.Bits {
	values := packet.NewBits(len(b.labels.sets))
	for i := range b.in.Assets {
		a := &b.in.Assets[i]
		if without[a.ID] || !packet.AddrsOf(a.Addresses...).Contains(addr.First()) {
			continue
		}
		for _, name := range b.labels.names {
			if v, ok := a.Labels[name]; ok {
				values.Set(b.labels.value[[2]string{name, v}])
			}
		}
	}
	return values
}

func intern(index map[string]int, list *[]profile, p profile) int {
	key := p.key()
	if i, ok := index[key]; ok {
		return i
	}
	index[key] = len(*list)
	*list = append(*list, p)
	return len(*list) - 1
}

// fill works out every cell.
func (b *builder) fill() {
	m := b.m
	m.cells = make([]int32, len(m.rows)*len(m.cols))
	for r, row := range m.rows {
		for c, col := range m.cols {
			m.cells[r*len(m.cols)+c] = b.cell(row, col)
		}
	}
}

func (b *builder) cell(row, col profile) int32 {
	if len(row) == 1 && len(col) == 1 {
		return b.pair(row[0], col[0])
	}
	var all []int32
	for _, src := range row {
		for _, dst := range col {
			all = append(all, b.pair(src, dst))
		}
	}
	for len(all) > 1 {
		all = append([]int32{b.strictest(all[0], all[1])}, all[2:]...)
	}
	return all[0]
}

// pair works out the cell of two views.
func (b *builder) pair(src, dst view) int32 {
	hit := b.hit
	for w := range hit {
		hit[w] = src.policies[w] & dst.policies[w]
	}
	if len(b.labels.names) > 0 {
		hit.Each(func(i int) {
			p := &b.m.Policies[i]
			if (len(p.Same) > 0 || len(p.Differ) > 0) && !b.labels.relates(p, src.values, dst.values) {
				hit.Clear(i)
			}
		})
	}
	key := append([]byte(hit.Key()), bit(src.isolated)<<1|bit(dst.isolated))
	if id, ok := b.contents[string(key)]; ok {
		return id
	}
	var list []int
	hit.Each(func(i int) { list = append(list, i) })
	id := b.internCell(b.walker.cell(list, src.isolated, dst.isolated))
	b.contents[string(key)] = id
	return id
}

func (b *builder) internCell(c Cell) int32 {
	var key []byte
	for _, s := range c {
		key = binary.BigEndian.AppendUint32(key, s.Span.Lo)
		key = binary.BigEndian.AppendUint32(key, uint32(s.Outcome))
	}
	if id, ok := b.cellKeys[string(key)]; ok {
		return id
	}
	id := int32(len(b.m.Cells))
	b.cellKeys[string(key)] = id
	b.m.Cells = append(b.m.Cells, c)
	return id
}

// strictest combines what two machines that claim one address may do: permitted
// is what both may.
func (b *builder) strictest(x, y int32) int32 {
	var out Cell
	a, c := b.m.Cells[x], b.m.Cells[y]
	for i, j := 0, 0; i < len(a) && j < len(c); {
		outcome := b.walker.strictest(a[i].Outcome, c[j].Outcome)
		out = appendSegment(out, packet.Span{Lo: max(a[i].Span.Lo, c[j].Span.Lo), Hi: min(a[i].Span.Hi, c[j].Span.Hi)}, outcome)
		// Where both end at one point both go on: a run that stays behind would give an
		// empty, inverted segment.
		end := min(a[i].Span.Hi, c[j].Span.Hi)
		if a[i].Span.Hi == end {
			i++
		}
		if c[j].Span.Hi == end {
			j++
		}
	}
	return b.internCell(out)
}

func appendSegment(c Cell, span packet.Span, outcome int) Cell {
	if n := len(c); n > 0 && c[n-1].Outcome == outcome && c[n-1].Span.Hi+1 == span.Lo {
		c[n-1].Span.Hi = span.Hi
		return c
	}
	return append(c, Segment{span, outcome})
}

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}
