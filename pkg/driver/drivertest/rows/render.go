package rows

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/driver/want"
	"bulkhead/pkg/packet"
)

// middle is where the first block goes: there is room on both sides.
const middle = maxIndex / 2

// Render gives the state in which our rows are one block that says what is
// desired. A block that is there already, wholly or in part, is kept where it is.
func (d *Driver) Render(w driver.Desired, have driver.State) (*driver.Rendered, error) {
	h, err := stateOf(have)
	if err != nil {
		return nil, err
	}
	next := &State{Config: h.Config.clone(), d: *d}
	next.Rows = slices.DeleteFunc(next.Rows, func(r Row) bool { return d.ours(&r) })
	out := &driver.Rendered{State: next}
	for _, direction := range []string{In, Out} {
		if len(w.Points) == 0 {
			continue
		}
		hook := want.NewHook(w.View, w.Points, map[string]string{In: compile.HookInput, Out: compile.HookOutput}[direction])
		if !hook.Asked() {
			continue
		}
		list := matches(hook)
		use, err := d.room(h, direction, len(list), w.Budget["rows"])
		if err != nil {
			return nil, err
		}
		out.Usage = append(out.Usage, use)
		block := Row{Key: Key{Direction: direction}, Port: d.port, Owner: d.owner(), Tag: tag(w.Points), Active: true}
		rows := d.place(h, block, list)
		if err := d.fits(h, rows); err != nil {
			return nil, err
		}
		next.Rows = append(next.Rows, rows...)
	}
	Sort(next.Rows)
	if len(out.Usage) > 0 {
		out.Essential = essential(w.Points)
	}
	return out, nil
}

