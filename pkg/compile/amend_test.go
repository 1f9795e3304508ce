package compile_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"bulkhead/internal/tries"
	"bulkhead/inventory"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/policy/policytest"
)

// tables are a layout's tables, kept up by amendments as a device keeps them.
type tables struct {
	l       *compile.Layout
	entries []map[string]told
}

type told struct {
	m    *compile.Matrix
	cell compile.Cell
}

func newTables(l *compile.Layout) *tables {
	x := &tables{l: l}
	for i := range l.Spaces {
		s := &l.Spaces[i]
		entries := map[string]told{}
		for _, e := range s.Entries {
			entries[s.SrcKey(&l.Classes[e.Src])+"|"+s.DstKey(&l.Classes[e.Dst])] = told{l.View.Matrix, l.Contents[e.Content]}
		}
		x.entries = append(x.entries, entries)
	}
	return x
}

func classAt(p compile.Placement) *compile.LayoutClass {
	return &compile.LayoutClass{Values: p.Values, EgressIsolated: p.EgressIsolated, IngressIsolated: p.IngressIsolated}
}

// amend takes an amendment's entries over.
func (x *tables) amend(a *compile.Amendment) {
	for _, c := range a.Pairs {
		s := &x.l.Spaces[c.Space]
		key := s.SrcKey(classAt(a.Places[c.Src])) + "|" + s.DstKey(classAt(a.Places[c.Dst]))
		if c.Content < 0 {
			delete(x.entries[c.Space], key)
		} else {
			x.entries[c.Space][key] = told{a.Matrix, a.Contents[c.Content]}
		}
	}
}

// permits walks the tables as a device does.
func (x *tables) permits(src, dst compile.Placement, service uint32) bool {
	egress, ingress := false, false // already allowed
	for i := range x.l.Spaces {
		s := &x.l.Spaces[i]
		is, ok := x.entries[i][s.SrcKey(classAt(src))+"|"+s.DstKey(classAt(dst))]
		if !ok {
			continue
		}
		o := &is.m.Outcomes[is.cell.At(service)]
		if s.Whole {
			return o.Permit
		}
		allows := func(p int) bool { return is.m.Policies[p].Action == policy.Allow }
		if !egress && !o.EgressOpen {
			if egress = allows(o.Egress); !egress {
				return false
			}
		}
		if !ingress && !o.IngressOpen {
			if ingress = allows(o.Ingress); !ingress {
				return false
			}
		}
		if egress && ingress {
			return true
		}
	}
	return (egress || !src.EgressIsolated) && (ingress || !dst.IngressIsolated)
}

// amended is a world whose assets and policies change.
type amended struct {
	tracked
	tables *tables
	number int // of the next policy

	amended int
	whole   map[string]int
}

func (x *amended) compile(t *rapid.T) bool {
	if !x.tracked.compile(t) {
		return false
	}
	x.tables = newTables(x.layout)
	x.extend = x.tables.amend
	return true
}

// check holds every pair of addresses against the reference evaluator.
func (x *amended) check(t *rapid.T, what string) {
	addrs, services := x.addresses(), policytest.Services(x.w)
	for _, src := range addrs {
		for _, dst := range addrs {
			if src == dst || src.Is4() != dst.Is4() {
				continue
			}
			for _, s := range services {
				f := policy.Flow{Src: src, Dst: dst, Proto: uint8(s[0]), Num: s[1]}
				if want, got := x.w.Decide(f).Permit, x.tables.permits(x.place(t, src), x.place(t, dst), packet.Point(f.Proto, f.Num)); want != got {
					t.Fatalf("%s: %+v: by the tables %v, Decide %v", what, f, got, want)
				}
			}
		}
	}
}

