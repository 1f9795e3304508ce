package compile

import (
	"encoding/binary"
	"fmt"
	"slices"

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

// builder fills a matrix.
type builder struct {
	m      *Matrix
	in     *Input
	labels *labelSpace
	from   []packet.Bits // group -> policies that have it in From
	to     []packet.Bits // group -> policies that have it in To
	groups map[string]int

	// The distinct rows and columns, while classes are added: the views of a profile
	// one after the other, each its policies, its values and whether it is isolated.
	rows, cols       interner[uint64]
	rowKey, colKey   []uint64
	policies, values int // words of a view's policies and of its values

	walker   *walker
	contents interner[uint64] // what decides between two views: policies, and who is isolated
	cellOf   []int32          // contents -> cell
	cellKeys map[string]int32
	hit      []uint64 // contents in the making
}

func newBuilder(m *Matrix, in *Input, groups []GroupSet, labels *labelSpace) *builder {
	b := &builder{m: m, in: in, labels: labels, groups: map[string]int{}, cellKeys: map[string]int32{}}
	b.policies, b.values = len(packet.NewBits(len(m.Policies))), len(packet.NewBits(len(labels.sets)))
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
	b.hit = make([]uint64, b.policies+1)
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
	b.rowKey, b.colKey = b.rowKey[:0], b.colKey[:0]
	if contest < 0 {
		b.addViews(class.Groups, values)
	} else if err := b.contestedViews(contested[contest]); err != nil {
		return err
	}
	row, _ := b.rows.number(b.rowKey)
	col, _ := b.cols.number(b.colKey)
	class.row, class.col = int(row), int(col)
	b.m.Classes = append(b.m.Classes, class)
	return nil
}

// addViews appends what groups and values make of one end to the keys of the row
// and of the column in hand.
func (b *builder) addViews(groups []int, values packet.Bits) {
	row, rowAt := grown(b.rowKey, b.policies)
	col, colAt := grown(b.colKey, b.policies)
	var egress, ingress bool
	for _, g := range groups {
		from, to := b.from[g], b.to[g]
		for w := range rowAt {
			rowAt[w] |= from[w]
			colAt[w] |= to[w]
		}
		egress = egress || b.m.Groups[g].Isolate.Egress()
		ingress = ingress || b.m.Groups[g].Isolate.Ingress()
	}
	b.rowKey = append(append(row, values...), uint64(bit(egress)))
	b.colKey = append(append(col, values...), uint64(bit(ingress)))
}

// grown appends n zeros to a list, and returns it with them.
func grown(list []uint64, n int) (all, zeros []uint64) {
	at := len(list)
	all = slices.Grow(list, n)[:at+n]
	clear(all[at:])
	return all, all[at:]
}

// expect makes room for the rows and columns of so many classes: nearly every class
// of a large site has some of its own.
func (b *builder) expect(classes int) {
	size := classes * (b.policies + b.values + 1)
	b.rows.data, b.cols.data = make([]uint64, 0, size), make([]uint64, 0, size)
	b.m.Classes = make([]Class, 0, classes)
}

// profiles gives the rows and columns that were found to the matrix.
func (b *builder) profiles() {
	b.m.rows, b.m.cols = b.profilesOf(&b.rows), b.profilesOf(&b.cols)
	b.rows, b.cols = interner[uint64]{}, interner[uint64]{}
}

func (b *builder) profilesOf(list *interner[uint64]) []profile {
	if 2*len(list.data) < cap(list.data) {
		list.data = slices.Clone(list.data)
	}
	width := b.policies + b.values + 1
	views := make([]view, 0, len(list.data)/width)
	out := make([]profile, list.len())
	for n := range out {
		from := len(views)
		for key := list.at(int32(n)); len(key) > 0; key = key[width:] {
			end := b.policies + b.values
			views = append(views, view{packet.Bits(key[:b.policies:b.policies]), packet.Bits(key[b.policies:end:end]), key[end] != 0})
		}
		out[n] = views[from:len(views):len(views)]
	}
	return out
}

// contestedViews resolves the groups of a contested address once for each
// machine that claims it, as if the others did not.
func (b *builder) contestedViews(addr packet.Addrs) error {
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
			return fmt.Errorf("cannot resolve groups of %s: %w", addr, err)
		}
		var member []int
		for g := range groups {
			if groups[g].Addrs.Contains(addr.First()) {
				member = append(member, g)
			}
		}
		b.addViews(member, b.contestedValues(addr, without))
	}
	return nil
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
	hit := packet.Bits(b.hit[:b.policies])
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
	b.hit[b.policies] = uint64(bit(src.isolated)<<1 | bit(dst.isolated))
	n, isNew := b.contents.number(b.hit)
	if !isNew {
		return b.cellOf[n]
	}
	var list []int
	hit.Each(func(i int) { list = append(list, i) })
	id := b.internCell(b.walker.cell(list, src.isolated, dst.isolated))
	b.cellOf = append(b.cellOf, id)
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
