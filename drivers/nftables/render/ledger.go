package render

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/compile"
)

// ErrUnfit says that a change of policies cannot be made by elements alone: the
// table's chains would have to be others.
var ErrUnfit = errors.New("the table does not take the change as it is")

// Ledger keeps what the tables of pairs hold and what that takes of rulesets and
// verdicts, so that a change of policies is told as the few elements that it changes.
type Ledger struct {
	ids   *alloc
	words *Words

	uses  map[uint32]int         // ruleset -> pairs that lead to it
	parts map[uint32][]inSet     // ruleset -> its elements
	by    map[string]uint32      // contents -> ruleset
	given map[uint32]int         // verdict -> elements of rulesets and others that give it
	marks map[uint32][]inSet     // verdict -> the elements that give it meaning
	keep  map[uint32]uint32      // rows of the `keep` map
	known map[markIn]bool        // elements of sets of verdicts
	logs  bool                   // there are rules that log permitted flows
	pairs []map[[2]uint32]uint32 // of each space
}

// inSet is an element and the set that holds it.
type inSet struct {
	set string
	el  ruleset.Element
}

type markIn struct {
	set string
	id  uint32
}

// NewLedger reads a table of which the words are known.
func NewLedger(t *ruleset.Table, words *Words) *Ledger {
	l := &Ledger{ids: recoverEntries(t), words: words, uses: map[uint32]int{}, parts: map[uint32][]inSet{}, by: map[string]uint32{},
		given: map[uint32]int{}, marks: map[uint32][]inSet{}, keep: map[uint32]uint32{}, known: map[markIn]bool{}}
	l.pairs = l.ids.pairs
	for _, pairs := range l.pairs {
		for _, id := range pairs {
			l.uses[id]++
		}
	}
	for id, text := range l.ids.rulesets {
		if old, ok := l.by[text]; !ok || id < old {
			l.by[text] = id
		}
	}
	for _, set := range []string{setSvc, setSvcRange, setProto, setRest} {
		for _, e := range elements(t, set) {
			id := rulesetOf(set, e.Key)
			l.parts[id] = append(l.parts[id], inSet{set, e})
			l.given[word(e.Data)]++
		}
	}
	for _, set := range verdictSets {
		for _, e := range elements(t, set) {
			l.note(set, e)
		}
	}
	for _, e := range elements(t, setKeep) {
		l.keep[word(e.Key)] = word(e.Data)
	}
	for _, e := range elements(t, setLogged) {
		id := word(e.Key)
		l.logs = l.logs || l.known[markIn{setPermit, id}] || l.known[markIn{setPermitTimed, id}]
	}
	return l
}

// verdictSets are those whose keys are verdicts, partial ones among them. Some map
// them to others.
var verdictSets = []string{setPermit, setPermitTimed, setDeny, setLogged, setObserved, setAfter, setPartial, setOut, setIn}

// note takes an element of a set of verdicts in. That by which picked up flows pass is
// the verdict's own.
func (l *Ledger) note(set string, e ruleset.Element) {
	id := word(e.Key)
	l.known[markIn{set, id}] = true
	if id&VerdictMask == ReversedBase {
		id = id&^VerdictMask | VerdictBase
	}
	l.marks[id] = append(l.marks[id], inSet{set, e})
	if len(e.Data) == 4 {
		l.given[word(e.Data)]++
	}
}

// rulesetOf is the ruleset that an element's key begins with.
func rulesetOf(set string, key []byte) uint32 {
	if set == setSvcRange {
		return binary.BigEndian.Uint32(key)
	}
	return word(key)
}

// SetChange is a change of one set's elements.
type SetChange struct {
	Set      string
	Del, Add []ruleset.Element
}

// Amended is a change of policies as elements, in an order in which references arrive
// before what refers to them and leave after.
type Amended struct {
	Sets []SetChange
	// Pairs are the pairs of words that have another entry, each without the bits that
	// its space does not look at.
	Pairs []PairAt
	// Ending are elements to be deleted that end by themselves: deleting one that has
	// just ended would fail the whole transaction.
	Ending SetChange
}

// PairAt is an entry of a space.
type PairAt struct {
	Space    int
	Src, Dst uint32
}

// Masks are what a space looks up of the words of source and destination.
func (l *Ledger) Masks(space int) (src, dst uint32) {
	return l.ids.masks[space][0], l.ids.masks[space][1]
}

// Amend works out which elements a change of policies takes, and goes by them from
// then on: where the device does not take them after all, the ledger is good for
// nothing. An error that wraps ErrUnfit says that the table cannot take the change.
func (l *Ledger) Amend(a *compile.Amendment, now time.Time) (*Amended, error) {
	w := &amending{l: l, a: a, v: newVerdicts(a.Matrix, l.ids, now), add: map[string][]ruleset.Element{}, del: map[string][]ruleset.Element{}, before: map[uint32]bool{}}
	for _, id := range l.ids.partials {
		w.before[id] = true
	}
	w.s = &matrixSets{layout: a.Layout(), ids: l.ids, verdicts: w.v}
	if err := w.pairs(); err != nil {
		return nil, err
	}
	if err := w.verdicts(); err != nil {
		return nil, err
	}
	w.tidy()
	w.numbers()
	out := &Amended{Pairs: w.changed, Ending: SetChange{Set: setPermitTimed, Del: w.del[setPermitTimed]}}
	delete(w.del, setPermitTimed)
	for _, set := range slices.Concat(verdictSets, []string{setSvc, setSvcRange, setProto, setRest}, pairSets(len(l.pairs)), []string{setKeep}) {
		if len(w.del[set])+len(w.add[set]) > 0 {
			sortElements(w.del[set])
			sortElements(w.add[set])
			out.Sets = append(out.Sets, SetChange{set, w.del[set], w.add[set]})
		}
	}
	return out, nil
}

