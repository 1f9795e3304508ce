package prove

import (
	"fmt"
	"net/netip"
	"slices"

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

// witnessOf is what witnesses stand for: how many of these there are already.
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

// witnesses collects.
type witnesses struct {
	s        *Standing
	holds    Holds
	touches  func(word uint32) bool
	named    packet.Bits // groups that a changed policy names
	concerns []int8      // class -> whether it is in one of them: 0 is not known yet
	seen     map[witnessOf]int
	out      []netip.Addr
	err      error
}

// Witnesses chooses addresses that stand for all that a change of policies concerns;
// touches tells of a word whether an entry that changes is looked up for it. An error
// says that the device has to be proved whole. Everything that moved must have been
// proved before.
func (s *Standing) Witnesses(changed []policy.Policy, holds Holds, touches func(word uint32) bool) ([]netip.Addr, error) {
	if s.reason != "" {
		return nil, fmt.Errorf("cannot prove a change of policies by itself: %s", s.reason)
	}
	w := &witnesses{s: s, holds: holds, touches: touches, named: packet.NewBits(len(s.m.Groups)), concerns: make([]int8, len(s.m.Classes)), seen: map[witnessOf]int{}}
	for i := range changed {
		for _, name := range slices.Concat(changed[i].From, changed[i].To) {
			if g, ok := s.group[name]; ok {
				w.named.Set(g)
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
		return nil, fmt.Errorf("cannot prove a change of policies by itself: %w", w.err)
	}
	slices.SortFunc(w.out, netip.Addr.Compare)
	return w.out, nil
}

// concerned reports whether a changed policy names a class.
func (w *witnesses) concerned(class int) bool {
	c := &w.concerns[class]
	if *c == 0 {
		*c = -1
		if slices.ContainsFunc(w.s.m.Classes[class].Groups, w.named.Has) {
			*c = 1
		}
	}
	return *c > 0
}

// add takes an address of a class for a witness, if there are not two already.
func (w *witnesses) add(a netip.Addr, class int, word uint32) {
	if !w.concerned(class) {
		w.apart(a, word)
		return
	}
	if w.s.m.Contested(class) {
		w.err = fmt.Errorf("several machines claim %s", a)
		return
	}
	w.take(a, witnessOf{class, word, a.Is4()})
}

// apart checks that no entry changes for an address that no changed policy names.
func (w *witnesses) apart(a netip.Addr, word uint32) {
	if w.touches(word) {
		w.err = fmt.Errorf("an entry changes for %s, which no changed policy names", a)
	}
}

// take takes two of a kind: an address has no flows to itself, others like it have.
func (w *witnesses) take(a netip.Addr, k witnessOf) {
	if w.seen[k] == 2 {
		return
	}
	w.seen[k]++
	if w.out = append(w.out, a); len(w.out) > maxWitnesses {
		w.err = fmt.Errorf("it concerns more than %d kinds of addresses", maxWitnesses)
	}
}

// moved adds an address that came to another class since the device was proved whole.
func (w *witnesses) moved(a netip.Addr, id *identity) {
	word := w.holds.Word(a)
	if id == unproved && w.err == nil {
		w.err = fmt.Errorf("%s has moved and was not proved since", a)
	}
	if slices.ContainsFunc(id.groups, w.named.Has) {
		w.take(a, witnessOf{-1 - id.number, word, a.Is4()})
	} else {
		w.apart(a, word)
	}
}

// runs adds what the device does not know address by address; hosts counts those that
// it does.
func (w *witnesses) runs(runs []heldRun, hosts int) {
	m := w.s.m
	var wide []packet.Addrs
	var classes []int
	for c := range m.Classes {
		var some []packet.Range
		for _, r := range m.Classes[c].Addrs.Runs() {
			if r.From != r.To {
				some = append(some, r)
			} else if _, moved := w.s.moved[r.From]; !moved {
				hosts--
			}
		}
		if len(some) > 0 {
			wide, classes = append(wide, packet.AddrRanges(some)), append(classes, c)
		}
	}
	if hosts != 0 && w.err == nil {
		w.err = fmt.Errorf("the device knows other single addresses by themselves than it was proved with")
	}
	held := make([]packet.Addrs, len(runs))
	for i := range runs {
		held[i] = packet.AddrRanges([]packet.Range{runs[i].at})
	}
	for _, j := range packet.Join(wide, held) {
		for _, r := range j.Addrs.Runs() {
			w.run(r, classes[j.A], runs[j.B].word)
		}
	}
}

// run adds addresses of a class that lie in one run of the device's. Moved ones among
// them were looked at.
func (w *witnesses) run(r packet.Range, class int, word uint32) {
	if !w.concerned(class) {
		w.apart(r.From, word)
		return
	}
	found := 0
	for a := r.From; found < 2; a = a.Next() {
		if _, moved := w.s.moved[a]; !moved && w.holds.Word(a) == word {
			w.add(a, class, word)
			found++
		}
		if a == r.To {
			return
		}
	}
}
