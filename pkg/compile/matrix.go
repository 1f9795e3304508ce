package compile

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"bulkhead/inventory"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// Input is what a matrix is compiled from.
type Input struct {
	Assets []inventory.Asset
	Book   *policy.Rulebook
	// Where lists, for each group with a `where`, the assets that it selects.
	Where map[string][]string
	Now   time.Time
}

// Class is an equivalence class of addresses: all that belong to exactly the
// same groups and carry the same values of the labels that policies compare.
type Class struct {
	Addrs  packet.Addrs
	Groups []int // indexes into Matrix.Groups, ascending
	// row and col are the places in the shared rows and columns.
	row, col int
	values   packet.Bits // of compared labels
}

// Matrix says what every class may open to every other. Rows and columns are
// shared by classes that no policy tells apart on that side; cells are shared
// wherever they are equal.
type Matrix struct {
	Groups   []GroupSet
	Policies []policy.Policy // those not expired, in walking order
	Classes  []Class
	Outcomes []Outcome
	Cells    []Cell // distinct contents

	rows, cols []profile
	cells      []int32 // rows x cols, indexes into Cells; nil where they are worked out when asked for
	places     *packet.Places
	asked      [][2]bool // class -> as a source, as a destination; nil for all. See Part
	b          *builder
	layouts    []*Layout // see Layouts

	using sync.Mutex // see Exclusive
}

// Exclusive calls f while nobody else who asks for that works with the matrix. Cells,
// layouts and what policies say by themselves are worked out when they are first asked
// for, so that a matrix that several goroutines share must be used inside of this:
// those who plan for devices, prove them, or answer questions meanwhile. Calls do not
// nest.
func (m *Matrix) Exclusive(f func()) {
	m.using.Lock()
	defer m.using.Unlock()
	f()
}

// denseCells is up to how many pairs of rows and columns are worked out at once.
// A real estate has hundreds of millions, of which most are alike.
const denseCells = 1 << 20

// Cell is one pair's verdicts: runs that cover the whole service line, sorted,
// neighbours with different outcomes.
type Cell []Segment

// Segment gives the outcome of one run of the service line.
type Segment struct {
	Span    packet.Span
	Outcome int // index into Matrix.Outcomes
}

// Compile works out the matrix. The only errors are references that cannot be
// resolved, which a loaded site has none of.
func Compile(in Input) (*Matrix, error) {
	m, err := compileLazily(in)
	if err == nil && len(m.rows)*len(m.cols) <= denseCells {
		m.b.fill()
	}
	return m, err
}

// compileLazily leaves cells to be worked out when they are asked for.
func compileLazily(in Input) (*Matrix, error) {
	m := &Matrix{}
	for _, p := range in.Book.Policies {
		if p.Expires.IsZero() || in.Now.Before(p.Expires) {
			m.Policies = append(m.Policies, p)
		}
	}
	groups, err := newResolver(&in, nil).groups()
	if err != nil {
		return nil, fmt.Errorf("cannot resolve groups: %w", err)
	}
	m.Groups = groups

	labels := newLabelSpace(&in, m.Policies, nil)
	contested := claims(in.Assets)
	sets := make([]packet.Addrs, 0, len(groups)+len(labels.sets)+len(contested))
	for _, g := range groups {
		sets = append(sets, g.Addrs)
	}
	sets = append(sets, labels.sets...)
	sets = append(sets, contested...)
	cells, places := packet.Locate(sets)

	b := newBuilder(m, &in, groups, labels)
	if err := b.addClasses(cells, len(groups)+len(labels.sets), contested); err != nil {
		return nil, err
	}
	m.b, m.places = b, places // a cell has the number of its class
	return m, nil
}

// Cell returns the verdicts of one class towards another.
func (m *Matrix) Cell(src, dst int) Cell {
	id := m.CellID(src, dst) // may make the cell
	return m.Cells[id]
}

// CellID returns the place in Cells of one class's verdicts towards another. It is
// not safe for use by several goroutines: a large matrix works cells out when they
// are asked for.
func (m *Matrix) CellID(src, dst int) int {
	r, c := m.Classes[src].row, m.Classes[dst].col
	if m.cells != nil {
		return int(m.cells[r*len(m.cols)+c])
	}
	return int(m.b.cell(m.rows[r], m.cols[c]))
}

// Row and Col give the shared row and column of a class: two classes with the
// same ones cannot be told apart by any verdict.
func (m *Matrix) Row(class int) int { return m.Classes[class].row }

// Col gives the shared column of a class.
func (m *Matrix) Col(class int) int { return m.Classes[class].col }

// Rows and Cols count the distinct rows and columns.
func (m *Matrix) Rows() int { return len(m.rows) }

// Cols counts the distinct columns.
func (m *Matrix) Cols() int { return len(m.cols) }

// ClassOf finds the class of an address; -1 if the matrix is of a part of the
// addresses and says nothing of this one.
func (m *Matrix) ClassOf(addr netip.Addr) int {
	if m.places == nil { // a part: a few addresses, asked for where a proof fails
		return slices.IndexFunc(m.Classes, func(c Class) bool { return c.Addrs.Contains(addr) })
	}
	return m.places.Find(addr)
}

// Verdict returns the outcome of one flow. Flows of an address to itself and
// loopback flows always pass and are not the matrix's business.
func (m *Matrix) Verdict(src, dst netip.Addr, service uint32) *Outcome {
	return &m.Outcomes[m.Cell(m.ClassOf(src), m.ClassOf(dst)).At(service)]
}

// At returns the outcome at one point of the line.
func (c Cell) At(service uint32) int {
	i, _ := slices.BinarySearchFunc(c, service, func(s Segment, p uint32) int {
		if s.Span.Hi < p {
			return -1
		}
		if p < s.Span.Lo {
			return 1
		}
		return 0
	})
	return c[i].Outcome
}

// Services collects the services of a cell whose outcome satisfies want.
func (m *Matrix) Services(c Cell, want func(*Outcome) bool) packet.Services {
	var out packet.Services
	for _, s := range c {
		if !want(&m.Outcomes[s.Outcome]) {
			continue
		}
		if n := len(out); n > 0 && out[n-1].Hi+1 == s.Span.Lo {
			out[n-1].Hi = s.Span.Hi
			continue
		}
		out = append(out, s.Span)
	}
	return out
}

// Permitted returns what one class may open to another.
func (m *Matrix) Permitted(src, dst int) packet.Services {
	return m.Services(m.Cell(src, dst), func(o *Outcome) bool { return o.Permit })
}

// GroupNames names the groups of a class.
func (m *Matrix) GroupNames(class int) []string {
	out := make([]string, 0, len(m.Classes[class].Groups))
	for _, g := range m.Classes[class].Groups {
		out = append(out, m.Groups[g].Name)
	}
	return out
}

// GroupAddrs returns the addresses of a group.
func (m *Matrix) GroupAddrs(name string) (packet.Addrs, bool) {
	for _, g := range m.Groups {
		if g.Name == name {
			return g.Addrs, true
		}
	}
	return packet.Addrs{}, false
}