func pairSets(spaces int) (out []string) {
	for k := range spaces {
		out = append(out, pairSet(k))
	}
	return out
}

// amending is a change of policies at work.
type amending struct {
	l        *Ledger
	a        *compile.Amendment
	v        *verdicts
	s        *matrixSets
	add, del map[string][]ruleset.Element // by set
	changed  []PairAt
	left     []uint32        // rulesets that a pair no longer leads to
	before   map[uint32]bool // partial verdicts that were there
}

// pairs works out which pairs lead elsewhere.
func (w *amending) pairs() error {
	l := w.l
	type end struct {
		word uint32
		ok   bool
	}
	words := make([]end, len(w.a.Places))
	wordOf := func(n int32) (uint32, error) {
		e := &words[n]
		if !e.ok {
			if e.word, e.ok = l.words.Word(w.a.Places[n]); !e.ok {
				return 0, fmt.Errorf("%w: it knows no word for a class", ErrUnfit)
			}
		}
		return e.word, nil
	}
	ids := map[[2]int32]uint32{} // contents, and whether they decide everything -> ruleset
	done := map[PairAt]uint32{}
	for i := range w.a.Pairs {
		c := &w.a.Pairs[i]
		src, err := wordOf(c.Src)
		if err != nil {
			return err
		}
		dst, err := wordOf(c.Dst)
		if err != nil {
			return err
		}
		if int(c.Space) >= len(l.pairs) {
			return fmt.Errorf("%w: it has no space %d", ErrUnfit, c.Space+1)
		}
		rm, cm := l.Masks(int(c.Space))
		at := PairAt{int(c.Space), src & rm, dst & cm}
		want := uint32(0)
		if c.Content >= 0 {
			whole := w.a.Whole && c.Space == 0
			key := [2]int32{c.Content, int32(bit(whole))}
			id, ok := ids[key]
			if !ok {
				id = w.ruleset(w.a.Contents[c.Content], whole)
				ids[key] = id
			}
			want = id
		}
		if old, twice := done[at]; twice {
			if old != want {
				return fmt.Errorf("%w: one pair of words is to lead to two rulesets", ErrUnfit)
			}
			continue
		}
		done[at] = want
		w.pair(at, want)
	}
	return nil
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// pair makes a pair lead to a ruleset, or to none.
func (w *amending) pair(at PairAt, want uint32) {
	l := w.l
	pairs := l.pairs[at.Space]
	key := [2]uint32{at.Src, at.Dst}
	have, is := pairs[key]
	if have == want {
		return // rulesets are not 0
	}
	set := pairSet(at.Space)
	bytes := join(native(at.Src), native(at.Dst))
	if is {
		w.del[set] = append(w.del[set], ruleset.Element{Key: bytes})
		if l.uses[have]--; l.uses[have] == 0 {
			w.left = append(w.left, have)
		}
		delete(pairs, key)
	}
	if want != 0 {
		w.add[set] = append(w.add[set], ruleset.Element{Key: bytes, Data: native(want)})
		l.uses[want]++
		pairs[key] = want
	}
	w.changed = append(w.changed, at)
}

// ruleset gives the ruleset that says what a cell does: one that is there, or a new one.
func (w *amending) ruleset(cell compile.Cell, whole bool) uint32 {
	l := w.l
	c := w.s.content(cell, whole)
	text := c.lines()
	if id, ok := l.by[text]; ok {
		return id
	}
	id := rulesetBase | l.ids.take(keepRuleset, numberMask, func(n uint32) bool { return l.ids.rulesets[rulesetBase|n] != "" })
	l.by[text], l.ids.rulesets[id] = id, text
	put := func(set string, e ruleset.Element) {
		w.add[set] = append(w.add[set], e)
		l.parts[id] = append(l.parts[id], inSet{set, e})
		l.given[word(e.Data)]++
	}
	for _, e := range c.elements(id) {
		put(e.set, e.el)
	}
	return id
}

// verdicts gives the verdicts that rulesets give for the first time their meaning.
func (w *amending) verdicts() error {
	l := w.l
	for id := range w.v.halves {
		// One side is allowed, and the default of the other one may permit, which nothing
		// did: whose default that is, the ledger does not know.
		egress, ingress := Allows(id)
		if !w.before[id] && (egress || ingress) && !l.known[markIn{setPermit, verdictDefaultPermit}] {
			return fmt.Errorf("%w: a policy decides one side in a way that none did", ErrUnfit)
		}
	}
	for _, s := range append(w.v.sets(), w.v.partialSets()...) {
		for _, e := range s.Elements {
			id := word(e.Key)
			if l.known[markIn{s.Name, id}] {
				continue
			}
			switch s.Name {
			case setPermitTimed, setAfter, setObserved:
				return fmt.Errorf("%w: a verdict that ends by itself or is only observed is new", ErrUnfit)
			case setLogged:
				if !l.logs && (w.permits(id)) {
					return fmt.Errorf("%w: a permit that is logged is the first one", ErrUnfit)
				}
			}
			l.note(s.Name, e)
			w.add[s.Name] = append(w.add[s.Name], e)
		}
	}
	return nil
}

func (w *amending) permits(id uint32) bool { return w.l.known[markIn{setPermit, id}] }
