package decode

import (
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
)

// marks collects what all variants say of connection marks.
type marks struct {
	values   map[uint32]bool // every constant that a mark could be compared with
	others   []uint32        // stand for marks that nothing names
	accepts  map[uint32]bool
	assigned map[uint32]bool
	// given are the numbers that some rule can put into a packet's mark. A verdict of
	// packets that tracking makes no entry for (most ICMP, protocols judged packet by
	// packet) is given and looked up there, and never written to a flow.
	given  map[uint32]bool
	direct map[string]bool // sets whose keys may be a ct mark
}

// ours reports whether a mark is in our range; reversed, in its other half.
func (o Options) ours(v uint32) bool { return o.MarkMask != 0 && v&o.MarkMask == o.MarkValue }

func (o Options) reversedBit() uint32 { return o.MarkMask & -o.MarkMask }

func (o Options) reversed(v uint32) bool { return o.MarkMask != 0 && o.ours(v^o.reversedBit()) }

// collect gathers the constants once.
func (k *marks) collect(m *machine, opt Options) {
	if k.values != nil {
		return
	}
	k.values, k.accepts, k.assigned = map[uint32]bool{}, map[uint32]bool{}, map[uint32]bool{}
	k.direct = k.scanRules(m.prog)
	k.give(m)
	for i := range m.prog.table.Sets {
		s := &m.prog.table.Sets[i]
		for e := range s.Elements {
			el := &s.Elements[e]
			for _, b := range [][]byte{el.Key, el.KeyEnd} {
				for at := 0; at+4 <= len(b); at += 4 {
					for _, v := range []uint32{binary.NativeEndian.Uint32(b[at:]), binary.BigEndian.Uint32(b[at:])} {
						if opt.ours(v) || opt.reversed(v) || k.direct[s.Name] {
							k.add(v)
						}
					}
				}
			}
		}
	}
	for v := range k.values {
		if opt.ours(v) || opt.reversed(v) {
			k.add(v ^ opt.reversedBit())
		}
	}
	k.stand(opt)
}

// give collects the constants and the data of maps that rules look up.
func (k *marks) give(m *machine) {
	k.given = map[uint32]bool{}
	looked := map[string]bool{}
	each(m.prog, func(r *rule) {
		for i := range r.ops {
			o := &r.ops[i]
			switch {
			case o.code == opLookup:
				looked[o.set] = true
			case o.code == opImmediate && len(o.data) == 4:
				k.given[binary.NativeEndian.Uint32(o.data)] = true
			}
		}
	})
	for i := range m.prog.table.Sets {
		s := &m.prog.table.Sets[i]
		if !s.IsMap() || !looked[s.Name] {
			continue
		}
		for e := range s.Elements {
			if d := s.Elements[e].Data; len(d) == 4 {
				k.given[binary.NativeEndian.Uint32(d)] = true
			}
		}
	}
}

func (k *marks) add(v uint32) {
	if v != 0 {
		k.values[v] = true
	}
}

// scanRules takes the constants of rules that read the ct mark, and names the
// sets whose every key may be compared with one. Where a rule copies the ct mark
// to the packet's mark, every rule that reads the latter counts.
func (k *marks) scanRules(p *program) map[string]bool {
	direct := map[string]bool{}
	copied := false
	each(p, func(r *rule) {
		if loads(r, opCtLoad, unix.NFT_CT_MARK) && loads(r, opMetaSet, unix.NFT_META_MARK) {
			copied = true
		}
	})
	each(p, func(r *rule) {
		if !loads(r, opCtLoad, unix.NFT_CT_MARK) && !(copied && loads(r, opMetaLoad, unix.NFT_META_MARK)) {
			return
		}
		var masks []uint32
		for i := range r.ops {
			o := &r.ops[i]
			if o.code == opLookup {
				direct[o.set] = true
			}
			if len(o.data) != 4 {
				continue
			}
			c := binary.NativeEndian.Uint32(o.data)
			if o.code == opBitwise {
				masks = append(masks, c)
				continue
			}
			for _, mask := range append(masks, ^uint32(0)) {
				for _, fill := range []uint32{0, ^uint32(0), 0x5a5a5a5a} {
					k.add(c&mask | fill&^mask)
					k.add(^c&mask | fill&^mask)
				}
			}
			k.add(c + 1)
			k.add(c - 1)
		}
	})
	return direct
}

