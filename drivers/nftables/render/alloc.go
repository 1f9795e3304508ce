package render

import (
	"encoding/binary"
	"sort"
	"strings"

	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/packet"
)

// Rows of the `keep` map: the next number of each id space. Numbers go up and
// are not taken again soon, so that a packet whose lookups straddle a commit does
// not read another id's meaning.
const (
	keepClass   = 1
	keepRuleset = 2
	keepVerdict = 3
	keepPartial = 4
	// From these rows on: the place and width of each field of a class's word, and
	// the masks of each space.
	keepField = 0x100
	keepMask  = 0x200
)

// alloc is what a device's table says of the ids in use.
type alloc struct {
	table    *ruleset.Table          // nil for none
	words    map[uint32]packet.Addrs // class word -> its addresses
	rulesets map[uint32]string       // ruleset id -> its contents
	pairs    []map[[2]uint32]uint32  // of each space: two masked words -> ruleset id
	fields   []field                 // of a class's word
	masks    [][2]uint32             // of each space
	verdicts map[string]uint32       // verdict's key -> id
	partials map[string]uint32       // partial verdict's meaning -> id
	counted  map[uint32][2]uint64    // verdict id -> packets, bytes
	next     map[uint32]uint32
}

// recover reads the ids back from a table; from none, everything starts anew.
func recoverIDs(t *ruleset.Table) *alloc {
	a := &alloc{words: map[uint32]packet.Addrs{}, rulesets: map[uint32]string{},
		verdicts: map[string]uint32{}, partials: map[string]uint32{}, counted: map[uint32][2]uint64{},
		next: map[uint32]uint32{keepClass: 1, keepRuleset: 1, keepVerdict: firstVerdict & numberMask, keepPartial: 1}}
	if t == nil {
		return a
	}
	a.table = t
	a.readShape(t)
	a.readClasses(t)
	a.readEntries(t)
	return a
}

// recoverEntries is recoverIDs without what the table knows of addresses.
func recoverEntries(t *ruleset.Table) *alloc {
	a := recoverIDs(nil)
	a.table = t
	a.readShape(t)
	a.readEntries(t)
	return a
}

// readEntries reads what pairs of classes lead to, and which ids that takes.
func (a *alloc) readEntries(t *ruleset.Table) {
	a.readRulesets(t)
	a.readPartials(t)
	for _, name := range []string{setPermit, setPermitTimed, setDeny} {
		for _, e := range elements(t, name) {
			id := word(e.Key)
			a.counted[id] = [2]uint64{e.Packets, e.Bytes}
			if id&VerdictMask != VerdictBase {
				continue
			}
			if comment := e.Comment(); comment != "" && id >= firstVerdict {
				a.verdicts[comment] = id
			}
			a.bump(keepVerdict, id&numberMask)
		}
	}
	for _, e := range elements(t, setKeep) {
		if k := word(e.Key); k < keepField {
			a.next[k] = max(a.next[k], word(e.Data))
		}
	}
}

// readShape reads how words are made up and what each space looks up of them.
func (a *alloc) readShape(t *ruleset.Table) {
	rows := map[uint32]uint32{}
	for _, e := range elements(t, setKeep) {
		rows[word(e.Key)] = word(e.Data)
	}
	for n := uint32(keepField); ; n++ {
		v, ok := rows[n]
		if !ok {
			break
		}
		a.fields = append(a.fields, field{shift: int(v & 0xff), bits: int(v >> 8 & 0xff)})
	}
	for n := uint32(keepMask); ; n += 2 {
		row, ok := rows[n]
		col, ok2 := rows[n+1]
		if !ok || !ok2 {
			break
		}
		a.masks = append(a.masks, [2]uint32{row, col})
	}
}

// readPartials reads what stands for each partial verdict on either side.
func (a *alloc) readPartials(t *ruleset.Table) {
	parts := map[uint32]*[3]uint32{}
	for i, name := range []string{setPartial, setOut, setIn} {
		for _, e := range elements(t, name) {
			id := word(e.Key)
			if parts[id] == nil {
				parts[id] = &[3]uint32{}
			}
			parts[id][i] = word(e.Data)
			a.bump(keepPartial, id&numberMask)
		}
	}
	for id, p := range parts {
		a.partials[partialKey(*p)] = id
	}
}

func (a *alloc) bump(space, used uint32) { a.next[space] = max(a.next[space], used+1) }

func (a *alloc) readClasses(t *ruleset.Table) {
	runs := map[uint32][]packet.Range{}
	hosts := map[bool]packet.Addrs{}
	for _, name := range []string{setHost4, setHost6} {
		var all []packet.Range
		for i := range t.Sets {
			if _, ok := shardOf(name, t.Sets[i].Name); !ok {
				continue
			}
			for k := range t.Sets[i].Elements {
				e := &t.Sets[i].Elements[k]
				if r, ok := hostRange(e.Key); ok {
					runs[word(e.Data)] = append(runs[word(e.Data)], r)
					all = append(all, r)
				}
			}
		}
		hosts[name == setHost4] = packet.AddrRanges(all)
	}
	for _, name := range []string{setNet4, setNet6} {
		for _, shard := range shardNames(t, name) {
			for w, rs := range intervals(elements(t, shard)) {
				left := packet.AddrRanges(rs).Subtract(hosts[name == setNet4])
				runs[w] = append(runs[w], left.Runs()...)
			}
		}
	}
	for w, rs := range runs {
		a.words[w] = packet.AddrRanges(rs)
		if len(a.fields) == 1 {
			a.bump(keepClass, w&classMask)
		}
	}
}

func (a *alloc) readRulesets(t *ruleset.Table) {
	for k := range a.masks {
		pairs := map[[2]uint32]uint32{}
		for _, e := range elements(t, pairSet(k)) {
			if len(e.Key) == 8 {
				id := word(e.Data)
				pairs[[2]uint32{word(e.Key), word(e.Key[4:])}] = id
				a.bump(keepRuleset, id&numberMask)
			}
		}
		a.pairs = append(a.pairs, pairs)
	}
	lines := map[uint32][]string{}
	for _, name := range []string{setSvc, setSvcRange, setProto, setRest} {
		for _, e := range elements(t, name) {
			id := word(e.Key)
			if name == setSvcRange {
				id = binary.BigEndian.Uint32(e.Key)
			}
			lines[id] = append(lines[id], contentLine(name, e))
		}
	}
	for id, ls := range lines {
		sort.Strings(ls)
		a.rulesets[id] = strings.Join(ls, "\n")
	}
}

// contentLine says what an element contributes to its ruleset, whatever the
// ruleset's id.
func contentLine(set string, e ruleset.Element) string {
	end := ""
	if len(e.KeyEnd) > 4 {
		end = string(e.KeyEnd[4:])
	}
	return set + "\x00" + string(e.Key[4:]) + "\x00" + end + "\x00" + string(e.Data)
}

// take gives a number that nothing uses, the next one in order.
func (a *alloc) take(space uint32, limit uint32, used func(uint32) bool) uint32 {
	for tries := uint32(0); tries <= limit; tries++ {
		n := a.next[space]
		if n == 0 || n > limit {
			n = 1
		}
		a.next[space] = n + 1
		if !used(n) {
			return n
		}
	}
	return limit
}

func elements(t *ruleset.Table, name string) []ruleset.Element {
	if s := t.Set(name); s != nil {
		return s.Elements
	}
	return nil
}

func word(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}

func commentData(comment string) []byte {
	return append([]byte{0, byte(len(comment) + 1)}, append([]byte(comment), 0)...)
}
