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

// profiles numbers distinct profiles. They are kept end to end as words, each view as
// its policies, its values and whether it is isolated: a site has tens of thousands of
// them, and each would be several small pieces of memory, and a text to find it by.
type profiles struct {
	index            interner[uint64]
	policies, values int // words of a view's sets
}

// write adds a view to a profile in the making.
func (p *profiles) write(out []uint64, v *view) []uint64 {
	out = append(append(out, v.policies...), v.values...)
	return append(out, uint64(bit(v.isolated)))
}

// find gives the number of a profile of one view, -1 if there is none.
func (p *profiles) find(v *view) int {
	return int(p.index.find(p.write(make([]uint64, 0, p.policies+p.values+1), v)))
}

// list gives all profiles. None may be added after that.
func (p *profiles) list() []profile {
	p.index.clip()
	width := p.policies + p.values + 1
	all := make([]view, len(p.index.data)/width)
	out := make([]profile, p.index.len())
	for n := range out {
		words := p.index.at(int32(n))
		views := len(words) / width
		out[n] = all[:views:views]
		all = all[views:]
		for i := range out[n] {
			at := words[i*width:][:width]
			out[n][i] = view{packet.Bits(at[:p.policies:p.policies]), packet.Bits(at[p.policies : width-1 : width-1]), at[width-1] == 1}
		}
	}
	return out
}

// builder fills a matrix.
type builder struct {
	m      *Matrix
	in     *Input
	labels *labelSpace
	from   []packet.Bits // group -> policies that have it in From
	to     []packet.Bits // group -> policies that have it in To
	rows   profiles
	cols   profiles
	groups map[string]int

	walker   *walker
	contents map[string]int32 // pair of views -> cell
	cellKeys map[string]int32
	hit      packet.Bits
}

func newBuilder(m *Matrix, in *Input, groups []GroupSet, labels *labelSpace) *builder {
	b := &builder{m: m, in: in, labels: labels,
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

// addClasses makes the classes, one of each cell of the partition.
func (b *builder) addClasses(cells []packet.Cell, groupsAndLabels int, contested []packet.Addrs) error {
	m := b.m
	// All classes share one block of memory for what they are in, and one for the
	// values: one piece for each class would be more work than all else.
	in, words := 0, len(packet.NewBits(len(b.labels.sets)))
	for i := range cells {
		in += cells[i].In.Len()
	}
	groups, values := make([]int, 0, in), make(packet.Bits, words*len(cells))
	policies := len(packet.NewBits(len(m.Policies)))
	b.rows = profiles{policies: policies, values: words}
	b.cols = profiles{policies: policies, values: words}
	b.rows.index.reserve(len(cells), policies+words+1)
	b.cols.index.reserve(len(cells), policies+words+1)
	m.Classes = make([]Class, 0, len(cells))
	row, col := view{policies: make(packet.Bits, policies)}, view{policies: make(packet.Bits, policies)}
	var key []uint64
	for i := range cells {
		class := Class{Addrs: cells[i].Addrs, values: values[:words:words]}
		values = values[words:]
		contest, from := -1, len(groups)
		cells[i].In.Each(func(i int) {
			switch {
			case i < len(m.Groups):
				groups = append(groups, i)
			case i < groupsAndLabels:
				class.values.Set(i - len(m.Groups))
			default:
				contest = i - groupsAndLabels
			}
		})
		if len(groups) > from {
			class.Groups = groups[from:len(groups):len(groups)]
		}
		rows, cols := profile{}, profile{}
		if contest >= 0 {
			var err error
			if rows, cols, err = b.contestedViews(contested[contest]); err != nil {
				return err
			}
		} else {
			b.look(class.Groups, class.values, &row, &col)
		}
		class.row = b.rows.number(&key, &row, rows)
		class.col = b.cols.number(&key, &col, cols)
		m.Classes = append(m.Classes, class)
	}
	m.rows, m.cols = b.rows.list(), b.cols.list()
	return nil
}

// number numbers several views of one address or, if there are none, the one view.
func (p *profiles) number(key *[]uint64, one *view, several profile) int {
	*key = (*key)[:0]
	if len(several) == 0 {
		*key = p.write(*key, one)
	}
	for i := range several {
		*key = p.write(*key, &several[i])
	}
	n, _ := p.index.number(*key)
	return int(n)
}

func (b *builder) views(groups []int, values packet.Bits) (row, col view) {
	row.policies, col.policies = packet.NewBits(len(b.m.Policies)), packet.NewBits(len(b.m.Policies))
	b.look(groups, values, &row, &col)
	return row, col
}

// look is views, in the memory of two that are there.
func (b *builder) look(groups []int, values packet.Bits, row, col *view) {
	clear(row.policies)
	clear(col.policies)
	row.values, col.values = values, values
	row.isolated, col.isolated = false, false
	for _, g := range groups {
		for w, word := range b.from[g] {
			row.policies[w] |= word
		}
		for w, word := range b.to[g] {
			col.policies[w] |= word
		}
		row.isolated = row.isolated || b.m.Groups[g].Isolate.Egress()
		col.isolated = col.isolated || b.m.Groups[g].Isolate.Ingress()
	}
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
