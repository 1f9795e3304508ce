package compile

import (
	"encoding/binary"
	"fmt"

	"bulkhead/inventory"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// GroupSet is a group with the addresses that it stands for.
type GroupSet struct {
	Name    string
	Addrs   packet.Addrs
	Isolate policy.Isolation
}

// resolver works out group addresses, each group once.
type resolver struct {
	in      *Input
	assets  assetPlaces
	without map[string]bool // assets that count as not there
	decl    map[string]*policy.Group
	done    map[string]packet.Addrs
	busy    map[string]bool
	b       packet.Builder
	// only has the address of each asset that has one and nothing else, side by side: an
	// asset is in several groups, and itself far away in memory. 0 is none, from 1 on
	// IPv4 addresses, from sixAt on places in six.
	only []uint64
	six  [][2]uint64
}

const sixAt = 1 << 33

func newResolver(in *Input, without map[string]bool) *resolver {
	r := &resolver{in: in, assets: placesOf(in.Assets), without: without, decl: map[string]*policy.Group{},
		done: map[string]packet.Addrs{}, busy: map[string]bool{}}
	for i := range in.Book.Groups {
		r.decl[in.Book.Groups[i].Name] = &in.Book.Groups[i]
	}
	r.only = make([]uint64, len(in.Assets))
	for i := range in.Assets {
		as := in.Assets[i].Addresses
		if len(as) != 1 || !as[0].IsSingleIP() {
			continue
		}
		b := as[0].Addr().As16()
		hi, lo := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
		if as[0].Addr().Is4() {
			r.only[i] = lo&(1<<32-1) + 1
			continue
		}
		r.only[i] = uint64(sixAt + len(r.six))
		r.six = append(r.six, [2]uint64{hi, lo})
	}
	r.builtIn()
	return r
}

// builtIn makes the groups that every site has.
func (r *resolver) builtIn() {
	all, nobodys := packet.AllAddrs(), false
	for i := range r.in.Assets {
		if a := &r.in.Assets[i]; !r.without[a.ID] {
			r.add(i)
			nobodys = nobodys || !a.Kind.Identifies()
		}
	}
	unknown := all.Subtract(r.b.Addrs())
	unidentified := unknown
	if nobodys {
		for i := range r.in.Assets {
			if a := &r.in.Assets[i]; !r.without[a.ID] && a.Kind.Identifies() {
				r.add(i)
			}
		}
		unidentified = all.Subtract(r.b.Addrs())
	}
	r.done[policy.GroupAny], r.done[policy.GroupUnknown], r.done[policy.GroupUnidentified] = all, unknown, unidentified
}

// add adds the addresses of one asset to the set that is being built.
func (r *resolver) add(asset int) {
	switch n := r.only[asset]; {
	case n >= sixAt:
		r.b.AddIPv6(r.six[n-sixAt][0], r.six[n-sixAt][1])
		return
	case n > 0:
		r.b.AddIPv4(uint32(n - 1))
		return
	}
	for _, p := range r.in.Assets[asset].Addresses {
		r.b.AddPrefix(p)
	}
}

// groups resolves every group of the rulebook, in its order.
func (r *resolver) groups() ([]GroupSet, error) {
	out := make([]GroupSet, 0, len(r.in.Book.Groups))
	for i := range r.in.Book.Groups {
		g := &r.in.Book.Groups[i]
		set, err := r.group(g.Name)
		if err != nil {
			return nil, err
		}
		out = append(out, GroupSet{g.Name, set, g.Isolate})
	}
	return out, nil
}

func (r *resolver) group(name string) (packet.Addrs, error) {
	if set, ok := r.done[name]; ok {
		return set, nil
	}
	g, ok := r.decl[name]
	if !ok {
		return packet.Addrs{}, fmt.Errorf("unknown group %q", name)
	}
	if r.busy[name] {
		return packet.Addrs{}, fmt.Errorf("group %q contains itself", name)
	}
	r.busy[name] = true
	defer delete(r.busy, name)

	gives, err := r.union(g.Groups, r.in.Where[name], g.Members)
	if err != nil {
		return packet.Addrs{}, err
	}
	gives = gives.Union(packet.AddrsOf(g.Prefixes...))
	except, err := r.union(g.ExceptGroups, g.ExceptAssets)
	if err != nil {
		return packet.Addrs{}, err
	}
	set := gives.Subtract(except.Union(packet.AddrsOf(g.ExceptPrefixes...)))
	r.done[name] = set
	return set, nil
}

func (r *resolver) union(groups []string, assets ...[]string) (packet.Addrs, error) {
	sets := make([]packet.Addrs, 0, len(groups))
	for _, name := range groups { // they use the builder, too
		set, err := r.group(name)
		if err != nil {
			return packet.Addrs{}, err
		}
		sets = append(sets, set)
	}
	at := 0
	for _, list := range assets {
		for _, id := range list {
			var ok bool
			if at, ok = r.assets.find(id, at); ok && !r.without[id] {
				r.add(at)
			}
		}
	}
	for _, set := range sets {
		r.b.AddSet(set)
	}
	return r.b.Addrs(), nil
}

// claims finds the host addresses that more than one machine claims, in order.
func claims(assets []inventory.Asset) []packet.Addrs {
	var c packet.Claims
	c.Grow(len(assets), 0)
	for i := range assets {
		if !assets[i].Kind.ClaimsMachine() {
			continue
		}
		for _, p := range assets[i].Addresses {
			if p.IsSingleIP() {
				c.Add(p.Addr(), i)
			}
		}
	}
	var out []packet.Addrs
	for _, contest := range c.Contests() {
		out = append(out, packet.AddrRanges([]packet.Range{{From: contest.Addr, To: contest.Addr}}))
	}
	return out
}

// claimants lists the machines that claim the host address.
func claimants(assets []inventory.Asset, addr packet.Addrs) []string {
	var out []string
	for i := range assets {
		if !assets[i].Kind.ClaimsMachine() {
			continue
		}
		for _, p := range assets[i].Addresses {
			if p.IsSingleIP() && p.Addr() == addr.First() {
				out = append(out, assets[i].ID)
				break
			}
		}
	}
	return out
}