// policies changes some policies, or lets time pass.
func (x *amended) policies(t *rapid.T, o policytest.Options) (what string, ok bool) {
	book := *x.w.Book
	book.Policies = slices.Clone(book.Policies)
	for range rapid.IntRange(1, 2).Draw(t, "policies changed") {
		n := len(book.Policies)
		switch kind := rapid.IntRange(0, 3).Draw(t, "kind"); {
		case kind == 0 && n > 0:
			at := rapid.IntRange(0, n-1).Draw(t, "policy")
			what += "without " + book.Policies[at].Name + " "
			book.Policies = slices.Delete(book.Policies, at, at+1)
		case kind == 1 && n > 0:
			p := &book.Policies[rapid.IntRange(0, n-1).Draw(t, "policy")]
			what += "other services for " + p.Name + " "
			p.Ranges = policytest.Policy(t, o, x.w, 0).Ranges
		case kind == 2:
			x.w.Now = x.w.Now.Add(time.Hour)
			what += "an hour later "
		default:
			p := policytest.Policy(t, o, x.w, x.number)
			x.number++
			what += fmt.Sprintf("with %+v ", p)
			book.Policies = append(book.Policies, p)
		}
	}
	policy.SortPolicies(book.Policies)
	x.w.Book = &book
	a, err := x.tracker.Amend(&book, x.w.Now)
	var re *compile.Recompile
	switch {
	case errors.As(err, &re):
		x.whole[re.Why]++
		return what + "compiled anew: " + re.Why, x.compile(t)
	case err != nil:
		t.Fatal(err)
	}
	x.tracker.Take(a)
	x.tables.amend(a)
	x.amended++
	return what, true
}

func TestAmendedTablesAreDecide(t *testing.T) {
	followed, amendments, extended, whole := 0, 0, 0, map[string]int{}
	tries.Check(t, func(t *rapid.T) {
		o := policytest.Options{NoClaims: true, MaxPolicies: 6, Plain: rapid.IntRange(0, 4).Draw(t, "plain") > 0, NoTimed: rapid.Bool().Draw(t, "nothing expires")}
		w := policytest.World(t, o)
		for i := range w.Assets {
			if rapid.IntRange(0, 3).Draw(t, "keeps its prefixes") > 0 {
				w.Assets[i].Addresses = hostsOf(t, "addresses")
			}
		}
		if len(w.Assets) == 0 {
			return // nobody is there
		}
		x := &amended{tracked: tracked{w: w, bounds: rapid.SampledFrom([]compile.Bounds{split(0), split(3), split(100)}).Draw(t, "bounds")}, number: 100, whole: whole}
		if !x.compile(t) {
			return // contested
		}
		x.check(t, "at first")
		for range rapid.IntRange(1, 8).Draw(t, "changes") {
			var what string
			var ok bool
			if rapid.IntRange(0, 2).Draw(t, "assets") == 0 {
				n := x.compiled
				what, ok = x.change(t)
				if ok && x.compiled != n {
					x.tables = newTables(x.layout)
					x.extend = x.tables.amend
				}
			} else {
				what, ok = x.policies(t, o)
			}
			if !ok {
				break
			}
			x.check(t, what)
		}
		followed, amendments, extended = followed+x.followed, amendments+x.amended, extended+x.extended
	})
	t.Logf("%d changes of assets followed, %d with new entries, %d of policies; compiled anew: %v", followed, extended, amendments, whole)
	all := 0
	for _, n := range whole {
		all += n
	}
	if tries.All && amendments < all/6 {
		t.Error("hardly any change of policies was followed: the test shows little")
	}
}

// Policies between sites, roles and environments, which have all addresses in common,
// with denies and allows in turns: a new one finds a table in which it is asked in its
// turn, or none.
func TestAmendedOrderIsDecide(t *testing.T) {
	kept, refused := 0, 0
	tries.Checks(t, 400, func(t *rapid.T) { // one in five finds a table
		end := func(what string) string {
			return fmt.Sprint(rapid.SampledFrom([]string{"site", "role", "env"}).Draw(t, what), rapid.IntRange(0, 1).Draw(t, "which"))
		}
		action := rapid.SampledFrom([]string{"allow", "deny"})
		var lines []string
		for range rapid.IntRange(2, 5).Draw(t, "policies") {
			lines = append(lines, fmt.Sprint(action.Draw(t, "action"), " ", end("from"), " ", end("to")))
		}
		w := grid(lines...)
		x := &amended{tracked: tracked{w: w, bounds: compile.Bounds{Pairs: -1, Spaces: 64, Elements: 1 << 20, Bits: 28}}, whole: map[string]int{}}
		x.compile(t)
		for n := range rapid.IntRange(1, 3).Draw(t, "changes") {
			p := grid(fmt.Sprint(action.Draw(t, "action"), " ", end("from"), " ", end("to"))).Book.Policies[0]
			p.Name, p.Order = fmt.Sprint("new", n), rapid.IntRange(-1, 5).Draw(t, "order")
			book := *x.w.Book
			book.Policies = append(slices.Clone(book.Policies), p)
			policy.SortPolicies(book.Policies)
			a, err := x.tracker.Amend(&book, x.w.Now)
			if err != nil {
				refused++
				return
			}
			x.w.Book = &book
			x.tracker.Take(a)
			x.tables.amend(a)
			kept++
			for i := 0; i < 64*64; i += 3 {
				src, dst := w.Assets[i%64].Addresses[0].Addr(), w.Assets[i/64].Addresses[0].Addr()
				f := policy.Flow{Src: src, Dst: dst, Proto: 6, Num: 443}
				if want, got := x.w.Decide(f).Permit, x.tables.permits(x.place(t, src), x.place(t, dst), packet.Point(6, 443)); src != dst && want != got {
					t.Fatalf("with %+v: %+v: by the tables %v, Decide %v", p, f, got, want)
				}
			}
		}
	})
	t.Logf("%d policies were given a table, %d found none", kept, refused)
	if tries.All && (kept < 20 || refused < 5) {
		t.Error("the test shows little")
	}
}

