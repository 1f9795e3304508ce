package compile

import (
	"fmt"
	"net/netip"

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
	in     *Input
	assets map[string]int32 // ID -> place in in.Assets
	// hosts are the addresses of all assets side by side, and ends where each asset's
	// end: going from group to group through the assets themselves would wait for
	// memory at every step.
	hosts   []netip.Prefix
	ends    []int32
	decl    map[string]*policy.Group
	done    map[string]packet.Addrs
	busy    map[string]bool
	builder packet.Builder // of one union at a time
}

func newResolver(in *Input, without map[string]bool) *resolver {
	r := &resolver{in: in, assets: make(map[string]int32, len(in.Assets)), decl: map[string]*policy.Group{},
		done: map[string]packet.Addrs{}, busy: map[string]bool{}}
	r.hosts, r.ends = make([]netip.Prefix, 0, len(in.Assets)), make([]int32, len(in.Assets)+1)
	identified := true // all of them
	for i := range in.Assets {
		a := &in.Assets[i]
		if !without[a.ID] {
			r.assets[a.ID] = int32(i)
			r.hosts = append(r.hosts, a.Addresses...)
			identified = identified && a.Kind.Identifies()
		}
		r.ends[i+1] = int32(len(r.hosts))
	}
	v4 := 0
	for _, p := range r.hosts {
		if p.Addr().Is4() {
			v4++
		}
	}
	r.builder.Grow(v4, len(r.hosts)-v4)
	for _, p := range r.hosts {
		r.builder.AddPrefix(p)
	}
	for i := range in.Book.Groups {
		r.decl[in.Book.Groups[i].Name] = &in.Book.Groups[i]
	}
	all := packet.AllAddrs()
	unknown := all.Subtract(r.builder.Addrs())
	r.done[policy.GroupAny], r.done[policy.GroupUnknown], r.done[policy.GroupUnidentified] = all, unknown, unknown
	if !identified {
		r.done[policy.GroupUnidentified] = all.Subtract(r.identified())
	}
	return r
}

// addressesOf gives those of an asset, none where it is left out.
func (r *resolver) addressesOf(i int32) []netip.Prefix { return r.hosts[r.ends[i]:r.ends[i+1]] }

// identified gives the addresses whose holder is known.
func (r *resolver) identified() packet.Addrs {
	for i := range r.in.Assets {
		if !r.in.Assets[i].Kind.Identifies() {
			continue
		}
		for _, p := range r.addressesOf(int32(i)) {
			r.builder.AddPrefix(p)
		}
	}
	return r.builder.Addrs()
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

	set, err := r.union(g.Groups, g.Prefixes, r.in.Where[name], g.Members)
	if err != nil {
		return packet.Addrs{}, err
	}
	except, err := r.union(g.ExceptGroups, g.ExceptPrefixes, g.ExceptAssets)
	if err != nil {
		return packet.Addrs{}, err
	}
	if !except.IsEmpty() {
		set = set.Subtract(except)
	}
	r.done[name] = set
	return set, nil
}

// union joins groups, prefixes and lists of assets. An asset that is not there has
// no addresses.
func (r *resolver) union(groups []string, prefixes []netip.Prefix, assets ...[]string) (packet.Addrs, error) {
	// A group's own union uses the builder, too: they are worked out first.
	for _, name := range groups {
		if _, err := r.group(name); err != nil {
			return packet.Addrs{}, err
		}
	}
	for _, name := range groups {
		r.builder.AddSet(r.done[name])
	}
	for _, p := range prefixes {
		r.builder.AddPrefix(p)
	}
	for _, ids := range assets {
		for _, id := range ids {
			i, ok := r.assets[id]
			if !ok {
				continue
			}
			for _, p := range r.addressesOf(i) {
				r.builder.AddPrefix(p)
			}
		}
	}
	return r.builder.Addrs(), nil
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
	for _, x := range c.Contests() {
		out = append(out, packet.AddrRanges([]packet.Range{{From: x.Addr, To: x.Addr}}))
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
