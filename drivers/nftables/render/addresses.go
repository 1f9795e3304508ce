package render

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"sort"

	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/packet"
)

func hostRange(key []byte) (packet.Range, bool) {
	a, ok := netip.AddrFromSlice(key)
	return packet.Range{From: a, To: a}, ok
}

// intervals reads a map of plain intervals back: value -> runs. An end element
// holds the first key after its run; a run without one reaches the last key.
func intervals(es []ruleset.Element) map[uint32][]packet.Range {
	sorted := slices.Clone(es)
	slices.SortFunc(sorted, func(a, b ruleset.Element) int {
		if c := slices.Compare(a.Key, b.Key); c != 0 {
			return c
		}
		// An end comes before the start of the next run at the same key.
		return int(b.Flags&ruleset.ElemIntervalEnd) - int(a.Flags&ruleset.ElemIntervalEnd)
	})
	out := map[uint32][]packet.Range{}
	for i, e := range sorted {
		from, ok := netip.AddrFromSlice(e.Key)
		if !ok || e.Flags&ruleset.ElemIntervalEnd != 0 {
			continue
		}
		to := lastOf(from)
		if i+1 < len(sorted) {
			if next, ok := netip.AddrFromSlice(sorted[i+1].Key); ok {
				to = next.Prev()
			}
		}
		out[word(e.Data)] = append(out[word(e.Data)], packet.Range{From: from, To: to})
	}
	return out
}

func lastOf(a netip.Addr) netip.Addr {
	return packet.PrefixRange(netip.PrefixFrom(a, 0)).To
}

// intervalElements writes runs as a set of plain intervals holds them.
func intervalElements(runs []packet.Range, data []byte) []ruleset.Element {
	var out []ruleset.Element
	for _, r := range runs {
		out = append(out, ruleset.Element{Key: r.From.AsSlice(), Data: data})
		if next := r.To.Next(); next.IsValid() {
			out = append(out, ruleset.Element{Key: next.AsSlice(), Flags: ruleset.ElemIntervalEnd})
		}
	}
	return out
}

// runsOf keeps the runs of one family. They are the set's own: IPv4 comes first
// in it.
func runsOf(a packet.Addrs, four bool) []packet.Range {
	runs := a.Runs()
	six := sort.Search(len(runs), func(i int) bool { return !runs[i].From.Is4() })
	if four {
		return runs[:six:six]
	}
	return runs[six:]
}

// classElements writes the address maps: single addresses into hash maps, and
// everything else into interval maps that cover the whole space, so that every
// packet finds a word. A single address is looked up last and wins; the interval
// maps therefore treat it as part of what surrounds it, which keeps them small.
// The single addresses come out in order.
func classElements(words []uint32, classes []packet.Addrs, four bool) (hosts, nets []ruleset.Element) {
	singles, wide := placesOf(words, classes, four)
	hosts = hostElements(singles, four)
	if len(wide) == 0 {
		return hosts, nil
	}
	// Each run is stretched over the single addresses after it, and the first one
	// over those before it. What is left of a run is where it begins.
	first := packet.PrefixRange(netip.PrefixFrom(wide[0].addr(four), 0))
	for i := 0; i < len(wide); {
		next := i + 1
		for next < len(wide) && wide[next].word == wide[i].word {
			next++
		}
		r := first
		if i > 0 {
			r.From = wide[i].addr(four)
		}
		if next < len(wide) {
			r.To = wide[next].addr(four).Prev()
		}
		nets = append(nets, intervalElements([]packet.Range{r}, native(wide[i].word))...)
		i = next
	}
	return hosts, nets
}

// placed is an address as a number, with the word of its class. A site has a
// million of them: sorted as numbers they cost a tenth of what addresses cost.
type placed struct {
	hi, lo uint64
	word   uint32
}

func placedAt(a netip.Addr, word uint32) placed {
	if a.Is4() {
		b := a.As4()
		return placed{lo: uint64(binary.BigEndian.Uint32(b[:])), word: word}
	}
	b := a.As16()
	return placed{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:]), word}
}

func (p *placed) addr(four bool) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], p.hi)
	binary.BigEndian.PutUint64(b[8:], p.lo)
	if four {
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return netip.AddrFrom16(b)
}

// placesOf lists the single addresses of all classes, and where the wider runs
// begin, both in order.
func placesOf(words []uint32, classes []packet.Addrs, four bool) (singles, wide []placed) {
	n, all := 0, 0
	for _, c := range classes {
		runs := runsOf(c, four)
		all += len(runs)
		for _, r := range runs {
			if r.From == r.To {
				n++
			}
		}
	}
	singles, wide = make([]placed, 0, n), make([]placed, 0, all-n)
	for i, c := range classes {
		for _, r := range runsOf(c, four) {
			at := placedAt(r.From, words[i])
			if r.From == r.To {
				singles = append(singles, at)
			} else {
				wide = append(wide, at)
			}
		}
	}
	return sortPlaced(singles), sortPlaced(wide)
}

// sortPlaced sorts by address, digit by digit from the last one on. Digits in
// which all are alike are passed over, so that addresses of one network take few
// turns.
func sortPlaced(a []placed) []placed {
	if slices.IsSortedFunc(a, func(x, y placed) int { return comparePlaced(&x, &y) }) {
		return a
	}
	var hi, lo uint64
	for i := range a {
		hi |= a[i].hi ^ a[0].hi
		lo |= a[i].lo ^ a[0].lo
	}
	to := make([]placed, len(a))
	differ := placed{hi: hi, lo: lo}
	for shift := 0; shift < 128; shift += 8 {
		if differ.digit(shift) == 0 {
			continue
		}
		var at [256]int
		for i := range a {
			at[a[i].digit(shift)]++
		}
		sum := 0
		for d, n := range at {
			at[d] = sum
			sum += n
		}
		for i := range a {
			d := a[i].digit(shift)
			to[at[d]] = a[i]
			at[d]++
		}
		a, to = to, a
	}
	return a
}

// digit is eight bits of the address, from the last ones up.
func (p *placed) digit(shift int) uint8 {
	if shift < 64 {
		return uint8(p.lo >> shift)
	}
	return uint8(p.hi >> (shift - 64))
}

func comparePlaced(x, y *placed) int {
	if x.hi != y.hi {
		return cmp.Compare(x.hi, y.hi)
	}
	return cmp.Compare(x.lo, y.lo)
}

// hostElements writes an element for each address, with the bytes of all in one
// piece of memory.
func hostElements(hosts []placed, four bool) []ruleset.Element {
	if len(hosts) == 0 {
		return nil
	}
	keyLen := 16
	if four {
		keyLen = 4
	}
	bytes := make([]byte, 0, len(hosts)*(keyLen+4))
	out := make([]ruleset.Element, len(hosts))
	for i := range hosts {
		h, at := &hosts[i], len(bytes)
		if four {
			bytes = binary.BigEndian.AppendUint32(bytes, uint32(h.lo))
		} else {
			bytes = binary.BigEndian.AppendUint64(bytes, h.hi)
			bytes = binary.BigEndian.AppendUint64(bytes, h.lo)
		}
		data := len(bytes)
		bytes = binary.NativeEndian.AppendUint32(bytes, h.word)
		out[i].Key, out[i].Data = bytes[at:data:data], bytes[data:len(bytes):len(bytes)]
	}
	return out
}