func tag(points []compile.Point) string {
	var names []string
	for i := range points {
		if p := &points[i]; p.Endpoint && p.Mode != "observe" {
			names = append(names, p.Name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func essential(points []compile.Point) []string {
	var out []string
	for _, name := range []string{compile.EssentialND, compile.EssentialMLD, compile.EssentialIGMP, compile.EssentialDHCP} {
		if slices.ContainsFunc(points, func(p compile.Point) bool { return !p.Off[name] }) {
			out = append(out, name)
		}
	}
	return out
}

// room holds the block against the table's size. A third is all that a list may
// take: the old one is there beside it during a change, and what an interrupted
// change left may be there too.
func (d *Driver) room(h *State, direction string, need, budget int) (driver.Usage, error) {
	foreign := 0
	for i := range h.Rows {
		if r := &h.Rows[i]; r.Direction == direction && !d.ours(r) {
			foreign++
		}
	}
	limit := (h.Limit - foreign) / 3
	if budget > 0 {
		limit = min(limit, budget)
	}
	if need > limit {
		return driver.Usage{}, fmt.Errorf("%w: %d rows are needed for %s and %d may be used", driver.ErrRefused, need, direction, limit)
	}
	return driver.Usage{Resource: "rows", Used: need, Limit: limit}, nil
}

// fits holds the change against the table's size: old and new rows are there
// together before the old ones go.
func (d *Driver) fits(h *State, rows []Row) error {
	n := 0
	for i := range h.Rows {
		if r := &h.Rows[i]; r.Direction == rows[0].Direction && (r.Active || !d.ours(r)) {
			n++
		}
	}
	for i := range rows {
		if old := h.row(rows[i].Key); old == nil || !old.Active {
			n++
		}
	}
	if n > h.Limit {
		return fmt.Errorf("%w: %d rows would be there during the change and the table takes %d: remove the point first", driver.ErrRefused, n, h.Limit)
	}
	return nil
}

// place gives the block its indexes.
func (d *Driver) place(h *State, block Row, list []Match) []Row {
	at := func(base int) []Row {
		out := make([]Row, len(list))
		for i, m := range list {
			out[i] = block
			out[i].Index, out[i].Match = base+i, m
		}
		return out
	}
	var mine, foreign []Row
	for _, r := range h.Rows {
		switch {
		case r.Direction != block.Direction:
		case !d.ours(&r):
			foreign = append(foreign, r)
		case r.Active:
			mine = append(mine, r)
		}
	}
	best, bestHits := []Row(nil), 0
	tried := map[int]bool{}
	for i := range mine {
		for k := range list {
			base := mine[i].Index - k
			if mine[i].Match != list[k] || tried[base] {
				continue
			}
			tried[base] = true
			if rows := at(base); base >= 1 {
				if hits := d.hits(mine, foreign, rows); hits > bestHits {
					best, bestHits = rows, hits
				}
			}
		}
	}
	if best != nil {
		return best
	}
	return at(free(mine, foreign, len(list)))
}

// hits counts the rows of a block that are there; 0 where anything else is inside.
func (d *Driver) hits(mine, foreign, block []Row) int {
	lo, hi := block[0].Index, block[len(block)-1].Index
	n := 0
	for i := range mine {
		if r := &mine[i]; r.Index >= lo && r.Index <= hi {
			if !same(r, &block[r.Index-lo]) {
				return 0
			}
			n++
		}
	}
	for i := range foreign {
		if foreign[i].Index >= lo && foreign[i].Index <= hi {
			return 0
		}
	}
	return n
}

// free finds indexes for n rows before all of ours, or else after them.
func free(mine, foreign []Row, n int) int {
	base := middle
	if len(mine) > 0 {
		base = mine[0].Index - n
	}
	for base >= 1 {
		i := slices.IndexFunc(foreign, func(r Row) bool { return r.Index >= base && r.Index < base+n })
		if i < 0 {
			return base
		}
		base = foreign[i].Index - n
	}
	base = mine[len(mine)-1].Index + 1
	for {
		i := slices.IndexFunc(foreign, func(r Row) bool { return r.Index >= base && r.Index < base+n })
		if i < 0 {
			return base
		}
		base = foreign[i].Index + 1
	}
}

// matches writes a hook as a list that decides every packet: for every part whose
// packets are judged wherever they come from what it may receive and a deny, for
// every part that is judged as a source what it may send and a deny, and last a
// permit for what is nobody's business.
func matches(h *want.Hook) []Match {
	b := &builder{h: h}
	for j := range h.Parts {
		if h.Receives(j) {
			b.section(j, false)
		}
	}
	for i := range h.Parts {
		if h.Sends(i) {
			b.section(i, true)
		}
	}
	for _, family := range packet.AllAddrs().Runs() {
		b.add(family, family, want.Piece{ProtoHi: 255, Hi: 65535}, want.AllPorts(), true)
	}
	return b.out
}

type builder struct {
	h   *want.Hook
	out []Match
}

func (b *builder) add(src, dst packet.Range, p want.Piece, ports want.Ports, permit bool) {
	b.out = append(b.out, Match{SrcLo: src.From, SrcHi: src.To, DstLo: dst.From, DstHi: dst.To, ProtoLo: p.ProtoLo, ProtoHi: p.ProtoHi,
		NumLo: p.Lo, NumHi: p.Hi, SrcPortLo: ports.Lo, SrcPortHi: ports.Hi, Permit: permit})
}

func (b *builder) section(part int, sends bool) {
	var peers []int
	for k := range b.h.Parts {
		if b.h.Family(part, k) && !(sends && b.h.Receives(k)) {
			peers = append(peers, k)
		}
	}
	pair := func(k int) (src, dst int) {
		if sends {
			return part, k
		}
		return k, part
	}
	floors := make([]packet.Services, len(peers))
	for n, k := range peers {
		floors[n] = b.h.Floor(pair(k))
	}
	b.permit(part, sends, peers, floors, want.AllPorts())
	for _, run := range b.h.Runs {
		extra := make([]packet.Services, len(peers))
		for n, k := range peers {
			src, dst := pair(k)
			extra[n] = b.h.Permit(src, dst, run).Subtract(floors[n])
		}
		b.permit(part, sends, peers, extra, run)
	}
	for _, own := range b.h.Parts[part].Runs() {
		b.both(own, family(own.From), want.Piece{ProtoHi: 255, Hi: 65535}, want.AllPorts(), false, sends)
	}
}

func (b *builder) permit(part int, sends bool, peers []int, services []packet.Services, run want.Ports) {
	for _, g := range want.Gather(b.h, peers, services) {
		for _, own := range b.h.Parts[part].Runs() {
			for _, peer := range g.Peers.Runs() {
				for _, p := range want.Pieces(g.Services) {
					b.both(own, peer, p, run, true, sends)
				}
			}
		}
	}
}

func (b *builder) both(own, peer packet.Range, p want.Piece, run want.Ports, permit, sends bool) {
	if sends {
		b.add(own, peer, p, run, permit)
	} else {
		b.add(peer, own, p, run, permit)
	}
}

func family(a netip.Addr) packet.Range {
	runs := packet.AllAddrs().Runs()
	if a.Is4() {
		return runs[0]
	}
	return runs[1]
}
