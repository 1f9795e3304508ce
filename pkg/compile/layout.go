package compile

import (
	"fmt"
	"slices"

	"bulkhead/pkg/packet"
)

// Bounds say how much a device's lookup tables may hold.
type Bounds struct {
	// Pairs is up to how many pairs of classes one table holds all verdicts.
	Pairs int
	// Spaces bounds the lookups of pairs that one new packet may need.
	Spaces int
	// Elements bounds the pairs of all spaces together.
	Elements int
	// Bits bounds a class's word.
	Bits int
	// SpaceCost is what one more lookup is worth in pairs: tables cost little, and
	// every new packet pays for a lookup.
	SpaceCost int
	// Shard bounds the single addresses of one table, where the device spreads more
	// over several; 0 stands for the device's own bound.
	Shard int
}

// DefaultBounds are those of a device that looks words of 28 bits up in hash
// tables.
func DefaultBounds() Bounds {
	return Bounds{Pairs: 1 << 16, Spaces: 8, Elements: 1 << 20, Bits: 28, SpaceCost: 30_000}
}

// Layout says in which tables a device looks up pairs of classes, so that there
// are few lookups and few entries.
//
// Every class is a tuple of values, one for each dimension: a cluster of groups
// of which each value says which ones hold the class. A space is a table for some
// of the policies; its keys are some dimensions of the source and some of the
// destination. A packet asks the spaces in order until both sides have decided;
// what none decides goes by the isolation of the two classes.
//
// With few pairs there is one dimension, the class itself, and one space that
// decides everything.
type Layout struct {
	View    *View
	Classes []LayoutClass
	Dims    []Dim
	Spaces  []Space
	// Contents are what entries lead to. In a space that is not Whole a segment's
	// outcome may leave a side open.
	Contents []Cell
	// Sided is set if some outcome decides one side only, so that a device must
	// remember which.
	Sided bool
	// Single is set where the layout is one table of all pairs.
	Single bool

	facts *layoutFacts // nil where Single
	kept  any          // see Keep
}

// Keep holds on to what somebody worked out of the layout and its matrix, for as long
// as the layout lives: the next point, or the next run on the same matrix, need not do
// it again. It is not safe for use by several goroutines.
func (l *Layout) Keep(what any) { l.kept = what }

// Kept is what was kept last.
func (l *Layout) Kept() any { return l.kept }

// LayoutClass is a set of addresses with one word.
type LayoutClass struct {
	Addrs  packet.Addrs
	Values []int32 // by dimension
	// EgressIsolated and IngressIsolated give what happens to flows out of and into
	// the class that no space decides.
	EgressIsolated, IngressIsolated bool

	rep int // a class of the matrix
}

// Dim is one dimension. Its values are 0 to Values-1.
type Dim struct {
	Groups []int // indexes into Matrix.Groups
	Values int
}

// Space is one table.
type Space struct {
	// RowDims and ColDims are the dimensions of the source and of the destination
	// that make up its keys.
	RowDims, ColDims []int
	// Whole is set if an entry decides every service, the default included.
	Whole   bool
	Entries []Entry
	// Units are the policies that the space judges, in order; empty where Whole.
	Units []Unit
}

// Unit is a policy from one of its groups to one of its groups.
type Unit struct{ Policy, From, To int }

// Entry leads from the words of two classes to contents. Src and Dst are classes
// of the layout that stand for all with the same values in the space's
// dimensions.
type Entry struct {
	Src, Dst int32
	Content  int32
}

// Refusal says why no layout fits the bounds, and what would help.
type Refusal struct {
	Reason string
	Advice string
}

func (r *Refusal) Error() string { return r.Reason + "; " + r.Advice }

// Layout works the layout out, once for each bounds. The only errors are of type
// *Refusal.
func (v *View) Layout(b Bounds) (*Layout, error) {
	if v.layout != nil && v.layoutFor == b {
		return v.layout, v.layoutErr
	}
	l, err := newLayout(v, b)
	if err == nil {
		v.Matrix.keepLayout(l)
	}
	v.layout, v.layoutErr, v.layoutFor = l, err, b
	return l, err
}

// Current is the layout that was worked out last; nil if there is none.
func (v *View) Current() *Layout { return v.layout }

func newLayout(v *View, b Bounds) (*Layout, error) {
	if single, ok := singleSpace(v, b); ok {
		return single, nil
	}
	return classSpaces(v, b)
}

// familiesOf tells which families a class has addresses of: 1 is IPv4, 2 IPv6.
// Packets between two classes need one in common.
func familiesOf(classes []LayoutClass) []uint8 {
	out := make([]uint8, len(classes))
	for i := range classes {
		out[i] = familyBits(classes[i].Addrs)
	}
	return out
}

func familyBits(a packet.Addrs) uint8 {
	runs := a.Runs()
	if len(runs) == 0 {
		return 0
	}
	var out uint8
	if runs[0].From.Is4() {
		out |= 1
	}
	if !runs[len(runs)-1].From.Is4() {
		out |= 2
	}
	return out
}

// Stats sums a layout up.
type Stats struct {
	Classes  int `json:"classes"`
	Dims     int `json:"dimensions"`
	Spaces   int `json:"spaces"`
	Pairs    int `json:"pairs"`
	Contents int `json:"rulesets"`
}

// Stats counts what a layout holds.
func (l *Layout) Stats() Stats {
	s := Stats{Classes: len(l.Classes), Dims: len(l.Dims), Spaces: len(l.Spaces), Contents: len(l.Contents)}
	for i := range l.Spaces {
		s.Pairs += len(l.Spaces[i].Entries)
	}
	return s
}

// SrcKey gives what the space looks up of a source of this class. Where it decides
// the default too, that includes the class's isolation.
func (s *Space) SrcKey(c *LayoutClass) string { return c.key(s.RowDims, s.Whole) }

// DstKey gives what the space looks up of a destination of this class.
func (s *Space) DstKey(c *LayoutClass) string { return c.key(s.ColDims, s.Whole) }

func (c *LayoutClass) key(dims []int, whole bool) string {
	b := make([]byte, 0, 4*len(dims)+1)
	if whole {
		b = append(b, bit(c.EgressIsolated)<<1|bit(c.IngressIsolated))
	}
	for _, d := range dims {
		v := c.Values[d]
		b = append(b, byte(v), byte(v>>8), byte(v>>16), byte(v>>24))
	}
	return string(b)
}

// DimNames names the groups of a dimension, a few of them.
func (l *Layout) DimNames(d int) string {
	var names []string
	for _, g := range l.Dims[d].Groups {
		if len(names) == 3 {
			names = append(names, fmt.Sprintf("and %d more", len(l.Dims[d].Groups)-3))
			break
		}
		names = append(names, fmt.Sprintf("%q", l.View.Matrix.Groups[g].Name))
	}
	return joinWords(names)
}

func joinWords(words []string) string {
	out := ""
	for i, w := range words {
		switch {
		case i == 0:
		case i == len(words)-1 && len(w) > 4 && w[:4] == "and ":
			out += " "
		default:
			out += ", "
		}
		out += w
	}
	return out
}

func union(a, b []int) []int {
	out := append(slices.Clone(a), b...)
	slices.Sort(out)
	return slices.Compact(out)
}
