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
	Word(a netip.Addr) uint32 // see driver.Amender
	Hosts(f func(a netip.Addr, word uint32))
	Runs(f func(r packet.Range, word uint32))
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

// classAt says at which ends a change concerns a class, and of which word there are
// enough witnesses in each family: most addresses of a class are held alike.
type classAt struct {
	ends
	known bool
	done  [2]struct {
		word uint32
		is   bool
	}
}

// collecting witnesses.
type collecting struct {
	s       *Standing
	holds   Holds
	touches func(word uint32) (src, dst bool)
	// visit, if it is there, is called with one address of every kind instead.
	visit    func(a netip.Addr, groups []int, values packet.Bits, word uint32)
	from, to packet.Bits     // groups that a changed policy names
	known    []classAt       // of each class
	words    map[uint32]ends // what touches says
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
		known: make([]classAt, len(s.m.Classes)), words: map[uint32]ends{}, seen: map[witnessOf]int{}}
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
	w.collect()
	if w.err != nil {
		return Witnesses{}, fmt.Errorf("cannot prove a change of policies by itself: %w", w.err)
	}
	slices.SortFunc(w.out.Src, netip.Addr.Compare)
	slices.SortFunc(w.out.Dst, netip.Addr.Compare)
	return w.out, nil
}

// collect looks at all addresses.
func (w *collecting) collect() {
	s := w.s
	// Single addresses that the device knows by themselves and that have not moved, then
	// those that have, then all that it does not know so.
	singles := 0
	w.holds.Hosts(func(a netip.Addr, word uint32) {
		if _, moved := s.moved[a]; !moved && w.err == nil {
			c := s.m.ClassOf(a)
			if single(s.m, c, a) {
				singles++
			}
			w.add(a, c, word)
		}
	})
	for a, id := range s.moved {
		w.moved(a, id)
	}
	w.runs(singles)
}

// concerns says at which ends a changed policy names addresses of some groups.
func (w *collecting) concerns(groups []int) ends {
	return ends{slices.ContainsFunc(groups, w.from.Has), slices.ContainsFunc(groups, w.to.Has)}
}

// add takes an address of a class for a witness, if there are not enough already.
func (w *collecting) add(a netip.Addr, class int, word uint32) {
	at := &w.known[class]
	if !at.known {
		at.known, at.ends = true, w.concerns(w.s.m.Classes[class].Groups)
		if (at.src || at.dst || w.visit != nil) && w.s.m.Contested(class) {
			w.err = fmt.Errorf("several machines claim %s", a)
			return
		}
	}
	family := 1
	if a.Is4() {
		family = 0
	}
	if done := &at.done[family]; !done.is || done.word != word {
		k := witnessOf{class, word, a.Is4()}
		if w.visit == nil {
			done.word, done.is = word, w.take(a, at.ends, k)
			return
		}
		done.word, done.is = word, true
		w.once(a, w.s.m.Classes[class].Groups, w.s.m.Values(class), k)
	}
}

