package prove_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"bulkhead/internal/tries"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy/policytest"
	"bulkhead/pkg/prove"
)

// otherwise is a device that decides what policy decides by tables of its own making:
// sources go to one of several tables, and for some services to another one or to
// none. Nothing of it is like the tables of the policy side.
type otherwise struct {
	r     *rand.Rand
	m     *compile.Matrix
	cases [2][]driver.Case // by family: IPv4, IPv6
	made  []outcomeOf      // the outcomes that some pair comes to
}

// outcomeOf is an outcome of a table that is asked of some services.
type outcomeOf struct {
	t   *driver.Table
	n   int
	svc packet.Services
}

// newOtherwise builds the device for what policy permits.
func newOtherwise(r *rand.Rand, m *compile.Matrix) *otherwise {
	o := &otherwise{r: r, m: m}
	for f, all := range []string{"0.0.0.0/0", "::/0"} {
		parts, classes := &driver.Parts{}, []int{}
		for c := range m.Classes {
			if in := m.Classes[c].Addrs.Intersect(packet.AddrsOf(netip.MustParsePrefix(all))); !in.IsEmpty() {
				parts.Addrs, classes = append(parts.Addrs, in), append(classes, c)
			}
		}
		o.cases[f] = o.sources(parts, classes)
	}
	return o
}

// sources sends each source to one of several tables for some services, and to another
// one for the others.
func (o *otherwise) sources(parts *driver.Parts, classes []int) []driver.Case {
	bins := 1 + o.r.IntN(3)
	bin, none := make([]int32, len(classes)), make([]int32, len(classes))
	for i := range bin {
		bin[i] = int32(o.r.IntN(bins))
	}
	// An address's word is the number of its class.
	see := func(what []int32) func(uint32) (int32, bool) {
		return func(word uint32) (int32, bool) {
			i := slices.Index(classes, int(word))
			if i < 0 {
				return 0, false
			}
			return what[i], true
		}
	}
	first := &driver.Table{Src: parts, Dst: parts, Row: bin, Col: none, Entries: map[[2]int32]int32{}, SeeSrc: see(bin), SeeDst: see(none)}
	whole := make([]int32, len(classes))
	for i := range whole {
		whole[i] = int32(i)
	}
	for b := range int32(bins) {
		cut := packet.Services{{Lo: 0, Hi: uint32(o.r.IntN(1 << 24))}}
		var cases []driver.Case
		for _, svc := range []packet.Services{cut, packet.AllServices().Subtract(cut)} {
			t := &driver.Table{Src: parts, Dst: parts, Row: whole, Col: whole, Entries: map[[2]int32]int32{}, Outcomes: [][]driver.Case{nil}, SeeSrc: see(whole), SeeDst: see(whole)}
			index := map[string]int32{}
			for i, src := range classes {
				for j, dst := range classes {
					if bin[i] == b {
						t.Entries[[2]int32{int32(i), int32(j)}] = o.outcome(t, index, svc, o.m.Permitted(src, dst).Intersect(svc))
					}
				}
			}
			if len(index) == 1 && index["nothing"] == 1 && o.r.IntN(2) == 0 {
				continue // nothing of it passes: the device does not ask
			}
			cases = append(cases, driver.Case{Services: svc, Next: t})
		}
		first.Entries[[2]int32{b, 0}] = b
		first.Outcomes = append(first.Outcomes, cases)
	}
	return []driver.Case{{Services: packet.AllServices(), Next: first}}
}

func (o *otherwise) outcome(t *driver.Table, index map[string]int32, svc, pass packet.Services) int32 {
	n, ok := index[pass.String()]
	if !ok {
		n = int32(len(t.Outcomes))
		index[pass.String()] = n
		t.Outcomes = append(t.Outcomes, []driver.Case{{Services: pass, Permit: true}})
		o.made = append(o.made, outcomeOf{t, int(n), svc})
	}
	return n
}

// spoil lets one service more, or one less, pass where some outcome is found.
func (o *otherwise) spoil() {
	x := o.made[o.r.IntN(len(o.made))]
	span := x.svc[o.r.IntN(len(x.svc))]
	one := packet.Services{{Lo: span.Hi, Hi: span.Hi}}
	pass := x.t.Outcomes[x.n][0].Services
	if pass.Intersect(one).IsEmpty() {
		pass = pass.Union(one)
	} else {
		pass = pass.Subtract(one)
	}
	x.t.Outcomes[x.n] = []driver.Case{{Services: pass, Permit: true}}
}

