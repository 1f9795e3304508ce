package prove

import (
	"fmt"
	"net/netip"
	"slices"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// A change of policies is proved by witnesses. A device that judges by tables alone
// knows nothing of an address but its word; and policy knows nothing of it but its
// groups and its values of compared labels, its identity. So among all addresses of
// one identity that the device holds one word for, one or two stand for all of them,
// and what is proved of every pair of such witnesses is proved of every pair of
// addresses. Only identities count that a changed policy names, if no entry that
// changes is looked up for the words of any other: to all others policy says what it
// said, and the device does what it did.

// Holds is what a device holds for addresses.
type Holds interface {
	// Word is the word of an address, Words calls f for all of them; see driver.Amender.
	Word(a netip.Addr) uint32
	Words(f func(r packet.Range, word uint32))
}

// maxWitnesses bounds what a change of policies is proved by: beyond it a proof of the
// whole device costs about as much.
const maxWitnesses = 1 << 13

// witnessOf is what a witness stands for.
type witnessOf struct {
	class int // of the matrix; of an identity that no class has, -1 less its number
	word  uint32
	four  bool
}

// heldRun is a run of addresses that a device holds one word for.
type heldRun struct {
	at   packet.Range
	word uint32
}

// Witnesses are addresses that stand for all that a change of policies concerns, as
// sources and as destinations.
type Witnesses struct{ Src, Dst []netip.Addr }

// Of gives those of a family.
func (w Witnesses) Of(four bool) Witnesses {
	other := func(a netip.Addr) bool { return a.Is4() != four }
	return Witnesses{slices.DeleteFunc(slices.Clone(w.Src), other), slices.DeleteFunc(slices.Clone(w.Dst), other)}
}

// ends says at which ends of flows something is concerned.
type ends struct{ src, dst bool }

// collecting witnesses.
type collecting struct {
	s        *Standing
	holds    Holds
	touches  func(word uint32) (src, dst bool)
	from, to packet.Bits // groups that a changed policy names
	known    []*ends     // class -> at which ends the change concerns it
	seen     map[witnessOf]int
	out      Witnesses
	err      error
}

// Witnesses chooses witnesses of a change of policies; touches tells of a word whether
// an entry that changes is looked up for it at either end. An error says that the
// device has to be proved whole. Everything that moved must have been proved before.
func (s *Standing) Witnesses(changed []policy.Policy, holds Holds, touches func(word uint32) (src, dst bool)) (Witnesses, error) {
	if s.reason != "" {
		return Witnesses{}, fmt.Errorf("cannot prove a change of policies by itself: %s", s.reason)
	}
	w := &collecting{s: s, holds: holds, touches: touches, from: packet.NewBits(len(s.m.Groups)), to: packet.NewBits(len(s.m.Groups)),
		known: make([]*ends, len(s.m.Classes)), seen: map[witnessOf]int{}}
	for i := range changed {
		for _, name := range changed[i].From {
			if g, ok := s.group[name]; ok {
				w.from.Set(g)
			}
		}
		for _, name := range changed[i].To {
			if g, ok := s.group[name]; ok {
				w.to.Set(g)
			}
		}
	}
	// Single addresses that the device knows by themselves and that have not moved, then
	// those that have, then runs.
	hosts := 0
	var runs []heldRun
	holds.Words(func(r packet.Range, word uint32) {
		if r.From != r.To {
			runs = append(runs, heldRun{r, word})
		} else if _, moved := s.moved[r.From]; !moved && w.err == nil {
			hosts++
			w.add(r.From, s.m.ClassOf(r.From), word)
		}
	})
	for a, id := range s.moved {
		w.moved(a, id)
	}
	w.runs(runs, hosts)
	if w.err != nil {
		return Witnesses{}, fmt.Errorf("cannot prove a change of policies by itself: %w", w.err)
	}
	slices.SortFunc(w.out.Src, netip.Addr.Compare)
	slices.SortFunc(w.out.Dst, netip.Addr.Compare)
	return w.out, nil
}

// concerns says at which ends a changed policy names addresses of some groups.
func (w *collecting) concerns(groups []int) ends {
	return ends{slices.ContainsFunc(groups, w.from.Has), slices.ContainsFunc(groups, w.to.Has)}
}

// add takes an address of a class for a witness, if there are not enough already.
func (w *collecting) add(a netip.Addr, class int, word uint32) {
	at := w.known[class]
	if at == nil {
		x := w.concerns(w.s.m.Classes[class].Groups)
		at = &x
		w.known[class] = at
	}
	if (at.src || at.dst) && w.s.m.Contested(class) {
		w.err = fmt.Errorf("several machines claim %s", a)
		return
	}
	w.take(a, *at, witnessOf{class, word, a.Is4()})
}

// take takes one of a kind, and two where the kind is concerned at both ends: an
// address has no flows to itself, others like it have. An entry that changes must not
// be looked up for an address that no changed policy names at that end.
func (w *collecting) take(a netip.Addr, at ends, k witnessOf) {
	if src, dst := w.touches(k.word); src && !at.src || dst && !at.dst {
		w.err = fmt.Errorf("an entry changes for %s, which no changed policy names", a)
		return
	}
	enough := 1
	if at.src && at.dst {
		enough = 2
	}
	if !at.src && !at.dst || w.seen[k] == enough {
		return
	}
	w.seen[k]++
	if at.src {
		w.out.Src = append(w.out.Src, a)
	}
	if at.dst {
		w.out.Dst = append(w.out.Dst, a)
	}
	if len(w.out.Src)+len(w.out.Dst) > maxWitnesses {
		w.err = fmt.Errorf("it concerns more than %d kinds of addresses", maxWitnesses)
	}
}

// moved adds an address that came to another class since the device was proved whole.
func (w *collecting) moved(a netip.Addr, id *identity) {
	if w.err != nil {
		return
	}
	if id == unproved {
		w.err = fmt.Errorf("%s has moved and was not proved since", a)
		return
	}
	w.take(a, w.concerns(id.groups), witnessOf{-1 - id.number, w.holds.Word(a), a.Is4()})
}

// runs adds what the device does not know address by address; hosts counts those that
// it does and that have not moved: they must be the single addresses of the matrix.
func (w *collecting) runs(runs []heldRun, hosts int) {
	wide := w.s.wide()
	for a := range w.s.moved {
		if wide.single(w.s.m, a) {
			hosts++
		}
	}
	if hosts != wide.singles && w.err == nil {
		w.err = fmt.Errorf("the device knows other single addresses by themselves than it was proved with")
	}
	held := make([]packet.Addrs, len(runs))
	for i := range runs {
		held[i] = packet.AddrRanges([]packet.Range{runs[i].at})
	}
	for _, j := range packet.Join(wide.addrs, held) {
		for _, r := range j.Addrs.Runs() {
			w.run(r, wide.classes[j.A], runs[j.B].word)
		}
	}
}

// run adds addresses of a class that lie in one run of the device's. Moved ones among
// them were looked at.
func (w *collecting) run(r packet.Range, class int, word uint32) {
	for found, a := 0, r.From; found < 2 && w.err == nil; a = a.Next() {
		if _, moved := w.s.moved[a]; !moved && w.holds.Word(a) == word {
			w.add(a, class, word)
			found++
		}
		if a == r.To {
			return
		}
	}
}

// wideParts are the runs of more than one address of a matrix's classes.
type wideParts struct {
	addrs   []packet.Addrs
	classes []int
	singles int // runs of one address
}

// wide sorts the runs of classes out once.
func (s *Standing) wide() *wideParts {
	if s.parts != nil {
		return s.parts
	}
	s.parts = &wideParts{}
	for c := range s.m.Classes {
		var some []packet.Range
		for _, r := range s.m.Classes[c].Addrs.Runs() {
			if r.From != r.To {
				some = append(some, r)
			} else {
				s.parts.singles++
			}
		}
		if len(some) > 0 {
			s.parts.addrs, s.parts.classes = append(s.parts.addrs, packet.AddrRanges(some)), append(s.parts.classes, c)
		}
	}
	return s.parts
}

// single reports whether an address is a run of its own.
func (p *wideParts) single(m *compile.Matrix, a netip.Addr) bool {
	runs := m.Classes[m.ClassOf(a)].Addrs.Runs()
	i, _ := slices.BinarySearchFunc(runs, a, func(r packet.Range, a netip.Addr) int { return r.To.Compare(a) })
	return runs[i].From == runs[i].To
}