// take takes one of a kind, and two where the kind is concerned at both ends: an
// address has no flows to itself, others like it have. It reports whether these are
// enough. An entry that changes must not be looked up for an address that no changed
// policy names at that end.
func (w *collecting) take(a netip.Addr, at ends, k witnessOf) (enough bool) {
	if src, dst := w.touched(k.word); src && !at.src || dst && !at.dst {
		w.err = fmt.Errorf("an entry changes for %s, which no changed policy names", a)
		return true
	}
	need := 1
	switch {
	case !at.src && !at.dst:
		return true
	case at.src && at.dst:
		need = 2
	}
	if w.seen[k] == need {
		return true
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
	return w.seen[k] == need
}

// touched is touches, asked once of each word.
func (w *collecting) touched(word uint32) (src, dst bool) {
	at, ok := w.words[word]
	if !ok {
		at.src, at.dst = w.touches(word)
		w.words[word] = at
	}
	return at.src, at.dst
}

// moved adds an address that came to another class since the device was proved whole.
func (w *collecting) moved(a netip.Addr, id *identity) {
	if w.err != nil {
		return
	}
	if id == unproved && w.visit != nil {
		return
	}
	if id == unproved {
		w.err = fmt.Errorf("%s has moved and was not proved since", a)
		return
	}
	k := witnessOf{-1 - id.number, w.holds.Word(a), a.Is4()}
	if w.visit != nil {
		w.once(a, id.groups, id.values, k)
	} else {
		w.take(a, w.concerns(id.groups), k)
	}
}

// once visits an address of a kind.
func (w *collecting) once(a netip.Addr, groups []int, values packet.Bits, k witnessOf) {
	if w.seen[k] == 0 {
		w.seen[k] = 1
		w.visit(a, groups, values, k.word)
	}
}

// runs adds what the device does not know address by address. Of the single addresses
// of classes that have not moved it does know so many.
func (w *collecting) runs(singles int) {
	wide := w.s.wide(w.holds)
	for a := range w.s.moved {
		if single(w.s.m, w.s.m.ClassOf(a), a) {
			singles++
		}
	}
	if singles != wide.singles {
		w.singles()
	}
	for i := range wide.list {
		w.some(&wide.list[i])
	}
}

// singles adds all single addresses of classes, whatever the device knows them by.
func (w *collecting) singles() {
	for c := range w.s.m.Classes {
		for _, r := range w.s.m.Classes[c].Addrs.Runs() {
			if _, moved := w.s.moved[r.From]; r.From == r.To && !moved && w.err == nil {
				w.add(r.From, c, w.holds.Word(r.From))
			}
		}
	}
}

// some adds addresses of a class that lie in runs of one word. Moved ones among them
// were looked at.
func (w *collecting) some(p *widePart) {
	found := 0
	for _, r := range p.at {
		for a := r.From; ; a = a.Next() {
			if _, moved := w.s.moved[a]; !moved && w.holds.Word(a) == p.word {
				w.add(a, p.class, p.word)
				found++
			}
			if found == 2 || w.err != nil {
				return
			}
			if a == r.To {
				break
			}
		}
	}
}

// wideParts are the runs of more than one address of a matrix's classes, cut where the
// device holds another word.
type wideParts struct {
	list    []widePart
	singles int // runs of one address
}

type widePart struct {
	class int
	word  uint32
	at    []packet.Range
}

// wide sorts the runs of classes out once: what a device holds for runs stays as it is
// while single addresses move.
func (s *Standing) wide(holds Holds) *wideParts {
	if s.parts != nil {
		return s.parts
	}
	s.parts = &wideParts{}
	var addrs []packet.Addrs
	var classes []int
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
			addrs, classes = append(addrs, packet.AddrRanges(some)), append(classes, c)
		}
	}
	byWord := map[uint32]int{}
	var words []uint32
	var held [][]packet.Range
	holds.Runs(func(r packet.Range, word uint32) {
		n, ok := byWord[word]
		if !ok {
			n = len(words)
			byWord[word] = n
			words, held = append(words, word), append(held, nil)
		}
		held[n] = append(held[n], r)
	})
	sets := make([]packet.Addrs, len(held))
	for i := range held {
		sets[i] = packet.AddrRanges(held[i])
	}
	for _, j := range packet.Join(addrs, sets) {
		s.parts.list = append(s.parts.list, widePart{classes[j.A], words[j.B], j.Addrs.Runs()})
	}
	return s.parts
}

// single reports whether an address of a class is a run of its own.
func single(m *compile.Matrix, class int, a netip.Addr) bool {
	runs := m.Classes[class].Addrs.Runs()
	i, _ := slices.BinarySearchFunc(runs, a, func(r packet.Range, a netip.Addr) int { return r.To.Compare(a) })
	return runs[i].From == runs[i].To
}
