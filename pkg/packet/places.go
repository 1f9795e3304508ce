package packet

import (
	"net/netip"
	"slices"
	"sort"
)

// Places finds the cell of an address. It takes 8 bytes for each run of cells
// (IPv6: 24), where a list of runs would take 56.
type Places struct {
	v4 []uint64 // where a run begins<<32 | cell; the first one begins at 0
	v6 []key6
}

// Find returns the number of the cell that holds the address.
func (p *Places) Find(a netip.Addr) int {
	at := numberOf(a)
	if a.Is4() {
		i := sort.Search(len(p.v4), func(i int) bool { return p.v4[i]>>32 > at.lo })
		return int(uint32(p.v4[i-1]))
	}
	i := sort.Search(len(p.v6), func(i int) bool { return at.less(p.v6[i].at) })
	return int(p.v6[i-1].ref)
}

// Claims finds the addresses that more than one owner claims, in time linear in
// what was added. Owners are numbers of 32 bits.
type Claims struct {
	v4 []uint64 // address<<32 | owner
	v6 []key6
}

// Grow makes room for some more claims.
func (c *Claims) Grow(v4, v6 int) {
	c.v4, c.v6 = slices.Grow(c.v4, v4), slices.Grow(c.v6, v6)
}

// Add says that an owner claims the address.
func (c *Claims) Add(a netip.Addr, owner int) {
	if a.Is4() {
		c.v4 = append(c.v4, uint64(number4(a))<<32|uint64(owner))
	} else {
		c.v6 = append(c.v6, key6{numberOf(a), uint32(owner)})
	}
}

// Contest is an address with all that claim it, at least two, in ascending order.
type Contest struct {
	Addr   netip.Addr
	Owners []int
}

// Contests lists the contested addresses in order, IPv4 first.
func (c *Claims) Contests() []Contest {
	all := line{c.v4, c.v6}
	all.sort()
	c.v4, c.v6 = all.v4, all.v6
	var out []Contest
	var owners []int
	meet := func(n int, at func(i int) (u128, uint32), addr func(u128) netip.Addr) {
		for i := 0; i < n; {
			here, owner := at(i)
			owners = append(owners[:0], int(owner))
			for i++; i < n; i++ {
				next, owner := at(i)
				if next != here {
					break
				}
				owners = append(owners, int(owner))
			}
			if len(owners) < 2 {
				continue
			}
			slices.Sort(owners) // sorting by address leaves them in no order
			if owners = slices.Compact(owners); len(owners) > 1 {
				out = append(out, Contest{addr(here), slices.Clone(owners)})
			}
		}
	}
	meet(len(c.v4), func(i int) (u128, uint32) { return u128{0, c.v4[i] >> 32}, uint32(c.v4[i]) },
		func(n u128) netip.Addr { return addr4(uint32(n.lo)) })
	meet(len(c.v6), func(i int) (u128, uint32) { return c.v6[i].at, c.v6[i].ref }, u128.addr6)
	return out
}
