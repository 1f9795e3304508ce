package decode

import (
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

// marks collects what all variants say of connection marks.
type marks struct {
	values   map[uint32]bool // every constant that a mark could be compared with
	others   []uint32        // stand for marks that nothing names
	accepts  map[uint32]bool
	assigned map[uint32]bool
	direct   map[string]bool // sets whose keys may be a ct mark
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
	if s.exact != nil {
		if i, ok := s.exact[string(key)]; ok {
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
	for _, v := range append(values, k.others...) {
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

// passing tells which marks let something through that is dropped without. What
// is dropped without a reversed mark is what is dropped with one that names no
// verdict.
func (d *decoder) passing(m *machine, reps []uint32) []bool {
	found := make([]bool, len(reps))
	var plain, turned []int
	far := -1 // the reversed mark that nothing names: the last, if there is any
	for i, rep := range reps {
		if d.opt.reversed(rep) {
			turned = append(turned, i)
			far = i
		} else {
			plain = append(plain, i)
		}
	}
	for _, hook := range hookNames() {
		if _, ok := m.prog.starts[hook]; !ok {
			continue
		}
		for _, reply := range []bool{false, true} {
			d.passingOf(m, hook, reply, 0, reps, plain, found)
			if far < 0 {
				continue
			}
			if !d.knowsReversed(m, hook, reply, reps[far]) {
				d.passingOf(m, hook, reply, 0, reps, turned, found)
				continue
			}
			d.passingOf(m, hook, reply, reps[far], reps, turned, found)
			d.checkTurned(m, hook, reply, reps[far])
		}
	}
	return found
}

// knowsReversed reports whether the ruleset treats a reversed mark that names no
// verdict otherwise than none.
func (d *decoder) knowsReversed(m *machine, hook string, reply bool, mark uint32) bool {
	v := newView(m)
	v.addRoot(m.established(hook, reply, 0))
	v.addRoot(m.established(hook, reply, mark))
	if v.alike(0, 1) {
		return false
	}
	differ := false
	v.walk(nil, func(_, _, _ int, vals []int32) bool {
		n := len(v.ifs) * v.nPorts
		differ = m.wider(vals[0], vals[1], n) || m.wider(vals[1], vals[0], n)
		return !differ
	})
	return differ
}

// passingOf compares the marks at some indexes with one mark.
func (d *decoder) passingOf(m *machine, hook string, reply bool, base uint32, reps []uint32, which []int, found []bool) {
	v := newView(m)
	v.addRoot(m.established(hook, reply, base))
	var at []int
	for _, i := range which {
		v.addRoot(m.established(hook, reply, reps[i]))
		n := len(v.roots[0]) - 1
		if v.alike(0, n) {
			v.roots[0], v.roots[1] = v.roots[0][:n], v.roots[1][:n]
			continue
		}
		at = append(at, i)
	}
	if len(at) > 0 {
		d.compareRoots(v, hook, reply, at, found)
	}
}

// checkTurned holds flows that were picked up from their far end, and that no
// verdict was found for yet, against flows that were not: both must be judged
// alike.
func (d *decoder) checkTurned(m *machine, hook string, reply bool, mark uint32) {
	t, ct := driver.TrackForward, ctForward
	if reply {
		t, ct = driver.TrackReply, ctReply
	}
	var plain [2][]state
	for fam := range plain {
		plain[fam] = []state{m.start(hook, domOf(fam), reply, protoServices(6), ct, 0)}
	}
	v := newView(m)
	v.addRoot(plain)
	v.addRoot(m.turned(hook, reply, mark))
	v.walk(nil, func(fam, i, j int, vals []int32) bool {
		d.inspect(v, fam, i, j, vals[1], hook, t)
		n := len(v.ifs) * v.nPorts
		if !m.wider(vals[0], vals[1], n) && !m.wider(vals[1], vals[0], n) {
			return true
		}
		d.blame(driver.Finding{Object: m.table}, "flows that were picked up from their far end are not judged as the flows that they are",
			fmt.Sprintf("%s, %s, %s to %s", hook, t, v.classes[fam][axisSrc].addrs[i].First(), v.classes[fam][axisDst].addrs[j].First()))
		return false
	})
}

// compareRoots holds each further root of a view against the first.
func (d *decoder) compareRoots(v *view, hook string, reply bool, at []int, found []bool) {
	t := driver.TrackForward
	if reply {
		t = driver.TrackReply
	}
	wider := map[[2]int32]bool{}
	v.walk(nil, func(fam, i, j int, vals []int32) bool {
		for n, x := range vals[1:] {
			d.inspect(v, fam, i, j, x, hook, t)
			key := [2]int32{vals[0], x}
			w, ok := wider[key]
			if !ok {
				w = v.m.wider(key[0], key[1], len(v.ifs)*v.nPorts)
				wider[key] = w
			}
			found[at[n]] = found[at[n]] || w
		}
		return true
	})
}

// wider reports whether b accepts something that a does not.
func (m *machine) wider(a, b int32, n int) bool {
	for i := range n {
		x, y := m.results.list[m.results.pick(a, i)], m.results.list[m.results.pick(b, i)]
		if len(packet.Services(m.svc.sets[y.accept]).Subtract(m.svc.sets[x.accept])) > 0 {
			return true
		}
	}
	return false
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
		case !k.assigned[base] && !k.assigned[base^d.opt.reversedBit()]:
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