func each(p *program, f func(*rule)) {
	for i := range p.chains {
		for n := range p.chains[i].rules {
			f(&p.chains[i].rules[n])
		}
	}
}

func loads(r *rule, code opcode, key uint32) bool {
	return slices.ContainsFunc(r.ops, func(o op) bool { return o.code == code && o.key == key })
}

// stand picks marks that nothing names: of ours, reversed, and foreign.
func (k *marks) stand(opt Options) {
	pick := func(fits func(uint32) bool, from uint32) {
		for v, tries := from, 0; tries < 1<<20; v, tries = v+0x00010007, tries+1 {
			if v != 0 && fits(v) && !k.values[v] {
				k.others = append(k.others, v)
				return
			}
		}
	}
	foreign := func(v uint32) bool { return !opt.ours(v) && !opt.reversed(v) }
	pick(foreign, 0x1)
	pick(foreign, 0x80004000)
	if opt.MarkMask != 0 {
		pick(opt.ours, opt.MarkValue|^opt.MarkMask&0x00abcdef)
		pick(opt.reversed, opt.MarkValue^opt.reversedBit()|^opt.MarkMask&0x00abcdef)
	}
}

// signature tells marks apart that a program could tell apart: equal signatures
// fare alike, so one of them is executed for all.
func (m *machine) signature(k *marks, v uint32, named map[uint32]bool) string {
	var native, big [4]byte
	binary.NativeEndian.PutUint32(native[:], v)
	binary.BigEndian.PutUint32(big[:], v)
	sig := ""
	for i := range m.prog.table.Sets {
		s := m.sets[m.prog.table.Sets[i].Name]
		if s.rs.KeyLen != 4 || s.bad != "" || !k.direct[s.rs.Name] {
			continue
		}
		for _, key := range [][]byte{native[:], big[:]} {
			for _, e := range s.holding(key) {
				sig += fmt.Sprintf("%d:%d ", i, s.elems[e].datum)
			}
			sig += ";"
		}
	}
	if named[v] {
		sig += fmt.Sprintf("=%x", v)
	}
	return sig
}

// holding lists the elements that hold a key.
func (s *set) holding(key []byte) []int {
	if s.exact {
		if i, ok := s.holds(key); ok {
			return []int{int(i)}
		}
		return nil
	}
	var out []int
	for i := range s.elems {
		if string(s.elems[i].lo) <= string(key) && string(key) <= string(s.elems[i].hi) {
			out = append(out, i)
		}
	}
	return out
}

// named lists the marks that rules compare with, or that are part of longer
// keys: each is executed by itself.
func (m *machine) named(k *marks) map[uint32]bool {
	out := map[uint32]bool{}
	see := func(b []byte) {
		for at := 0; at+4 <= len(b); at += 4 {
			for _, v := range []uint32{binary.NativeEndian.Uint32(b[at:]), binary.BigEndian.Uint32(b[at:])} {
				if k.values[v] {
					out[v] = true
				}
			}
		}
	}
	each(m.prog, func(r *rule) {
		for i := range r.ops {
			see(r.ops[i].data)
			see(r.ops[i].data2)
		}
	})
	for _, s := range m.sets {
		if s.rs.KeyLen > 4 && k.direct[s.rs.Name] {
			for i := range s.elems {
				see(s.elems[i].lo)
			}
		}
	}
	return out
}

// masks lists the masks that rules put on a ct mark, or on what may be a copy.
func (m *machine) masks() []uint32 {
	out := []uint32{}
	copied := false
	each(m.prog, func(r *rule) {
		copied = copied || loads(r, opCtLoad, unix.NFT_CT_MARK) && loads(r, opMetaSet, unix.NFT_META_MARK)
	})
	each(m.prog, func(r *rule) {
		if !loads(r, opCtLoad, unix.NFT_CT_MARK) && !(copied && loads(r, opMetaLoad, unix.NFT_META_MARK)) {
			return
		}
		for _, o := range r.ops {
			if o.code == opBitwise && o.oper == bitwiseMaskXor && len(o.data) == 4 {
				out = append(out, binary.NativeEndian.Uint32(o.data))
			} else if o.code == opBitwise {
				out = append(out, ^uint32(0))
			}
		}
	})
	return out
}