// A few hosts of sites, roles and environments in tables that look at several of these
// together: hosts that come to combinations that no table has seen get entries, and the
// tables say of every pair what the reference evaluator does.
func TestExtendedTablesAreDecide(t *testing.T) {
	born, refused := 0, 0
	tries.Check(t, func(t *rapid.T) {
		end := func() string {
			return fmt.Sprint(rapid.SampledFrom([]string{"site", "role", "env"}).Draw(t, "end"), rapid.IntRange(0, 2).Draw(t, "which"))
		}
		var lines []string
		for range rapid.IntRange(2, 6).Draw(t, "policies") {
			lines = append(lines, fmt.Sprint(rapid.SampledFrom([]string{"allow", "allow", "deny"}).Draw(t, "action"), " ", end(), " ", end()))
		}
		w := grid(lines...)
		w.Assets = w.Assets[:0:0]
		member := func(a *inventory.Asset, combination int) (where []string) {
			for d, name := range []string{"site", "role", "env"} {
				g := fmt.Sprintf("%s%d", name, combination>>(2*d)&3)
				w.Where[g], where = append(w.Where[g], a.ID), append(where, g)
			}
			return where
		}
		for i := range w.Book.Groups {
			w.Book.Groups[i].Members = nil
		}
		for i := range 10 {
			addr := netip.AddrFrom4([4]byte{10, 0, 0, byte(2 * i)})
			if i%4 == 0 {
				addr = netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", 2*i+1))
			}
			w.Assets = append(w.Assets, inventory.Asset{ID: fmt.Sprint("h", i), Kind: inventory.Server, Addresses: []netip.Prefix{netip.PrefixFrom(addr, addr.BitLen())}})
			member(&w.Assets[i], rapid.IntRange(0, 63).Draw(t, "combination"))
		}
		x := &amended{tracked: tracked{w: w, bounds: compile.Bounds{Pairs: -1, Spaces: 64, Elements: 1 << 20, Bits: 28, SpaceCost: 100}}, whole: map[string]int{}}
		x.compile(t)
		for range rapid.IntRange(1, 6).Draw(t, "moves") {
			a := &w.Assets[rapid.IntRange(0, len(w.Assets)-1).Draw(t, "host")]
			for g, ids := range w.Where {
				w.Where[g] = slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return id == a.ID })
			}
			moved, err := x.tracker.Set(a, member(a, rapid.IntRange(0, 63).Draw(t, "combination")))
			if err != nil {
				t.Fatal(err)
			}
			at, err := x.tracker.Place(moved[0])
			if err != nil {
				e, err := x.tracker.Extend(moved[0])
				if err != nil {
					refused++
					return
				}
				x.tracker.Take(e)
				x.tables.amend(e)
				born++
				if at, err = x.tracker.Place(moved[0]); err != nil {
					t.Fatal(err)
				}
			}
			x.at[moved[0]] = at
			for i := range w.Assets {
				for j := range w.Assets {
					src, dst := w.Assets[i].Addresses[0].Addr(), w.Assets[j].Addresses[0].Addr()
					f := policy.Flow{Src: src, Dst: dst, Proto: 6, Num: 443}
					if src == dst || src.Is4() != dst.Is4() {
						continue
					}
					if want, got := w.Decide(f).Permit, x.tables.permits(x.place(t, src), x.place(t, dst), packet.Point(6, 443)); want != got {
						t.Fatalf("%s at %v: %+v: by the tables %v, Decide %v", a.ID, at, f, got, want)
					}
				}
			}
		}
	})
	t.Logf("%d classes got entries, %d found no place", born, refused)
	if tries.All && born < 10 {
		t.Error("the test shows little")
	}
}