func (o *otherwise) decoded() *driver.Decoded {
	v4 := packet.AddrsOf(netip.MustParsePrefix("0.0.0.0/0"))
	families := []packet.Addrs{v4, packet.AllAddrs().Subtract(v4)}
	return &driver.Decoded{Installed: []string{"gw"}, Relations: []driver.Relation{{
		Situation: driver.Situation{Hook: compile.HookForward, Tracking: driver.TrackNew, SrcPortHi: 65535},
		Src:       families, Dst: families,
		Permit: func(int, int) packet.Services { return nil },
		Rest: func(i, j int) []driver.Case {
			if i != j {
				return nil
			}
			return o.cases[i]
		},
	}}}
}

// single holds what is said of single addresses against all pairs: of one that is taken
// for another class it may be shown only if the device does with that class's flows what
// policy says of the address's own.
func (o *otherwise) single(t *rapid.T, s *prove.Standing) (shown int) {
	m := o.m
	for c := range m.Classes {
		addr := m.Classes[c].Addrs.First()
		all := packet.AddrsOf(netip.PrefixFrom(addr, 0))
		cases := o.cases[1]
		if addr.Is4() {
			cases = o.cases[0]
		}
		for taken := range m.Classes {
			as := m.Classes[taken].Addrs.Intersect(all)
			// No one identity is what an address is that several machines claim.
			if as.IsEmpty() || m.Contested(c) || s.Moved(&driver.Moved{Addr: addr, Word: uint32(taken)}, prove.Identity{Groups: m.GroupNames(c)}) != nil {
				continue
			}
			shown++
			for far := range m.Classes {
				to := m.Classes[far].Addrs.Intersect(all)
				if to.IsEmpty() {
					continue
				}
				if !m.Permitted(c, far).Equal(driver.Permits(cases, as.First(), to.First())) || !m.Permitted(far, c).Equal(driver.Permits(cases, to.First(), as.First())) {
					t.Fatalf("%s is taken for an address of class %d, fares otherwise than it must towards class %d, and is shown to be right", addr, taken, far)
				}
			}
		}
	}
	return shown
}

// However a device arranges its tables, it is proved if it lets pass what policy
// permits between every two addresses, and it is not if it does not: as looking at every
// two classes says.
func TestTablesOfAnyMake(t *testing.T) {
	right, wrong, split, shown := 0, 0, 0, 0
	tries.Check(t, func(t *rapid.T) {
		w := policytest.World(t, policytest.Options{Plain: rapid.IntRange(0, 3).Draw(t, "plain") > 0, MaxPolicies: 10})
		m, err := compile.Compile(compile.Input{Assets: w.Assets, Book: w.Book, Where: w.Where, Now: w.Now})
		if err != nil {
			t.Fatal(err)
		}
		points := []compile.Point{gateway()}
		l, err := compile.NewView(m, points).Layout(compile.Bounds{Pairs: -1, Spaces: 64, Elements: 1 << 20, Bits: 64, SpaceCost: 3})
		if err != nil {
			t.Fatal(err)
		}
		if len(l.Spaces) > 1 {
			split++
		}
		o := newOtherwise(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1)), m)
		if rapid.Bool().Draw(t, "spoilt") {
			o.spoil()
		}
		d := o.decoded()
		flat := *d
		flat.Relations = []driver.Relation{d.Relations[0].Flat()}
		want, got := prove.Device(m, points, &flat)[0], prove.Device(m, points, d)[0]
		if want.Proved != got.Proved || len(want.Wrong) != len(got.Wrong) {
			t.Fatalf("proved %v, and pair by pair %v: %v %v, %v", got.Proved, want.Proved, got.Wrong, got.Findings, want.Wrong)
		}
		if want.Proved {
			right++
			if st, _ := prove.Stand(m, points, d); len(m.Compared()) == 0 {
				shown += o.single(t, st)
			}
		} else {
			wrong++
		}
	})
	t.Logf("%d right, %d wrong; %d worlds of several tables; %d single addresses shown", right, wrong, split, shown)
	if tries.All && (right == 0 || wrong == 0 || split == 0 || shown == 0) {
		t.Error("the test shows nothing")
	}
}
