package nftables

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/kernel"
	"bulkhead/drivers/nftables/render"
	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

// mover changes the words of single addresses in a table that is known. What it
// believes of the kernel it holds against the kernel's generation at every commit,
// so that nobody's write goes unseen.
type mover struct {
	d     *Driver
	c     *kernel.Conn
	table string
	words *render.Words
	own   packet.Addrs
	gen   uint32

	judge  *judge      // the table as it is, for live flows and for what is there
	hosts  [2][]string // the maps of single addresses: of IPv4, of IPv6
	nets   [2][]string // those of runs of addresses
	sizes  map[string]uint32
	counts map[string]kernel.Count // of every set, as it has to be
	loose  map[string]bool         // sets whose elements come or go by themselves

	held    map[netip.Addr]bool // on hold until Settle
	heldAll bool                // so is every flow
	touched []netip.Addr        // since the last Check
	batch   kernel.Batch

	base    *State             // what the mover started from
	ledger  *render.Ledger     // the table's pairs
	amended []render.SetChange // since the last Check
}

var _ driver.MoverMaker = (*Driver)(nil)

// Mover starts from a table that was read back and proved.
func (d *Driver) Mover(ctx context.Context, now, rendered driver.State) (driver.Mover, error) {
	n, err := stateOf(now)
	if err != nil {
		return nil, err
	}
	r, err := stateOf(rendered)
	if err != nil {
		return nil, err
	}
	if n.trial != nil {
		return nil, fmt.Errorf("%w: a change of %s is on trial, or was: single addresses have to wait", driver.ErrRefused, d.where())
	}
	t := n.Table()
	if t == nil || r.words == nil {
		return nil, fmt.Errorf("%w: there is no table of ours in %s whose words are known", driver.ErrRefused, d.where())
	}
	if dl := compare(t, r.Table()); !dl.empty() {
		return nil, fmt.Errorf("%w: the table in %s is not the one that was rendered", driver.ErrMoved, d.where())
	}
	c, err := d.open()
	if err != nil {
		return nil, err
	}
	m := &mover{d: d, c: c, table: t.Name, words: r.words, own: r.Own, gen: n.Ruleset.Generation, judge: newJudge(t), base: n, ledger: render.NewLedger(t, r.words),
		sizes: map[string]uint32{}, loose: map[string]bool{}, held: map[netip.Addr]bool{}}
	m.hosts = [2][]string{render.HostSets(t, true), render.HostSets(t, false)}
	m.nets = [2][]string{render.NetSets(t, true), render.NetSets(t, false)}
	m.judge.read()
	m.judge.moved = map[netip.Addr]hostAt{}
	for i := range t.Sets {
		s := &t.Sets[i]
		m.sizes[s.Name] = s.Size
		m.loose[s.Name] = s.Dynamic() || s.Flags&ruleset.SetTimeout != 0
	}
	if m.counts, err = c.Counts(ctx, ruleset.FamilyInet, t.Name); err == nil {
		var same bool
		if same, err = m.Unchanged(ctx); err == nil && !same {
			err = fmt.Errorf("%w: others wrote to nf_tables of %s since it was read", driver.ErrMoved, d.where())
		}
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return m, nil
}

func (m *mover) Close() error { return m.c.Close() }

// Unchanged looks at the generation alone.
func (m *mover) Unchanged(ctx context.Context) (bool, error) {
	same, _, err := m.c.Unchanged(ctx, m.gen)
	return same, err
}

// step is one address's change of elements.
type step struct {
	addr      netip.Addr
	set       string
	new       uint32
	del, add  bool
	firstHold bool
}

// Move puts the addresses' new words into the host maps, and their flows on hold.
func (m *mover) Move(ctx context.Context, moves []driver.Move) (int, error) {
	steps, err := m.steps(moves)
	if err != nil || len(steps) == 0 {
		return 0, err
	}
	if len(m.held)+len(steps) > render.MovedAtMost {
		return 0, fmt.Errorf("%w: more than %d addresses move at a time", driver.ErrRefused, render.MovedAtMost)
	}
	b := &m.batch
	b.Reset()
	touched := m.holdFirst(b, steps)
	for i := range steps {
		st := &steps[i]
		key := st.addr.AsSlice()
		if st.del {
			b.DelElements(ruleset.FamilyInet, m.table, st.set, []ruleset.Element{{Key: key}})
			touched++
		}
		if st.add {
			b.AddElements(ruleset.FamilyInet, m.table, st.set, []ruleset.Element{{Key: key, Data: binary.NativeEndian.AppendUint32(nil, st.new)}})
			touched++
		}
	}
	if err := m.commit(ctx, b); err != nil {
		return 0, err
	}
	for i := range steps {
		m.note(&steps[i])
	}
	return touched, nil
}

// steps works out what has to change; an address that has its word already is left
// alone.
func (m *mover) steps(moves []driver.Move) ([]step, error) {
	var out []step
	seen := map[netip.Addr]bool{}
	adds := map[string]uint32{}
	for i := range moves {
		mv := &moves[i]
		word, ok := m.words.Word(mv.To)
		if !ok {
			return nil, fmt.Errorf("%w: the table knows no word for the new class of %s", driver.ErrRefused, mv.Addr)
		}
		if seen[mv.Addr] {
			return nil, fmt.Errorf("%w: %s moves twice at a time", driver.ErrRefused, mv.Addr)
		}
		seen[mv.Addr] = true
		now := m.judge.host(mv.Addr)
		below := m.judge.netWord(mv.Addr)
		st := step{addr: mv.Addr, set: now.set, new: word, del: now.there, add: word != below, firstHold: !m.held[mv.Addr]}
		if now.there && now.word == word || !now.there && !st.add {
			continue
		}
		if !now.there {
			st.set, ok = m.room(mv.Addr, adds)
		}
		if !ok {
			return nil, fmt.Errorf("%w: the map of single addresses is full", driver.ErrRefused)
		}
		out = append(out, st)
	}
	return out, nil
}

// room names a map of single addresses that takes one more.
func (m *mover) room(a netip.Addr, adds map[string]uint32) (string, bool) {
	for _, name := range m.hosts[famIndex(a)] {
		if m.counts[name].Known && m.counts[name].Elements+adds[name] < m.sizes[name] {
			adds[name]++
			return name, true
		}
	}
	return "", false
}

// holdFirst puts the flows of addresses on hold, before their words change.
func (m *mover) holdFirst(b *kernel.Batch, steps []step) int {
	var four, six []ruleset.Element
	for i := range steps {
		if !steps[i].firstHold {
			continue
		}
		e := ruleset.Element{Key: steps[i].addr.AsSlice()}
		if steps[i].addr.Is4() {
			four = append(four, e)
		} else {
			six = append(six, e)
		}
	}
	n := 0
	add := func(set string, es []ruleset.Element) {
		if len(es) > 0 {
			b.AddElements(ruleset.FamilyInet, m.table, set, es)
			n += len(es)
		}
	}
	if len(m.held) == 0 && !m.heldAll {
		add(setHold, families())
	}
	add(setMoved4, four)
	add(setMoved6, six)
	return n
}

// note brings what is believed of the table up to a commit.
func (m *mover) note(st *step) {
	if st.del {
		m.count(st.set, -1)
	}
	if st.add {
		m.count(st.set, 1)
	}
	m.judge.move(st.addr, hostAt{st.new, st.set, st.add})
	if !m.held[st.addr] {
		if len(m.held) == 0 && !m.heldAll {
			m.count(setHold, 2)
		}
		m.held[st.addr] = true
		m.count(movedSetOf(st.addr), 1)
	}
	m.touched = append(m.touched, st.addr)
}

func (m *mover) count(set string, by int) {
	n := m.counts[set]
	n.Elements = uint32(int(n.Elements) + by)
	m.counts[set] = n
}

func movedSetOf(a netip.Addr) string {
	if a.Is4() {
		return setMoved4
	}
	return setMoved6
}

func families() []ruleset.Element {
	return []ruleset.Element{{Key: []byte{unix.NFPROTO_IPV4}}, {Key: []byte{unix.NFPROTO_IPV6}}}
}

// commit makes a batch, only if nobody else wrote since ours.
func (m *mover) commit(ctx context.Context, b *kernel.Batch) error {
	after, err := m.c.CommitAt(ctx, b, m.gen)
	switch {
	case errors.Is(err, kernel.ErrGenerationMoved):
		return fmt.Errorf("%w: others wrote to nf_tables of %s", driver.ErrMoved, m.d.where())
	case errors.Is(err, kernel.ErrUncertain):
		return fmt.Errorf("cannot tell whether addresses of %s were moved: %w", m.d.where(), err)
	case err != nil:
		return fmt.Errorf("%w: cannot move addresses of %s: %w", driver.ErrRefused, m.d.where(), err)
	case after == 0:
		return fmt.Errorf("%w: the kernel did not say which generation of %s was made", driver.ErrMoved, m.d.where())
	}
	m.gen = after
	return nil
}

// Settle judges the live flows of the addresses that are held, and lets them go.
func (m *mover) Settle(ctx context.Context) error {
	if len(m.held) == 0 && !m.heldAll {
		return nil
	}
	h := hold{all: m.heldAll}
	for a := range m.held {
		e := ruleset.Element{Key: a.AsSlice()}
		if a.Is4() {
			h.moved4 = append(h.moved4, e)
		} else {
			h.moved6 = append(h.moved6, e)
		}
	}
	if err := m.d.sweep(ctx, m.c, m.judge, m.own, h.concerns()); err != nil {
		return err
	}
	b := &m.batch
	b.Reset()
	// First of all packets stop asking: the switch goes before what it leads to.
	b.DelElements(ruleset.FamilyInet, m.table, setHold, families())
	if m.heldAll {
		b.DelElements(ruleset.FamilyInet, m.table, setHoldAll, families())
	}
	for set, es := range map[string][]ruleset.Element{setMoved4: h.moved4, setMoved6: h.moved6} {
		if len(es) > 0 {
			b.DelElements(ruleset.FamilyInet, m.table, set, es)
		}
	}
	if err := m.commit(ctx, b); err != nil {
		return err
	}
	m.count(setHold, -2)
	if m.heldAll {
		m.count(setHoldAll, -2)
		m.heldAll = false
	}
	m.count(setMoved4, -len(h.moved4))
	m.count(setMoved6, -len(h.moved6))
	clear(m.held)
	return nil
}

// Check reads the touched addresses back by key, and the number of elements of
// every set: with the generation being the one that this mover made, nothing else
// can be otherwise.
func (m *mover) Check(ctx context.Context) ([]driver.Moved, error) {
	counts, err := m.c.Counts(ctx, ruleset.FamilyInet, m.table)
	if err != nil {
		return nil, err
	}
	for name, want := range m.counts {
		got, ok := counts[name]
		if !ok || !m.loose[name] && got != want {
			return nil, fmt.Errorf("%w: set %q of %s holds %d elements and must hold %d", driver.ErrMoved, name, m.d.where(), got.Elements, want.Elements)
		}
	}
	if len(counts) != len(m.counts) {
		return nil, fmt.Errorf("%w: %d sets in %s, and %d must be there", driver.ErrMoved, len(counts), m.d.where(), len(m.counts))
	}
	if err := m.checkAmended(ctx); err != nil {
		return nil, err
	}
	out := make([]driver.Moved, 0, len(m.touched))
	for _, a := range m.touched {
		got, err := m.readBack(ctx, a)
		if err != nil {
			return nil, err
		}
		out = append(out, got)
	}
	if same, err := m.Unchanged(ctx); err != nil || !same {
		return nil, errors.Join(err, fmt.Errorf("%w: the generation of nf_tables of %s is not the one that was made last", driver.ErrMoved, m.d.where()))
	}
	m.touched, m.amended = m.touched[:0], nil
	return out, nil
}

// readBack asks the kernel which word an address finds: in a host map, or else in
// the interval that holds it.
func (m *mover) readBack(ctx context.Context, a netip.Addr) (driver.Moved, error) {
	out := driver.Moved{Addr: a}
	for _, set := range slices.Concat(m.nets[famIndex(a)], m.hosts[famIndex(a)]) {
		if _, ok := m.counts[set]; !ok {
			continue
		}
		out.From = append(out.From, set)
		got, err := m.c.ElementsByKey(ctx, ruleset.FamilyInet, m.table, set, []ruleset.Element{{Key: a.AsSlice()}})
		if err != nil {
			return out, err
		}
		if !got[0].Found || len(got[0].Element.Data) != 4 {
			continue
		}
		if out.By != "" && !render.IsNetSet(out.By) {
			return out, fmt.Errorf("%w: %s is in the maps %q and %q", driver.ErrMoved, a, out.By, set)
		}
		out.By, out.Word = set, binary.NativeEndian.Uint32(got[0].Element.Data)
	}
	return out, nil
}
