package compile

import (
	"fmt"
	"slices"
	"time"

	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// Amendment is a change of policies that the tables of a layout take as they stand:
// the groups, the classes and their places are the same, and so is which words tables
// look up. It says which entries of the tables have to be others.
type Amendment struct {
	// Matrix has the policies that are to be, and says what outcomes of Contents mean.
	// It has no cells of its own: where addresses have moved since a compile, none would
	// be right.
	Matrix *Matrix
	// Places are those that Pairs speak of.
	Places []Placement
	Pairs  []PairChange
	// Contents are what entries lead to, as in a Layout.
	Contents []Cell
	// Whole is set if the first table decides every service of its pairs.
	Whole bool
	// Changed are the policies that are gone and those that are new; one that is another
	// than it was is both.
	Changed []policy.Policy
	// Born is set where no policy has changed, and entries are for classes that no
	// address has had: nobody's flows find them yet.
	Born bool

	t      *Tracker
	layout *Layout
	book   *policy.Rulebook
	born   *birth
}

// PairChange is an entry of a table that a change of policies concerns: between two
// places by number, in both families. Content is -1 where there is to be none.
type PairChange struct {
	Space    int32
	Src, Dst int32
	Content  int32
}

// Amend works out what another rulebook makes of the tables. An error of type
// *Recompile says that the site has to be compiled anew: where groups are others, a
// policy names a group or compares a label that none did, passes, observes or expires,
// or fits none of the tables in the order of policies. Nothing is taken over before
// Take.
func (t *Tracker) Amend(book *policy.Rulebook, now time.Time) (*Amendment, error) {
	old := t.l.View.Matrix
	switch {
	case t.births == nil:
		return nil, &Recompile{"one table holds all verdicts"}
	case t.contested:
		return nil, &Recompile{"several machines claim an address"}
	case !policy.SameGroups(t.book.Groups, book.Groups):
		return nil, &Recompile{"groups have changed"}
	}
	var standing []policy.Policy
	for _, p := range book.Policies {
		if p.Expires.IsZero() || now.Before(p.Expires) {
			standing = append(standing, p)
		}
	}
	a := &Amendment{t: t, book: book}
	number, added, removed, err := differences(old.Policies, standing)
	if err != nil {
		return nil, err
	}
	m := &Matrix{Groups: old.Groups, Policies: standing, Classes: old.Classes, rows: old.rows, cols: old.cols, places: old.places}
	m.b = newBuilder(m, &Input{Book: book, Now: now}, m.Groups, old.b.labels)
	a.Matrix = m
	for _, n := range removed {
		a.Changed = append(a.Changed, old.Policies[n])
	}
	for _, n := range added {
		a.Changed = append(a.Changed, standing[n])
	}
	view := &View{Matrix: m, Classes: t.l.View.Classes, transit: true}
	l := *t.l
	l.View, l.kept, l.Contents, l.Spaces = view, nil, nil, slices.Clone(t.l.Spaces)
	a.layout, a.Places = &l, t.places
	a.Whole = len(l.Spaces) > 0 && l.Spaces[0].Whole
	touched, err := a.placeUnits(number, added, removed)
	if err != nil {
		return nil, err
	}
	a.pairs(touched, old)
	return a, nil
}

// samePolicy reports whether two policies say the same of the same flows. What a service
// is called is no part of it, nor is who asked for it.
func samePolicy(a, b *policy.Policy) bool {
	return a.Action == b.Action && a.Tier == b.Tier && a.Order == b.Order && a.Direction == b.Direction && a.Mode == b.Mode &&
		a.Log == b.Log && a.Expires.Equal(b.Expires) && slices.Equal(a.From, b.From) && slices.Equal(a.To, b.To) &&
		slices.Equal(a.Ranges, b.Ranges) && slices.Equal(a.Same, b.Same) && slices.Equal(a.Differ, b.Differ)
}

// differences tells by number which policies are new, which are gone, and which number
// those have that stay (-1 of those that are gone).
func differences(old, now []policy.Policy) (number, added, removed []int, err error) {
	byName := make(map[string]int, len(now))
	for i := range now {
		if _, twice := byName[now[i].Name]; twice {
			return nil, nil, nil, &Recompile{fmt.Sprintf("there are two policies %q", now[i].Name)}
		}
		byName[now[i].Name] = i
	}
	stays := make([]bool, len(now))
	last := -1
	for i := range old {
		n, ok := byName[old[i].Name]
		if !ok || stays[n] || !samePolicy(&old[i], &now[n]) {
			number, removed = append(number, -1), append(removed, i)
			continue
		}
		if n < last { // the entries of others would change with it
			return nil, nil, nil, &Recompile{"policies stand in another order"}
		}
		last, stays[n] = n, true
		number = append(number, n)
	}
	for n := range now {
		if !stays[n] {
			added = append(added, n)
		}
	}
	return number, added, removed, nil
}

// Layout is that of the policies that are to be: the same classes and tables, without
// entries.
func (a *Amendment) Layout() *Layout { return a.layout }

// Hint adds the layout of the policies that are to be to the hints of a matrix of the
// same groups and policies.
func (a *Amendment) Hint(m *Matrix) { m.layouts = append(m.layouts, a.t.hintOf(a.layout)) }

// Hint is that of an Amendment, for what the tracker goes by.
func (t *Tracker) Hint(m *Matrix) { m.layouts = append(m.layouts, t.hintOf(t.l)) }

// hintOf leaves the table out that decides everything where no policy needs it any
// more: a device whose table is empty does not ask it.
func (t *Tracker) hintOf(l *Layout) *Layout {
	out := *l
	out.kept = nil
	if len(out.Spaces) > 0 && out.Spaces[0].Whole && !t.contested && !slices.ContainsFunc(l.View.Matrix.Policies, func(p policy.Policy) bool { return special(&p) }) {
		out.Spaces = out.Spaces[1:]
	}
	return &out
}

// Policies are those that the tracker's tables hold.
func (t *Tracker) Policies() []policy.Policy { return t.l.View.Matrix.Policies }

// Take goes by an amendment from here on. It must be one of the tracker's, with nothing
// changed since.
func (t *Tracker) Take(a *Amendment) {
	if a.born != nil {
		t.takeBirth(a.born)
		return
	}
	t.l, t.book = a.layout, a.book
	t.births.policies(a.layout)
}

// valuesOf gives the values of compared labels among features.
func (t *Tracker) valuesOf(has packet.Bits) packet.Bits {
	out := packet.NewBits(len(t.labels.sets))
	from := len(t.l.View.Matrix.Groups)
	for v := range t.labels.sets {
		if has.Has(from + v) {
			out.Set(v)
		}
	}
	return out
}
