package nftables

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"bulkhead/drivers/nftables/kernel"
	"bulkhead/drivers/nftables/render"
	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

var _ driver.Amender = (*mover)(nil)

// amending is a change of policies as elements, not committed yet.
type amending struct {
	m      *mover
	change *render.Amended
	born   bool // entries are for words that no address has yet
	// src and dst are the parts of words that a changed entry is looked up by, space by
	// space.
	src, dst []map[uint32]bool
}

// Prepare works out which elements a change of policies takes.
func (m *mover) Prepare(a *compile.Amendment, now time.Time) (driver.Amending, error) {
	change, err := m.ledger.Amend(a, now)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", driver.ErrRefused, err)
	}
	for i := range change.Sets {
		s := &change.Sets[i]
		n := m.counts[s.Set]
		if size := m.sizes[s.Set]; size > 0 && (!n.Known || int(n.Elements)+len(s.Add) > int(size)) {
			return nil, fmt.Errorf("%w: set %q of %s is full", driver.ErrRefused, s.Set, m.d.where())
		}
	}
	out := &amending{m: m, change: change, born: a.Born}
	for _, p := range change.Pairs {
		for len(out.src) <= p.Space {
			out.src, out.dst = append(out.src, map[uint32]bool{}), append(out.dst, map[uint32]bool{})
		}
		out.src[p.Space][p.Src], out.dst[p.Space][p.Dst] = true, true
	}
	return out, nil
}

// Concerns looks a word up as the spaces do whose entries change.
func (a *amending) Concerns(word uint32) (src, dst bool) {
	for k := range a.src {
		if len(a.src[k]) == 0 {
			continue
		}
		rows, cols := a.m.ledger.Masks(k)
		src, dst = src || a.src[k][word&rows], dst || a.dst[k][word&cols]
	}
	return src, dst
}

// Decode decodes the table with the words of these addresses alone, and what is looked
// up of those. Rules, and what others have in the namespace, are all there.
func (m *mover) Decode(src, dst []netip.Addr) (*driver.Decoded, error) {
	base := m.base.Table()
	hosts := map[string][]ruleset.Element{}
	var words [2][]uint32
	seen := map[netip.Addr]bool{}
	for end, list := range [][]netip.Addr{src, dst} {
		for _, addr := range list {
			words[end] = append(words[end], m.judge.word(addr))
			if at := m.judge.host(addr); at.there && !seen[addr] {
				seen[addr] = true
				hosts[at.set] = append(hosts[at.set], ruleset.Element{Key: addr.AsSlice(), Data: binary.NativeEndian.AppendUint32(nil, at.word)})
			}
		}
	}
	t := *base
	t.Sets = m.ledger.Part(base, words[0], words[1])
	for i := range t.Sets {
		switch s := &t.Sets[i]; {
		case render.HostSet(s.Name):
			s.Elements = sortedByKey(hosts[s.Name])
		case isHold(s.Name):
			s.Elements = nil // as it is once live flows are settled
		}
	}
	return m.d.decode(m.base.with(&t), nil, 1), nil
}

// Commit makes the change, with all live flows on hold if it concerns any.
func (a *amending) Commit(ctx context.Context) (int, error) {
	m := a.m
	if len(a.change.Sets)+len(a.change.Ending.Del) == 0 {
		return 0, nil
	}
	b := &m.batch
	b.Reset()
	if !a.born {
		m.holdAll(b)
	}
	ending, err := m.stillThere(ctx, &a.change.Ending)
	if err != nil {
		return 0, err
	}
	b.DelElements(ruleset.FamilyInet, m.table, a.change.Ending.Set, ending)
	touched := len(ending)
	for i := range a.change.Sets {
		s := &a.change.Sets[i]
		b.DelElements(ruleset.FamilyInet, m.table, s.Set, s.Del)
		b.AddElements(ruleset.FamilyInet, m.table, s.Set, s.Add)
		touched += len(s.Del) + len(s.Add)
	}
	if room := m.c.Room(b.Len()); b.Len() > room {
		return 0, fmt.Errorf("%w: the change is larger than one transaction of %s can be", driver.ErrRefused, m.d.where())
	}
	if err := m.commit(ctx, b); err != nil {
		return 0, err
	}
	if !a.born {
		m.noteAll()
	}
	m.judge.change(&a.change.Ending)
	m.count(a.change.Ending.Set, -len(ending))
	for i := range a.change.Sets {
		s := &a.change.Sets[i]
		m.judge.change(s)
		m.count(s.Set, len(s.Add)-len(s.Del))
		m.amended = append(m.amended, *s)
	}
	return touched, nil
}