// accepting executes established packets that bear each mark and collects the
// marks that let through what would be dropped without. It returns one for each
// way to fare.
func (d *decoder) accepting(m *machine, k *marks) []uint32 {
	named, masks := m.named(k), m.masks()
	groups := map[string][]uint32{}
	var order []string
	values := make([]uint32, 0, len(k.values))
	for v := range k.values {
		values = append(values, v)
	}
	slices.Sort(values)
	// Marks that nothing names go first, so that they stand for their group.
	for _, v := range append(slices.Clone(k.others), values...) {
		sig := m.signature(k, v, named)
		for _, mask := range masks {
			if mask == ^uint32(0) {
				sig += fmt.Sprintf("&%x", v)
				continue
			}
			// A copy under a mask may be looked up in its turn.
			sig += fmt.Sprintf("&%s", m.signature(k, v&mask, named)) + kindOf(d.opt, v&mask)
		}
		if groups[sig] == nil {
			order = append(order, sig)
		}
		groups[sig] = append(groups[sig], v)
	}
	var reps []uint32
	for _, sig := range order {
		reps = append(reps, groups[sig][0])
	}
	found := d.passing(m, reps)
	var out []uint32
	for n, sig := range order {
		if found[n] {
			out = append(out, groups[sig][0])
			for _, v := range groups[sig] {
				k.accepts[v] = true
			}
		}
	}
	if len(out) == 0 {
		out = []uint32{0}
	}
	return out
}

// kindOf tells the ranges of marks apart, and zero.
func kindOf(o Options, v uint32) string {
	switch {
	case v == 0:
		return "0"
	case o.ours(v):
		return "o"
	case o.reversed(v):
		return "r"
	}
	return "f"
}

// judgeMarks reports marks that let flows through and should not.
func (d *decoder) judgeMarks(t *ruleset.Table, k *marks) Marks {
	var out Marks
	for v := range k.assigned {
		out.Assignable = append(out.Assignable, v)
	}
	slices.Sort(out.Assignable)
	anyReversed := false
	for v := range k.accepts {
		if !slices.Contains(k.others, v) {
			out.Accepting = append(out.Accepting, v)
		}
		anyReversed = anyReversed || d.opt.reversed(v)
	}
	slices.Sort(out.Accepting)
	var stale, foreign, lonely []uint32
	for _, v := range out.Accepting {
		base := v
		if d.opt.reversed(v) {
			base = v ^ d.opt.reversedBit()
		}
		switch {
		case !d.opt.ours(base):
			foreign = append(foreign, v)
		case !k.assigned[base] && !k.assigned[base^d.opt.reversedBit()] && !k.given[base]:
			stale = append(stale, v)
		}
		if d.opt.ours(base) && anyReversed && k.accepts[base] != k.accepts[base^d.opt.reversedBit()] {
			lonely = append(lonely, v)
		}
	}
	d.noteMarks(t, stale, "stale mark accepts flows")
	d.noteMarks(t, foreign, "foreign mark accepts flows")
	d.noteMarks(t, lonely, "mark passes and its reversed variant does not, or the other way round")
	for _, v := range k.others {
		if k.accepts[v] {
			d.note(tableName(t), fmt.Sprintf("any mark accepts flows, for example 0x%08x", v))
		}
	}
	for _, v := range out.Assignable {
		if !d.opt.ours(v) && !d.opt.reversed(v) && v != 0 {
			d.note(tableName(t), fmt.Sprintf("flows are given a mark outside our range: 0x%08x", v))
		}
	}
	return out
}

// noteMarks makes one finding of a list, naming the first few.
func (d *decoder) noteMarks(t *ruleset.Table, list []uint32, text string) {
	if len(list) == 0 {
		return
	}
	text += ":"
	for i, v := range list {
		if i == 8 {
			text += fmt.Sprintf(" and %d more", len(list)-i)
			break
		}
		text += fmt.Sprintf(" 0x%08x", v)
	}
	d.note(tableName(t), text)
}
