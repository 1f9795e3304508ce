package decode

import (
	"math/bits"
	"net/netip"
	"slices"
)

// u128 is an address of either family, or a port, as a number.
type u128 struct{ hi, lo uint64 }

func (a u128) cmp(b u128) int {
	switch {
	case a.hi < b.hi || a.hi == b.hi && a.lo < b.lo:
		return -1
	case a == b:
		return 0
	}
	return 1
}

func (a u128) next() u128 {
	lo, carry := bits.Add64(a.lo, 1, 0)
	return u128{a.hi + carry, lo}
}

func (a u128) prev() u128 {
	lo, borrow := bits.Sub64(a.lo, 1, 0)
	return u128{a.hi - borrow, lo}
}

// numberOf reads big-endian bytes.
func numberOf(b []byte) u128 {
	var n u128
	for _, c := range b {
		n.hi = n.hi<<8 | n.lo>>56
		n.lo = n.lo<<8 | uint64(c)
	}
	return n
}

// The domains of constructs.
const (
	domPort uint8 = 0
	dom4    uint8 = 4
	dom6    uint8 = 6
)

func domMax(dom uint8) u128 {
	switch dom {
	case domPort:
		return u128{0, 0xffff}
	case dom4:
		return u128{0, 0xffffffff}
	}
	return u128{^uint64(0), ^uint64(0)}
}

// addrLen is the length of a family's addresses in bytes.
func addrLen(dom uint8) int {
	if dom == dom4 {
		return 4
	}
	return 16
}

func addrOf(dom uint8, n u128) netip.Addr {
	if dom == dom4 {
		return netip.AddrFrom4([4]byte{byte(n.lo >> 24), byte(n.lo >> 16), byte(n.lo >> 8), byte(n.lo)})
	}
	var b [16]byte
	for i := range 8 {
		b[i] = byte(n.hi >> (56 - 8*i))
		b[8+i] = byte(n.lo >> (56 - 8*i))
	}
	return netip.AddrFrom16(b)
}

func numberOfAddr(a netip.Addr) (uint8, u128) {
	if a.Is4() {
		b := a.As4()
		return dom4, numberOf(b[:])
	}
	b := a.As16()
	return dom6, numberOf(b[:])
}

// construct is a function of one address (or one source port) with finitely many
// values: what a comparison or a lookup finds in it. Runs start where starts
// says; the first starts at zero.
type construct struct {
	dom    uint8
	starts []u128
	vals   []int32
	n      int32 // values are 0 to n-1
	// A function of another construct has its runs drawn only if somebody asks: there
	// are many, and each would be as long as a map of all addresses.
	of *construct
	by []int32 // value of of -> value
}

// draw makes the runs of a function of another construct.
func (c *construct) draw() *construct {
	if c.of == nil || c.starts != nil {
		return c
	}
	of := c.of.draw()
	c.starts, c.vals = append(c.starts, of.starts[0]), append(c.vals, c.by[of.vals[0]])
	for i, at := range of.starts[1:] {
		c.push(at, c.by[of.vals[i+1]])
	}
	return c
}

func (c *construct) at(k u128) int32 {
	if c.of != nil {
		return c.by[c.of.at(k)]
	}
	i, found := slices.BinarySearchFunc(c.starts, k, u128.cmp)
	if !found {
		i--
	}
	return c.vals[i]
}

// part is a run of keys, both ends included, that carries a number.
type part struct {
	lo, hi u128
	id     int32
}

// cells makes the construct whose value tells in which parts a key lies, and the
// list of part numbers (sorted) for each value. Value 0 is "in none".
func cells(dom uint8, parts []part) (*construct, [][]int32) {
	type event struct {
		at    u128
		id    int32
		enter bool
	}
	last := domMax(dom)
	events := make([]event, 0, 2*len(parts))
	for _, p := range parts {
		if p.hi.cmp(p.lo) < 0 {
			continue
		}
		events = append(events, event{p.lo, p.id, true})
		if p.hi != last {
			events = append(events, event{p.hi.next(), p.id, false})
		}
	}
	slices.SortFunc(events, func(a, b event) int { return a.at.cmp(b.at) })
	c := &construct{dom: dom, starts: []u128{{}}, vals: []int32{0}}
	lists := [][]int32{nil}
	index := map[string]int32{"": 0}
	active := map[int32]int{}
	for i := 0; i < len(events); {
		at := events[i].at
		for ; i < len(events) && events[i].at == at; i++ {
			if events[i].enter {
				active[events[i].id]++
			} else if active[events[i].id]--; active[events[i].id] == 0 {
				delete(active, events[i].id)
			}
		}
		list := make([]int32, 0, len(active))
		for id := range active {
			list = append(list, id)
		}
		slices.Sort(list)
		key := listKey(list)
		v, ok := index[key]
		if !ok {
			v = int32(len(lists))
			index[key] = v
			lists = append(lists, list)
		}
		c.push(at, v)
	}
	c.n = int32(len(lists))
	return c, lists
}

// push appends a run, merging it with the last one where that has its value.
func (c *construct) push(at u128, v int32) {
	n := len(c.starts) - 1
	if c.starts[n] == at {
		c.vals[n] = v
		if n > 0 && c.vals[n-1] == v {
			c.starts, c.vals = c.starts[:n], c.vals[:n]
		}
		return
	}
	if c.vals[n] != v {
		c.starts = append(c.starts, at)
		c.vals = append(c.vals, v)
	}
}

func listKey(list []int32) string {
	return string(appendKey(make([]byte, 0, 4*len(list)), list))
}

func appendKey(b []byte, list []int32) []byte {
	for _, v := range list {
		b = append(b, byte(v), byte(v>>8), byte(v>>16), byte(v>>24))
	}
	return b
}