// stillThere gives those of elements that end by themselves which will not do so in a
// moment.
func (m *mover) stillThere(ctx context.Context, s *render.SetChange) ([]ruleset.Element, error) {
	if len(s.Del) == 0 {
		return nil, nil
	}
	got, err := m.c.ElementsByKey(ctx, ruleset.FamilyInet, m.table, s.Set, s.Del)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", driver.ErrRefused, err)
	}
	var out []ruleset.Element
	for i := range got {
		if got[i].Found && (got[i].Element.Timeout == 0 || got[i].Element.Expiration >= aboutToExpire) {
			out = append(out, ruleset.Element{Key: s.Del[i].Key})
		}
	}
	return out, nil
}

// holdAll puts all live flows on hold.
func (m *mover) holdAll(b *kernel.Batch) {
	if m.heldAll {
		return
	}
	b.AddElements(ruleset.FamilyInet, m.table, setHoldAll, families())
	if len(m.held) == 0 {
		b.AddElements(ruleset.FamilyInet, m.table, setHold, families())
	}
}

func (m *mover) noteAll() {
	if m.heldAll {
		return
	}
	m.heldAll = true
	m.count(setHoldAll, 2)
	if len(m.held) == 0 {
		m.count(setHold, 2)
	}
}

// change brings a judge up to a change of elements.
func (j *judge) change(s *render.SetChange) {
	for i := range s.Del {
		j.forget(s.Set, &s.Del[i])
	}
	for i := range s.Add {
		j.element(s.Set, &s.Add[i])
	}
}

// forget is the reverse of element, for the sets that change.
func (j *judge) forget(set string, e *ruleset.Element) {
	switch set {
	case "svc":
		delete(j.svc, string(e.Key))
	case "svcr":
		id := binary.BigEndian.Uint32(e.Key)
		j.ports[id] = slices.DeleteFunc(j.ports[id], func(r portRun) bool {
			return string(r.lo) == string(e.Key[4:]) && string(r.hi) == string(e.KeyEnd[4:])
		})
	case "proto":
		delete(j.proto, [8]byte(e.Key))
	case "permit", "permit_timed":
		delete(j.permits, binary.NativeEndian.Uint32(e.Key))
	case "rest":
		delete(j.rest, binary.NativeEndian.Uint32(e.Key))
	default:
		if len(e.Key) == 8 {
			delete(j.pairs[set], [8]byte(e.Key))
		} else if len(e.Key) == 4 {
			delete(j.half[set], binary.NativeEndian.Uint32(e.Key))
		}
	}
}

// dumpFrom is from how many touched elements on a set of pairs is read whole: that
// costs less than to ask for each.
const dumpFrom = 4096

// checkAmended reads back what changes of policies touched.
func (m *mover) checkAmended(ctx context.Context) error {
	spaces := m.spaces()
	for set, last := range m.lastOf() {
		same := false
		var err error
		if k := slices.Index(spaces, set); k >= 0 && len(last) >= dumpFrom {
			same, err = m.samePairs(ctx, k)
		} else {
			same, err = m.sameElements(ctx, set, last)
		}
		if err != nil {
			return err
		}
		if !same {
			return fmt.Errorf("%w: set %q of %s does not hold what it was told to", driver.ErrMoved, set, m.d.where())
		}
	}
	return nil
}

