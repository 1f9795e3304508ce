package compile

import (
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
	in     *Input
	assets map[string]packet.Addrs
	decl   map[string]*policy.Group
	done   map[string]packet.Addrs
	busy   map[string]bool
}

func newResolver(in *Input, without map[string]bool) *resolver {
	r := &resolver{in: in, assets: map[string]packet.Addrs{}, decl: map[string]*policy.Group{},
		done: map[string]packet.Addrs{}, busy: map[string]bool{}}
	var held, identified []packet.Range
	for i := range in.Assets {
		a := &in.Assets[i]
		if without[a.ID] {
			continue
		}
		set := packet.AddrsOf(a.Addresses...)
		r.assets[a.ID] = set
		held = append(held, set.Runs()...)
		if a.Kind.Identifies() {
			identified = append(identified, set.Runs()...)
		}
	}
	for i := range in.Book.Groups {
		r.decl[in.Book.Groups[i].Name] = &in.Book.Groups[i]
	}
	all := packet.AllAddrs()
	r.done[policy.GroupAny] = all
	r.done[policy.GroupUnknown] = all.Subtract(packet.AddrRanges(held))
	r.done[policy.GroupUnidentified] = all.Subtract(packet.AddrRanges(identified))
	return r
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

	gives, err := r.union(append(append([]string(nil), r.in.Where[name]...), g.Members...), g.Groups)
	if err != nil {
		return packet.Addrs{}, err
	}
	gives = gives.Union(packet.AddrsOf(g.Prefixes...))
	except, err := r.union(g.ExceptAssets, g.ExceptGroups)
	if err != nil {
		return packet.Addrs{}, err
	}
	set := gives.Subtract(except.Union(packet.AddrsOf(g.ExceptPrefixes...)))
	r.done[name] = set
	return set, nil
}

func (r *resolver) union(assets, groups []string) (packet.Addrs, error) {
	var runs []packet.Range
	for _, id := range assets {
		runs = append(runs, r.assets[id].Runs()...)
	}
	for _, name := range groups {
		set, err := r.group(name)
		if err != nil {
			return packet.Addrs{}, err
		}
		runs = append(runs, set.Runs()...)
	}
	return packet.AddrRanges(runs), nil
}

// claims finds the host addresses that more than one machine claims.
func claims(assets []inventory.Asset) []packet.Addrs {
	holders := map[packet.Range][]int{}
	for i := range assets {
		if !assets[i].Kind.ClaimsMachine() {
			continue
		}
		for _, p := range assets[i].Addresses {
			if p.IsSingleIP() {
				run := packet.Range{From: p.Addr(), To: p.Addr()}
				if h := holders[run]; len(h) == 0 || h[len(h)-1] != i {
					holders[run] = append(h, i)
				}
			}
		}
	}
	var out []packet.Addrs
	for run, h := range holders {
		if len(h) > 1 {
			out = append(out, packet.AddrRanges([]packet.Range{run}))
		}
	}
	sortAddrs(out)
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
