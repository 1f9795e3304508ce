package compile

import (
	"fmt"
	"net/netip"
	"slices"

	"bulkhead/inventory"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// Tracker follows to which class of a layout single addresses belong while assets
// change one at a time, so that a change costs what depends on it and not what
// the site has. Where a change asks for more than that, it says so by a *Recompile
// error, and the site has to be compiled anew.
//
// It holds the assets that it was given last. It is not safe for use by several
// goroutines.
type Tracker struct {
	l      *Layout
	groups []trackedGroup
	order  []int // groups whose members depend on more than assets, each after those that it is made of
	builtn [3]int
	labels *labelSpace

	assets  []trackedAsset
	byID    map[string]int32
	free    []int32                // places in assets of those that were removed
	hosts   map[netip.Addr][]int32 // the assets that hold it as a single address
	wide    *packet.Places         // prefixes of assets
	widely  [][]int32              // cell of wide -> assets
	gives   map[string][]int       // asset -> groups that list it
	excepts map[string][]int       // asset -> groups that leave it out

	placed map[string]int32 // groups and values -> place
	class  map[string]int32 // groups and values -> class of the matrix
	places []Placement
	family []uint8 // of addresses that a place is good for
	births *births // nil where a new class needs a new layout
	born   int     // classes that the layout did not know

	book      *policy.Rulebook
	has       []packet.Bits // place -> features; nil where one table holds all verdicts
	contested bool          // several machines claim some address

	in, direct, except, values packet.Bits // scratch
	key                        []byte
}

// Placement is what a device has to know of an address.
type Placement struct {
	Values                          []int32 // by dimension of the layout
	EgressIsolated, IngressIsolated bool
}

// Recompile says why a change cannot be followed address by address.
type Recompile struct{ Why string }

func (r *Recompile) Error() string { return "the site has to be compiled anew: " + r.Why }

type trackedGroup struct {
	prefixes, exceptPrefixes packet.Addrs
	groups, exceptGroups     []int
}

type trackedAsset struct {
	asset *inventory.Asset // nil if there is none any more
	gives []int            // groups that select or list it
}

// The built-in groups, by their places in Tracker.builtn.
const (
	builtAny = iota
	builtUnknown
	builtUnidentified
)

// NewTracker starts from what a layout was compiled from.
func NewTracker(in Input, l *Layout) (*Tracker, error) {
	m := l.View.Matrix
	if !l.View.transit {
		return nil, &Recompile{"a device without a transit point sees classes that depend on what it protects"}
	}
	t := &Tracker{l: l, book: in.Book, labels: m.b.labels, byID: map[string]int32{}, hosts: make(map[netip.Addr][]int32, len(in.Assets)),
		gives: map[string][]int{}, excepts: map[string][]int{}, placed: map[string]int32{}, class: map[string]int32{},
		in: packet.NewBits(len(m.Groups)), direct: packet.NewBits(len(m.Groups)), except: packet.NewBits(len(m.Groups)),
		values: packet.NewBits(len(m.b.labels.sets))}
	t.builtn = [3]int{-1, -1, -1}
	if err := t.readGroups(in.Book, m); err != nil {
		return nil, err
	}
	where := map[string][]int{}
	for name, ids := range in.Where {
		g, ok := m.b.groups[name]
		if !ok {
			continue
		}
		for _, id := range ids {
			where[id] = append(where[id], g)
		}
	}
	t.assets = make([]trackedAsset, 0, len(in.Assets))
	for i := range in.Assets {
		a := &in.Assets[i]
		t.byID[a.ID] = int32(i)
		t.assets = append(t.assets, trackedAsset{a, slices.Concat(where[a.ID], t.gives[a.ID])})
		for _, p := range a.Addresses {
			if p.IsSingleIP() {
				t.hosts[p.Addr()] = append(t.hosts[p.Addr()], int32(i))
			}
		}
	}
	t.placeWide()
	t.readClasses()
	return t, nil
}

func (t *Tracker) readGroups(book *policy.Rulebook, m *Matrix) error {
	numbers := func(names []string) []int {
		var out []int
		for _, n := range names {
			if g, ok := m.b.groups[n]; ok {
				out = append(out, g)
			}
		}
		return out
	}
	t.groups = make([]trackedGroup, len(m.Groups))
	deps := make([][]int, len(m.Groups))
	special := make([]bool, len(m.Groups))
	for i := range book.Groups {
		g := &book.Groups[i]
		n := m.b.groups[g.Name]
		switch g.Name {
		case policy.GroupAny:
			t.builtn[builtAny] = n
			continue
		case policy.GroupUnknown:
			t.builtn[builtUnknown] = n
			continue
		case policy.GroupUnidentified:
			t.builtn[builtUnidentified] = n
			continue
		}
		if used := slices.Concat(g.Groups, g.ExceptGroups); !m.hasGroups(used) {
			return &Recompile{fmt.Sprintf("group %q is made of built-in groups that the site does not list", g.Name)}
		}
		x := &t.groups[n]
		x.prefixes, x.exceptPrefixes = packet.AddrsOf(g.Prefixes...), packet.AddrsOf(g.ExceptPrefixes...)
		x.groups, x.exceptGroups = numbers(g.Groups), numbers(g.ExceptGroups)
		for _, id := range g.Members {
			t.gives[id] = append(t.gives[id], n)
		}
		for _, id := range g.ExceptAssets {
			t.excepts[id] = append(t.excepts[id], n)
		}
		special[n] = len(g.Prefixes)+len(g.ExceptPrefixes)+len(g.Groups)+len(g.ExceptGroups)+len(g.ExceptAssets) > 0
		deps[n] = slices.Concat(x.groups, x.exceptGroups)
	}
	seen := make([]bool, len(m.Groups))
	var visit func(g int)
	visit = func(g int) { // the rulebook has no cycles: it was compiled
		if seen[g] {
			return
		}
		seen[g] = true
		for _, d := range deps[g] {
			visit(d)
		}
		if special[g] {
			t.order = append(t.order, g)
		}
	}
	for g := range m.Groups {
		visit(g)
	}
	return nil
}

func (m *Matrix) hasGroups(names []string) bool {
	return !slices.ContainsFunc(names, func(n string) bool { _, ok := m.b.groups[n]; return !ok })
}

// placeWide indexes the prefixes that assets hold.
func (t *Tracker) placeWide() {
	var wide []netip.Prefix
	var owner []int32
	for i := range t.assets {
		for _, p := range t.assets[i].asset.Addresses {
			if !p.IsSingleIP() {
				wide, owner = append(wide, p), append(owner, int32(i))
			}
		}
	}
	if len(wide) == 0 {
		return
	}
	parts := packet.NewPartitioner(len(wide))
	for i, p := range wide {
		parts.AddPrefix(p, parts.List(i))
	}
	cells, places := parts.Locate()
	t.wide = places
	for i := range cells {
		var list []int32
		cells[i].In.Each(func(n int) { list = append(list, owner[n]) })
		t.widely = append(t.widely, list)
	}
}

// readClasses notes where addresses of every class are placed.
func (t *Tracker) readClasses() {
	m := t.l.View.Matrix
	index := map[string]int32{}
	for i := range t.l.Classes {
		c := &t.l.Classes[i]
		t.places = append(t.places, Placement{c.Values, c.EgressIsolated, c.IngressIsolated})
		t.family = append(t.family, familyBits(c.Addrs))
		index[t.l.classKey(c.rep)] = int32(i)
	}
	for i := range m.Classes {
		if m.Contested(i) {
			t.contested = true
			continue // such an address is never tracked
		}
		clear(t.in)
		for _, g := range m.Classes[i].Groups {
			t.in.Set(g)
		}
		if n, ok := index[t.l.classKey(i)]; ok {
			key := string(t.classBytes(t.in, m.Classes[i].values))
			t.placed[key], t.class[key] = n, int32(i)
		}
	}
	if !t.l.Single {
		t.births = newBirths(t.l)
		t.births.contested = t.contested
		t.has = slices.Clone(t.l.facts.has)
	}
}

// classBytes is equal for two addresses exactly if they have the same groups and
// values.
func (t *Tracker) classBytes(in, values packet.Bits) []byte {
	b := t.key[:0]
	for _, list := range []packet.Bits{in, values} {
		for _, w := range list {
			b = append(b, byte(w), byte(w>>8), byte(w>>16), byte(w>>24), byte(w>>32), byte(w>>40), byte(w>>48), byte(w>>56))
		}
	}
	t.key = b
	return b
}

// Set takes an asset's new state, with the groups whose `where` selects it, and
// returns the addresses that may have come to another class.
func (t *Tracker) Set(a *inventory.Asset, where []string) ([]netip.Addr, error) {
	if err := onlyHosts(a); err != nil {
		return nil, err
	}
	gives := slices.Clone(t.gives[a.ID])
	for _, name := range where {
		if g, ok := t.l.View.Matrix.b.groups[name]; ok {
			gives = append(gives, g)
		}
	}
	n, known := t.byID[a.ID]
	if !known {
		if last := len(t.free) - 1; last >= 0 {
			n, t.free = t.free[last], t.free[:last]
		} else {
			n = int32(len(t.assets))
			t.assets = append(t.assets, trackedAsset{})
		}
		t.byID[a.ID] = n
	}
	touched, err := t.take(n)
	if err != nil {
		return nil, err
	}
	t.assets[n] = trackedAsset{a, gives}
	for _, p := range a.Addresses {
		t.hosts[p.Addr()] = append(t.hosts[p.Addr()], n)
		touched = append(touched, p.Addr())
	}
	return sortedAddrs(touched), nil
}

// Remove forgets an asset, and returns the addresses that it held.
func (t *Tracker) Remove(id string) ([]netip.Addr, error) {
	n, ok := t.byID[id]
	if !ok {
		return nil, nil
	}
	touched, err := t.take(n)
	if err != nil {
		return nil, err
	}
	delete(t.byID, id)
	t.free = append(t.free, n)
	return sortedAddrs(touched), nil
}

// take takes an asset off its addresses.
func (t *Tracker) take(n int32) ([]netip.Addr, error) {
	old := t.assets[n].asset
	if old == nil {
		return nil, nil
	}
	if err := onlyHosts(old); err != nil {
		return nil, err
	}
	var touched []netip.Addr
	for _, p := range old.Addresses {
		addr := p.Addr()
		touched = append(touched, addr)
		if left := slices.DeleteFunc(t.hosts[addr], func(i int32) bool { return i == n }); len(left) > 0 {
			t.hosts[addr] = left
		} else {
			delete(t.hosts, addr)
		}
	}
	t.assets[n] = trackedAsset{}
	return touched, nil
}

func sortedAddrs(list []netip.Addr) []netip.Addr {
	slices.SortFunc(list, netip.Addr.Compare)
	return slices.Compact(list)
}

func onlyHosts(a *inventory.Asset) error {
	for _, p := range a.Addresses {
		if !p.IsSingleIP() {
			return &Recompile{fmt.Sprintf("asset %q holds the prefix %s", a.ID, p)}
		}
	}
	return nil
}

// Born counts the classes that were placed and that the layout did not know.
func (t *Tracker) Born() int { return t.born }

// Place says what a device has to know of an address now.
func (t *Tracker) Place(addr netip.Addr) (Placement, error) {
	if err := t.membership(addr); err != nil {
		return Placement{}, err
	}
	key := t.classBytes(t.in, t.values)
	family := uint8(2)
	if addr.Is4() {
		family = 1
	}
	n, known := t.placed[string(key)]
	switch {
	case known && t.family[n]&family != 0:
		return t.places[n], nil
	case t.births == nil:
		return Placement{}, &Recompile{fmt.Sprintf("no address of its family has had the groups of %s before", addr)}
	case known:
		if err := t.births.seen(&t.places[n], t.has[n], family); err != nil {
			return Placement{}, err
		}
		t.family[n] |= family
		return t.places[n], nil
	}
	text := string(key)
	p, has, err := t.births.place(t.in, t.values, family)
	if err != nil {
		return Placement{}, err
	}
	t.has = append(t.has, has)
	t.born++
	t.placed[text] = int32(len(t.places))
	t.places, t.family = append(t.places, p), append(t.family, family)
	return p, nil
}

// Class gives the class of the matrix that the layout is of to which an address belongs
// now; ok is false where there was none like it.
func (t *Tracker) Class(addr netip.Addr) (class int, ok bool) {
	if t.membership(addr) != nil {
		return 0, false
	}
	n, ok := t.class[string(t.classBytes(t.in, t.values))]
	return int(n), ok
}

// membership works out the groups and the compared values of an address, into
// t.in and t.values.
func (t *Tracker) membership(addr netip.Addr) error {
	clear(t.direct)
	clear(t.except)
	clear(t.values)
	held, identified, machines := false, false, 0
	hold := func(n int32) {
		x := &t.assets[n]
		held = true
		identified = identified || x.asset.Kind.Identifies()
		for _, g := range x.gives {
			t.direct.Set(g)
		}
		for _, g := range t.excepts[x.asset.ID] {
			t.except.Set(g)
		}
		for _, name := range t.labels.names {
			if v, ok := x.asset.Labels[name]; ok {
				if k, known := t.labels.value[[2]string{name, v}]; known {
					t.values.Set(k)
				} else {
					machines = -1 << 20 // see below
				}
			}
		}
	}
	for _, n := range t.hosts[addr] {
		hold(n)
		if t.assets[n].asset.Kind.ClaimsMachine() {
			machines++
		}
	}
	if t.wide != nil {
		for _, n := range t.widely[t.wide.Find(addr)] {
			hold(n)
		}
	}
	switch {
	case machines < 0:
		return &Recompile{fmt.Sprintf("%s carries a value of a compared label that no address had before", addr)}
	case machines > 1:
		return &Recompile{fmt.Sprintf("several machines claim %s", addr)}
	}
	copy(t.in, t.direct)
	for k, is := range [3]bool{builtAny: true, builtUnknown: !held, builtUnidentified: !identified} {
		if g := t.builtn[k]; g >= 0 && is {
			t.in.Set(g)
		}
	}
	for _, g := range t.order {
		x := &t.groups[g]
		has := func(n int) bool { return t.in.Has(n) }
		in := t.direct.Has(g) || x.prefixes.Contains(addr) || slices.ContainsFunc(x.groups, has)
		if in && (t.except.Has(g) || x.exceptPrefixes.Contains(addr) || slices.ContainsFunc(x.exceptGroups, has)) {
			in = false
		}
		if in {
			t.in.Set(g)
		} else {
			t.in.Clear(g)
		}
	}
	return nil
}