// touchedElement is what was said last of an element.
type touchedElement struct {
	ruleset.Element
	there bool
}

// lastOf gives what the changes since the last check said last of elements, set by set.
func (m *mover) lastOf() map[string]map[string]touchedElement {
	out := map[string]map[string]touchedElement{}
	for i := range m.amended {
		s := &m.amended[i]
		if out[s.Set] == nil {
			out[s.Set] = map[string]touchedElement{}
		}
		for _, e := range s.Del {
			out[s.Set][string(e.Key)+"\x00"+string(e.KeyEnd)] = touchedElement{e, false}
		}
		for _, e := range s.Add {
			out[s.Set][string(e.Key)+"\x00"+string(e.KeyEnd)] = touchedElement{e, true}
		}
	}
	return out
}

// sameElements reads elements by key.
func (m *mover) sameElements(ctx context.Context, set string, last map[string]touchedElement) (bool, error) {
	keys, want := make([]ruleset.Element, 0, len(last)), make([]touchedElement, 0, len(last))
	for _, e := range last {
		keys, want = append(keys, e.Element), append(want, e)
	}
	got, err := m.c.ElementsByKey(ctx, ruleset.FamilyInet, m.table, set, keys)
	if err != nil {
		return false, err
	}
	for i := range got {
		e := &got[i].Element
		if got[i].Found != want[i].there || want[i].there && (string(e.Data) != string(want[i].Data) || string(e.KeyEnd) != string(want[i].KeyEnd) || e.Timeout > 0) {
			return false, nil
		}
	}
	return true, nil
}

func (m *mover) spaces() (out []string) {
	for k := 0; ; k++ {
		name, _, _, ok := render.SpaceOf(m.judge.keep, k)
		if !ok {
			return out
		}
		out = append(out, name)
	}
}

// samePairs reads a set of pairs whole.
func (m *mover) samePairs(ctx context.Context, space int) (bool, error) {
	es, err := m.c.Elements(ctx, ruleset.FamilyInet, m.table, render.PairSet(space))
	if err != nil {
		return false, err
	}
	want := m.ledger.Pairs(space)
	for i := range es {
		e := &es[i]
		if len(e.Key) != 8 || len(e.Data) != 4 {
			return false, nil
		}
		key := [2]uint32{binary.NativeEndian.Uint32(e.Key), binary.NativeEndian.Uint32(e.Key[4:])}
		if id, ok := want[key]; !ok || id != binary.NativeEndian.Uint32(e.Data) {
			return false, nil
		}
	}
	return len(es) == len(want), nil
}

// Word is what the table holds for an address.
func (m *mover) Word(a netip.Addr) uint32 { return m.judge.word(a) }

// Fate tells what pairs of words find in all spaces, and what else of a word is looked
// at.
func (m *mover) Fate(src, dst uint32) string { return m.ledger.Fate(src, dst) }

// Hosts lists what the table holds for single addresses.
func (m *mover) Hosts(f func(a netip.Addr, word uint32)) {
	for _, h := range m.judge.hosts {
		for i := range h.elems {
			a, ok := netip.AddrFromSlice(h.elems[i].Key)
			if !ok || len(h.elems[i].Data) != 4 {
				continue
			}
			if _, moved := m.judge.moved[a]; !moved {
				f(a, binary.NativeEndian.Uint32(h.elems[i].Data))
			}
		}
	}
	for a, at := range m.judge.moved {
		if at.there {
			f(a, at.word)
		}
	}
}

// Runs lists what it holds for all others.
func (m *mover) Runs(f func(r packet.Range, word uint32)) {
	for _, runs := range m.judge.nets {
		for i := range runs {
			r := packet.Range{From: runs[i].from, To: packet.PrefixRange(netip.PrefixFrom(runs[i].from, 0)).To}
			if i+1 < len(runs) {
				r.To = runs[i+1].from.Prev()
			}
			f(r, runs[i].word)
		}
	}
}
